/** From whatever a caller hands in as an image to its encoded bytes, within limits and without fetching anything. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Tensor } from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { abortable, inSlices, Slices } from '../util/slices.js';
import { checkFileSize, type ImageLimits } from './limits.js';

/** 8-bit samples [H, W, channels] with 1 (grey), 3 (RGB) or 4 (RGBA) channels. */
export interface RawImage {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
  channels: number;
}

/**
 * Path, `file:` URL, bytes, Blob, Node or web stream, raw pixels; or a tensor u8 [H, W, 3] (RGB) on the device of the model that looks
 * at it, of any strides, which is read where it lies.
 */
export type ImageInput =
  | string
  | URL
  | Uint8Array
  | ArrayBuffer
  | Blob
  | NodeJS.ReadableStream
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>
  | RawImage
  | Tensor;

const SLICE = 4 * 2 ** 20;

export function isRawImage(input: unknown): input is RawImage {
  return typeof input === 'object' && input !== null && 'data' in input && 'width' in input && 'height' in input;
}

/** Reads the encoded bytes of any input but raw pixels; the result is the package's own copy. */
export async function readSource(
  input: Exclude<ImageInput, RawImage | Tensor>,
  limits: ImageLimits,
  signal?: AbortSignal,
): Promise<Buffer> {
  if (typeof input === 'string') return readFileBytes(pathOf(input), limits, signal);
  if (input instanceof URL) return readFileBytes(pathOfUrl(input), limits, signal);
  if (input instanceof Uint8Array) return copyBytes(input, limits, signal);
  if (input instanceof ArrayBuffer || input instanceof SharedArrayBuffer)
    return copyBytes(new Uint8Array(input), limits, signal);
  if (input instanceof Blob) {
    checkFileSize(input.size, limits);
    return Buffer.from(await abortable(input.arrayBuffer(), signal));
  }
  if (typeof input === 'object' && input !== null && (Symbol.asyncIterator in input || 'getReader' in input)) {
    return readStream(input as AsyncIterable<unknown>, limits, signal);
  }
  throw new WordmaskError(
    'E_USAGE',
    `image must be a path, a file: URL, bytes, a stream or { data, width, height, channels }, got ${show(input)}`,
  );
}

function pathOf(text: string): string {
  if (/^file:/i.test(text)) return pathOfUrl(new URL(text));
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(text) || /^data:/i.test(text)) throw forbidden(text);
  if (text === '' || text.includes('\0'))
    throw new WordmaskError('E_USAGE', `image path must be a non-empty text without NUL, got ${show(text)}`);
  return text;
}

function pathOfUrl(url: URL): string {
  if (url.protocol !== 'file:') throw forbidden(url.href);
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new WordmaskError('E_USAGE', `image URL ${show(url.href)} names no local file`, { cause });
  }
}

function forbidden(url: string): WordmaskError {
  return new WordmaskError(
    'E_URL_FORBIDDEN',
    `image URL ${show(url)} is not a file: URL; fetch it yourself and pass the bytes`,
    { details: { url: url.slice(0, 200) } },
  );
}

async function readFileBytes(path: string, limits: ImageLimits, signal?: AbortSignal): Promise<Buffer> {
  signal?.throwIfAborted();
  const file = await open(path, 'r').catch((cause: NodeJS.ErrnoException) => {
    throw fileError(path, cause);
  });
  try {
    const info = await file.stat();
    if (info.isDirectory()) throw new WordmaskError('E_USAGE', `image ${show(path)} is a folder`);
    if (info.isFile()) checkFileSize(info.size, limits, `image ${show(path)}`);
    // Pipes and devices have no size: they are read like streams, up to the limit.
    return info.isFile()
      ? await readExactly(file, info.size, signal)
      : await readStream(file.createReadStream({ autoClose: false }), limits, signal);
  } catch (cause) {
    throw cause instanceof WordmaskError || signal?.aborted ? cause : fileError(path, cause as NodeJS.ErrnoException);
  } finally {
    await file.close();
  }
}

