import { defineOp, type GradContext, once, type TensorSpec } from '../../card.js';
import { currentContext } from '../../context.js';
import type { DType } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { fill } from '../shape/fill.js';
import { type Activation, activationCode, activations, linearReference } from './activation.js';
import { activationBwd } from './activation_bwd.js';
import { add } from './add.js';
import { cast } from './cast.js';
import { canMultiply, linearBwdInput, linearBwdWeight } from './linear_bwd.js';

const attrs = { activation: 0, bf16: false, bf16Out: false, keepPre: false };
type LinearAttrs = typeof attrs;

function shape(specs: readonly (TensorSpec | undefined)[], a: LinearAttrs): TensorSpec[] {
  const [x, weight, bias, residual] = specs;
  const n = weight!.shape[0] as number;
  const out = [...x!.shape.slice(0, -1), n];
  const isNarrow = (type: DType) => type === 'f32' || type === 'bf16';
  const fits =
    x!.shape.length > 0 &&
    weight!.shape.length === 2 &&
    x!.shape.at(-1) === weight!.shape[1] &&
    canMultiply(x, weight, a.bf16) &&
    (!bias || (sameShape(bias.shape, [n]) && bias.dtype === (a.bf16 ? 'f32' : x!.dtype))) &&
    (!residual ||
      (sameShape(residual.shape, out) &&
        (a.bf16
          ? isNarrow(residual.dtype)
          : residual.dtype === x!.dtype || (residual.dtype === 'f32' && x!.dtype === 'bf16'))));
  if (!fits)
    return rejectShape(
      'linear',
      a.bf16
        ? 'x [..., K], weight [N, K] and residual [..., N] in f32 or bf16, bias f32 [N]'
        : 'x [..., K], weight [N, K], bias [N] of one dtype and residual [..., N] of that dtype or, beside bf16, f32',
      specs,
    );
  const dtype = a.bf16 ? (a.bf16Out ? 'bf16' : 'f32') : (residual?.dtype ?? x!.dtype);
  const spec = { shape: out, dtype };
  return a.keepPre ? [spec, spec] : [spec];
}

function grad(context: GradContext<LinearAttrs>): (() => Tensor)[] {
  const { inputs, attrs: a, grads } = context;
  const [x, weight, bias] = inputs as [Tensor, Tensor, Tensor | undefined];
  const [dy, dPre] = grads;
  const bf16 = a.bf16 || x.dtype === 'bf16';
  const dz = once(() => {
    const through = dy && a.activation !== 0 ? activationBwd(before(context), dy, a.activation) : dy;
    const sum = through && dPre ? add(through, dPre) : ((through ?? dPre) as Tensor);
    // Products take bf16 where they compute in it, so that an f32 stream is rounded once for both of them.
    return bf16 ? cast(sum, 'bf16') : sum;
  });
  const parameters = once(() => linearBwdWeight(dz(), x, { bf16 }));
  return [
    () => linearBwdInput(dz(), weight, { bf16, bf16Out: x.dtype === 'bf16' }),
    () => cast(parameters().weight, weight.dtype),
    () => cast(parameters().bias, (bias as Tensor).dtype),
    () => residualGrad(dy, inputs[3] as Tensor),
  ];
}

function residualGrad(dy: Tensor | undefined, residual: Tensor): Tensor {
  return dy ? cast(dy, residual.dtype) : fill(residual.shape, 0, residual.dtype);
}

/** The value before the activation: kept, or computed again. */
function before({ inputs, outputs, attrs: a }: GradContext<LinearAttrs>): Tensor {
  return outputs[1] ?? (run(linearCard, inputs.slice(0, 3), { bf16: a.bf16, bf16Out: a.bf16Out })[0] as Tensor);
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
  reference: ([x, weight, bias, residual], { activation, keepPre }) => [
    linearReference(x!, weight!, bias, residual, activation),
    ...(keepPre ? [linearReference(x!, weight!, bias, undefined, 0)] : []),
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
    {
      name: 'value before the activation',
      inputs: [{ shape: [9, 21] }, { shape: [50, 21] }, { shape: [50] }],
      attrs: { activation: 2, keepPre: true },
      dtypes,
    },
    {
      name: 'bf16 product of f32',
      inputs: [
        { shape: [9, 34] },
        { shape: [50, 34], dtype: 'bf16' as const },
        { shape: [50], dtype: 'f32' as const },
        { shape: [9, 50], dtype: 'f32' as const },
      ],
      attrs: { activation: 1, bf16: true, bf16Out: true, keepPre: true },
      dtypes: bf16,
    },
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
  /** Product in bf16 (sums in f32) of operands in f32 or bf16: an f32 weight stays the master of its gradient. */
  compute?: 'bf16' | undefined;
  /** Dtype of the result with `compute`; default f32. */
  out?: 'f32' | 'bf16' | undefined;
}

/**
 * act(x W^T + bias) + residual for x [..., K] and weight [N, K]; the result [..., N] has the residual's dtype, or x's.
 * With `compute: 'bf16'` x, weight and residual are f32 or bf16 each, bias is f32 and `out` names the result's dtype.
 * Differentiable; each gradient has the dtype of its input. For inference with a fixed weight use packLinear and linearPacked.
 * @throws E_OPTION for shapes or dtypes that do not fit
 */
export function linear(x: Tensor, weight: Tensor, options: LinearOptions = {}): Tensor {
  const { bias, residual, activation, compute, out } = options;
  const inputs = [x, weight, bias, residual];
  const code = activationCode(activation);
  // Backward needs the value before the activation: keeping it costs an output's memory, computing it again a product.
  const taped = currentContext().grad && inputs.some((tensor) => tensor?.requiresGrad);
  return run(linearCard, inputs, {
    activation: code,
    bf16: compute === 'bf16',
    bf16Out: out === 'bf16',
    keepPre: taped && code !== 0 && !residual,
  })[0] as Tensor;
}
