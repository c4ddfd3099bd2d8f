import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { broadcastShapes, rejectShape } from '../../shapes.js';
import { Tensor } from '../../tensor.js';
import { refAt, refFill } from '../reference.js';
import { fill } from '../shape/fill.js';
import { sumTo } from './sum_to.js';

function outputShape(shapes: readonly (readonly number[])[]): number[] | undefined {
  return shapes.reduce<number[] | undefined>((all, shape) => all && broadcastShapes(all, shape), []);
}

const mask = { dtype: 'bool', fill: { integers: [0, 1] }, grad: false } as const;

export const whereCard = defineOp({
  name: 'where',
  inputs: ['mask', 'a', 'b'],
  attrs: {},
  shape: ([m, a, b]) => {
    if ((m!.dtype !== 'bool' && m!.dtype !== 'u8') || a!.dtype !== b!.dtype)
      rejectShape('where', 'a bool or u8 mask and two tensors of one dtype', [m, a, b]);
    return [
      {
        shape: outputShape([m!.shape, a!.shape, b!.shape]) ?? rejectShape('where', 'shapes that broadcast', [m, a, b]),
        dtype: a!.dtype,
      },
    ];
  },
  grad: ({ inputs: [m, a, b], grads: [dy] }) => [
    undefined,
    () => sumTo(where(m!, dy!, 0), a!.shape),
    () => sumTo(where(m!, fill([], 0, dy!.dtype, dy!.device), dy!), b!.shape),
  ],
  reference: ([m, a, b]) => [
    refFill(outputShape([m!.shape, a!.shape, b!.shape]) as number[], (index) =>
      refAt(m!, index) !== 0 ? refAt(a!, index) : refAt(b!, index),
    ),
  ],
  samples: [
    {
      name: 'ragged',
      inputs: [{ shape: [3, 7, 5], ...mask }, { shape: [3, 7, 5] }, { shape: [3, 7, 5] }],
      dtypes: ['f32', 'f64', 'bf16', 'f16'],
    },
    { name: 'broadcast', inputs: [{ shape: [7, 1], ...mask }, { shape: [3, 1, 5] }, { shape: [] }] },
    {
      name: 'whole vectors',
      inputs: [{ shape: [3, 16], ...mask }, { shape: [2, 3, 16] }, { shape: [3, 1] }],
      dtypes: ['f32', 'f64', 'bf16'],
    },
    {
      name: 'i32',
      inputs: [
        { shape: [41], ...mask },
        { shape: [41], dtype: 'i32', fill: { integers: [-9, 9] } },
        { shape: [1], dtype: 'i32', fill: { integers: [-9, 9] } },
      ],
      dtypes: ['f32'],
    },
    { name: 'empty', inputs: [{ shape: [0], ...mask }, { shape: [0] }, { shape: [1] }] },
  ],
});

/** a where the mask (bool or u8) is not zero, else b. The three shapes broadcast; numbers take the other side's dtype. */
export function where(mask: Tensor, a: Tensor, b: Tensor | number): Tensor {
  return run(whereCard, [mask, a, b instanceof Tensor ? b : fill([], b, a.dtype, a.device)])[0] as Tensor;
}
