/**
 * Two linear maps with an activation between: in training one step of the tape, whose backward carries the gradient through
 * the activation inside the product that makes it.
 */
import { defineOp, type GradContext, once } from '../../card.js';
import { currentContext, noGrad } from '../../context.js';
import { recordOp } from '../../grad/tape.js';
import { run } from '../../run.js';
import type { Tensor } from '../../tensor.js';
import { type Activation, activationCode, linearReference } from './activation.js';
import { slopeReference } from './activation_bwd.js';
import { cast } from './cast.js';
import { type LinearOptions, linear, linearCard } from './linear.js';
import { linearBwdInput, linearBwdWeight } from './linear_bwd.js';

const attrs = { activation: 0, bf16: false };

function grad({ inputs, outputs, attrs: { bf16 }, grads }: GradContext<typeof attrs>): (() => Tensor)[] {
  const [x, w1, b1, w2, b2, residual] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
  const [, hidden, slope] = outputs as [Tensor, Tensor, Tensor];
  const narrow = bf16 || x.dtype === 'bf16';
  const types = (like: Tensor) => ({ bf16: narrow, bf16Out: like.dtype === 'bf16' });
  const dy = once(() => (narrow ? cast(grads[0] as Tensor, 'bf16') : (grads[0] as Tensor)));
  const dz = once(() => linearBwdInput(dy(), w2, { ...types(slope), gate: slope }));
  const first = once(() => linearBwdWeight(dz(), x, { bf16: narrow }));
  const second = once(() => linearBwdWeight(dy(), hidden, { bf16: narrow }));
  return [
    () => linearBwdInput(dz(), w1, types(x)),
    () => cast(first().weight, w1.dtype),
    () => cast(first().bias, b1.dtype),
    () => cast(second().weight, w2.dtype),
    () => cast(second().bias, b2.dtype),
    () => cast(grads[0] as Tensor, residual.dtype),
  ];
}

/** For the tape alone: `mlp` below runs the two products itself. Outputs: the result, the hidden rows, the slopes there. */
export const mlpCard = defineOp({
  name: 'mlp',
  inputs: ['x', 'weight1', 'bias1?', 'weight2', 'bias2?', 'residual?'],
  attrs,
  mixedDtypes: true,
  composite: true,
  shape: ([x, w1, , w2]) => {
    const lead = x!.shape.slice(0, -1);
    const [wide, out] = [
      [...lead, w1!.shape[0] as number],
      [...lead, w2!.shape[0] as number],
    ];
    return [out, wide, wide].map((shape) => ({ shape, dtype: x!.dtype }));
  },
  reference: ([x, w1, b1, w2, b2, residual], { activation }) => {
    const hidden = linearReference(x!, w1!, b1, undefined, activation);
    const { data, shape } = linearReference(x!, w1!, b1, undefined, 0);
    const slopes = { data: data.map((z) => slopeReference(activation, z)), shape };
    return [linearReference(hidden, w2!, b2, residual, 0), hidden, slopes];
  },
  grad,
  samples: [],
});

export interface MlpMap {
  readonly weight: Tensor;
  readonly bias?: Tensor | undefined;
}

export interface MlpOptions extends Pick<LinearOptions, 'residual' | 'compute' | 'out'> {
  readonly activation: Activation;
}

/**
 * act(x W1^T + b1) W2^T + b2 + residual: the same values as two calls of `linear`. x [..., K], weights [H, K] and [N, H] ->
 * [..., N]. With `compute: 'bf16'` the hidden rows are bf16; `out` and the dtypes are those of `linear`.
 * @throws E_OPTION for shapes or dtypes that do not fit
 */
export function mlp(x: Tensor, first: MlpMap, second: MlpMap, options: MlpOptions): Tensor {
  const { activation, residual, compute, out } = options;
  const inputs = [x, first.weight, first.bias, second.weight, second.bias, residual];
  const bf16 = compute === 'bf16';
  const code = activationCode(activation);
  const hiddenOut = bf16 ? 'bf16' : undefined;
  if (code === 0 || !currentContext().grad || !inputs.some((tensor) => tensor?.requiresGrad)) {
    const hidden = linear(x, first.weight, { bias: first.bias, activation, compute, out: hiddenOut });
    return linear(hidden, second.weight, { bias: second.bias, residual, compute, out });
  }
  const outputs = noGrad(() => {
    const [hidden, slope] = run(linearCard, [x, first.weight, first.bias], {
      activation: code,
      bf16,
      bf16Out: bf16,
      keepSlope: true,
    }) as [Tensor, Tensor];
    return [linear(hidden, second.weight, { bias: second.bias, residual, compute, out }), hidden, slope] as const;
  });
  recordOp(mlpCard, inputs, outputs, { activation: code, bf16 });
  return outputs[0];
}
