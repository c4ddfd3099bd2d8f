/**
 * The scanline layer of PNG (ISO/IEC 15948, sections 7 to 9). Row filters and bit packing run natively off the event
 * loop; here are the passes of interlaced files and the order of the steps.
 */
import { type PngFilter, type PngRows, pngFilter, pngPack, pngUnfilter, pngUnpack } from '../engine/ops/host/index.js';
import { isWordmaskError, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import { corrupt } from './png-chunks.js';

/** Samples of one image: [H, W, channels], unscaled; 16-bit files give Uint16Array, all others Uint8Array. */
export type Samples = Uint8Array | Uint16Array;

export interface RowLayout {
  width: number;
  height: number;
  channels: number;
  bitDepth: number;
  interlaced: boolean;
}

/** One pass over the picture: `width` x `height` samples at (x0 + i dx, y0 + j dy). */
export interface RowPass {
  x0: number;
  y0: number;
  dx: number;
  dy: number;
  width: number;
  height: number;
  rowBytes: number;
}

const adam7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/** The passes that hold at least one pixel, in file order. */
export function rowPasses({ width, height, channels, bitDepth, interlaced }: RowLayout): RowPass[] {
  const grid = interlaced ? adam7 : ([[0, 0, 1, 1]] as const);
  return grid
    .map(([x0, y0, dx, dy]) => {
      const passWidth = Math.ceil((width - x0) / dx);
      const rowBytes = Math.ceil((passWidth * channels * bitDepth) / 8);
      return { x0, y0, dx, dy, width: passWidth, height: Math.ceil((height - y0) / dy), rowBytes };
    })
    .filter((pass) => pass.width > 0 && pass.height > 0);
}

/** Bytes of the filtered scanlines: one filter byte before each row. */
export function filteredLength(passes: readonly RowPass[]): number {
  return passes.reduce((sum, pass) => sum + (pass.rowBytes + 1) * pass.height, 0);
}

function pixelBytes({ channels, bitDepth }: RowLayout): number {
  return Math.max(1, (channels * bitDepth) >> 3);
}

/** Undoes the row filters and spreads the bits into samples. Throws E_IMAGE_CORRUPT for a filter that does not exist. */
export async function decodeRows(filtered: Uint8Array, layout: RowLayout, signal?: AbortSignal): Promise<Samples> {
  const passes = rowPasses(layout);
  if (passes.length === 1 && !layout.interlaced) return decodePass(filtered, layout, passes[0] as RowPass, signal);
  const count = layout.width * layout.height * layout.channels;
  const out = layout.bitDepth === 16 ? new Uint16Array(count) : new Uint8Array(count);
  let at = 0;
  for (const pass of passes) {
    const length = (pass.rowBytes + 1) * pass.height;
    const samples = await decodePass(filtered.subarray(at, at + length), layout, pass, signal);
    await inSlices(
      pass.height,
      64,
      (begin, end) => {
        for (let j = begin; j < end; j++) placeRow(samples, out, layout, pass, j);
      },
      signal,
    );
    at += length;
  }
  return out;
}

/**
 * Rows go to the native side in stripes, so that results come back in small pieces and an abort is seen soon. A row
 * is predicted from the one above: behind the first stripe, that row goes along in front and is dropped afterwards.
 */
const STRIPE_BYTES = 2 << 20;

function stripeRows(rowBytes: number): number {
  return Math.max(1, Math.floor(STRIPE_BYTES / (rowBytes + 1)));
}

async function decodePass(
  filtered: Uint8Array,
  layout: RowLayout,
  pass: RowPass,
  signal?: AbortSignal,
): Promise<Samples> {
  const { width, height, rowBytes } = pass;
  const { channels, bitDepth } = layout;
  const count = width * height * channels;
  const out = bitDepth === 16 ? new Uint16Array(count) : new Uint8Array(count);
  const step = stripeRows(rowBytes);
  const line = rowBytes + 1;
  let above: Uint8Array | undefined;
  for (let y = 0; y < height; y += step) {
    signal?.throwIfAborted();
    const rows = Math.min(step, height - y);
    const extra = above ? 1 : 0;
    const stripe = new Uint8Array((rows + extra) * line);
    if (above) stripe.set(above, 1);
    stripe.set(filtered.subarray(y * line, (y + rows) * line), extra * line);
    const raw = (await unfilter(stripe, { rowBytes, height: rows + extra, pixelBytes: pixelBytes(layout) })).subarray(
      extra * rowBytes,
    );
    above = raw.subarray((rows - 1) * rowBytes);
    const samples = bitDepth === 8 ? raw : await pngUnpack(raw, { width, height: rows, bitDepth, channels });
    out.set(samples, y * width * channels);
  }
  return out;
}

async function unfilter(stripe: Uint8Array, rows: PngRows): Promise<Uint8Array> {
  try {
    return await pngUnfilter(stripe, rows);
  } catch (cause) {
    if (isWordmaskError(cause) && cause.code === 'E_DISK') throw corrupt(cause.message, cause);
    throw cause;
  }
}

/** Row `j` of a pass to its places in the picture. */
function placeRow(samples: Samples, out: Samples, { width, channels }: RowLayout, pass: RowPass, j: number): void {
  const start = ((pass.y0 + j * pass.dy) * width + pass.x0) * channels;
  const step = pass.dx * channels;
  const from = j * pass.width * channels;
  for (let i = 0; i < pass.width; i++) {
    for (let c = 0; c < channels; c++) out[start + i * step + c] = samples[from + i * channels + c] as number;
  }
}

/** How rows are predicted before deflate: `none` suits label maps, `adaptive` (least absolute sum) photographs. */
export type FilterChoice = 'none' | 'up' | 'adaptive';

const filters: Readonly<Record<FilterChoice, PngFilter>> = { none: 0, up: 2, adaptive: 5 };

/** Samples [H, W, channels] of 8 or 16 bits as filtered scanlines, not interlaced. */
export async function encodeRows(
  samples: Samples,
  layout: RowLayout,
  filter: FilterChoice,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const { width, height, channels, bitDepth } = layout;
  const rowSamples = width * channels;
  const rowBytes = (rowSamples * bitDepth) / 8;
  const total = samples.length;
  const out = new Uint8Array((rowBytes + 1) * height);
  const step = stripeRows(rowBytes);
  for (let y = 0; y < height; y += step) {
    signal?.throwIfAborted();
    if (samples.length !== total)
      throw new WordmaskError('E_USAGE', 'the samples were transferred away while they were written as PNG');
    const rows = Math.min(step, height - y);
    const extra = y > 0 ? 1 : 0;
    // A copy of the stripe: the caller's array could be transferred away under the native code.
    const part = samples.subarray((y - extra) * rowSamples, (y + rows) * rowSamples);
    const own = part instanceof Uint8Array ? new Uint8Array(part) : new Uint16Array(part);
    const raw =
      own instanceof Uint8Array ? own : await pngPack(own, { width, height: rows + extra, bitDepth, channels });
    const filtered = await pngFilter(
      raw,
      { rowBytes, height: rows + extra, pixelBytes: pixelBytes(layout) },
      filters[filter],
    );
    out.set(filtered.subarray(extra * (rowBytes + 1)), y * (rowBytes + 1));
  }
  return out;
}
