/**
 * The scanline layer of PNG (ISO/IEC 15948, sections 7 to 9): row filters, samples of 1 to 16 bits, Adam7 passes.
 * All loops run in slices, so a map of any size leaves the event loop free.
 */
import { Slices } from '../util/slices.js';
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

const adam7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]] as const;

/** The passes that hold at least one pixel, in file order. */
export function rowPasses({ width, height, channels, bitDepth, interlaced }: RowLayout): RowPass[] {
  const grid = interlaced ? adam7 : ([[0, 0, 1, 1]] as const);
  return grid
    .map(([x0, y0, dx, dy]) => {
      const passWidth = Math.ceil((width - x0) / dx);
      return { x0, y0, dx, dy, width: passWidth, height: Math.ceil((height - y0) / dy), rowBytes: Math.ceil((passWidth * channels * bitDepth) / 8) };
    })
    .filter((pass) => pass.width > 0 && pass.height > 0);
}

/** Bytes of the filtered scanlines: one filter byte before each row. */
export function filteredLength(passes: readonly RowPass[]): number {
  return passes.reduce((sum, pass) => sum + (pass.rowBytes + 1) * pass.height, 0);
}

/** Undoes the row filters in place, then spreads the bits into samples. */
export async function decodeRows(filtered: Uint8Array, layout: RowLayout, signal?: AbortSignal): Promise<Samples> {
  const { width, height, channels, bitDepth } = layout;
  const count = width * height * channels;
  const out = bitDepth === 16 ? new Uint16Array(count) : new Uint8Array(count);
  const bytesPerPixel = Math.max(1, (channels * bitDepth) >> 3);
  const slices = new Slices(signal);
  let at = 0;
  for (const pass of rowPasses(layout)) {
    let previous: Uint8Array | undefined;
    for (let j = 0; j < pass.height; j++) {
      const row = filtered.subarray(at + 1, at + 1 + pass.rowBytes);
      unfilterRow(filtered[at] as number, row, previous, bytesPerPixel);
      placeRow(row, out, layout, pass, j);
      previous = row;
      at += pass.rowBytes + 1;
      if (slices.due) await slices.pause();
    }
  }
  return out;
}

function unfilterRow(filter: number, row: Uint8Array, previous: Uint8Array | undefined, bpp: number): void {
  const n = row.length;
  switch (filter) {
    case 0:
      return;
    case 1:
      for (let i = bpp; i < n; i++) row[i] = (row[i] as number) + (row[i - bpp] as number);
      return;
    case 2:
      if (previous) for (let i = 0; i < n; i++) row[i] = (row[i] as number) + (previous[i] as number);
      return;
    case 3:
      for (let i = 0; i < n; i++) row[i] = (row[i] as number) + (((i >= bpp ? (row[i - bpp] as number) : 0) + (previous ? (previous[i] as number) : 0)) >> 1);
      return;
    case 4:
      for (let i = 0; i < n; i++) {
        const left = i >= bpp ? (row[i - bpp] as number) : 0;
        const up = previous ? (previous[i] as number) : 0;
        row[i] = (row[i] as number) + paeth(left, up, i >= bpp && previous ? (previous[i - bpp] as number) : 0);
      }
      return;
    default:
      throw corrupt(`row filter ${filter} does not exist (0 to 4)`);
  }
}

