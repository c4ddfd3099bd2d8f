/** Values of the last axis by index: take_along and its gradient. */
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refRows } from '../reference.js';

const columns = (limit: number) => ({ dtype: 'i32', fill: { integers: [0, limit - 1] } }) as const;
const leading = (shape: readonly number[]) => shape.slice(0, -1);

export const takeAlongCard = defineOp({
  name: 'take_along',
  inputs: ['x', 'indices'],
  attrs: {},
  shape: ([x, indices]) => {
    const fits =
      x!.shape.length > 0 &&
      x!.shape.length === indices!.shape.length &&
      sameShape(leading(x!.shape), leading(indices!.shape));
    if (!fits || indices!.dtype !== 'i32')
      rejectShape('take_along', 'x [..., N] and i32 indices [..., K]', [x, indices]);
    return [{ shape: indices!.shape, dtype: x!.dtype }];
  },
  grad: ({ inputs: [x, indices], grads: [dy] }) => [() => takeAlongBwd(dy!, indices!, x!.shape.at(-1) as number)],
  reference: ([x, indices]) => {
    const width = indices!.shape.at(-1) as number;
    return [
      refRows(
        x!,
        (row, r) => [...indices!.data.subarray(r * width, (r + 1) * width)].map((i) => row[i] as number),
        width,
      ),
    ];
  },
  samples: [
    {
      name: 'rows',
      inputs: [{ shape: [3, 5, 11] }, { shape: [3, 5, 4], ...columns(11) }],
      dtypes: ['f32', 'f64', 'bf16'],
    },
    { name: 'more than there are', inputs: [{ shape: [2, 3] }, { shape: [2, 17], ...columns(3) }] },
    { name: 'no indices', inputs: [{ shape: [2, 3] }, { shape: [2, 0], ...columns(3) }] },
  ],
});

/** y[..., k] = x[..., indices[..., k]] for i32 indices. Any dtype. @throws E_OPTION; an index out of range fails the result */
export function takeAlong(x: Tensor, indices: Tensor): Tensor {
  return run(takeAlongCard, [x, indices])[0] as Tensor;
}

export const takeAlongBwdCard = defineOp({
  name: 'take_along_bwd',
  inputs: ['dy', 'indices'],
  attrs: { length: 0 },
  shape: ([dy, indices], { length }) => {
    if (dy!.shape.length === 0 || !sameShape(dy!.shape, indices!.shape) || indices!.dtype !== 'i32')
      rejectShape('take_along_bwd', 'dy [..., K] and i32 indices [..., K]', [dy, indices]);
    return [{ shape: [...leading(dy!.shape), length], dtype: dy!.dtype }];
  },
  reference: ([dy, indices], { length }) => {
    const width = dy!.shape.at(-1) as number;
    return [
      refRows(
        dy!,
        (row, r) => {
          const out = new Float64Array(length);
          row.forEach((g, k) => {
            out[indices!.data[r * width + k] as number]! += g;
          });
          return out;
        },
        length,
      ),
    ];
  },
  samples: [
    {
      name: 'rows',
      inputs: [{ shape: [3, 5, 9] }, { shape: [3, 5, 9], ...columns(4) }],
      attrs: { length: 6 },
      dtypes: ['f32', 'f64', 'bf16'],
    },
    {
      name: 'more columns and terms than a block takes at a time',
      inputs: [{ shape: [2, 261] }, { shape: [2, 261], ...columns(1037) }],
      attrs: { length: 1037 },
      grad: false,
    },
    { name: 'no rows', inputs: [{ shape: [0, 2] }, { shape: [0, 2], ...columns(3) }], attrs: { length: 3 } },
  ],
});

/** Adds dy [..., K] back at its i32 indices along a last axis of `length`. */
export function takeAlongBwd(dy: Tensor, indices: Tensor, length: number): Tensor {
  return run(takeAlongBwdCard, [dy, indices], { length })[0] as Tensor;
}
