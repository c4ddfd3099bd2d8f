/** Salience DropOut: which patches a pass blanks for those that follow (section 6 of the method's page). */
import type { PnpOptions } from './options.js';

/** Patches that pass `pass` (from 0) takes: a fixed number, or half of what is left each time. */
export function dropCount(drop: PnpOptions['drop'], pass: number, patches: number): number {
  return drop.kind === 'topk' ? Math.min(drop.n, patches) : Math.floor(patches / 2 ** (pass + 1));
}

/**
 * The `count` highest cells in ascending order: of a stable ascending sort the last ones, so that of equals the later wins. The
 * published code takes numpy's default sort, which is not stable.
 */
export function highestCells(scores: Float32Array, count: number): number[] {
  if (count === 0) return [];
  const order = Array.from(scores.keys()).sort((a, b) => (scores[a] as number) - (scores[b] as number));
  return order.slice(-count);
}

/**
 * A * max(G, 0) without the column of the class token and the row of token 0.
 * @param probabilities, gradient [T, 1+P]
 * @returns [T-1, P]
 */
export function salience(
  probabilities: Float32Array,
  gradient: Float32Array,
  tokens: number,
  patches: number,
): Float32Array {
  const out = new Float32Array((tokens - 1) * patches);
  for (let t = 1; t < tokens; t++) {
    const from = t * (patches + 1) + 1;
    const to = (t - 1) * patches;
    for (let p = 0; p < patches; p++) {
      const slope = gradient[from + p] as number;
      if (slope > 0) out[to + p] = (probabilities[from + p] as number) * slope;
    }
  }
  return out;
}

/** Sets the cells of every row [rows, P] to 0. */
export function clearCells(rows: Float32Array, patches: number, cells: Iterable<number>): void {
  for (const cell of cells) for (let at = cell; at < rows.length; at += patches) rows[at] = 0;
}

/** Adds rows begin..end-1 of [rows, P] to `sum` [P]. */
export function addRows(sum: Float32Array, rows: Float32Array, begin: number, end: number): void {
  const patches = sum.length;
  for (let row = begin; row < end; row++)
    for (let p = 0; p < patches; p++) sum[p] = (sum[p] as number) + (rows[row * patches + p] as number);
}

/** Blanks the dropped patches of normalised pixels [3, S, S], in place. @param fill value of each channel */
export function blankPatches(
  pixels: Float32Array,
  size: number,
  patch: number,
  cells: Iterable<number>,
  fill: readonly [number, number, number],
): void {
  const across = Math.floor(size / patch);
  for (const cell of cells) {
    const [top, left] = [Math.floor(cell / across) * patch, (cell % across) * patch];
    for (let channel = 0; channel < 3; channel++)
      for (let y = top; y < top + patch; y++) {
        const at = (channel * size + y) * size + left;
        pixels.fill(fill[channel] as number, at, at + patch);
      }
  }
}
