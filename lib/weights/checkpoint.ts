/**
 * Checkpoint folders: `step-N/` with its files and `manifest.json`, which is written last and holds size and SHA-256 of each.
 * A folder counts only when every byte is what the manifest says, so a run that was killed, a full disk or a damaged file
 * cost the steps since the checkpoint before and nothing else.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WordmaskError } from '../util/errors.js';
import {
  diskError,
  guardDisk,
  readFileLimited,
  sha256,
  sha256File,
  syncFolder,
  writeFileAtomic,
} from '../util/files.js';
import { canonicalJson, parseJsonStrict } from '../util/json.js';
import { type TensorToWrite, writeSafetensors } from './safetensors-writer.js';

const folderName = /^step-(\d{1,15})$/;
const leftover = /^\.step-\d+-[\w-]+\.tmp$/;
const manifestLimit = 16 << 20;

/** What a file of a checkpoint is written from: bytes, text, or named tensors (safetensors). */
export type CheckpointFile = Uint8Array | string | { readonly tensors: Iterable<readonly [string, TensorToWrite]> };

interface FileRecord {
  readonly bytes: number;
  readonly sha256: string;
}

interface Manifest {
  readonly format: 'wordmask-checkpoint/1';
  readonly step: number;
  readonly files: Readonly<Record<string, FileRecord>>;
  /** SHA-256 of the canonical JSON of the rest: the manifest vouches for itself too. */
  readonly sha256: string;
}

export interface Checkpoint {
  readonly step: number;
  readonly folder: string;
  readonly files: Readonly<Record<string, FileRecord>>;
}

/**
 * Writes `step-N` below a run folder, whole or not at all: into a temporary folder, each file synced, the manifest last, then
 * renamed. A folder of that name that is there already is replaced.
 * @throws E_DISK; nothing of the new checkpoint is left and the old ones are untouched
 */
export async function writeCheckpoint(
  run: string,
  step: number,
  files: Readonly<Record<string, CheckpointFile>>,
): Promise<Checkpoint> {
  const folder = join(run, `step-${step}`);
  const temporary = join(run, `.step-${step}-${randomBytes(6).toString('base64url')}.tmp`);
  try {
    await guardDisk('write', temporary, () => mkdir(temporary));
    const records: Record<string, FileRecord> = {};
    for (const [name, content] of Object.entries(files)) {
      const path = join(temporary, name);
      if (typeof content === 'string' || content instanceof Uint8Array) await writeFileAtomic(path, content);
      else await writeSafetensors(path, content.tensors);
      const { size } = await guardDisk('read', path, () => stat(path));
      records[name] = { bytes: size, sha256: await sha256File(path) };
    }
    await writeFileAtomic(join(temporary, 'manifest.json'), manifestText(step, records));
    await guardDisk('write', folder, () => replaceFolder(temporary, folder, run));
    return { step, folder, files: records };
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
}

/**
 * Replaces a small file of a checkpoint. In between the manifest does not list it, so the folder is a whole checkpoint at any moment.
 * @throws E_CHECKPOINT, E_DISK
 */
export async function replaceCheckpointFile(folder: string, name: string, text: string): Promise<void> {
  const { step, files } = await readCheckpointManifest(folder);
  const manifest = join(folder, 'manifest.json');
  const { [name]: _, ...others } = files;
  await writeFileAtomic(manifest, manifestText(step, others));
  await writeFileAtomic(join(folder, name), text);
  const record = { bytes: Buffer.byteLength(text), sha256: sha256(text) };
  await writeFileAtomic(manifest, manifestText(step, { ...files, [name]: record }));
}

function manifestText(step: number, files: Readonly<Record<string, FileRecord>>): string {
  const body = { format: 'wordmask-checkpoint/1' as const, step, files };
  return `${JSON.stringify({ ...body, sha256: sha256(canonicalJson(body)) }, null, 2)}\n`;
}

/** A folder cannot be renamed over one with files in it, so the old one steps aside first. */
async function replaceFolder(from: string, to: string, run: string): Promise<void> {
  const there = await stat(to).catch(() => undefined);
  if (there) await discard(to);
  await rename(from, to);
  await syncFolder(run);
}

/** Renames before deleting: no folder that bears a checkpoint's name is ever half gone. */
async function discard(folder: string): Promise<void> {
  const at = folder.lastIndexOf('step-');
  const aside = `${folder.slice(0, at)}.${folder.slice(at)}-${randomBytes(6).toString('base64url')}.tmp`;
  await rename(folder, aside);
  await rm(aside, { recursive: true, force: true });
}

/** Checkpoint folders of a run by name alone, newest first. A run folder that is not there has none. @throws E_DISK */
export async function listCheckpoints(run: string): Promise<{ step: number; folder: string }[]> {
  const entries = await readdir(run, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    throw diskError('read', run, error);
  });
  return entries
    .filter((entry) => entry.isDirectory() && folderName.test(entry.name))
    .map(({ name }) => ({ step: Number(folderName.exec(name)?.[1]), folder: join(run, name) }))
    .sort((a, b) => b.step - a.step);
}

