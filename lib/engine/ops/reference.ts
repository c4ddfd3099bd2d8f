/** Building blocks of reference implementations: plain loops on float64 arrays, nothing shared with the kernels. */
import type { RefArray } from '../card.js';
import type { DType } from '../dtype.js';
import { contiguousStrides, numel } from '../shapes.js';

export function refMap(x: RefArray, f: (value: number) => number): RefArray {
  return { data: x.data.map(f), shape: x.shape };
}

/** Multi-index of a linear index. */
export function unravel(linear: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] as number;
    index[axis] = linear % size;
    linear = Math.floor(linear / size);
  }
  return index;
}

/** The element of x that an index of a shape x broadcasts to stands for. */
export function refAt(x: RefArray, index: readonly number[]): number {
  const lead = index.length - x.shape.length;
  const strides = contiguousStrides(x.shape);
  let at = 0;
  for (let axis = 0; axis < x.shape.length; axis++) {
    if (x.shape[axis] !== 1) at += (index[axis + lead] as number) * (strides[axis] as number);
  }
  return x.data[at] as number;
}

export function refFill(shape: readonly number[], value: (index: number[], linear: number) => number): RefArray {
  const data = new Float64Array(numel(shape));
  for (let i = 0; i < data.length; i++) data[i] = value(unravel(i, shape), i);
  return { data, shape };
}

/** f over the last axis, row by row. */
export function refRows(
  x: RefArray,
  f: (row: number[], index: number) => ArrayLike<number>,
  width = x.shape.at(-1) as number,
): RefArray {
  const from = x.shape.at(-1) as number;
  const rows = from === 0 ? 0 : x.data.length / from;
  const shape = [...x.shape.slice(0, -1), width];
  const data = new Float64Array(numel(shape));
  for (let r = 0; r < rows; r++) data.set(f([...x.data.subarray(r * from, (r + 1) * from)], r), r * width);
  return { data, shape };
}

/** Moves one axis to the end (or, with `back`, the last one to `axis`). */
export function refMoveAxis(x: RefArray, axis: number, back = false): RefArray {
  const last = x.shape.length - 1;
  const order = [...x.shape.keys()].filter((i) => i !== (back ? last : axis));
  if (back) order.splice(axis, 0, last);
  else order.push(axis);
  return refFill(
    order.map((i) => x.shape[i] as number),
    (index) => {
      const source = new Array<number>(index.length);
      order.forEach((from, to) => {
        source[from] = index[to] as number;
      });
      return refAt(x, source);
    },
  );
}

/** f over any axis. */
export function refAlong(x: RefArray, axis: number, f: (row: number[], index: number) => ArrayLike<number>): RefArray {
  return refMoveAxis(refRows(refMoveAxis(x, axis), f), axis, true);
}

/** erf to double precision: its series up to 3, a continued fraction of erfc beyond. */
function refErf(x: number): number {
  const a = Math.abs(x);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-18 * sum; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum;
  }
  return Math.sign(x) * (1 - refErfcLarge(a));
}

function refErfcLarge(a: number): number {
  let fraction = 0;
  for (let n = 200; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction);
}

/** Phi(x), without cancellation for negative x. */
export function refNormalCdf(x: number): number {
  const z = -x / Math.SQRT2;
  return z >= 3 ? refErfcLarge(z) / 2 : (1 - refErf(z)) / 2;
}

/** x rounded to a float dtype, to nearest even. */
export function refRound(x: number, dtype: DType): number {
  if (dtype === 'f64' || !Number.isFinite(x) || x === 0) return x;
  if (dtype === 'f32') return Math.fround(x);
  const [digits, lowest] = dtype === 'bf16' ? [7, -126] : [10, -14];
  const value = Math.fround(x);
  const step = 2 ** (Math.max(lowest, Math.floor(Math.log2(Math.abs(value)))) - digits);
  const scaled = value / step;
  const down = Math.floor(scaled);
  const up = scaled - down > 0.5 || (scaled - down === 0.5 && down % 2 !== 0);
  return (down + (up ? 1 : 0)) * step;
}
