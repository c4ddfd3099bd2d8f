import { defineOp } from '../../card.js';
import { type DType, dtypeCode, dtypes } from '../../dtype.js';
import { run } from '../../run.js';
import type { Tensor } from '../../tensor.js';

export const fillCard = defineOp({
  name: 'fill', inputs: [], attrs: { value: 0, dtype: 0, rank: 0, d0: 0, d1: 0, d2: 0, d3: 0, d4: 0, d5: 0, d6: 0, d7: 0 },
  shape: (_, a) => [{ shape: [a.d0, a.d1, a.d2, a.d3, a.d4, a.d5, a.d6, a.d7].slice(0, a.rank), dtype: dtypes[a.dtype] as DType }],
  reference: (_, a) => {
    const shape = [a.d0, a.d1, a.d2, a.d3, a.d4, a.d5, a.d6, a.d7].slice(0, a.rank);
    return [{ data: new Float64Array(shape.reduce((n, d) => n * d, 1)).fill(a.value), shape }];
  },
  samples: [],
});

/** A tensor of one value. */
export function fill(shape: readonly number[], value: number, dtype: DType = 'f32'): Tensor {
  const [d0 = 0, d1 = 0, d2 = 0, d3 = 0, d4 = 0, d5 = 0, d6 = 0, d7 = 0] = shape;
  return run(fillCard, [], { value, dtype: dtypeCode(dtype), rank: shape.length, d0, d1, d2, d3, d4, d5, d6, d7 })[0] as Tensor;
}
