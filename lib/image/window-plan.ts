/**
 * Sliding windows over a picture: the grid of evaluation.md section 2 step 5 and naclip.md section 5. The last
 * window of a row or column is shifted back inside, a picture smaller than the window gives one smaller window.
 */
import { show, WordmaskError } from '../util/errors.js';

export interface WindowOptions {
  /** Side of the window in pixels, or [height, width]; 0 means the whole picture. */
  crop: number | readonly [number, number];
  /** Step between windows, or [down, right] (the crop itself). */
  stride?: number | readonly [number, number];
}

/** Far more windows than any system uses; keeps a stride of 1 on a large picture from filling the memory. */
const MAX_WINDOWS = 1_000_000;

/** Boxes y1 x1 y2 x2, row by row, as Int32 [n, 4]. Throws E_OPTION for sizes below 1 or more than 1,000,000 windows. */
export function slidingWindows(
  width: number,
  height: number,
  options: WindowOptions,
): { data: Int32Array; shape: [number, 4] } {
  const data = windowBoxes(width, height, options);
  return { data, shape: [data.length / 4, 4] };
}

/** As `slidingWindows`, the bare array of 4 n numbers. */
export function windowBoxes(width: number, height: number, { crop, stride }: WindowOptions): Int32Array {
  positive('width', width);
  positive('height', height);
  const [cropHeight, cropWidth] = pair('crop', crop, 0);
  const [strideDown, strideRight] = pair('stride', stride ?? crop, stride === undefined ? 0 : 1);
  const rows = axis(height, cropHeight || height, strideDown || height);
  const columns = axis(width, cropWidth || width, strideRight || width);
  const count = rows.count * columns.count;
  if (count > MAX_WINDOWS) {
    throw new WordmaskError(
      'E_OPTION',
      `stride ${show(stride)} on a ${width} x ${height} picture gives ${count} windows; at most ${MAX_WINDOWS}: choose a larger stride`,
    );
  }
  const boxes = new Int32Array(count * 4);
  let at = 0;
  for (let j = 0; j < rows.count; j++) {
    for (let i = 0; i < columns.count; i++) {
      const y2 = Math.min(j * rows.stride + rows.crop, height);
      const x2 = Math.min(i * columns.stride + columns.crop, width);
      boxes[at++] = Math.max(y2 - rows.crop, 0);
      boxes[at++] = Math.max(x2 - columns.crop, 0);
      boxes[at++] = y2;
      boxes[at++] = x2;
    }
  }
  return boxes;
}

function axis(size: number, crop: number, stride: number): { crop: number; stride: number; count: number } {
  return { crop, stride, count: Math.floor((Math.max(size - crop, 0) + stride - 1) / stride) + 1 };
}

function pair(name: string, value: number | readonly [number, number], least: number): [number, number] {
  const both: readonly number[] = typeof value === 'number' ? [value, value] : value;
  if (
    !Array.isArray(both) ||
    both.length !== 2 ||
    !both.every((side) => Number.isInteger(side) && side >= least && side < 2 ** 31)
  ) {
    throw new WordmaskError(
      'E_OPTION',
      `${name} must be a whole number of at least ${least}, or two of them, got ${show(value)}`,
      { details: { option: name } },
    );
  }
  return [both[0] as number, both[1] as number];
}

function positive(name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1 || value >= 2 ** 31)
    throw new WordmaskError('E_OPTION', `${name} must be a whole number of at least 1, got ${show(value)}`);
}
