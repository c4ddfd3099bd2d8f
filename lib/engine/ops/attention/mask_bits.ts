/** The bit mask of attention from real masks: one bit a key, set where the key is blocked. */
import { defineOp, type RefArray } from '../../card.js';
import { isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

function packedShape(shape: readonly number[]): number[] {
  return [...shape.slice(0, -1), Math.ceil((shape.at(-1) as number) / 8)];
}

export const maskBitsCard = defineOp({
  name: 'mask_bits',
  inputs: ['x'],
  attrs: { threshold: 0 },
  shape: ([x]) => {
    if (x!.shape.length < 1 || !isFloat(x!.dtype)) rejectShape('mask_bits', 'floats with at least one axis', [x]);
    return [{ shape: packedShape(x!.shape), dtype: 'u8' }];
  },
  reference: ([x], { threshold }) => {
    const { data, shape } = x as RefArray;
    const n = shape.at(-1) as number;
    const packed = packedShape(shape);
    const bytes = packed.at(-1) as number;
    const out = new Float64Array(packed.reduce((a, b) => a * b, 1));
    data.forEach((value, i) => {
      const at = Math.floor(i / n) * bytes + ((i % n) >> 3);
      if (value < threshold) out[at] = (out[at] as number) + 2 ** ((i % n) & 7);
    });
    return [{ data: out, shape: packed }];
  },
  samples: [
    { name: 'ragged', inputs: [{ shape: [2, 3, 19] }], dtypes: ['f32', 'f64', 'bf16', 'f16'] },
    { name: 'threshold', inputs: [{ shape: [5, 8], fill: 'unit' }], attrs: { threshold: 0.5 } },
    { name: 'one row', inputs: [{ shape: [3] }] },
    { name: 'no keys', inputs: [{ shape: [2, 0] }] },
  ],
  bench: [{ name: '100 masks of 64 x 64', inputs: [{ shape: [1, 100, 4096] }] }],
});

/**
 * Blocks the keys whose value is below a threshold. With mask logits and the default 0 this is sigmoid(mask) < 0.5.
 *
 * @param x float [..., N]
 * @returns u8 [..., ceil(N / 8)], bit j % 8 of byte j / 8 set where blocked: the `mask` option of `attention`
 */
export function maskBits(x: Tensor, threshold = 0): Tensor {
  return run(maskBitsCard, [x], { threshold })[0] as Tensor;
}
