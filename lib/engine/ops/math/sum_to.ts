import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { broadcastShapes, contiguousStrides, numel, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { dimAttrs, packDims, unpackDims } from '../dims.js';
import { refFill, unravel } from '../reference.js';

export const sumToCard = defineOp({
  name: 'sum_to',
  inputs: ['x'],
  attrs: dimAttrs,
  shape: ([x], a) => {
    const shape = unpackDims(a);
    const joint = broadcastShapes(shape, x!.shape);
    if (!joint || !sameShape(joint, x!.shape))
      rejectShape('sum_to', `a tensor to whose shape [${shape.join(', ')}] broadcasts`, [x]);
    return [{ shape, dtype: x!.dtype }];
  },
  grad: ({ inputs: [x], grads: [dy] }) => [() => dy!.expand(x!.shape)],
  reference: ([x], a) => {
    const out = refFill(unpackDims(a), () => 0);
    const strides = contiguousStrides(out.shape);
    const lead = x!.shape.length - out.shape.length;
    for (let i = 0; i < numel(x!.shape); i++) {
      const index = unravel(i, x!.shape).slice(lead);
      const at = index.reduce((sum, k, axis) => sum + (out.shape[axis] === 1 ? 0 : k * (strides[axis] as number)), 0);
      out.data[at] = (out.data[at] as number) + (x!.data[i] as number);
    }
    return [out];
  },
  samples: [
    {
      name: 'bias gradient',
      inputs: [{ shape: [3, 67, 5] }],
      attrs: packDims('sum_to', [5]),
      dtypes: ['f32', 'f64', 'bf16'],
    },
    { name: 'many rows', inputs: [{ shape: [701, 19] }], attrs: packDims('sum_to', [19]) },
    { name: 'middle axis', inputs: [{ shape: [3, 67, 5] }], attrs: packDims('sum_to', [3, 1, 5]) },
    { name: 'alternating axes', inputs: [{ shape: [3, 4, 5, 6] }], attrs: packDims('sum_to', [3, 1, 5, 1]) },
    { name: 'leading of alternating axes', inputs: [{ shape: [3, 4, 5, 6] }], attrs: packDims('sum_to', [1, 4, 1, 6]) },
    { name: 'to a scalar', inputs: [{ shape: [9, 1031], fill: 'unit' }], attrs: packDims('sum_to', []) },
    { name: 'nothing to sum', inputs: [{ shape: [1, 4, 1] }], attrs: packDims('sum_to', [4, 1]) },
    { name: 'empty', inputs: [{ shape: [0, 4] }], attrs: packDims('sum_to', [4]) },
  ],
  bench: [
    {
      name: 'bias gradient of B/16, 8 images',
      inputs: [{ shape: [8 * 197, 3072] }],
      attrs: packDims('sum_to', [3072]),
    },
  ],
});

/** Sums over the axes along which `shape` broadcasts to x's shape: the gradient of a broadcast. x itself where it has that shape. */
export function sumTo(x: Tensor, shape: readonly number[]): Tensor {
  return sameShape(x.shape, shape) ? x : (run(sumToCard, [x], packDims('sum_to', shape))[0] as Tensor);
}
