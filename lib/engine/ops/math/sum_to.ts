import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import type { Tensor } from '../../tensor.js';

export const sumToCard = defineOp({
  name: 'sum_to', inputs: ['x'], attrs: { rank: 0, d0: 0, d1: 0, d2: 0, d3: 0, d4: 0, d5: 0, d6: 0, d7: 0 },
  shape: ([x], a) => [{ shape: [a.d0, a.d1, a.d2, a.d3, a.d4, a.d5, a.d6, a.d7].slice(0, a.rank), dtype: x!.dtype }],
  reference: ([x]) => [x!],
  samples: [],
});

/** Sums over the axes along which `shape` broadcasts to x's shape: the gradient of a broadcast. */
export function sumTo(x: Tensor, shape: readonly number[]): Tensor {
  const [d0 = 0, d1 = 0, d2 = 0, d3 = 0, d4 = 0, d5 = 0, d6 = 0, d7 = 0] = shape;
  return run(sumToCard, [x], { rank: shape.length, d0, d1, d2, d3, d4, d5, d6, d7 })[0] as Tensor;
}
