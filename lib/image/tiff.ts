/**
 * Reader of label TIFFs: the first picture of a TIFF 6.0 file with one unsigned channel of 8 or 16 bits, in strips or tiles,
 * stored plain, as LZW, Deflate or PackBits, with or without horizontal differences. Values come back as stored, whatever
 * the photometric tag says of them: a picture decoder would scale or colour them.
 */
import { promisify } from 'node:util';
import { inflate } from 'node:zlib';
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { checkFileSize, checkImageSize, type ImageLimits, imageLimits } from './limits.js';
import type { PngText, Samples } from './png.js';
import { unpackBits, unpackLzw } from './tiff-codes.js';

export interface TiffImage {
  readonly width: number;
  readonly height: number;
  readonly channels: 1;
  readonly bitDepth: 8 | 16;
  /** [H, W], unscaled. */
  readonly data: Samples;
  /** None: the tags hold no legend. */
  readonly text: readonly PngText[];
}

export function isTiff(bytes: Uint8Array): boolean {
  const [a, b, c, d] = bytes;
  return (a === 0x49 && b === 0x49 && c === 42 && d === 0) || (a === 0x4d && b === 0x4d && c === 0 && d === 42);
}

const inflateAll = promisify(inflate);

/** 64 megapixels in tiles of 16 x 16, the smallest there are. */
const mostParts = 1 << 18;

const corrupt = (message: string, cause?: unknown) =>
  new WordmaskError('E_IMAGE_CORRUPT', `damaged TIFF file: ${message}`, { cause });
const refused = (message: string) =>
  new WordmaskError('E_IMAGE_FORMAT', `this TIFF ${message}: convert it to a grey PNG`);

/** @throws E_IMAGE_FORMAT (no TIFF, or one of another kind), E_IMAGE_CORRUPT, E_IMAGE_SIZE */
export async function readTiff(
  bytes: Uint8Array,
  options: { readonly limits?: Partial<ImageLimits>; readonly signal?: AbortSignal } = {},
): Promise<TiffImage> {
  const limits = imageLimits(options.limits);
  checkFileSize(bytes.length, limits, 'TIFF');
  if (!isTiff(bytes)) throw new WordmaskError('E_IMAGE_FORMAT', 'not a TIFF file: the signature is missing');
  const layout = parseLayout(new Directory(bytes), limits);
  const { width, height, bitDepth } = layout;
  const data = bitDepth === 16 ? new Uint16Array(width * height) : new Uint8Array(width * height);
  const slices = new Slices(options.signal);
  for (const [i, offset] of layout.offsets.entries()) {
    const packed = bytes.subarray(offset, offset + (layout.counts[i] as number));
    if (offset > bytes.length || packed.length !== layout.counts[i])
      throw corrupt(`part ${i} lies at bytes ${offset} to ${offset + (layout.counts[i] as number)} of ${bytes.length}`);
    await placePart(data, layout, i, await unpack(packed, layout, partBytes(layout, i), slices), slices);
  }
  return { width, height, channels: 1, bitDepth, data, text: [] };
}

/** How the samples lie in the file. */
interface Layout {
  readonly width: number;
  readonly height: number;
  readonly bitDepth: 8 | 16;
  readonly littleEndian: boolean;
  readonly compression: number;
  readonly differences: boolean;
  /** Size of a tile; a strip is as wide as the picture. */
  readonly partWidth: number;
  readonly partHeight: number;
  readonly tiled: boolean;
  readonly offsets: readonly number[];
  readonly counts: readonly number[];
}

function parseLayout(tags: Directory, limits: ImageLimits): Layout {
  const [width, height] = [tags.number(256), tags.number(257)];
  checkImageSize(width, height, limits, 'TIFF');
  const [bitDepth, channels, format] = [tags.number(258, 1), tags.number(277, 1), tags.number(339, 1)];
  if (channels !== 1) throw refused(`has ${channels} channels, a label map has one`);
  if ((bitDepth !== 8 && bitDepth !== 16) || format !== 1)
    throw refused(`has ${bitDepth} bits a sample of format ${format}, not 8 or 16 bits unsigned`);
  const compression = tags.number(259, 1);
  if (![1, 5, 8, 32946, 32773].includes(compression)) throw refused(`is compressed by method ${compression}`);
  const predictor = tags.number(317, 1);
  if (predictor !== 1 && predictor !== 2) throw refused(`uses predictor ${predictor}`);
  if (tags.number(266, 1) !== 1) throw refused('has its bits in reverse order');
  const tiled = tags.has(322);
  const partWidth = tiled ? tags.number(322) : width;
  const partHeight = tiled ? tags.number(323) : Math.min(height, tags.number(278, height));
  if (partWidth < 1 || partHeight < 1) throw corrupt(`its parts are ${partWidth} x ${partHeight}`);
  // A tile may be larger than the picture, but not without bound.
  checkImageSize(partWidth, partHeight, limits, 'a TIFF tile');
  const parts = Math.ceil(width / partWidth) * Math.ceil(height / partHeight);
  if (parts > mostParts) throw refused(`is cut into ${parts} parts, more than ${mostParts}`);
  const [offsets, counts] = [tags.numbers(tiled ? 324 : 273), tags.numbers(tiled ? 325 : 279)];
  if (offsets.length !== parts || counts.length !== parts)
    throw corrupt(`${parts} parts are needed, ${offsets.length} offsets and ${counts.length} sizes are listed`);
  const { littleEndian } = tags;
  const differences = predictor === 2;
  return {
    width,
    height,
    bitDepth,
    littleEndian,
    compression,
    differences,
    partWidth,
    partHeight,
    tiled,
    offsets,
    counts,
  };
}

