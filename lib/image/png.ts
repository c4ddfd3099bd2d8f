/**
 * Exact PNG codec for label maps, images and text chunks. Unlike a picture decoder it never touches a value:
 * palette indices, raw grey samples of any depth and 16-bit samples come back as stored (evaluation.md section 12).
 * Compression runs on zlib's threads, row work in slices.
 */

import { promisify } from 'node:util';
import { constants, createInflate, deflate } from 'node:zlib';
import { maskDeflate } from '../engine/ops/host/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { abortable } from '../util/slices.js';
import { checkFileSize, checkImageSize, type ImageLimits, imageLimits } from './limits.js';
import {
  corrupt,
  joinChunks,
  type PngChunk,
  type PngText,
  readChunks,
  readTextChunk,
  textChunk,
} from './png-chunks.js';
import { decodeRows, encodeRows, type FilterChoice, filteredLength, rowPasses, type Samples } from './png-rows.js';

export { isPng, type PngText } from './png-chunks.js';
export type { FilterChoice, Samples } from './png-rows.js';

const deflateAll = promisify(deflate);

/** What a pixel is made of. */
export type PngKind = 'grey' | 'rgb' | 'palette' | 'grey-alpha' | 'rgba';

const kinds: Readonly<Record<number, { kind: PngKind; channels: number; depths: readonly number[] }>> = {
  0: { kind: 'grey', channels: 1, depths: [1, 2, 4, 8, 16] },
  2: { kind: 'rgb', channels: 3, depths: [8, 16] },
  3: { kind: 'palette', channels: 1, depths: [1, 2, 4, 8] },
  4: { kind: 'grey-alpha', channels: 2, depths: [8, 16] },
  6: { kind: 'rgba', channels: 4, depths: [8, 16] },
};
const colorTypes: Readonly<Record<PngKind, number>> = { grey: 0, rgb: 2, palette: 3, 'grey-alpha': 4, rgba: 6 };

export interface PngHeader {
  width: number;
  height: number;
  kind: PngKind;
  /** Samples a pixel: 1 grey or palette index, 2 with alpha, 3 RGB, 4 RGBA. */
  channels: number;
  /** Bits a sample: 1, 2, 4, 8 or 16. */
  bitDepth: number;
  interlaced: boolean;
}

export interface PngImage extends PngHeader {
  /** [H, W, channels], unscaled; Uint16Array for 16-bit files. */
  data: Samples;
  /** RGB triples of a palette file; indices may lie beyond a short palette (label tools write 255 with 21 colours). */
  palette?: Uint8Array;
  /** The tRNS chunk as stored. */
  transparency?: Uint8Array;
  text: PngText[];
}

export interface PngReadOptions {
  limits?: Partial<ImageLimits>;
  signal?: AbortSignal;
}

export interface PngInput {
  width: number;
  height: number;
  kind: PngKind;
  /** [H, W, channels]; Uint16Array writes 16 bits a sample. */
  data: Samples;
  /** RGB triples, for `palette` only. */
  palette?: Uint8Array;
}

export interface PngWriteOptions {
  text?: readonly PngText[];
  /** zlib level 0 to 9 (6). */
  level?: number;
  /** `none` for grey and palette, `adaptive` for colour. */
  filter?: FilterChoice;
  signal?: AbortSignal;
}

