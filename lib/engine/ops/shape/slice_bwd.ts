import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import type { Tensor } from '../../tensor.js';

export const sliceBwdCard = defineOp({
  name: 'slice_bwd', inputs: ['dy'], attrs: { axis: 0, begin: 0, length: 0 },
  shape: ([dy], a) => [{ shape: dy!.shape.map((d, i) => (i === a.axis ? a.length : d)), dtype: dy!.dtype }],
  reference: ([dy]) => [dy!],
  samples: [],
});

/** Puts `dy` at rows begin.. of an axis of `length` zeros: the gradient of a slice. */
export function sliceBwd(dy: Tensor, axis: number, begin: number, length: number): Tensor {
  return run(sliceBwdCard, [dy], { axis, begin, length })[0] as Tensor;
}
