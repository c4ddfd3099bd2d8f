/** Label maps as users hand them in, brought to one form. */
import { show, WordmaskError } from '../../util/errors.js';

export type IntegerArray =
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | Int8Array
  | Int16Array
  | Int32Array;

/** A whole-number map: a typed array or list, or `{ data, shape }`, or an `ndarray` view. */
export type LabelMap =
  | IntegerArray
  | readonly number[]
  | { data: IntegerArray | readonly number[]; shape: readonly number[]; stride?: readonly number[]; offset?: number };

export interface FlatMap {
  data: ArrayLike<number>;
  /** Undefined for a bare array. */
  shape?: readonly number[];
}

/** The values in row-major order; a strided view is copied, everything else used as it is. */
export function flatMap(map: LabelMap, name: string): FlatMap {
  if (ArrayBuffer.isView(map) || Array.isArray(map)) return { data: map as ArrayLike<number> };
  const view = map as Exclude<LabelMap, IntegerArray | readonly number[]>;
  if (typeof view !== 'object' || view === null || !('data' in view) || !Array.isArray(view.shape)) {
    throw new WordmaskError('E_USAGE', `${name} must be a typed array or { data, shape }, got ${show(map)}`);
  }
  const { data, shape, stride, offset = 0 } = view;
  const count = shape.reduce((product, side) => product * side, 1);
  const packed = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, side) => product * side, 1));
  if (
    offset === 0 &&
    data.length === count &&
    (!stride || stride.every((step, axis) => shape[axis] === 1 || step === packed[axis]))
  )
    return { data, shape };
  const steps = stride ?? packed;
  const out = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    let [rest, at] = [i, offset];
    shape.forEach((_, axis) => {
      const place = Math.floor(rest / (packed[axis] as number));
      rest -= place * (packed[axis] as number);
      at += place * (steps[axis] as number);
    });
    if (!(at >= 0 && at < data.length))
      throw new WordmaskError(
        'E_USAGE',
        `${name}: shape ${show(shape)}, stride and offset reach beyond the ${data.length} values`,
      );
    out[i] = data[at] as number;
  }
  return { data: out, shape };
}

/** Both maps with equal sizes; throws E_USAGE otherwise. */
export function mapPair(pred: LabelMap, label: LabelMap): { pred: FlatMap; label: FlatMap } {
  const [p, l] = [flatMap(pred, 'pred'), flatMap(label, 'label')];
  const shapesDiffer = p.shape && l.shape && p.shape.join() !== l.shape.join();
  if (p.data.length !== l.data.length || shapesDiffer) {
    throw new WordmaskError(
      'E_USAGE',
      `pred and label must have one size, got ${show(p.shape ?? p.data.length)} and ${show(l.shape ?? l.data.length)}: bring the prediction to the label's original size`,
    );
  }
  return { pred: p, label: l };
}

export interface ClassOptions {
  /** Classes are 0..numClasses-1. */
  numClasses: number;
  /** Label value or values that do not count (255). */
  ignore?: number | readonly number[] | null;
}

/** The largest list in use has 847 classes; 4,096 need 128 MiB of counts. */
const MAX_CLASSES = 4096;

/** What each label value means: its class, -1 for ignored. Throws E_OPTION for a bad number of classes. */
export function classTest({ numClasses, ignore = 255 }: ClassOptions): (value: number) => number {
  if (!Number.isInteger(numClasses) || numClasses < 1 || numClasses > MAX_CLASSES) {
    throw new WordmaskError(
      'E_OPTION',
      `numClasses must be a whole number from 1 to ${MAX_CLASSES}, got ${show(numClasses)}`,
      { details: { option: 'numClasses' } },
    );
  }
  const ignored = new Set(
    ignore === null ? [] : Array.isArray(ignore) ? (ignore as readonly number[]) : [ignore as number],
  );
  return (value) => {
    if (ignored.has(value)) return -1;
    if (value >= 0 && value < numClasses) return value;
    throw new WordmaskError(
      'E_USAGE',
      `label ${value} is neither a class (0..${numClasses - 1}) nor ignored (${show([...ignored])}): check numClasses, ignore and reduceZeroLabel`,
      { details: { value } },
    );
  };
}