/** Reads the header alone. Throws E_IMAGE_FORMAT for other files, E_IMAGE_CORRUPT for a broken header. */
export function readPngHeader(bytes: Uint8Array): PngHeader {
  if (bytes.length < 33) throw corrupt(`${bytes.length} bytes are too few for a header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(8) !== 13 || view.getUint32(12) !== 0x49484452) throw corrupt('the first chunk is not IHDR');
  return parseHeader(bytes.subarray(16, 29));
}

function parseHeader(data: Uint8Array): PngHeader {
  if (data.length !== 13) throw corrupt(`IHDR has ${data.length} bytes instead of 13`);
  const view = new DataView(data.buffer, data.byteOffset, 13);
  const [bitDepth, colorType, compression, filter, interlace] = [8, 9, 10, 11, 12].map((i) => view.getUint8(i)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const known = kinds[colorType];
  if (!known?.depths.includes(bitDepth)) throw corrupt(`colour type ${colorType} with ${bitDepth} bits does not exist`);
  if (compression !== 0 || filter !== 0 || interlace > 1)
    throw corrupt(`compression ${compression}, filter ${filter}, interlace ${interlace} do not exist`);
  return {
    width: view.getUint32(0),
    height: view.getUint32(4),
    kind: known.kind,
    channels: known.channels,
    bitDepth,
    interlaced: interlace === 1,
  };
}

/**
 * Decodes a PNG of any colour type, depth and interlace mode.
 * @throws WordmaskError E_IMAGE_FORMAT (not a PNG), E_IMAGE_CORRUPT (damaged), E_IMAGE_SIZE (over a limit)
 */
export async function readPng(bytes: Uint8Array, options: PngReadOptions = {}): Promise<PngImage> {
  const limits = imageLimits(options.limits);
  checkFileSize(bytes.length, limits, 'PNG');
  const chunks = await readChunks(bytes, options.signal);
  if (chunks[0]?.type !== 'IHDR') throw corrupt('the first chunk is not IHDR');
  const header = parseHeader(chunks[0].data);
  checkImageSize(header.width, header.height, limits, 'PNG');
  const parts = await collectParts(chunks, header);
  const filtered = await inflateRows(parts.body, filteredLength(rowPasses(header)), options.signal);
  const data = await decodeRows(filtered, header, options.signal);
  const { palette, transparency, text } = parts;
  return { ...header, data, ...(palette && { palette }), ...(transparency && { transparency }), text };
}

async function collectParts(chunks: readonly PngChunk[], header: PngHeader) {
  const body: Uint8Array[] = [];
  const text: PngText[] = [];
  let palette: Uint8Array | undefined;
  let transparency: Uint8Array | undefined;
  for (const chunk of chunks.slice(1)) {
    if (chunk.type === 'IDAT') body.push(chunk.data);
    else if (chunk.type === 'PLTE') palette = chunk.data.slice();
    else if (chunk.type === 'tRNS') transparency = chunk.data.slice();
    else if (chunk.type === 'tEXt' || chunk.type === 'zTXt' || chunk.type === 'iTXt')
      text.push(await readTextChunk(chunk));
    else if (chunk.type !== 'IEND' && /^[A-Z]/.test(chunk.type))
      throw corrupt(`critical chunk ${chunk.type} is not known here`);
  }
  if (body.length === 0) throw corrupt('it holds no image data (IDAT)');
  if (palette && (palette.length === 0 || palette.length % 3 !== 0 || palette.length > 768))
    throw corrupt(`a palette of ${palette.length} bytes`);
  if (header.kind === 'palette' && !palette) throw corrupt('the palette (PLTE) is missing');
  return { body, text, palette: header.kind === 'palette' ? palette : undefined, transparency };
}

/** Deflate grows by at most 1032 : 1, so a claimed size that the bytes cannot reach is refused before it is allocated. */
async function inflateRows(parts: readonly Uint8Array[], expected: number, signal?: AbortSignal): Promise<Uint8Array> {
  const available = parts.reduce((sum, part) => sum + part.length, 0);
  if (expected > available * 1032 + 1024)
    throw corrupt(`${available} bytes of image data cannot hold the ${expected} bytes that the header claims`);
  const out = new Uint8Array(expected);
  const inflater = createInflate({ chunkSize: 1 << 18 });
  const work = new Promise<Uint8Array>((resolve, reject) => {
    let filled = 0;
    inflater.on('data', (piece: Buffer) => {
      if (filled + piece.length > expected) {
        inflater.destroy(corrupt(`image data go on beyond the ${expected} bytes that the header claims`));
        return;
      }
      out.set(piece, filled);
      filled += piece.length;
    });
    inflater.on('error', (cause) =>
      reject(
        cause instanceof WordmaskError ? cause : corrupt(`image data cannot be inflated (${cause.message})`, cause),
      ),
    );
    inflater.on('end', () =>
      filled === expected ? resolve(out) : reject(corrupt(`image data end after ${filled} of ${expected} bytes`)),
    );
    void feed(inflater, parts);
  });
  try {
    return await abortable(work, signal);
  } finally {
    inflater.destroy();
  }
}

/** Hands the compressed bytes over one piece at a time, as fast as they are used up. */
async function feed(inflater: ReturnType<typeof createInflate>, parts: readonly Uint8Array[]): Promise<void> {
  for (const part of parts) {
    for (let at = 0; at < part.length && !inflater.destroyed; at += 1 << 18) {
      await new Promise<void>((resolve) => {
        inflater.write(part.subarray(at, at + (1 << 18)), () => resolve());
      });
    }
  }
  if (!inflater.destroyed) inflater.end();
}

/**
 * Encodes samples as a PNG; the same input gives the same bytes.
 * @throws WordmaskError E_USAGE when data, kind, palette and size do not fit together
 */
export async function writePng(image: PngInput, options: PngWriteOptions = {}): Promise<Uint8Array> {
  const header = checkInput(image);
  const level = options.level ?? 6;
  if (!Number.isInteger(level) || level < 0 || level > 9)
    throw new WordmaskError('E_OPTION', `level must be a whole number from 0 to 9, got ${show(level)}`);
  const filter = options.filter ?? (header.channels === 1 ? 'none' : 'adaptive');
  const rows = await encodeRows(image.data, header, filter, options.signal);
  const body = await abortable(
    deflateAll(rows, { level, memLevel: 9, strategy: constants.Z_DEFAULT_STRATEGY }),
    options.signal,
  );
  return joinParts(header, body, options, image.palette);
}

/**
 * A mask as an 8-bit grey PNG, 255 inside and 0 outside. Takes time by its outline, hardly by its pixels.
 * @param mask row-major positions at which it changes, begin and end in turn
 */
export async function writeMaskPng(
  mask: { readonly width: number; readonly height: number; readonly toggles: Uint32Array },
  options: Pick<PngWriteOptions, 'text' | 'signal'> = {},
): Promise<Uint8Array> {
  const { width, height } = mask;
  const body = await abortable(maskDeflate(mask.toggles, mask, 255), options.signal);
  return joinParts({ width, height, kind: 'grey', bitDepth: 8 }, body, options);
}

async function joinParts(
  header: Pick<PngHeader, 'width' | 'height' | 'kind' | 'bitDepth'>,
  body: Uint8Array,
  options: Pick<PngWriteOptions, 'text' | 'signal'>,
  palette?: Uint8Array,
): Promise<Uint8Array> {
  const ihdr = new Uint8Array(13);
  const view = new DataView(ihdr.buffer);
  view.setUint32(0, header.width);
  view.setUint32(4, header.height);
  ihdr[8] = header.bitDepth;
  ihdr[9] = colorTypes[header.kind];
  const chunks: PngChunk[] = [{ type: 'IHDR', data: ihdr }];
  for (const entry of options.text ?? []) chunks.push(await textChunk(entry));
  if (palette) chunks.push({ type: 'PLTE', data: palette });
  chunks.push({ type: 'IDAT', data: body }, { type: 'IEND', data: new Uint8Array(0) });
  return joinChunks(chunks, options.signal);
}

function checkInput({ width, height, kind, data, palette }: PngInput): PngHeader {
  const colorType = colorTypes[kind];
  const known = kinds[colorType];
  if (!known)
    throw new WordmaskError('E_USAGE', `kind must be one of ${Object.keys(colorTypes).join(', ')}, got ${show(kind)}`);
  if (!(data instanceof Uint8Array) && !(data instanceof Uint16Array))
    throw new WordmaskError('E_USAGE', `data must be Uint8Array or Uint16Array, got ${show(data)}`);
  checkImageSize(width, height, { pixels: Infinity, side: 2 ** 31 - 1, fileBytes: Infinity }, 'PNG to write');
  const bitDepth = data instanceof Uint8Array ? 8 : 16;
  if (data.length !== width * height * known.channels) {
    throw new WordmaskError(
      'E_USAGE',
      `data must hold ${width} x ${height} x ${known.channels} = ${width * height * known.channels} samples, got ${data.length}`,
    );
  }
  if (!known.depths.includes(bitDepth))
    throw new WordmaskError('E_USAGE', `a ${kind} PNG cannot hold ${bitDepth}-bit samples; pass a Uint8Array`);
  if (
    (kind === 'palette') !== (palette !== undefined) ||
    (palette && (palette.length % 3 !== 0 || palette.length < 3 || palette.length > 768))
  ) {
    throw new WordmaskError(
      'E_USAGE',
      `palette must be given for kind 'palette' alone, as 1 to 256 RGB triples; got ${show(palette)}`,
    );
  }
  return { width, height, kind, channels: known.channels, bitDepth, interlaced: false };
}
