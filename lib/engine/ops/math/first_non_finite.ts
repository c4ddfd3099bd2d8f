import { defineOp } from '../../card.js';
import { isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

const long = 140_001; // more than one task, ragged

export const firstNonFiniteCard = defineOp({
  name: 'first_non_finite',
  inputs: ['x'],
  attrs: {},
  shape: ([x]) => {
    if (!x || !isFloat(x.dtype)) rejectShape('first_non_finite', 'a tensor of a floating dtype', [x]);
    return [{ shape: [2], dtype: 'f64' }];
  },
  reference: ([x]) => {
    const at = (x?.data ?? new Float64Array()).findIndex((value) => !Number.isFinite(value));
    const value = at < 0 ? 0 : (x?.data[at] as number);
    const kind = at < 0 ? 0 : Number.isNaN(value) ? 1 : value > 0 ? 2 : 3;
    return [{ data: Float64Array.of(at, kind), shape: [2] }];
  },
  samples: [
    { name: 'all finite', inputs: [{ shape: [3, 67] }], dtypes: ['f32', 'f64', 'bf16', 'f16'], grad: false },
    {
      name: 'nan',
      inputs: [{ shape: [2, 5], fill: { values: [1, 0, -2, 3e4, 5, 1e-8, Number.NaN, 1, Infinity, 2] } }],
      dtypes: ['f32', 'f64', 'bf16', 'f16'],
      grad: false,
    },
    {
      name: 'minus infinity last',
      inputs: [{ shape: [7], fill: { values: [1, 2, 3, 4, 5, 6, -Infinity] } }],
      dtypes: ['f32', 'f64', 'bf16', 'f16'],
      grad: false,
    },
    {
      name: 'infinity in the second task',
      inputs: [
        {
          shape: [long],
          fill: {
            values: [...new Array<number>(131_080).fill(0.5), Infinity, ...new Array<number>(long - 131_081).fill(1)],
          },
        },
      ],
      dtypes: ['f32'],
      grad: false,
    },
    { name: 'empty', inputs: [{ shape: [0, 4] }], grad: false },
  ],
  bench: [{ name: '64 Mi f32', inputs: [{ shape: [64 << 20] }] }],
});

/**
 * Where the first value that is NaN or infinite stands.
 * @param x any shape, floating dtype
 * @returns f64 [2]: row-major index (-1: none) and kind (0 none, 1 NaN, 2 infinity, 3 minus infinity)
 */
export function firstNonFinite(x: Tensor): Tensor {
  return run(firstNonFiniteCard, [x])[0] as Tensor;
}
