import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

const headerBytes = 64;

/** Bytes of a packed weight [n, k]: columns padded to whole panels of 48, which suits every instruction tier. */
function packedLinearBytes(n: number, k: number, bf16: boolean): number {
  if (n === 0 || k === 0) return 0;
  return headerBytes + Math.ceil(n / 48) * 48 * (bf16 ? Math.ceil(k / 2) : k) * 4;
}

export const packLinearCard = defineOp({
  name: 'pack_linear',
  inputs: ['weight'],
  attrs: { bf16: false as boolean },
  shape: ([weight], { bf16 }) => {
    if (weight!.shape.length !== 2 || weight!.dtype === 'f64')
      return rejectShape('pack_linear', 'a weight [N, K] in f32, bf16 or f16', [weight]);
    return [{ shape: [packedLinearBytes(weight!.shape[0] as number, weight!.shape[1] as number, bf16)], dtype: 'u8' }];
  },
  // The bytes are private to the instruction tier: linear_packed's tests judge them.
  reference: () => [{ shape: [0], data: new Float64Array(0) }],
  samples: [{ name: 'empty', inputs: [{ shape: [0, 7] }], dtypes: ['f32', 'bf16', 'f16'] }],
  bench: [{ name: '768x768', inputs: [{ shape: [768, 768] }], dtypes: ['f32'] }],
});

export interface PackedLinear {
  readonly n: number;
  readonly k: number;
  /** u8, private to this process's instruction tier: never write it to a file. */
  readonly bytes: Tensor;
}

/**
 * Rearranges a weight [N, K] (f32, bf16 or f16) for linearPacked. With `bf16` it is rounded to bf16 and multiplied with
 * inputs rounded to bf16, sums staying f32; else everything is f32.
 */
export function packLinear(weight: Tensor, options: { bf16?: boolean } = {}): PackedLinear {
  const [n, k] = weight.shape as [number, number];
  return { n, k, bytes: run(packLinearCard, [weight], { bf16: options.bf16 ?? false })[0] as Tensor };
}
