/** A model folder: what is in it, where its weights and tokenizer are, and whether the files are those they should be. */
import { createHash } from 'node:crypto';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { show, WordmaskError } from '../util/errors.js';
import { guardDisk, sha256File } from '../util/files.js';
import { type Checkpoint, readCheckpointManifest } from '../weights/checkpoint.js';
import { openTorch } from '../weights/pickle.js';
import { insideRoot } from './hub-cache.js';
import { formatError, type ModelManifest, readManifest, readModelJson } from './manifest.js';
import { modelFolderOf } from './run-model.js';
import { toldFamily } from './told-family.js';

export interface ModelFolder {
  readonly path: string;
  /** No file of the model may lie outside this folder once links are followed. */
  readonly root: string;
  /** wordmask.json; a folder without one is completed in memory from its config.json. */
  readonly manifest: ModelManifest;
  /** `model_type` of config.json, or told from the names of the tensors, e.g. `clip`. */
  readonly modelType: string;
  readonly configFile: string;
  /** Parsed config.json, free of prototype keys; its fields are checked by the backbone. */
  readonly config: Record<string, unknown>;
  /** Path of the weights: a safetensors file, the index of shards, or a PyTorch checkpoint. */
  readonly weights: string;
  /** Folder that holds the tokenizer's files. */
  readonly tokenizer: string;
}

export interface FolderOptions {
  /** Where links may lead (default: the folder itself; for a snapshot in a Hugging Face cache its model folder). */
  root?: string;
  signal?: AbortSignal;
  /** Told what is odd about a folder that can be used all the same; the process's warnings by default. */
  onWarn?: (message: string) => void;
}

/**
 * Reads a model folder: wordmask.json if there is one, else config.json alone; of a training run's folder its newest whole
 * checkpoint.
 * @throws E_MODEL_NOT_FOUND when there is no such folder; E_MODEL_FORMAT for a bad file, a missing one or one that leads out of
 * the folder; E_PICKLE_FORBIDDEN or E_WEIGHTS where the only weights are PyTorch's and cannot be read as data
 */
export async function readModelFolder(path: string, options: FolderOptions = {}): Promise<ModelFolder> {
  const { signal } = options;
  signal?.throwIfAborted();
  const named = resolve(path);
  const info = await stat(named).catch(() => undefined);
  if (!info)
    throw new WordmaskError('E_MODEL_NOT_FOUND', `there is no model folder ${named}: check the path`, {
      details: { folder: named },
    });
  if (!info.isDirectory())
    throw new WordmaskError(
      'E_MODEL_NOT_FOUND',
      `${named} is a file; a model is a folder with config.json and *.safetensors`,
      { details: { folder: named } },
    );
  const onWarn = options.onWarn ?? ((message: string) => process.emitWarning(message));
  const folder = await modelFolderOf(named, { signal, onWarn });
  const root = options.root ?? linkRoot(folder);
  const files = new Set(await guardDisk('read', folder, () => readdir(folder)));
  const manifest: ModelManifest = files.has('wordmask.json')
    ? await readManifest(await insideRoot(root, join(folder, 'wordmask.json')), signal)
    : { format: 1 };
  const encoder = manifest.encoders?.['image-text'] ?? Object.values(manifest.encoders ?? {})[0];
  const configName = encoder?.config ?? 'config.json';
  if (encoder?.config === undefined && !files.has('config.json'))
    throw formatError(
      folder,
      `holds no config.json${files.has('wordmask.json') ? '' : ' and no wordmask.json'}: it is no model folder`,
    );
  const configFile = await insideRoot(root, join(folder, configName));
  const config = await readModelJson(configFile, signal);
  const weights = encoder?.weights ?? (await findWeights(folder, files, options));
  await insideRoot(root, join(folder, weights));
  // Shards and tokenizer files are opened by name later: their links are followed now.
  for (const name of files) if (modelFile.test(name)) await insideRoot(root, join(folder, name));
  const tokenizer = encoder?.tokenizer === undefined ? folder : await insideRoot(root, join(folder, encoder.tokenizer));
  return {
    path: folder,
    root,
    manifest,
    modelType: await modelTypeOf(configFile, config, join(folder, weights), signal),
    configFile,
    config,
    weights: join(folder, weights),
    tokenizer,
  };
}

const modelFile =
  /\.(safetensors|bin|pt|pth|ckpt)$|^(tokenizer|tokenizer_config|vocab|special_tokens_map|preprocessor_config)\.json$|^(merges|vocab|bpe_simple_vocab_16e6)\.txt(\.gz)?$/;

/** A snapshot's links lead to the blobs beside it; everything else has to stay in its own folder. */
function linkRoot(folder: string): string {
  const snapshots = dirname(folder);
  const isSnapshot =
    basename(snapshots) === 'snapshots' &&
    /^[0-9a-f]{40}$/.test(basename(folder)) &&
    basename(dirname(snapshots)).startsWith('models--');
  return isSnapshot ? dirname(snapshots) : folder;
}

