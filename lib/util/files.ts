/**
 * Files as the whole package writes and reads them: written to a temporary name in the same folder, synced and renamed,
 * so that a reader sees the old file or the new one and never a part; read with a limit, so that no file sets our memory.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants as fsConstants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type ErrorCode, WordmaskError } from './errors.js';

export type Bytes = Uint8Array;
/** What a file is written from: bytes, several pieces in order, or pieces made while writing. */
export type FileContent = Bytes | string | Iterable<Bytes> | AsyncIterable<Bytes>;

const remedies: Record<string, string> = {
  ENOSPC: 'the disk is full: free some space or choose another folder',
  EDQUOT: 'the disk quota is used up: free some space or choose another folder',
  EFBIG: 'the file is larger than the system allows: choose another folder or raise the limit',
  EACCES: 'permission denied: change the permissions or choose another folder',
  EPERM: 'not permitted: change the permissions or choose another folder',
  EROFS: 'the file system is read-only: choose another folder',
  ENOENT: 'no such file or folder: check the path, create the folder first',
  ENOTDIR: 'a part of the path is a file, not a folder: check the path',
  EISDIR: 'this is a folder, not a file: check the path',
  EEXIST: 'a file of that name is in the way: choose another name',
  ENOTEMPTY: 'this is a folder, not a file: check the path',
  ENAMETOOLONG: 'the name is too long: choose a shorter one',
  ELOOP: 'the symbolic links form a loop: check the path',
  EMFILE: 'too many files are open: close some or raise the limit',
  ENFILE: 'too many files are open: close some or raise the limit',
  EIO: 'the device reports an error: check the disk',
};

/** The errno name of a system error (`ENOSPC`), or undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) && !code.startsWith('E_') ? code : undefined;
}

/** E_DISK with the path, the system's reason and the remedy. */
export function diskError(action: string, path: string, cause: unknown): WordmaskError {
  const errno = errnoOf(cause);
  const reason = (errno && remedies[errno]) ?? (cause instanceof Error ? cause.message : String(cause));
  return new WordmaskError('E_DISK', `cannot ${action} ${path}: ${reason}`, { cause, details: { path, errno } });
}

/** Runs file calls and turns system errors into E_DISK; an abort and errors of our own pass through. */
export async function guardDisk<T>(action: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    throw diskError(action, path, error);
  }
}

export interface WriteOptions {
  signal?: AbortSignal;
  /** Make missing folders above the file first (default false: a mistyped path is an error). */
  createFolder?: boolean;
  /** Permission bits of a new file, before the process's mask (default 0o666). */
  mode?: number;
}

/**
 * Writes a file so that `path` holds either its old content or all of the new one.
 * @throws E_DISK with path and remedy; `signal.reason` on abort. In both cases the old file is untouched.
 */
export async function writeFileAtomic(path: string, content: FileContent, options: WriteOptions = {}): Promise<void> {
  const { signal } = options;
  signal?.throwIfAborted();
  const folder = dirname(path);
  const temporary = join(folder, `.wordmask-${randomBytes(9).toString('base64url')}.tmp`);
  await guardDisk('write', path, async () => {
    if (options.createFolder) await makeFolder(folder);
    let handle: FileHandle | undefined = await open(temporary, 'wx', options.mode ?? 0o666);
    try {
      for await (const piece of pieces(content)) await writeFully(handle, piece, signal);
      signal?.throwIfAborted();
      await handle.sync();
      await handle.close();
      handle = undefined;
      await rename(temporary, path);
    } catch (error) {
      await handle?.close().catch(() => undefined);
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
    await syncFolder(folder);
  });
}

function pieces(content: FileContent): Iterable<Bytes> | AsyncIterable<Bytes> {
  if (typeof content === 'string') return [Buffer.from(content, 'utf8')];
  return content instanceof Uint8Array ? [content] : content;
}

const writeStep = 8 << 20; // an abort is seen between pieces of this size

async function writeFully(handle: FileHandle, piece: Bytes, signal?: AbortSignal): Promise<void> {
  for (let done = 0; done < piece.length; ) {
    signal?.throwIfAborted();
    const { bytesWritten } = await handle.write(piece, done, Math.min(writeStep, piece.length - done));
    done += bytesWritten;
  }
}

/** Makes a rename durable. Some file systems cannot sync a folder; the rename itself has happened all the same. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

export interface ReadOptions {
  signal?: AbortSignal;
  /** Largest accepted size in bytes. */
  limit: number;
  /** Code of the error for a missing, over-long or unsuitable file (default E_DISK). */
  code?: ErrorCode;
}

