/**
 * Size, depth and orientation of an image file from its first bytes, so that thousands of files can be compared before the
 * first is decoded. Reads what it needs and no more; what it does not understand is undefined, and the decoders decide.
 */
import type { FileHandle } from 'node:fs/promises';
import { guardDisk, openRegular, readFully } from '../util/files.js';
import { isPng, type PngKind, readPngHeader } from './png.js';
import { sniffImage } from './sniff.js';

export interface ImageHeader {
  readonly format: 'png' | 'jpeg' | 'tiff';
  /** Of the upright picture: sides are swapped where the orientation says so. */
  readonly width: number;
  readonly height: number;
  /** Bits a sample, and samples a pixel. */
  readonly bitDepth: number;
  readonly channels: number;
  /** Of a PNG; with the palette where it stands before the pixels within the first bytes. */
  readonly kind?: PngKind;
  readonly palette?: Uint8Array;
}

/** Most headers lie within this: small, because thousands of files are looked at. */
const firstBytes = 2048;
const mostSegments = 1000;

/** @returns undefined for formats and damage that this does not understand. @throws E_DISK */
export async function readImageHeader(path: string): Promise<ImageHeader | undefined> {
  const handle = await openRegular(path);
  try {
    return await guardDisk('read', path, async () => {
      const start = await readAt(handle, 0, firstBytes);
      if (isPng(start)) return pngHeader(start);
      const format = sniffImage(start)?.format;
      const at = (position: number, length: number): Promise<Buffer> | Buffer =>
        position + length <= start.length
          ? start.subarray(position, position + length)
          : readAt(handle, position, length);
      if (format === 'jpeg') return await jpegHeader(at);
      return format === 'tiff' ? await tiffHeader(at, start) : undefined;
    });
  } finally {
    await handle.close();
  }
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  return bytes.subarray(0, await readFully(handle, bytes, position));
}

/** Bytes of the file, fewer at its end. */
type Reader = (position: number, length: number) => Promise<Buffer> | Buffer;

function pngHeader(bytes: Buffer): ImageHeader | undefined {
  let header: ReturnType<typeof readPngHeader>;
  try {
    header = readPngHeader(bytes);
  } catch {
    return undefined;
  }
  let palette: Uint8Array | undefined;
  let turned = false;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const [length, type] = [bytes.readUInt32BE(at), bytes.toString('latin1', at + 4, at + 8)];
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'IDAT') break;
    if (data.length === length && type === 'PLTE' && length <= 768 && length % 3 === 0) palette = Uint8Array.from(data);
    if (data.length === length && type === 'eXIf') turned = isTurned(data);
    at += 12 + length;
  }
  const { bitDepth, channels, kind } = header;
  return { format: 'png', ...upright(header, turned), bitDepth, channels, kind, ...(palette && { palette }) };
}

/** Segments up to the frame header. */
async function jpegHeader(read: Reader): Promise<ImageHeader | undefined> {
  let turned = false;
  for (let at = 2, count = 0; count < mostSegments; count++) {
    const head = await read(at, 10);
    if (head.length < 10 || head[0] !== 0xff) return undefined;
    const marker = head[1] as number;
    // Fill bytes before a marker.
    if (marker === 0xff) {
      at++;
      continue;
    }
    const length = head.readUInt16BE(2);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) {
      const [height, width] = [head.readUInt16BE(5), head.readUInt16BE(7)];
      const size = { width, height };
      return height === 0 || width === 0
        ? undefined
        : { format: 'jpeg', ...upright(size, turned), bitDepth: head[4] as number, channels: head[9] as number };
    }
    if (length < 2 || marker === 0xda || marker === 0xd9) return undefined;
    if (marker === 0xe1) {
      const data = await read(at + 4, length - 2);
      if (data.toString('latin1', 0, 6) === 'Exif\0\0') turned = isTurned(data.subarray(6));
    }
    at += 2 + length;
  }
  return undefined;
}

function upright({ width, height }: { width: number; height: number }, turned: boolean) {
  return turned ? { width: height, height: width } : { width, height };
}

/** Whether the orientation of EXIF data (a TIFF directory) swaps the sides: 5 to 8. */
function isTurned(exif: Buffer): boolean {
  const little = exif.toString('latin1', 0, 2) === 'II';
  const u16 = (at: number): number =>
    at + 2 > exif.length ? 0 : little ? exif.readUInt16LE(at) : exif.readUInt16BE(at);
  const u32 = (at: number): number =>
    at + 4 > exif.length ? 0 : little ? exif.readUInt32LE(at) : exif.readUInt32BE(at);
  const directory = u32(4);
  for (let i = 0; i < u16(directory); i++) {
    const entry = directory + 2 + 12 * i;
    if (u16(entry) === 0x0112) return u16(entry + 8) >= 5 && u16(entry + 8) <= 8;
    if (entry > exif.length) break;
  }
  return false;
}

async function tiffHeader(read: Reader, bytes: Buffer): Promise<ImageHeader | undefined> {
  if (bytes.length < 8) return undefined;
  const little = bytes[0] === 0x49;
  const u16 = (from: Buffer, at: number): number => (little ? from.readUInt16LE(at) : from.readUInt16BE(at));
  const u32 = (from: Buffer, at: number): number => (little ? from.readUInt32LE(at) : from.readUInt32BE(at));
  const at = u32(bytes, 4);
  const count = await read(at, 2);
  if (count.length < 2) return undefined;
  const entries = await read(at + 2, 12 * u16(count, 0));
  const tags = new Map<number, number>();
  for (let entry = 0; entry + 12 <= entries.length; entry += 12) {
    const type = u16(entries, entry + 2);
    if (u32(entries, entry + 4) !== 1 || (type !== 3 && type !== 4)) continue;
    tags.set(u16(entries, entry), type === 3 ? u16(entries, entry + 8) : u32(entries, entry + 8));
  }
  const [width, height] = [tags.get(256), tags.get(257)];
  if (!width || !height) return undefined;
  return { format: 'tiff', width, height, bitDepth: tags.get(258) ?? 1, channels: tags.get(277) ?? 1 };
}
