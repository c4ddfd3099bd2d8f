/** Writer of label TIFFs: one grey picture of 8 or 16 bits, little-endian, in strips of Deflate, as every TIFF reader takes it. */
import { promisify } from 'node:util';
import { deflate } from 'node:zlib';
import { show, WordmaskError } from '../util/errors.js';
import { abortable } from '../util/slices.js';
import { checkImageSize } from './limits.js';

const deflateAll = promisify(deflate);
const stripBytes = 1 << 18;
const headBytes = 8;

export interface TiffInput {
  readonly width: number;
  readonly height: number;
  /** [H, W]; Uint16Array writes 16 bits a sample. */
  readonly data: Uint8Array | Uint16Array;
}

/** The same input gives the same bytes. @throws E_USAGE when data and size do not fit together */
export async function writeTiff(
  image: TiffInput,
  options: { readonly signal?: AbortSignal } = {},
): Promise<Uint8Array> {
  const { width, height, data } = image;
  checkImageSize(width, height, { pixels: Infinity, side: 2 ** 31 - 1, fileBytes: Infinity }, 'TIFF to write');
  if ((!(data instanceof Uint8Array) && !(data instanceof Uint16Array)) || data.length !== width * height)
    throw new WordmaskError(
      'E_USAGE',
      `data must be Uint8Array or Uint16Array of ${width} x ${height} = ${width * height} samples, got ${show(data)}`,
    );
  const bits = 8 * data.BYTES_PER_ELEMENT;
  const rows = Math.min(height, Math.max(1, Math.floor((stripBytes * 8) / (width * bits))));
  const strips: Uint8Array[] = [];
  for (let y = 0; y < height; y += rows) {
    options.signal?.throwIfAborted();
    const samples = data.subarray(y * width, Math.min(height, y + rows) * width);
    strips.push(await abortable(deflateAll(littleEndian(samples)), options.signal));
  }
  return assemble({ width, height, bits, rows }, strips);
}

/** A copy with the low byte first, whatever this machine does. */
function littleEndian(samples: Uint8Array | Uint16Array): Uint8Array {
  if (samples instanceof Uint8Array) return samples.slice();
  const out = new Uint8Array(2 * samples.length);
  for (let i = 0; i < samples.length; i++) {
    const value = samples[i] as number;
    out[2 * i] = value;
    out[2 * i + 1] = value >> 8;
  }
  return out;
}

type Tag = readonly [tag: number, type: 3 | 4, values: readonly number[]];

function assemble(
  { width, height, bits, rows }: { width: number; height: number; bits: number; rows: number },
  strips: readonly Uint8Array[],
): Uint8Array {
  const counts = strips.map(({ length }) => length);
  let at = headBytes;
  const offsets = counts.map((count) => {
    const here = at;
    at += count;
    return here;
  });
  const directory = at + (at & 1);
  const tags: readonly Tag[] = [
    [256, 4, [width]],
    [257, 4, [height]],
    [258, 3, [bits]],
    [259, 3, [8]],
    [262, 3, [1]],
    [273, 4, offsets],
    [277, 3, [1]],
    [278, 4, [rows]],
    [279, 4, counts],
    [339, 3, [1]],
  ];
  const listBytes = tags.reduce((sum, [, , values]) => sum + (values.length > 1 ? 4 * values.length : 0), 0);
  const lists = directory + 2 + 12 * tags.length + 4;
  const out = new Uint8Array(lists + listBytes);
  const view = new DataView(out.buffer);
  view.setUint32(0, 0x49492a00);
  view.setUint32(4, directory, true);
  for (const [i, strip] of strips.entries()) out.set(strip, offsets[i]);
  view.setUint16(directory, tags.length, true);
  let list = lists;
  for (const [i, [tag, type, values]] of tags.entries()) {
    const entry = directory + 2 + 12 * i;
    view.setUint16(entry, tag, true);
    view.setUint16(entry + 2, type, true);
    view.setUint32(entry + 4, values.length, true);
    if (values.length === 1) {
      if (type === 3) view.setUint16(entry + 8, values[0] as number, true);
      else view.setUint32(entry + 8, values[0] as number, true);
    } else {
      view.setUint32(entry + 8, list, true);
      for (const value of values) {
        view.setUint32(list, value, true);
        list += 4;
      }
    }
  }
  return out;
}
