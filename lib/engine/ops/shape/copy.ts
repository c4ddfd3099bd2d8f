import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import type { Tensor } from '../../tensor.js';

export const copyCard = defineOp({
  name: 'copy', inputs: ['x'], attrs: {},
  shape: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  grad: ({ grads }) => [() => grads[0] as Tensor],
  reference: ([x]) => [x!],
  samples: [],
});

/** A contiguous copy. */
export function copy(x: Tensor): Tensor {
  return run(copyCard, [x])[0] as Tensor;
}