function paeth(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const toLeft = Math.abs(estimate - left);
  const toUp = Math.abs(estimate - up);
  const toCorner = Math.abs(estimate - corner);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

function placeRow(row: Uint8Array, out: Samples, { width, channels, bitDepth }: RowLayout, pass: RowPass, j: number): void {
  const start = ((pass.y0 + j * pass.dy) * width + pass.x0) * channels;
  const step = pass.dx * channels;
  if (bitDepth === 8 && pass.dx === 1) {
    out.set(row, start);
  } else if (bitDepth === 16) {
    for (let i = 0; i < pass.width; i++) {
      for (let c = 0; c < channels; c++) {
        const from = (i * channels + c) * 2;
        out[start + i * step + c] = ((row[from] as number) << 8) | (row[from + 1] as number);
      }
    }
  } else if (bitDepth === 8) {
    for (let i = 0; i < pass.width; i++) {
      for (let c = 0; c < channels; c++) out[start + i * step + c] = row[i * channels + c] as number;
    }
  } else {
    // Below 8 bits there is one channel; the leftmost pixel sits in the high bits.
    const perByte = 8 / bitDepth;
    const mask = (1 << bitDepth) - 1;
    for (let i = 0; i < pass.width; i++) {
      const shift = 8 - bitDepth * ((i % perByte) + 1);
      out[start + i * step] = ((row[Math.floor(i / perByte)] as number) >> shift) & mask;
    }
  }
}

/** How rows are predicted before deflate: `none` suits label maps, `adaptive` (least absolute sum) photographs. */
export type FilterChoice = 'none' | 'up' | 'adaptive';

/** Samples [H, W, channels] of 8 or 16 bits as filtered scanlines, not interlaced. */
export async function encodeRows(samples: Samples, layout: RowLayout, filter: FilterChoice, signal?: AbortSignal): Promise<Uint8Array> {
  const rowBytes = (layout.width * layout.channels * layout.bitDepth) / 8;
  const rowSamples = layout.width * layout.channels;
  const bpp = (layout.channels * layout.bitDepth) / 8;
  const out = new Uint8Array((rowBytes + 1) * layout.height);
  const slices = new Slices(signal);
  const trial = new Uint8Array(rowBytes);
  let row = new Uint8Array(rowBytes);
  let previous = new Uint8Array(rowBytes);
  for (let y = 0; y < layout.height; y++) {
    [row, previous] = [previous, row];
    bigEndianRow(samples, y * rowSamples, rowSamples, row);
    const at = y * (rowBytes + 1);
    const type = filter === 'none' ? 0 : filter === 'up' ? 2 : -1;
    if (type >= 0) {
      out[at] = type;
      filterRow(type, row, previous, bpp, out.subarray(at + 1, at + 1 + rowBytes));
    } else {
      out[at] = bestFilter(row, previous, bpp, trial, out.subarray(at + 1, at + 1 + rowBytes));
    }
    if (slices.due) await slices.pause();
  }
  return out;
}

function bigEndianRow(samples: Samples, start: number, count: number, row: Uint8Array): void {
  if (samples instanceof Uint8Array) {
    row.set(samples.subarray(start, start + count));
    return;
  }
  for (let i = 0; i < count; i++) {
    const value = samples[start + i] as number;
    row[2 * i] = value >> 8;
    row[2 * i + 1] = value;
  }
}

function filterRow(type: number, row: Uint8Array, previous: Uint8Array, bpp: number, out: Uint8Array): void {
  const n = row.length;
  if (type === 0) out.set(row);
  else if (type === 1) for (let i = 0; i < n; i++) out[i] = (row[i] as number) - (i >= bpp ? (row[i - bpp] as number) : 0);
  else if (type === 2) for (let i = 0; i < n; i++) out[i] = (row[i] as number) - (previous[i] as number);
  else if (type === 3) for (let i = 0; i < n; i++) out[i] = (row[i] as number) - (((i >= bpp ? (row[i - bpp] as number) : 0) + (previous[i] as number)) >> 1);
  else {
    for (let i = 0; i < n; i++) {
      const near = i >= bpp;
      out[i] = (row[i] as number) - paeth(near ? (row[i - bpp] as number) : 0, previous[i] as number, near ? (previous[i - bpp] as number) : 0);
    }
  }
}

/** Leaves the row with the least sum of absolute differences (ISO/IEC 15948, section 12.8) in `out`. */
function bestFilter(row: Uint8Array, previous: Uint8Array, bpp: number, trial: Uint8Array, out: Uint8Array): number {
  let best = 0;
  let bestSum = Infinity;
  for (const type of [0, 1, 2, 4]) {
    filterRow(type, row, previous, bpp, trial);
    let sum = 0;
    for (let i = 0; i < trial.length && sum < bestSum; i++) {
      const value = trial[i] as number;
      sum += value < 128 ? value : 256 - value;
    }
    if (sum < bestSum) {
      best = type;
      bestSum = sum;
      out.set(trial);
    }
  }
  return best;
}
