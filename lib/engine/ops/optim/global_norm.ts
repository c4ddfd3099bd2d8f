/** Euclidean norm over all elements of many tensors, in one call and one order. */
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

export const globalNormCard = defineOp({
  name: 'global_norm',
  inputs: ['...xs?'],
  attrs: {},
  shape: (specs) => {
    if (specs.some((spec) => spec && spec.dtype !== 'f32' && spec.dtype !== 'f64'))
      rejectShape('global_norm', 'f32 or f64 tensors', specs);
    return [{ shape: [], dtype: 'f64' }];
  },
  reference: (xs) => {
    let sum = 0;
    for (const x of xs) for (const value of x?.data ?? []) sum += value * value;
    return [{ data: Float64Array.of(Math.sqrt(sum)), shape: [] }];
  },
  samples: [
    { name: 'several', inputs: [{ shape: [3, 7] }, undefined, { shape: [33_001] }, { shape: [0] }, { shape: [] }] },
    { name: 'many', inputs: new Array(150).fill({ shape: [5] }) },
    { name: 'squares beyond f32', inputs: [{ shape: [67], fill: { uniform: [1e25, 1e30] } }] },
    { name: 'infinite', inputs: [{ shape: [67] }, { shape: [2], fill: { values: [1, Number.NEGATIVE_INFINITY] } }] },
    { name: 'none', inputs: [] },
  ],
  bench: [{ name: '8 Mi elements', inputs: [{ shape: [1 << 23] }], bytes: 4 * 2 ** 23 }],
});

/**
 * sqrt of the sum of squares of all elements: f32 or f64 tensors of any shape -> f64 scalar. Summed in f64 in a fixed order,
 * so it is finite exactly when every f32 element is. Undefined entries are left out.
 */
export function globalNorm(xs: readonly (Tensor | undefined)[]): Tensor {
  return run(globalNormCard, xs)[0] as Tensor;
}