/**
 * Reads the manifest of a checkpoint and compares every file with it.
 * @throws E_CHECKPOINT naming the file and what is wrong with it
 */
export async function verifyCheckpoint(folder: string, signal?: AbortSignal): Promise<Checkpoint> {
  const checkpoint = await readCheckpointManifest(folder, signal);
  for (const [name, record] of Object.entries(checkpoint.files)) await verifyFile(join(folder, name), record, signal);
  return checkpoint;
}

/** What a checkpoint should hold, by its manifest alone. @throws E_CHECKPOINT */
export async function readCheckpointManifest(folder: string, signal?: AbortSignal): Promise<Checkpoint> {
  const path = join(folder, 'manifest.json');
  const bytes = await readFileLimited(path, { limit: manifestLimit, code: 'E_CHECKPOINT', signal });
  const manifest = parseJsonStrict(bytes, { code: 'E_CHECKPOINT', what: path }) as Manifest;
  const { format, step, files } = manifest ?? {};
  const shaped =
    format === 'wordmask-checkpoint/1' &&
    Number.isSafeInteger(step) &&
    typeof files === 'object' &&
    files !== null &&
    Object.entries(files).every(([name, record]) => plainName.test(name) && record !== null);
  if (!shaped || !bytes.equals(Buffer.from(manifestText(step, files)))) throw damaged(path, 'is not as it was written');
  if (!folder.endsWith(`step-${step}`)) throw damaged(path, `is that of step ${step}`);
  return { step, folder, files };
}

const plainName = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

async function verifyFile(path: string, record: FileRecord, signal?: AbortSignal): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile()) throw damaged(path, 'is missing');
  if (info.size !== record.bytes) throw damaged(path, `has ${info.size} bytes, must have ${record.bytes}`);
  const found = await sha256File(path, { signal });
  if (found !== record.sha256) throw damaged(path, `has the SHA-256 ${found}, must have ${record.sha256}`);
}

function damaged(path: string, text: string): WordmaskError {
  return new WordmaskError('E_CHECKPOINT', `${path} ${text}: this checkpoint cannot be used`, {
    details: { file: path },
  });
}

export interface FindOptions {
  readonly signal?: AbortSignal;
  /** Called with a line for each newer checkpoint that is not whole. */
  readonly onWarn?: (message: string) => void;
}

/**
 * The newest whole checkpoint of a run, found by its content; undefined when the folder holds none at all.
 * @throws E_CHECKPOINT when there are checkpoints and none is whole
 */
export async function findCheckpoint(run: string, options: FindOptions = {}): Promise<Checkpoint | undefined> {
  const problems: WordmaskError[] = [];
  for (const { folder } of await listCheckpoints(run)) {
    try {
      const found = await verifyCheckpoint(folder, options.signal);
      for (const { message } of problems) options.onWarn?.(`${message}; ${found.folder} is used instead`);
      return found;
    } catch (error) {
      if (!(error instanceof WordmaskError)) throw error;
      problems.push(error);
    }
  }
  if (problems.length === 0) return undefined;
  throw new WordmaskError(
    'E_CHECKPOINT',
    `${run} holds no whole checkpoint: ${problems.map(({ message }) => message).join('; ')}. Start again with --overwrite`,
    { cause: problems[0], details: { folder: run } },
  );
}

/** Deletes all but the newest `keep` checkpoints up to `step`. What cannot be deleted stays: it is no reason to stop. */
export async function pruneCheckpoints(run: string, step: number, keep: number): Promise<void> {
  const old = (await listCheckpoints(run)).filter((found) => found.step <= step).slice(Math.max(1, keep));
  for (const { folder } of old) await discard(folder).catch(() => undefined);
}

/** Renames checkpoints beyond `step` to `damaged-step-N...`: a run that goes on from `step` must not meet them again. */
export async function setAsideAfter(run: string, step: number): Promise<void> {
  for (const found of await listCheckpoints(run)) {
    if (found.step <= step) continue;
    const aside = join(run, `damaged-step-${found.step}-${randomBytes(6).toString('base64url')}`);
    await guardDisk('rename', found.folder, () => rename(found.folder, aside));
  }
}

/** Deletes what killed saves left behind. */
export async function removeLeftovers(run: string): Promise<void> {
  for (const name of await readdir(run).catch(() => []))
    if (leftover.test(name)) await rm(join(run, name), { recursive: true, force: true }).catch(() => undefined);
}
