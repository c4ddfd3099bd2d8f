/** argmax and topk. A NaN counts as larger than any number. */
import { WordmaskError } from '../../../util/errors.js';
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { normaliseAxis, rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refMoveAxis, refRows } from '../reference.js';
import { takeAlongBwd } from '../shape/take_along.js';

const ties = { integers: [0, 9] } as const;

export const argmaxCard = defineOp({
  name: 'argmax',
  inputs: ['x'],
  attrs: { axis: 0 },
  shape: ([x], { axis }) => {
    if (!(axis >= 0 && axis < x!.shape.length) || x!.shape[axis] === 0)
      rejectShape('argmax', `a tensor with elements along axis ${axis}`, [x]);
    return [{ shape: x!.shape.filter((_, i) => i !== axis), dtype: 'i32' }];
  },
  reference: ([x], { axis }) => {
    const rows = refRows(refMoveAxis(x!, axis), (row) => [row.indexOf(Math.max(...row))], 1);
    return [{ data: rows.data, shape: x!.shape.filter((_, i) => i !== axis) }];
  },
  samples: [
    { name: 'rows', inputs: [{ shape: [5, 197] }], attrs: { axis: 1 }, dtypes: ['f32', 'f64', 'bf16', 'f16'] },
    { name: 'ties', inputs: [{ shape: [7, 31], fill: ties }], attrs: { axis: 1 } },
    {
      name: 'classes of a map, ties',
      inputs: [{ shape: [2, 21, 5, 13], fill: ties }],
      attrs: { axis: 1 },
      dtypes: ['f32', 'f64', 'bf16'],
    },
    { name: 'first axis', inputs: [{ shape: [19, 601] }], attrs: { axis: 0 } },
    { name: 'long row, ties', inputs: [{ shape: [2, 2309], fill: ties }], attrs: { axis: 1 } },
    { name: 'no rows', inputs: [{ shape: [0, 3] }], attrs: { axis: 1 } },
  ],
  bench: [
    { name: '21 classes of a 500x375 map', inputs: [{ shape: [21, 375, 500] }], attrs: { axis: 0 } },
    { name: '171 classes of a 28x28 map', inputs: [{ shape: [784, 171] }], attrs: { axis: 1 } },
  ],
});

/** Index (i32) of the largest value along an axis, which is dropped; the first one among equals. @throws E_OPTION */
export function argmax(x: Tensor, axis = -1): Tensor {
  return run(argmaxCard, [x], { axis: normaliseAxis('argmax', axis, x.rank) })[0] as Tensor;
}

const maxK = 4096;

export const topkCard = defineOp({
  name: 'topk',
  inputs: ['x'],
  attrs: { k: 1 },
  shape: ([x], { k }) => {
    const width = x!.shape.at(-1) ?? 0;
    if (!Number.isInteger(k) || k < 0 || k > Math.min(width, maxK)) {
      throw new WordmaskError(
        'E_OPTION',
        `topk: k must be a whole number from 0 to ${Math.min(width, maxK)} (the last axis, at most ${maxK}), got ${k}`,
      );
    }
    const shape = [...x!.shape.slice(0, -1), k];
    return [
      { shape, dtype: x!.dtype },
      { shape, dtype: 'i32' },
    ];
  },
  grad: ({ inputs: [x], outputs: [, index], grads: [dy] }) => [
    () => takeAlongBwd(dy!, index!, x!.shape.at(-1) as number),
  ],
  reference: ([x], { k }) => {
    const order = (row: number[]) =>
      [...row.keys()].sort((i, j) => (row[j] as number) - (row[i] as number) || i - j).slice(0, k);
    return [refRows(x!, (row) => order(row).map((i) => row[i] as number), k), refRows(x!, order, k)];
  },
  samples: [
    { name: 'rows', inputs: [{ shape: [3, 5, 41] }], attrs: { k: 7 }, dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'ties', inputs: [{ shape: [7, 31], fill: ties }], attrs: { k: 12 }, grad: false },
    { name: 'all', inputs: [{ shape: [2, 9] }], attrs: { k: 9 } },
    { name: 'long row', inputs: [{ shape: [2, 1543] }], attrs: { k: 300 }, dtypes: ['f32', 'bf16'], grad: false },
    { name: 'none', inputs: [{ shape: [2, 9] }], attrs: { k: 0 } },
    { name: 'no rows', inputs: [{ shape: [0, 9] }], attrs: { k: 2 } },
  ],
  bench: [{ name: '64 of 784', inputs: [{ shape: [1024, 784] }], attrs: { k: 64 } }],
});

/** The k largest values of the last axis, descending, and their indices (i32); the lower index first among equals. @throws E_OPTION */
export function topk(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  const [values, indices] = run(topkCard, [x], { k }) as [Tensor, Tensor];
  return { values, indices };
}