async function readExactly(
  file: Awaited<ReturnType<typeof open>>,
  size: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  const out = Buffer.allocUnsafeSlow(size);
  let filled = 0;
  while (filled < size) {
    const { bytesRead } = await abortable(file.read(out, filled, Math.min(SLICE, size - filled), filled), signal);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return out.subarray(0, filled);
}

function fileError(path: string, cause: NodeJS.ErrnoException): WordmaskError {
  if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')
    return new WordmaskError('E_USAGE', `image file ${show(path)} does not exist`, { cause });
  return new WordmaskError('E_DISK', `image file ${show(path)} cannot be read (${cause.code ?? cause.message})`, {
    cause,
  });
}

async function copyBytes(bytes: Uint8Array, limits: ImageLimits, signal?: AbortSignal): Promise<Buffer> {
  checkFileSize(bytes.length, limits);
  const length = bytes.length;
  const out = Buffer.allocUnsafeSlow(length);
  await inSlices(
    length,
    SLICE,
    (begin, end) => {
      if (bytes.length !== length)
        throw new WordmaskError('E_USAGE', 'image bytes were transferred away during the call');
      out.set(bytes.subarray(begin, end), begin);
    },
    signal,
  );
  return out;
}

async function readStream(
  stream: AsyncIterable<unknown> | ReadableStream<Uint8Array>,
  limits: ImageLimits,
  signal?: AbortSignal,
): Promise<Buffer> {
  const iterator = (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  const pieces: Uint8Array[] = [];
  let total = 0;
  try {
    for (;;) {
      const { value, done } = await abortable(iterator.next(), signal);
      if (done) break;
      if (!(value instanceof Uint8Array))
        throw new WordmaskError('E_USAGE', `image stream must give bytes, got ${show(value)}`);
      total += value.length;
      if (total > limits.fileBytes) checkFileSize(total, limits, 'image stream');
      pieces.push(Uint8Array.from(value));
    }
  } catch (cause) {
    void iterator.return?.()?.catch(() => undefined);
    if (cause instanceof WordmaskError || signal?.aborted) throw cause;
    throw new WordmaskError(
      'E_DISK',
      `image stream failed: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
  checkFileSize(total, limits, 'image stream');
  return Buffer.concat(pieces);
}

/** Copies raw pixels after checking them. */
export async function readRaw(input: RawImage, signal?: AbortSignal): Promise<Buffer> {
  const { data, width, height, channels } = input;
  if (!(data instanceof Uint8Array) && !(data instanceof Uint8ClampedArray))
    throw new WordmaskError('E_USAGE', `image.data must be Uint8Array, got ${show(data)}`);
  if (channels !== 1 && channels !== 3 && channels !== 4)
    throw new WordmaskError('E_USAGE', `image.channels must be 1 (grey), 3 (RGB) or 4 (RGBA), got ${show(channels)}`);
  const expected = width * height * channels;
  if (data.length !== expected)
    throw new WordmaskError(
      'E_USAGE',
      `image.data must hold ${width} x ${height} x ${channels} = ${expected} bytes, got ${data.length}`,
    );
  const out = Buffer.allocUnsafeSlow(expected);
  await inSlices(
    expected,
    SLICE,
    (begin, end) => {
      if (data.length !== expected)
        throw new WordmaskError('E_USAGE', 'image.data was transferred away during the call');
      out.set(data.subarray(begin, end), begin);
    },
    signal,
  );
  return out;
}

/** SHA-256 in hex; the event loop gets a turn between slices of 4 MiB. */
export async function hashBytes(bytes: Uint8Array, prefix = '', signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256').update(prefix);
  const slices = new Slices(signal);
  for (let at = 0; at < bytes.length; at += SLICE) {
    hash.update(bytes.subarray(at, at + SLICE));
    if (slices.due) await slices.pause();
  }
  return hash.digest('hex');
}