/** Bytes of a part without compression. The last strip may be shorter than the others, a tile never is. */
function partBytes({ height, bitDepth, partWidth, partHeight, tiled }: Layout, index: number): number {
  const rows = tiled ? partHeight : Math.min(partHeight, height - index * partHeight);
  return (rows * partWidth * bitDepth) / 8;
}

async function unpack(
  packed: Uint8Array,
  { compression, partWidth, partHeight, bitDepth }: Layout,
  length: number,
  slices: Slices,
): Promise<Uint8Array> {
  const out =
    compression === 1
      ? packed
      : compression === 5
        ? await unpackLzw(packed, length, slices)
        : compression === 32773
          ? await unpackBits(packed, length, slices)
          : await inflatePart(packed, (partWidth * partHeight * bitDepth) / 8);
  if (out.length < length) throw corrupt(`a part holds ${out.length} of ${length} bytes`);
  return out.subarray(0, length);
}

/** The last strip may be stored as long as the others. */
async function inflatePart(packed: Uint8Array, most: number): Promise<Uint8Array> {
  try {
    return await inflateAll(packed, { maxOutputLength: most });
  } catch (cause) {
    throw corrupt('a part cannot be inflated', cause);
  }
}

/** Samples of one part to where they belong. */
async function placePart(out: Samples, layout: Layout, index: number, raw: Uint8Array, slices: Slices): Promise<void> {
  const { width, height, bitDepth, littleEndian, differences, partWidth, partHeight } = layout;
  const across = Math.ceil(width / partWidth);
  const [x0, y0] = [(index % across) * partWidth, Math.floor(index / across) * partHeight];
  const columns = Math.min(partWidth, width - x0);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  for (let y = y0; y < Math.min(height, y0 + partHeight); y++) {
    const row = (y - y0) * partWidth;
    let before = 0;
    for (let x = 0; x < columns; x++) {
      const value = bitDepth === 8 ? (raw[row + x] as number) : view.getUint16(2 * (row + x), littleEndian);
      // Sums wrap at the sample's width, which is what storing them does.
      before = differences ? before + value : value;
      out[y * width + x0 + x] = before;
    }
    if (slices.due) await slices.pause();
  }
}

const typeBytes: Readonly<Record<number, number>> = { 1: 1, 3: 2, 4: 4 };

/** The tags of the first picture. */
class Directory {
  readonly littleEndian: boolean;
  readonly #view: DataView;
  /** Byte of each tag's entry. */
  readonly #entries = new Map<number, number>();

  constructor(bytes: Uint8Array) {
    this.littleEndian = bytes[0] === 0x49;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const at = this.#read(4, 4);
    const count = this.#read(at, 2);
    for (let i = 0; i < count; i++) {
      const entry = at + 2 + 12 * i;
      this.#entries.set(this.#read(entry, 2), entry);
    }
  }

  has(tag: number): boolean {
    return this.#entries.has(tag);
  }

  number(tag: number, missing?: number): number {
    if (missing !== undefined && !this.has(tag)) return missing;
    const values = this.numbers(tag);
    if (values.length === 0) throw corrupt(`tag ${tag} is empty`);
    return values[0] as number;
  }

  numbers(tag: number): number[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined) throw corrupt(`tag ${tag} is missing`);
    const type = this.#read(entry + 2, 2);
    const size = typeBytes[type];
    if (size === undefined) throw corrupt(`tag ${tag} has values of type ${show(type)}, not whole numbers`);
    const count = this.#read(entry + 4, 4);
    if (count > mostParts) throw corrupt(`tag ${tag} has ${count} values`);
    const at = count * size <= 4 ? entry + 8 : this.#read(entry + 8, 4);
    if (at + count * size > this.#view.byteLength) throw corrupt(`tag ${tag} has ${count} values beyond the end`);
    return Array.from({ length: count }, (_, i) => this.#read(at + i * size, size));
  }

  #read(at: number, size: number): number {
    if (at + size > this.#view.byteLength) throw corrupt(`it ends at byte ${this.#view.byteLength} (truncated?)`);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at, this.littleEndian) : this.#view.getUint32(at, this.littleEndian);
  }
}
