/** Rows by index: gather and its gradient scatter_add. */
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

const rows = (limit: number) => ({ dtype: 'i32', fill: { integers: [0, limit - 1] } }) as const;

export const gatherCard = defineOp({
  name: 'gather',
  inputs: ['x', 'indices'],
  attrs: {},
  shape: ([x, indices]) => {
    if (x!.shape.length !== 2 || indices!.dtype !== 'i32')
      rejectShape('gather', 'x [V, D] and i32 indices', [x, indices]);
    return [{ shape: [...indices!.shape, x!.shape[1] as number], dtype: x!.dtype }]; // [..., D]
  },
  grad: ({ inputs: [x, indices], grads: [dy] }) => [() => scatterAdd(dy!, indices!, x!.shape[0] as number)],
  reference: ([x, indices]) => {
    const width = x!.shape[1] as number;
    return [
      {
        data: Float64Array.from([...indices!.data].flatMap((v) => [...x!.data.subarray(v * width, (v + 1) * width)])),
        shape: [...indices!.shape, width],
      },
    ];
  },
  samples: [
    {
      name: 'embedding',
      inputs: [{ shape: [11, 7] }, { shape: [3, 5], ...rows(11) }],
      dtypes: ['f32', 'f64', 'bf16', 'f16'],
    },
    {
      name: 'u8 rows',
      inputs: [
        { shape: [6, 3], dtype: 'u8' },
        { shape: [4], ...rows(6) },
      ],
      dtypes: ['f32'],
    },
    { name: 'whole vectors', inputs: [{ shape: [9, 24] }, { shape: [53], ...rows(9) }], dtypes: ['f32', 'bf16'] },
    { name: 'one index', inputs: [{ shape: [5, 1] }, { shape: [], ...rows(5) }] },
    { name: 'no indices', inputs: [{ shape: [5, 4] }, { shape: [0], ...rows(5) }] },
  ],
  bench: [
    {
      name: 'CLIP token embedding, 64 texts',
      inputs: [{ shape: [49408, 512] }, { shape: [64, 77], ...rows(49408) }],
      bytes: 2 * 64 * 77 * 512 * 4,
    },
  ],
});

/**
 * Rows of x [V, D] by i32 indices of any shape: [..., D]. Any dtype. The gradient adds in the order of the indices.
 * @throws E_OPTION; an index outside 0..V-1 fails the result
 */
export function gather(x: Tensor, indices: Tensor): Tensor {
  return run(gatherCard, [x, indices])[0] as Tensor;
}

export const scatterAddCard = defineOp({
  name: 'scatter_add',
  inputs: ['dy', 'indices'],
  attrs: { rows: 0 },
  shape: ([dy, indices], a) => {
    const width = dy!.shape.at(-1);
    if (width === undefined || !sameShape(dy!.shape.slice(0, -1), indices!.shape) || indices!.dtype !== 'i32')
      rejectShape('scatter_add', 'dy [..., D] and i32 indices [...]', [dy, indices]);
    return [{ shape: [a.rows, width], dtype: dy!.dtype }]; // [V, D]
  },
  grad: ({ inputs: [, indices], grads: [dy] }) => [() => gather(dy!, indices!)],
  reference: ([dy, indices], a) => {
    const width = dy!.shape.at(-1) as number;
    const data = new Float64Array(a.rows * width);
    indices!.data.forEach((v, i) => {
      for (let d = 0; d < width; d++) data[v * width + d]! += dy!.data[i * width + d] as number;
    });
    return [{ data, shape: [a.rows, width] }];
  },
  samples: [
    {
      name: 'repeated rows',
      inputs: [{ shape: [4, 9, 7] }, { shape: [4, 9], ...rows(5) }],
      attrs: { rows: 6 },
      dtypes: ['f32', 'f64', 'bf16'],
    },
    {
      name: 'more positions than a block sorts',
      inputs: [{ shape: [2101, 8] }, { shape: [2101], ...rows(300) }],
      attrs: { rows: 301 },
      dtypes: ['f32', 'bf16'],
      grad: false,
    },
    { name: 'nothing to add', inputs: [{ shape: [0, 3] }, { shape: [0], ...rows(5) }], attrs: { rows: 5 } },
  ],
  bench: [
    {
      name: 'CLIP token embedding, 64 texts',
      inputs: [{ shape: [64, 77, 512] }, { shape: [64, 77], ...rows(49408) }],
      attrs: { rows: 49408 },
    },
  ],
});

/** [V, D] with the rows of dy [..., D] added at their i32 indices [...], in a fixed order; V = `rows`. */
export function scatterAdd(dy: Tensor, indices: Tensor, rows: number): Tensor {
  return run(scatterAddCard, [dy, indices], { rows })[0] as Tensor;
}
