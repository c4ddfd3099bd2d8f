/** What ops on flat buffers share: the check of a buffer against the tensors whose elements it holds one after another. */
import type { RefArray, SampleInput, TensorSpec } from '../../card.js';
import { isFloat } from '../../dtype.js';
import { rejectShape, sameShape } from '../../shapes.js';

export type Specs = readonly (TensorSpec | undefined)[];

/**
 * The flat buffer [N], checked: `sizes` is i32 [G], and at most G parts of the buffer's dtype follow from `first` on.
 * @throws E_OPTION
 */
export function checkFlat(op: string, specs: Specs, sizes: TensorSpec, first: number): TensorSpec {
  const flat = specs[0] as TensorSpec;
  const parts = specs.slice(first);
  const fits =
    flat.shape.length === 1 &&
    (flat.dtype === 'f32' || flat.dtype === 'f64') &&
    sizes.dtype === 'i32' &&
    sizes.shape.length === 1 &&
    parts.length <= (sizes.shape[0] as number) &&
    parts.every((part) => !part || part.dtype === flat.dtype);
  if (!fits) rejectShape(op, 'a flat f32 or f64 [N], i32 sizes [G] and at most G tensors of its dtype', specs);
  return flat;
}

/** The same for another buffer that runs beside it. @throws E_OPTION */
export function checkBeside(op: string, specs: Specs, index: number, shape: readonly number[]): TensorSpec {
  const [flat, spec] = [specs[0] as TensorSpec, specs[index] as TensorSpec];
  if (!sameShape(spec.shape, shape) || !isFloat(spec.dtype) || spec.dtype !== flat.dtype)
    rejectShape(op, `input ${index} of shape [${shape.join(', ')}] and the dtype of the first`, specs);
  return spec;
}

/** Calls `visit(x, i)` for each element of the given parts and its place in the flat buffer. */
export function eachElement(
  sizes: RefArray,
  parts: readonly (RefArray | undefined)[],
  visit: (x: number, i: number) => void,
): void {
  let begin = 0;
  sizes.data.forEach((size, part) => {
    parts[part]?.data.forEach((x, at) => {
      visit(x, begin + at);
    });
    begin += size;
  });
}

export const sampleSizes = (...values: number[]): SampleInput => ({
  shape: [values.length],
  dtype: 'i32',
  fill: { values },
});

/** Three tensors, one of them longer than a task of the kernel, and one without a gradient. */
export const samplePartSizes = [7, 33_000, 5, 3, 64];
export const samplePartTotal = samplePartSizes.reduce((sum, size) => sum + size, 0);
export const sampleParts: readonly (SampleInput | undefined)[] = [
  { shape: [7] },
  { shape: [330, 100] },
  undefined,
  { shape: [1, 3] },
  { shape: [4, 4, 4] },
];