/** As config.json says; folders with original tensor names may leave it to those. */
async function modelTypeOf(
  file: string,
  config: Record<string, unknown>,
  weights: string,
  signal?: AbortSignal,
): Promise<string> {
  const type = Object.hasOwn(config, 'model_type') ? config.model_type : await toldFamily(weights, signal);
  if (typeof type === 'string' && /^[a-z0-9_-]{1,64}$/i.test(type)) return type;
  throw formatError(file, `has the model_type ${show(type)}: needs a name such as "clip"`);
}

async function findWeights(folder: string, files: ReadonlySet<string>, options: FolderOptions): Promise<string> {
  for (const name of ['model.safetensors', 'model.safetensors.index.json']) if (files.has(name)) return name;
  const single = [...files].filter((name) => name.endsWith('.safetensors'));
  if (single.length === 1) return single[0] as string;
  if (single.length > 1)
    throw formatError(
      folder,
      `holds several weights (${single.slice(0, 8).join(', ')}) and no model.safetensors: name one in wordmask.json`,
    );
  const checkpoints = [...files].filter((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  if (checkpoints.length > 1)
    throw formatError(
      folder,
      `holds no *.safetensors file and several checkpoints (${checkpoints.slice(0, 8).join(', ')}): name one in wordmask.json`,
    );
  const [checkpoint] = checkpoints;
  const opened = checkpoint === undefined ? undefined : await openTorch(join(folder, checkpoint), options);
  await opened?.close();
  if (opened) return checkpoint as string;
  throw formatError(folder, 'holds no *.safetensors file and no PyTorch checkpoint: use a model that has one');
}

export interface FileCheck {
  readonly file: string;
  readonly status: 'ok' | 'differs' | 'missing' | 'unknown';
  readonly bytes?: number;
  readonly expected?: string;
  readonly found?: string;
}

export interface VerifyOptions {
  signal?: AbortSignal;
  onProgress?: (file: string, done: number, total: number) => void;
}

/**
 * Compares every file with its hash: those of wordmask.json, and in a Hugging Face cache the name of the blob. `unknown` means
 * that no hash is recorded. @throws E_DISK, `signal.reason`
 */
export async function verifyFolder(path: string, options: VerifyOptions = {}): Promise<FileCheck[]> {
  const folder = resolve(path);
  const listed = await stat(join(folder, 'wordmask.json')).then(
    () => readManifest(join(folder, 'wordmask.json'), options.signal),
    () => undefined,
  );
  const present = (await guardDisk('read', folder, () => readdir(folder, { recursive: true, withFileTypes: true })))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
  const files = {
    ...(present.includes('manifest.json') && (await checkpointFiles(folder, options.signal))),
    ...listed?.files,
  };
  const names = new Set([...Object.keys(files), ...present.filter((name) => name !== 'wordmask.json')]);
  const checks: FileCheck[] = [];
  for (const file of [...names].sort()) {
    checks.push(await verifyFile(join(folder, file), file, files[file], options));
  }
  return checks;
}

/** A folder of a training run has its hashes in a manifest of its own. */
async function checkpointFiles(folder: string, signal?: AbortSignal): Promise<Checkpoint['files'] | undefined> {
  try {
    return (await readCheckpointManifest(folder, signal)).files;
  } catch (error) {
    if (!(error instanceof WordmaskError)) throw error;
    return undefined;
  }
}

async function verifyFile(
  path: string,
  file: string,
  listed: { sha256: string; bytes: number } | undefined,
  options: VerifyOptions,
): Promise<FileCheck> {
  const real = await realpath(path).catch(() => undefined);
  if (real === undefined) return { file, status: 'missing', expected: listed?.sha256 };
  const { size } = await stat(real);
  const onProgress = (done: number, total: number): void => options.onProgress?.(file, done, total);
  const blob = basename(dirname(real)) === 'blobs' ? basename(real) : undefined;
  const expected = listed?.sha256 ?? blob;
  if (expected === undefined || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(expected))
    return { file, status: 'unknown', bytes: size };
  const found =
    expected.length === 64
      ? await sha256File(real, { signal: options.signal, onProgress })
      : await gitBlobHash(real, size, options.signal);
  const same = found === expected && (listed === undefined || listed.bytes === size);
  return { file, status: same ? 'ok' : 'differs', bytes: size, expected, found };
}

/** The hash that git gives a file, which names small files in the cache. */
async function gitBlobHash(path: string, size: number, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha1').update(`blob ${size}\0`);
  const handle = await open(path, 'r');
  try {
    const piece = Buffer.allocUnsafe(1 << 20);
    for (let position = 0; ; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(piece, 0, piece.length, position);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(piece.subarray(0, bytesRead));
      position += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

/** @throws E_HASH listing every file that differs or is missing */
export function assertVerified(path: string, checks: readonly FileCheck[]): void {
  const bad = checks.filter(({ status }) => status === 'differs' || status === 'missing');
  if (bad.length === 0) return;
  const text = bad
    .map(({ file, status, expected, found }) =>
      status === 'missing' ? `${file} is missing` : `${file} has ${found}, must have ${expected}`,
    )
    .join('; ');
  throw new WordmaskError('E_HASH', `${path}: ${text}. Fetch the model again`, {
    details: { folder: path, files: bad },
  });
}