/**
 * Reads a whole regular file of at most `limit` bytes.
 * @throws the given code when the file is missing, is no regular file or is over the limit; E_DISK on other failures
 */
export async function readFileLimited(path: string, options: ReadOptions): Promise<Buffer> {
  const { signal, limit, code = 'E_DISK' } = options;
  signal?.throwIfAborted();
  const handle = await openRegular(path, code);
  try {
    return await guardDisk('read', path, async () => {
      const { size } = await handle.stat();
      if (size > limit) {
        throw new WordmaskError(
          code,
          `${path} has ${size} bytes, at most ${limit} are read: this is not a file of the expected kind`,
          { details: { path, value: size, limit } },
        );
      }
      const bytes = Buffer.allocUnsafe(size);
      const read = await readFully(handle, bytes, 0, signal);
      return read === size ? bytes : bytes.subarray(0, read);
    });
  } finally {
    await handle.close();
  }
}

/** Opens a regular file for reading. @throws the given code when it is missing or no regular file, E_DISK otherwise */
export async function openRegular(path: string, code: ErrorCode = 'E_DISK'): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    handle = await open(path, fsConstants.O_RDONLY | (fsConstants.O_NONBLOCK ?? 0));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw diskError('read', path, error);
    throw new WordmaskError(code, `${path} does not exist: check the path`, { cause: error, details: { path, errno } });
  }
  const stat = await handle.stat();
  if (stat.isFile()) return handle;
  await handle.close();
  const kind = stat.isDirectory() ? 'a folder' : 'a device, pipe or socket';
  throw new WordmaskError(code, `${path} is ${kind}, not a file: check the path`, { details: { path } });
}

const readStep = 8 << 20;

/** Fills `target` from `position` on; returns the bytes read, fewer only at the end of the file. */
export async function readFully(
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  signal?: AbortSignal,
): Promise<number> {
  let done = 0;
  while (done < target.length) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(target, done, Math.min(readStep, target.length - done), position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

export interface HashOptions {
  signal?: AbortSignal;
  /** Called with the bytes hashed so far and the size of the file. */
  onProgress?: (done: number, total: number) => void;
}

/** SHA-256 of a file as 64 lower-case hex digits, read in pieces of 1 MiB. @throws E_DISK; `signal.reason` on abort */
export async function sha256File(path: string, options: HashOptions = {}): Promise<string> {
  const handle = await openRegular(path);
  try {
    return await guardDisk('read', path, async () => {
      const hash = createHash('sha256');
      const { size } = await handle.stat();
      const piece = Buffer.allocUnsafe(1 << 20);
      for (let position = 0; ; ) {
        options.signal?.throwIfAborted();
        const { bytesRead } = await handle.read(piece, 0, piece.length, position);
        if (bytesRead === 0) break;
        hash.update(piece.subarray(0, bytesRead));
        position += bytesRead;
        options.onProgress?.(position, size);
      }
      return hash.digest('hex');
    });
  } finally {
    await handle.close();
  }
}

export function sha256(bytes: Bytes | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * Makes a folder and those above it. Node's own recursive mkdir never ends where a parent exists but nothing can be made
 * in it and the system says "no such file" (/proc is one), so each level is tried once here.
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EEXIST' && (await stat(folder)).isDirectory()) return;
    const parent = dirname(folder);
    if (
      code !== 'ENOENT' ||
      parent === folder ||
      (await stat(parent).then(
        (info) => info.isDirectory(),
        () => false,
      ))
    )
      throw error;
    await makeFolder(parent);
    await mkdir(folder).catch((second: unknown) => {
      if (errnoOf(second) !== 'EEXIST') throw second;
    });
  }
}
