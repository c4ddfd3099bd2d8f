import { defineOp, type GradContext, once, type RefArray, type TensorSpec } from '../../card.js';
import { currentContext } from '../../context.js';
import type { DType } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { type Activation, activationCode, activations, linearReference } from './activation.js';
import { activationBwd, slopeReference } from './activation_bwd.js';
import { cast } from './cast.js';
import { mul } from './elementwise_binary.js';
import { canMultiply, linearBwdInput, linearBwdWeight } from './linear_bwd.js';

const attrs = { activation: 0, bf16: false, bf16Out: false, keepSlope: false };
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
  return a.keepSlope ? [spec, spec] : [spec];
}

const slopes = ({ data, shape }: RefArray, activation: number): RefArray => ({
  data: data.map((z) => slopeReference(activation, z)),
  shape,
});

function grad(context: GradContext<LinearAttrs>): (() => Tensor)[] {
  const { inputs, attrs: a, grads } = context;
  const [x, weight, bias, residual] = inputs as [Tensor, Tensor, Tensor, Tensor];
  const dy = grads[0] as Tensor;
  const bf16 = a.bf16 || x.dtype === 'bf16';
  // Products take bf16 where they compute in it, so that an f32 stream is rounded once for both of them.
  const dz = once(() => {
    const through = a.activation === 0 ? dy : throughActivation(context, dy);
    return bf16 ? cast(through, 'bf16') : through;
  });
  const parameters = once(() => linearBwdWeight(dz(), x, { bf16 }));
  return [
    () => linearBwdInput(dz(), weight, { bf16, bf16Out: x.dtype === 'bf16' }),
    () => cast(parameters().weight, weight.dtype),
    () => cast(parameters().bias, bias.dtype),
    () => cast(dy, residual.dtype),
  ];
}

/** dy act'(z), from slopes that were kept or from z computed again. */
function throughActivation({ inputs, outputs, attrs: a }: GradContext<LinearAttrs>, dy: Tensor): Tensor {
  if (outputs[1]) return mul(dy, outputs[1]);
  const before = run(linearCard, inputs.slice(0, 3), { bf16: a.bf16, bf16Out: a.bf16Out })[0] as Tensor;
  return activationBwd(before, dy, a.activation);
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
  reference: ([x, weight, bias, residual], { activation, keepSlope }) => [
    linearReference(x!, weight!, bias, residual, activation),
    ...(keepSlope ? [slopes(linearReference(x!, weight!, bias, undefined, 0), activation)] : []),
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
    {
      name: 'whole lines of 16 bytes, several tiles',
      inputs: [{ shape: [70, 160] }, { shape: [136, 160] }, { shape: [136] }, { shape: [70, 136] }],
      attrs: { activation: 1 },
      dtypes,
      grad: false,
    },
    {
      name: 'parts of K',
      inputs: [{ shape: [5, 2176] }, { shape: [24, 2176] }, { shape: [24] }, { shape: [5, 24] }],
      attrs: { activation: 2 },
      dtypes,
      grad: false,
    },
    { name: 'many rows', inputs: [{ shape: [203, 16] }, { shape: [52, 16] }, { shape: [52] }], dtypes, grad: false },
    {
      name: 'slope of the activation',
      inputs: [{ shape: [9, 21] }, { shape: [50, 21] }, { shape: [50] }],
      attrs: { activation: 2, keepSlope: true },
      dtypes,
      grad: false,
    },
    {
      name: 'bf16 product of f32',
      inputs: [
        { shape: [9, 34] },
        { shape: [50, 34], dtype: 'bf16' as const },
        { shape: [50], dtype: 'f32' as const },
        { shape: [9, 50], dtype: 'f32' as const },
      ],
      attrs: { activation: 1, bf16: true, bf16Out: true, keepSlope: true },
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
  // Backward needs the slope of the activation: keeping it costs an output's memory, computing it again a product.
  const taped = currentContext().grad && inputs.some((tensor) => tensor?.requiresGrad);
  return run(linearCard, inputs, {
    activation: code,
    bf16: compute === 'bf16',
    bf16Out: out === 'bf16',
    keepSlope: taped && code !== 0 && !residual,
  })[0] as Tensor;
}
