import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { activations, erfcReference } from './activation.js';

/** act'(z) in f64. */
export function slopeReference(code: number, z: number): number {
  switch (activations[code]) {
    case 'quick_gelu': {
      const s = 1 / (1 + Math.exp(-1.702 * z));
      return s + 1.702 * z * s * (1 - s);
    }
    case 'gelu':
      return 0.5 * erfcReference(-z / Math.SQRT2) + (z * Math.exp(-(z * z) / 2)) / Math.sqrt(2 * Math.PI);
    case 'relu':
      return z > 0 ? 1 : 0;
    case 'gelu_tanh': {
      const c = Math.sqrt(2 / Math.PI);
      const tanh = Math.tanh(c * (z + 0.044715 * z ** 3));
      return 0.5 * (1 + tanh) + 0.5 * z * (1 - tanh * tanh) * c * (1 + 3 * 0.044715 * z * z);
    }
    default:
      return 1;
  }
}

export const activationBwdCard = defineOp({
  name: 'activation_bwd',
  inputs: ['z', 'dy'],
  attrs: { activation: 0 },
  mixedDtypes: true,
  shape: ([z, dy]) =>
    sameShape(z!.shape, dy!.shape)
      ? [{ shape: z!.shape, dtype: z!.dtype }]
      : rejectShape('activation_bwd', 'two equal shapes', [z, dy]),
  reference: ([z, dy], { activation }) => [
    { shape: z!.shape, data: z!.data.map((x, i) => slopeReference(activation, x) * (dy!.data[i] as number)) },
  ],
  samples: [
    ...activations.map((name, activation) => ({
      name,
      inputs: [{ shape: [5, 67] }, { shape: [5, 67] }],
      attrs: { activation },
      dtypes: ['f32', 'f64', 'bf16'] as const,
    })),
    {
      name: 'wide range',
      inputs: [{ shape: [301], fill: { uniform: [-30, 30] } as const }, { shape: [301] }],
      attrs: { activation: 2 },
    },
    {
      name: 'wider gradient',
      inputs: [{ shape: [33] }, { shape: [33], dtype: 'f32' as const }],
      attrs: { activation: 1 },
      dtypes: ['bf16'] as const,
    },
    { name: 'empty', inputs: [{ shape: [0, 4] }, { shape: [0, 4] }] },
  ],
});

/** dy act'(z) in z's dtype; z is the value before the activation, dy may have a wider dtype. */
export function activationBwd(z: Tensor, dy: Tensor, activation: number): Tensor {
  return run(activationBwdCard, [z, dy], { activation })[0] as Tensor;
}
