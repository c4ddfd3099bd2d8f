/**
 * Fetching a model into the shared Hugging Face cache. The hub's own client (@huggingface/hub, an optional package) resolves the
 * revision to a commit and lists the files; the bytes come through `download.ts`, which can continue and checks every hash.
 */
import { copyFile, lstat, rename, symlink } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { show, WordmaskError } from '../util/errors.js';
import { errnoOf, guardDisk, makeFolder, writeFileAtomic } from '../util/files.js';
import { downloadFile, hasBlob, type RemoteFile } from './download.js';
import { hubCacheFolder, hubModelFolder, type Snapshot } from './hub-cache.js';
import { checkRevision, parseHubId } from './names.js';

export interface PullProgress {
  readonly file: string;
  /** Place of the file among all, from 1. */
  readonly index: number;
  readonly files: number;
  /** Bytes of all files together. */
  readonly done: number;
  readonly total: number;
}

export interface PullOptions {
  /** Branch, tag or commit (default `main`); pinned to the commit it stands for now. */
  revision?: string;
  cacheDir?: string;
  /** Default `HF_TOKEN`. Sent to the hub alone, never to where it redirects. */
  token?: string;
  /** Default `HF_ENDPOINT`, else https://huggingface.co. */
  endpoint?: string;
  signal?: AbortSignal;
  onProgress?: (progress: PullProgress) => void;
  /** Which files to take by their paths (default: configs, tokenizer, safetensors, licence). */
  files?: (path: string) => boolean;
  /** Wait before a broken download is tried again; each further wait is twice as long (default 500). */
  retryDelayMs?: number;
  env?: NodeJS.ProcessEnv;
}

export interface Pulled extends Snapshot {
  readonly files: readonly RemoteFile[];
  /** Bytes that had to be fetched. */
  readonly fetched: number;
}

