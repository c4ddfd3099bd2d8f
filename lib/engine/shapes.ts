/** Shape arithmetic shared by cards, references and tensors. */
import { show, WordmaskError } from '../util/errors.js';
import type { TensorSpec } from './card.js';

export function numel(shape: readonly number[]): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

/** Row-major strides in elements. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i] as number;
  }
  return strides;
}

/** Strides under which memory strided for `shape` reads as `target` (same number of elements), or undefined if only a copy can. */
export function viewStrides(
  shape: readonly number[],
  strides: readonly number[],
  target: readonly number[],
): number[] | undefined {
  if (numel(shape) === 0) return contiguousStrides(target);
  const axes = shape.map((_, axis) => axis).filter((axis) => shape[axis] !== 1);
  const out = new Array<number>(target.length).fill(1);
  let at = target.length - 1;
  // From the right: axes that lie behind one another form a run, which the target must cut up exactly.
  for (let axis = axes.pop(); axis !== undefined; axis = axes.pop()) {
    const step = strides[axis] as number;
    let run = shape[axis] as number;
    while (axes.length > 0 && strides[axes.at(-1) as number] === step * run)
      run *= shape[axes.pop() as number] as number;
    let taken = 1;
    for (; at >= 0 && (taken < run || target[at] === 1); at--) {
      out[at] = step * taken;
      taken *= target[at] as number;
    }
    if (taken !== run) return undefined;
  }
  return out;
}

/** Highest rank of a tensor (WM_MAX_DIMS). */
const mostDimensions = 8;

/** Refuses what is no shape: sizes that are negative, broken or beyond exact integers, or too many of them. */
export function checkShape(what: string, shape: readonly number[]): void {
  if (
    !Array.isArray(shape) ||
    !shape.every((d) => Number.isSafeInteger(d) && d >= 0) ||
    !Number.isSafeInteger(numel(shape))
  ) {
    throw new WordmaskError('E_USAGE', `${what}: a shape is a list of whole numbers from 0 on, got ${show(shape)}`);
  }
  if (shape.length > mostDimensions)
    throw new WordmaskError(
      'E_OPTION',
      `${what}: a tensor has at most ${mostDimensions} dimensions, got ${shape.length}`,
    );
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** NumPy broadcasting of two shapes, or undefined if they do not fit. */
export function broadcastShapes(a: readonly number[], b: readonly number[]): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return undefined;
    out[i] = x === 1 ? y : x;
  }
  return out;
}

/** Negative axes count from the end. @throws E_OPTION when out of range */
export function normaliseAxis(op: string, axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(positive) || positive < 0 || positive >= rank) {
    throw new WordmaskError(
      'E_OPTION',
      `${op}: axis ${axis} is out of range for a tensor of rank ${rank} (allowed ${-rank}..${rank - 1})`,
    );
  }
  return positive;
}

export function specText(spec: TensorSpec | undefined): string {
  return spec ? `${spec.dtype}[${spec.shape.join(', ')}]` : 'none';
}

/** The one way a card refuses its inputs: E_OPTION with the op, the expectation and every input's dtype and shape. */
export function rejectShape(op: string, expected: string, inputs: readonly (TensorSpec | undefined)[]): never {
  throw new WordmaskError('E_OPTION', `${op}: expected ${expected}, got ${inputs.map(specText).join(', ')}`, {
    details: { op, shapes: inputs.map((spec) => spec?.shape), dtypes: inputs.map((spec) => spec?.dtype) },
  });
}
