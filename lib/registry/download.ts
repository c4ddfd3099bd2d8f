/** One file from a hub into the cache's blobs: resumed where a part is there, hashed while it comes, named when it is whole. */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { WordmaskError } from '../util/errors.js';
import { guardDisk, syncFolder } from '../util/files.js';
import { onAbort } from '../util/on-abort.js';

export interface RemoteFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a large file, or git's hash (40 digits) of a small one. */
  readonly hash: string;
}

export interface DownloadOptions {
  readonly url: string;
  readonly fetch: typeof fetch;
  readonly signal?: AbortSignal;
  /** Wait before the second try; each further wait is twice as long (default 500). */
  readonly retryDelayMs?: number;
  /** Bytes of this file that are there. */
  readonly onProgress?: (done: number) => void;
}

const attempts = 4;
const stepBytes = 1 << 20;

/**
 * Downloads `file` to `target`. A part of an earlier try (`target.incomplete`) is continued; a broken connection is tried again.
 * @throws E_NETWORK after several tries, E_HASH when the content is not what the hub announced, E_DISK, `signal.reason`
 */
export async function downloadFile(file: RemoteFile, target: string, options: DownloadOptions): Promise<void> {
  const partial = `${target}.incomplete`;
  await guardDisk('write', target, () => mkdir(dirname(target), { recursive: true }));
  for (let attempt = 1; ; attempt++) {
    try {
      await fetchRest(file, partial, options);
      break;
    } catch (error) {
      options.signal?.throwIfAborted();
      const again = error instanceof WordmaskError && error.code === 'E_NETWORK' && error.details.permanent !== true;
      if (!again || attempt === attempts) throw error;
      await pause((options.retryDelayMs ?? 500) * 2 ** (attempt - 1), options.signal);
    }
  }
  await guardDisk('write', target, async () => {
    await rename(partial, target);
    await syncFolder(dirname(target));
  });
}

async function fetchRest(file: RemoteFile, partial: string, options: DownloadOptions): Promise<void> {
  const handle = await guardDisk('write', partial, () => open(partial, 'a+'));
  try {
    let hash = newHash(file);
    let done = await guardDisk('read', partial, () => hashExisting(handle, file, hash, options.signal));
    if (done < 0) {
      await guardDisk('write', partial, () => handle.truncate(0));
      hash = newHash(file);
      done = 0;
    }
    options.onProgress?.(done);
    if (done < file.size || file.size === 0) done = await receive(file, handle, hash, done, options);
    if (hash.copy().digest('hex') !== file.hash) {
      await unlink(partial).catch(() => undefined);
      throw new WordmaskError(
        'E_HASH',
        `${file.path} from ${options.url} is not what the hub announced (hash ${file.hash}); the download was deleted: try again`,
        { details: { file: file.path, url: options.url, expected: file.hash } },
      );
    }
    await guardDisk('write', partial, () => handle.sync());
  } finally {
    await handle.close();
  }
}

function newHash(file: RemoteFile): Hash {
  return file.hash.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${file.size}\0`);
}

/** Hashes what is there; -1 when it is longer than the file can be. */
async function hashExisting(handle: FileHandle, file: RemoteFile, hash: Hash, signal?: AbortSignal): Promise<number> {
  const { size } = await handle.stat();
  if (size > file.size) return -1;
  const piece = Buffer.allocUnsafe(Math.min(stepBytes, Math.max(size, 1)));
  for (let position = 0; position < size; ) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(piece, 0, piece.length, position);
    if (bytesRead === 0) break;
    hash.update(piece.subarray(0, bytesRead));
    position += bytesRead;
  }
  return size;
}

async function receive(
  file: RemoteFile,
  handle: FileHandle,
  hash: Hash,
  from: number,
  options: DownloadOptions,
): Promise<number> {
  const response = await request(file, from, options);
  let done = from;
  // A server without ranges sends the whole file again: what is there already is skipped.
  let skip = response.status === 206 ? 0 : from;
  try {
    for await (const chunk of response.body ?? []) {
      const bytes = chunk as Uint8Array;
      const fresh = bytes.subarray(Math.min(skip, bytes.length));
      skip -= bytes.length - fresh.length;
      if (done + fresh.length > file.size)
        throw networkError(file, options.url, `sends more than the announced ${file.size} bytes`, undefined, true);
      await guardDisk('write', file.path, () => handle.appendFile(fresh));
      hash.update(fresh);
      done += fresh.length;
      options.onProgress?.(done);
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof WordmaskError) throw error;
    throw networkError(file, options.url, `broke off after ${done} of ${file.size} bytes`, error);
  }
  if (done !== file.size) throw networkError(file, options.url, `ended after ${done} of ${file.size} bytes`);
  return done;
}

async function request(file: RemoteFile, from: number, { url, fetch, signal }: DownloadOptions): Promise<Response> {
  let response: Response;
  try {
    // Compressed transfer would make byte ranges and sizes mean something else.
    response = await fetch(url, {
      signal,
      headers: { 'accept-encoding': 'identity', ...(from > 0 ? { range: `bytes=${from}-` } : {}) },
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw networkError(file, url, 'cannot be reached', error);
  }
  if (response.status === 206) {
    const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
    if (Number(start) === from) return response;
    await response.body?.cancel();
    throw networkError(
      file,
      url,
      `answers with the range ${response.headers.get('content-range')}, asked for ${from}-`,
      undefined,
      true,
    );
  }
  if (response.status === 200) return response;
  await response.body?.cancel();
  throw networkError(
    file,
    url,
    `answers ${response.status}`,
    undefined,
    response.status < 500 && response.status !== 429,
  );
}

function networkError(file: RemoteFile, url: string, text: string, cause?: unknown, permanent = false): WordmaskError {
  return new WordmaskError(
    'E_NETWORK',
    `${url} ${text}; what was received of ${file.path} is kept, the next pull continues`,
    { cause, details: { url, file: file.path, permanent }, retryable: !permanent },
  );
}

async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      stopListening?.();
      resolve();
    }
    const stopListening =
      signal &&
      onAbort(signal, () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
  });
}

/** True when a file of the announced size is there. Content is checked when it is downloaded, and by `models verify`. */
export async function hasBlob(path: string, size: number): Promise<boolean> {
  return stat(path).then(
    (info) => info.isFile() && info.size === size,
    () => false,
  );
}
