import { defineOp, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { type Activation, activationCode } from './activation.js';
import type { PackedLinear } from './pack_linear.js';

const attrs = { n: 0, k: 0, activation: 0, scale: 1, bf16Out: false };

function shape(specs: readonly (TensorSpec | undefined)[], { n, k, bf16Out }: typeof attrs): TensorSpec[] {
  const [x, packed, bias, residual] = specs;
  const out = [...x!.shape.slice(0, -1), n];
  const stream = (spec: TensorSpec) => spec.dtype === 'f32' || spec.dtype === 'bf16';
  const fits =
    x!.shape.at(-1) === k &&
    stream(x!) &&
    packed!.dtype === 'u8' &&
    packed!.shape.length === 1 &&
    (!bias || (sameShape(bias.shape, [n]) && bias.dtype === 'f32')) &&
    (!residual || (sameShape(residual.shape, out) && stream(residual)));
  if (!fits)
    return rejectShape(
      'linear_packed',
      `x [..., ${k}] in f32 or bf16, a weight [${n}, ${k}] of packLinear, bias f32 [${n}], residual [..., ${n}] in f32 or bf16`,
      specs,
    );
  return [{ shape: out, dtype: bf16Out ? 'bf16' : 'f32' }];
}

export const linearPackedCard = defineOp({
  name: 'linear_packed',
  inputs: ['x', 'packed', 'bias?', 'residual?'],
  attrs,
  mixedDtypes: true,
  shape,
  // A packed weight is private to the instruction tier, so only shapes without one can be stated here; values are
  // compared with linear's reference in test/engine/linear-packed.test.ts.
  reference: ([x], { n }) => [{ shape: [...x!.shape.slice(0, -1), n], data: new Float64Array(0) }],
  samples: [
    {
      name: 'no rows',
      inputs: [{ shape: [0, 5] }, { shape: [64], dtype: 'u8' }],
      attrs: { n: 3, k: 5 },
      dtypes: ['f32', 'bf16'],
    },
    {
      name: 'no columns',
      inputs: [{ shape: [4, 5] }, { shape: [0], dtype: 'u8' }],
      attrs: { n: 0, k: 5 },
      dtypes: ['f32', 'bf16'],
    },
  ],
});

export interface LinearPackedOptions {
  /** f32 [N]. */
  bias?: Tensor | undefined;
  /** [..., N], f32 or bf16, added after the activation. */
  residual?: Tensor | undefined;
  activation?: Activation;
  /** Multiplies x W^T before the bias. */
  scale?: number;
  /** bf16 output; default f32. */
  bf16Out?: boolean;
}

/**
 * act(scale x W^T + bias) + residual for x [..., K] (f32 or bf16) and a weight of packLinear; result [..., N]. The bytes of
 * a row do not depend on what shares its batch. Not differentiable: see linear.
 * @throws E_OPTION for shapes or dtypes that do not fit; a buffer that is no packed weight fails when the op runs
 */
export function linearPacked(x: Tensor, weight: PackedLinear, options: LinearPackedOptions = {}): Tensor {
  const { bias, residual, activation, scale = 1, bf16Out = false } = options;
  const values = { n: weight.n, k: weight.k, activation: activationCode(activation), scale, bf16Out };
  return run(linearPackedCard, [x, weight.bytes, bias, residual], values)[0] as Tensor;
}
