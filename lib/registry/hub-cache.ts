/**
 * The cache that Hugging Face's libraries share: `models--ORG--NAME/{refs,snapshots,blobs}`. A snapshot is a folder named by
 * its commit; its files are links to blobs. Read without any library; links may not lead out of the cache.
 */
import { readdir, readFile, realpath, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { show, WordmaskError } from '../util/errors.js';
import { errnoOf, guardDisk } from '../util/files.js';
import { checkRevision, parseHubId } from './names.js';

/** The cache's folder: `HF_HUB_CACHE`, else `HF_HOME`/hub, else `XDG_CACHE_HOME`/huggingface/hub, else ~/.cache/huggingface/hub. */
export function hubCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const expand = (path: string): string => resolve(path.replace(/^~(?=$|\/)/, homedir()));
  if (env.HF_HUB_CACHE) return expand(env.HF_HUB_CACHE);
  if (env.HUGGINGFACE_HUB_CACHE) return expand(env.HUGGINGFACE_HUB_CACHE);
  if (env.HF_HOME) return join(expand(env.HF_HOME), 'hub');
  return join(env.XDG_CACHE_HOME ? expand(env.XDG_CACHE_HOME) : join(homedir(), '.cache'), 'huggingface', 'hub');
}

/** Folder of a model below the cache's folder. @throws E_MODEL_ID */
export function hubModelFolder(id: string): string {
  return `models--${parseHubId(id).id.replace('/', '--')}`;
}

export interface Snapshot {
  readonly id: string;
  readonly commit: string;
  readonly folder: string;
  /** Links inside the folder must stay below this. */
  readonly root: string;
}

export interface FindOptions {
  /** Branch, tag or commit (default `main`). */
  revision?: string;
  /** The cache's folder (default `hubCacheFolder()`). */
  cacheDir?: string;
}

const commitPattern = /^[0-9a-f]{40}$/;

/**
 * The snapshot of a model in the cache. Without a revision and without `refs/main` a single snapshot is taken.
 * @throws E_MODEL_NOT_FOUND saying where it was looked for and how to fetch it; E_MODEL_ID
 */
export async function findSnapshot(id: string, options: FindOptions = {}): Promise<Snapshot> {
  const cache = resolve(options.cacheDir ?? hubCacheFolder());
  const model = join(cache, hubModelFolder(id));
  const revision = checkRevision(options.revision ?? 'main');
  const looked: string[] = [];
  const commit = commitPattern.test(revision)
    ? revision
    : ((await readRef(model, revision, looked)) ??
      (options.revision === undefined ? await onlySnapshot(model) : undefined));
  if (commit !== undefined) {
    const folder = join(model, 'snapshots', commit);
    looked.push(folder);
    if (await isFolder(folder)) return { id, commit, folder, root: await realpath(cache) };
  }
  const name = options.revision === undefined ? id : `${id}@${options.revision}`;
  throw new WordmaskError(
    'E_MODEL_NOT_FOUND',
    `the model ${show(name)} is not in the cache (looked for ${looked.join(' and ')}); fetch it with: wordmask models pull ${name}`,
    { details: { value: name, looked } },
  );
}

async function readRef(model: string, revision: string, looked: string[]): Promise<string | undefined> {
  const path = join(model, 'refs', revision);
  looked.push(path);
  const text = await readFile(path, 'utf8').catch(() => '');
  const commit = text.slice(0, 64).trim();
  return commitPattern.test(commit) ? commit : undefined;
}

async function onlySnapshot(model: string): Promise<string | undefined> {
  const names = (await readdir(join(model, 'snapshots')).catch(() => [] as string[])).filter((name) =>
    commitPattern.test(name),
  );
  return names.length === 1 ? names[0] : undefined;
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );
}

export interface CachedModel {
  readonly id: string;
  readonly folder: string;
  readonly snapshots: readonly {
    readonly commit: string;
    readonly refs: readonly string[];
    readonly folder: string;
    readonly bytes: number;
  }[];
}

/** All models in the cache, sorted by id. An absent cache has none. */
export async function listCachedModels(cacheDir: string = hubCacheFolder()): Promise<CachedModel[]> {
  const models: CachedModel[] = [];
  for (const name of (await readdir(cacheDir).catch(() => [] as string[])).sort()) {
    const match = /^models--([^/]+?)--([^/]+)$/.exec(name);
    if (!match) continue;
    const folder = join(cacheDir, name);
    const refs = await listRefs(join(folder, 'refs'));
    const commits = (await readdir(join(folder, 'snapshots')).catch(() => [] as string[]))
      .filter((commit) => commitPattern.test(commit))
      .sort();
    const snapshots = await Promise.all(
      commits.map(async (commit) => {
        const path = join(folder, 'snapshots', commit);
        return {
          commit,
          folder: path,
          refs: refs.filter(([, target]) => target === commit).map(([ref]) => ref),
          bytes: await folderBytes(path),
        };
      }),
    );
    if (snapshots.length > 0) models.push({ id: `${match[1]}/${match[2]}`, folder, snapshots });
  }
  return models;
}

async function listRefs(folder: string): Promise<[ref: string, commit: string][]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const refs: [string, string][] = [];
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    refs.push([
      path.slice(folder.length + 1).replaceAll(sep, '/'),
      (await readFile(path, 'utf8').catch(() => '')).trim(),
    ]);
  }
  return refs;
}

async function folderBytes(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const info = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
    if (info?.isFile()) bytes += info.size;
  }
  return bytes;
}

/** Deletes a model with all its snapshots from the cache. @throws E_MODEL_NOT_FOUND, E_DISK */
export async function removeCachedModel(id: string, cacheDir: string = hubCacheFolder()): Promise<void> {
  const folder = join(cacheDir, hubModelFolder(id));
  if (!(await isFolder(folder)))
    throw new WordmaskError('E_MODEL_NOT_FOUND', `the model ${show(id)} is not in the cache (looked for ${folder})`, {
      details: { value: id, looked: [folder] },
    });
  await guardDisk('delete', folder, () => rm(folder, { recursive: true }));
}

/**
 * The real path of a file that must lie below `root` once all links are followed.
 * @throws E_MODEL_FORMAT when it does not, or is missing
 */
export async function insideRoot(root: string, path: string): Promise<string> {
  let real: string;
  try {
    real = await realpath(path);
  } catch (cause) {
    const missing = errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR';
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${path} ${missing ? 'is missing: fetch the model again' : 'cannot be followed: check its links'}`,
      { cause, details: { file: path } },
    );
  }
  const realRoot = await realpath(root);
  if (real === realRoot || real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)) return real;
  throw new WordmaskError(
    'E_MODEL_FORMAT',
    `${path} leads out of ${root} (to ${real}): a model's files must lie in its own folder`,
    { details: { file: path, value: real, limit: root } },
  );
}
