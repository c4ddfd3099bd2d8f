import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refPlace } from './pad.js';

export const sliceBwdCard = defineOp({
  name: 'slice_bwd',
  inputs: ['dy'],
  attrs: { axis: 0, begin: 0, length: 0 },
  shape: ([dy], a) => {
    if (!(a.begin >= 0 && a.begin + (dy!.shape[a.axis] ?? Number.NaN) <= a.length))
      rejectShape('slice_bwd', `rows that fit ${a.begin}..${a.length} of axis ${a.axis}`, [dy]);
    return [{ shape: dy!.shape.map((d, i) => (i === a.axis ? a.length : d)), dtype: dy!.dtype }];
  },
  grad: ({ inputs: [x], grads: [dy], attrs: { axis, begin } }) => [
    () => dy!.slice(axis, begin, begin + (x!.shape[axis] as number)),
  ],
  reference: ([dy], a) => [
    refPlace(
      dy!,
      dy!.shape.map((d, i) => (i === a.axis ? a.length : d)),
      dy!.shape.map((_, i) => (i === a.axis ? a.begin : 0)),
    ),
  ],
  samples: [
    {
      name: 'tokens',
      inputs: [{ shape: [3, 2, 5] }],
      attrs: { axis: 1, begin: 1, length: 4 },
      dtypes: ['f32', 'f64', 'bf16'],
    },
    { name: 'columns', inputs: [{ shape: [3, 4] }], attrs: { axis: 1, begin: 3, length: 9 } },
    { name: 'all', inputs: [{ shape: [3, 4] }], attrs: { axis: 0, begin: 0, length: 3 } },
    { name: 'nothing', inputs: [{ shape: [3, 0] }], attrs: { axis: 1, begin: 2, length: 5 } },
  ],
});

/** Puts `dy` at rows begin.. of an axis of `length` zeros: the gradient of a slice. */
export function sliceBwd(dy: Tensor, axis: number, begin: number, length: number): Tensor {
  return run(sliceBwdCard, [dy], { axis, begin, length })[0] as Tensor;
}