const wanted =
  /^(config|wordmask|preprocessor_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json$|^(merges|vocab|bpe_simple_vocab_16e6)\.txt(\.gz)?$|^[\w.-]+\.safetensors(\.index\.json)?$|^LICEN[CS]E/i;
const maxFiles = 10_000;
const maxBytes = 2 ** 40;

/** What is used of @huggingface/hub; declared here so that the package builds without it. */
interface Hub {
  modelInfo(params: {
    name: string;
    revision: string;
    hubUrl: string;
    additionalFields: ['sha'];
    fetch: typeof fetch;
  }): Promise<{ sha?: unknown }>;
  listFiles(params: {
    repo: { type: 'model'; name: string };
    revision: string;
    recursive: true;
    hubUrl: string;
    fetch: typeof fetch;
  }): AsyncIterable<{
    type: string;
    path: string;
    size: number;
    oid?: string;
    lfs?: { oid: string; size: number };
  }>;
}

/**
 * Fetches a model, or what is missing of it. A second call for the same commit fetches nothing.
 * @throws E_OFFLINE when `HF_HUB_OFFLINE` is set; E_USAGE without the optional package; E_MODEL_NOT_FOUND for an unknown model
 * or revision; E_MODEL_FORMAT for one without safetensors; E_NETWORK, E_HASH, E_DISK; `signal.reason`
 */
export async function pullModel(id: string, options: PullOptions = {}): Promise<Pulled> {
  const { signal, env = process.env } = options;
  signal?.throwIfAborted();
  const named = parseHubId(id);
  const revision = checkRevision(options.revision ?? named.revision ?? 'main');
  if (/^(1|true|yes|on)$/i.test(env.HF_HUB_OFFLINE ?? '')) {
    throw new WordmaskError(
      'E_OFFLINE',
      `HF_HUB_OFFLINE is set, so ${show(named.id)} is not fetched: unset it, or copy the model into the cache`,
      { details: { value: named.id } },
    );
  }
  const endpoint = checkEndpoint(options.endpoint ?? env.HF_ENDPOINT ?? 'https://huggingface.co');
  const request = authorised(endpoint, options.token ?? env.HF_TOKEN, signal);
  const { commit, files } = await listRemote(await loadHub(), named.id, revision, endpoint, request, options);
  const cache = resolve(options.cacheDir ?? hubCacheFolder(env));
  const model = join(cache, hubModelFolder(named.id));
  const folder = join(model, 'snapshots', commit);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  let fetched = 0;
  for (const [index, file] of files.entries()) {
    const blob = join(model, 'blobs', file.hash);
    const report = (done: number): void =>
      options.onProgress?.({ file: file.path, index: index + 1, files: files.length, done: before + done, total });
    if (!(await hasBlob(blob, file.size))) {
      const path = file.path.split('/').map(encodeURIComponent).join('/');
      await downloadFile(file, blob, {
        url: `${endpoint}/${named.id}/resolve/${commit}/${path}`,
        fetch: request,
        signal,
        retryDelayMs: options.retryDelayMs,
        onProgress: report,
      });
      fetched += file.size;
    }
    await link(blob, join(folder, file.path));
    before += file.size;
    report(0);
  }
  if (revision !== commit) await writeFileAtomic(join(model, 'refs', revision), commit, { createFolder: true, signal });
  return { id: named.id, commit, folder, root: cache, files, fetched };
}

function checkEndpoint(text: string): string {
  try {
    const url = new URL(text);
    if (url.protocol === 'https:' || url.protocol === 'http:') return text.replace(/\/+$/, '');
  } catch {
    // reported below
  }
  throw new WordmaskError('E_OPTION', `the hub's address must be an http(s) URL, got ${show(text)}`, {
    details: { option: 'endpoint', value: text },
  });
}

/** fetch with the caller's signal, and the token for the hub's own origin only. */
function authorised(endpoint: string, token: string | undefined, signal?: AbortSignal): typeof fetch {
  const { origin } = new URL(endpoint);
  return (input, init) => {
    const headers = new Headers(init?.headers);
    const url = input instanceof Request ? input.url : String(input);
    if (token && new URL(url).origin === origin) headers.set('authorization', `Bearer ${token}`);
    return fetch(input, { ...init, headers, signal: signal ?? init?.signal });
  };
}

async function loadHub(): Promise<Hub> {
  const name: string = '@huggingface/hub';
  try {
    return (await import(name)) as Hub;
  } catch (cause) {
    throw new WordmaskError(
      'E_USAGE',
      'fetching models needs the optional package @huggingface/hub: npm install @huggingface/hub',
      { cause },
    );
  }
}

async function listRemote(
  hub: Hub,
  id: string,
  revision: string,
  endpoint: string,
  request: typeof fetch,
  options: PullOptions,
): Promise<{ commit: string; files: RemoteFile[] }> {
  const files: RemoteFile[] = [];
  let commit: unknown;
  try {
    const info = await hub.modelInfo({
      name: id,
      revision,
      hubUrl: endpoint,
      additionalFields: ['sha'],
      fetch: request,
    });
    commit = info.sha;
    if (typeof commit !== 'string' || !/^[0-9a-f]{40}$/.test(commit))
      throw new TypeError(`the hub gives the commit ${show(commit)}`);
    const select = options.files ?? ((path: string) => wanted.test(path));
    let seen = 0;
    for await (const entry of hub.listFiles({
      repo: { type: 'model', name: id },
      revision: commit,
      recursive: true,
      hubUrl: endpoint,
      fetch: request,
    })) {
      if (++seen > maxFiles) throw new TypeError(`the hub lists more than ${maxFiles} files`);
      if (entry.type === 'file' && select(entry.path)) files.push(remoteFile(entry));
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    throw hubError(error, id, revision, endpoint);
  }
  if (!files.some(({ path }) => path.endsWith('.safetensors')) && options.files === undefined) {
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${show(id)} at ${show(revision)} has no *.safetensors file, and other weights are not read: choose another model, or a revision that has one (ORG/NAME@REVISION)`,
      { details: { value: id, revision } },
    );
  }
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  if (bytes > maxBytes)
    throw new WordmaskError('E_MODEL_FORMAT', `${show(id)} has ${bytes} bytes, the limit is ${maxBytes}`, {
      details: { value: bytes, limit: maxBytes },
    });
  return { commit: commit as string, files };
}

/** What the hub lists is checked before it becomes a path or a size of ours. */
function remoteFile(entry: {
  path: string;
  size: number;
  oid?: string;
  lfs?: { oid: string; size: number };
}): RemoteFile {
  const size = entry.lfs?.size ?? entry.size;
  const hash = entry.lfs?.oid ?? entry.oid ?? '';
  const plain =
    /^[^/\\\p{Cc}:]+(\/[^/\\\p{Cc}:]+){0,8}$/u.test(entry.path) &&
    !entry.path.split('/').some((part) => part === '..' || part === '.');
  if (!plain || entry.path.length > 512) throw new TypeError(`the hub lists a file with the path ${show(entry.path)}`);
  if (!Number.isSafeInteger(size) || size < 0 || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash))
    throw new TypeError(`the hub lists ${show(entry.path)} with size ${show(size)} and hash ${show(hash)}`);
  return { path: entry.path, size, hash };
}

function hubError(error: unknown, id: string, revision: string, endpoint: string): WordmaskError {
  const status = (error as { statusCode?: unknown }).statusCode;
  const details = { value: id, revision, endpoint, status };
  if (status === 404)
    return new WordmaskError(
      'E_MODEL_NOT_FOUND',
      `${endpoint} has no model ${show(id)} at ${show(revision)}: check both names (a private model looks the same without HF_TOKEN)`,
      { cause: error, details },
    );
  if (status === 401 || status === 403)
    return new WordmaskError(
      'E_NETWORK',
      `${endpoint} refuses ${show(id)} (${status}): accept its terms there and set HF_TOKEN`,
      { cause: error, details, retryable: false },
    );
  if (error instanceof WordmaskError) return error;
  return new WordmaskError('E_NETWORK', `${endpoint} cannot be used: ${(error as Error).message}`, {
    cause: (error as Error).cause ?? error,
    details,
  });
}

/** Relative links, as the hub's own libraries make them; a copy where links are not possible. */
async function link(blob: string, path: string): Promise<void> {
  if (
    await lstat(path).then(
      () => true,
      () => false,
    )
  )
    return;
  await guardDisk('write', path, async () => {
    await makeFolder(dirname(path));
    try {
      await symlink(relative(dirname(path), blob), path);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return;
      if (errnoOf(error) !== 'EPERM') throw error;
      await copyFile(blob, `${path}.tmp`);
      await rename(`${path}.tmp`, path);
    }
  });
}
