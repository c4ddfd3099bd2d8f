/**
 * The chunk layer of PNG (ISO/IEC 15948, section 5): signature, length, type, data, CRC-32. Everything is checked
 * before it is used, so a hostile file can claim no memory that it does not back with bytes.
 */

import { promisify } from 'node:util';
import { crc32, deflate, inflate } from 'node:zlib';
import { WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';

const inflateAll = promisify(inflate);
const deflateAll = promisify(deflate);

export const pngSignature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

export interface PngChunk {
  type: string;
  data: Uint8Array;
}

/** One keyword and its text; keywords are 1 to 79 Latin-1 characters. */
export interface PngText {
  keyword: string;
  text: string;
}

const CRC_SLICE = 4 * 2 ** 20;
const MAX_TEXT_BYTES = 32 * 2 ** 20;

export function corrupt(message: string, cause?: unknown): WordmaskError {
  return new WordmaskError('E_IMAGE_CORRUPT', `PNG is damaged: ${message}`, { cause });
}

export function isPng(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && pngSignature.every((value, i) => bytes[i] === value);
}

/** Splits a file into chunks (views, no copies) and checks every length and CRC up to IEND. */
export async function readChunks(bytes: Uint8Array, signal?: AbortSignal): Promise<PngChunk[]> {
  if (!isPng(bytes)) throw new WordmaskError('E_IMAGE_FORMAT', 'not a PNG file: the signature is missing');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const slices = new Slices(signal);
  const chunks: PngChunk[] = [];
  for (let at = 8; ; ) {
    if (at + 12 > bytes.length) throw corrupt(`it ends after ${bytes.length} bytes without an IEND chunk (truncated?)`);
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (!/^[A-Za-z]{4}$/.test(type)) throw corrupt(`a chunk at byte ${at} has no valid type`);
    if (length > bytes.length - at - 12)
      throw corrupt(`chunk ${type} at byte ${at} claims ${length} bytes, ${bytes.length - at - 12} are left`);
    let sum = 0;
    for (let begin = at + 4; begin < at + 8 + length; begin += CRC_SLICE) {
      sum = crc32(bytes.subarray(begin, Math.min(begin + CRC_SLICE, at + 8 + length)), sum);
      if (slices.due) await slices.pause();
    }
    if (sum !== view.getUint32(at + 8 + length)) throw corrupt(`chunk ${type} at byte ${at} has a wrong checksum`);
    chunks.push({ type, data: bytes.subarray(at + 8, at + 8 + length) });
    if (type === 'IEND') return chunks;
    at += 12 + length;
  }
}

/** Signature and chunks, with lengths and CRCs, in one buffer. */
export async function joinChunks(chunks: readonly PngChunk[], signal?: AbortSignal): Promise<Uint8Array> {
  const total = chunks.reduce((sum, chunk) => sum + 12 + chunk.data.length, 8);
  const out = new Uint8Array(total);
  const view = new DataView(out.buffer);
  const slices = new Slices(signal);
  out.set(pngSignature);
  let at = 8;
  for (const { type, data } of chunks) {
    view.setUint32(at, data.length);
    for (let i = 0; i < 4; i++) out[at + 4 + i] = type.charCodeAt(i);
    out.set(data, at + 8);
    let sum = 0;
    for (let begin = at + 4; begin < at + 8 + data.length; begin += CRC_SLICE) {
      sum = crc32(out.subarray(begin, Math.min(begin + CRC_SLICE, at + 8 + data.length)), sum);
      if (slices.due) await slices.pause();
    }
    view.setUint32(at + 8 + data.length, sum);
    at += 12 + data.length;
  }
  return out;
}

const latin1Only = /^[\x20-\x7e\xa0-\xff\n]*$/;

/** tEXt where Latin-1 suffices, else iTXt (UTF-8); texts over 4 KiB are compressed. */
export async function textChunk({ keyword, text }: PngText): Promise<PngChunk> {
  if (!/^[\x21-\x7e](?:[\x20-\x7e]{0,77}[\x21-\x7e])?$/.test(keyword)) {
    throw new WordmaskError(
      'E_OPTION',
      `PNG text keyword must be 1 to 79 printable ASCII characters, got ${JSON.stringify(keyword)}`,
    );
  }
  if (text.includes('\0'))
    throw new WordmaskError('E_OPTION', `PNG text under ${JSON.stringify(keyword)} contains a NUL character`);
  if (latin1Only.test(text) && text.length <= 4096)
    return { type: 'tEXt', data: Buffer.from(`${keyword}\0${text}`, 'latin1') };
  const body = Buffer.from(text, 'utf8');
  const packed = body.length > 4096;
  const head = Buffer.from([...Buffer.from(keyword, 'latin1'), 0, packed ? 1 : 0, 0, 0, 0]);
  return { type: 'iTXt', data: Buffer.concat([head, packed ? await deflateAll(body) : body]) };
}

/** The text of a tEXt, zTXt or iTXt chunk; compressed text may not grow beyond 32 MiB. */
export async function readTextChunk(chunk: PngChunk): Promise<PngText> {
  const data = Buffer.from(chunk.data.buffer, chunk.data.byteOffset, chunk.data.byteLength);
  const split = data.indexOf(0);
  if (split < 1 || split > 79) throw corrupt(`text chunk ${chunk.type} has no keyword`);
  const keyword = data.toString('latin1', 0, split);
  if (chunk.type === 'tEXt') return { keyword, text: data.toString('latin1', split + 1) };
  if (chunk.type === 'zTXt') return { keyword, text: (await inflateText(data.subarray(split + 2))).toString('latin1') };
  const language = data.indexOf(0, split + 3);
  const translated = language < 0 ? -1 : data.indexOf(0, language + 1);
  if (translated < 0) throw corrupt('an iTXt chunk is cut short');
  const body = data.subarray(translated + 1);
  return { keyword, text: (data[split + 1] === 1 ? await inflateText(body) : body).toString('utf8') };
}

async function inflateText(body: Uint8Array): Promise<Buffer> {
  try {
    return await inflateAll(body, { maxOutputLength: MAX_TEXT_BYTES });
  } catch (cause) {
    throw corrupt('a compressed text chunk cannot be inflated or exceeds 32 MiB', cause);
  }
}
