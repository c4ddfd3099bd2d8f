import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { broadcastShapes, rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { sumTo } from './sum_to.js';

export const addCard = defineOp({
  name: 'add', inputs: ['a', 'b'], attrs: {},
  shape: ([a, b]) => [{ shape: broadcastShapes(a!.shape, b!.shape) ?? rejectShape('add', 'shapes that broadcast', [a, b]), dtype: a!.dtype }],
  grad: ({ inputs, grads }) => inputs.map((x) => () => sumTo(grads[0] as Tensor, x!.shape)),
  reference: ([a]) => [a!],
  samples: [],
});

export function add(a: Tensor, b: Tensor): Tensor {
  return run(addCard, [a, b])[0] as Tensor;
}
