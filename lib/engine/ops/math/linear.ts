import { defineOp, type GradContext, once, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { numel, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { type Activation, activationCode, activations, linearReference } from './activation.js';
import { activationBwd } from './activation_bwd.js';
import { matmul } from './matmul.js';
import { sumTo } from './sum_to.js';

const attrs = { activation: 0 };
type LinearAttrs = typeof attrs;

function shape(specs: readonly (TensorSpec | undefined)[]): TensorSpec[] {
  const [x, weight, bias, residual] = specs;
  const n = weight!.shape[0] as number;
  const out = [...x!.shape.slice(0, -1), n];
  const fits =
    x!.shape.length > 0 &&
    weight!.shape.length === 2 &&
    x!.shape.at(-1) === weight!.shape[1] &&
    x!.dtype === weight!.dtype &&
    (!bias || (sameShape(bias.shape, [n]) && bias.dtype === x!.dtype)) &&
    (!residual ||
      (sameShape(residual.shape, out) &&
        (residual.dtype === x!.dtype || (residual.dtype === 'f32' && x!.dtype === 'bf16'))));
  if (!fits)
    return rejectShape(
      'linear',
      'x [..., K], weight [N, K], bias [N] of one dtype and residual [..., N] of that dtype or, beside bf16, f32',
      specs,
    );
  return [{ shape: out, dtype: residual?.dtype ?? x!.dtype }];
}

function grad({ inputs, attrs: { activation }, grads }: GradContext<LinearAttrs>): (() => Tensor)[] {
  const [x, weight] = inputs as [Tensor, Tensor];
  const dy = grads[0] as Tensor;
  // The value before the activation is computed again: kept, it would cost as much memory as the output.
  const dz = once(() => {
    if (activation === 0 && dy.dtype === x.dtype) return dy;
    return activationBwd(run(linearCard, [x, weight, inputs[2]])[0] as Tensor, dy, activation);
  });
  const [n, k] = weight.shape as [number, number];
  const rows = numel(x.shape.slice(0, -1));
  return [
    () => matmul(dz().reshape([rows, n]), weight).reshape(x.shape),
    () => matmul(dz().reshape([rows, n]), x.reshape([rows, k]), { transposeA: true }),
    () => sumTo(dz(), [n]),
    () => dy,
  ];
}

const dtypes = ['f32', 'f64', 'bf16'] as const;
const bf16 = ['bf16'] as const;
const vit = [
  [197, 768, 768],
  [197, 3072, 768],
  [197, 768, 3072],
  [5516, 768, 768],
  [5516, 3072, 768],
] as const;

export const linearCard = defineOp({
  name: 'linear',
  inputs: ['x', 'weight', 'bias?', 'residual?'],
  attrs,
  mixedDtypes: true,
  shape,
  grad,
  reference: ([x, weight, bias, residual], { activation }) => [
    linearReference(x!, weight!, bias, residual, activation),
  ],
  samples: [
    ...activations.map((name, activation) => ({
      name,
      inputs: [
        { shape: [2, 9, 21] },
        { shape: [50, 21], fill: { uniform: [-0.4, 0.4] } as const },
        { shape: [50] },
        { shape: [2, 9, 50] },
      ],
      attrs: { activation },
      dtypes,
      grad: name !== 'relu',
    })),
    { name: 'weight alone', inputs: [{ shape: [7, 33] }, { shape: [5, 33] }], dtypes },
    { name: 'vector', inputs: [{ shape: [33] }, { shape: [49, 33] }, { shape: [49] }], dtypes },
    {
      name: 'residual alone',
      inputs: [{ shape: [11, 8] }, { shape: [17, 8] }, undefined, { shape: [11, 17] }],
      dtypes,
    },
    {
      name: 'f32 residual stream',
      inputs: [{ shape: [11, 8] }, { shape: [17, 8] }, { shape: [17] }, { shape: [11, 17], dtype: 'f32' as const }],
      dtypes: bf16,
    },
    {
      name: 'two K blocks',
      inputs: [{ shape: [10, 801] }, { shape: [19, 801] }, { shape: [19] }],
      dtypes,
      grad: false,
    },
    { name: 'many rows', inputs: [{ shape: [203, 16] }, { shape: [52, 16] }, { shape: [52] }], dtypes, grad: false },
    { name: 'no rows', inputs: [{ shape: [0, 8] }, { shape: [5, 8] }, { shape: [5] }] },
    { name: 'no inner', inputs: [{ shape: [3, 0] }, { shape: [5, 0] }, { shape: [5] }] },
  ],
  bench: vit.map(([m, n, k]) => ({
    name: `${m}x${n}x${k}`,
    inputs: [{ shape: [m, k] }, { shape: [n, k] }, { shape: [n] }],
    dtypes: ['f32', 'bf16'] as const,
    flops: 2 * m * n * k,
  })),
});

export interface LinearOptions {
  bias?: Tensor | undefined;
  residual?: Tensor | undefined;
  activation?: Activation;
}

/**
 * act(x W^T + bias) + residual for x [..., K] and weight [N, K]; the result [..., N] has the residual's dtype, or x's.
 * Differentiable. For inference with a fixed weight use packLinear and linearPacked.
 * @throws E_OPTION for shapes or dtypes that do not fit
 */
export function linear(x: Tensor, weight: Tensor, options: LinearOptions = {}): Tensor {
  return run(linearCard, [x, weight, options.bias, options.residual], {
    activation: activationCode(options.activation),
  })[0] as Tensor;
}
