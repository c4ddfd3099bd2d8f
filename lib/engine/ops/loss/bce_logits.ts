/** Binary cross-entropy of logits, element by element (kernels.md R4). */
import { defineOp, type TensorSpec } from '../../card.js';
import { type DType, isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

/** positive: weight of the target's part of the loss. */
const attrs = { positive: 1 };
const lossDType = (logits: DType): DType => (logits === 'f64' ? 'f64' : 'f32');

function check(op: string, specs: readonly (TensorSpec | undefined)[]): TensorSpec {
  const [z, t] = specs as readonly [TensorSpec, TensorSpec];
  if (!isFloat(z.dtype) || t.dtype !== z.dtype || !sameShape(z.shape, t.shape))
    rejectShape(op, 'logits and targets of one floating dtype and shape', specs);
  return z;
}

const softplus = (z: number) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const target = (...shape: number[]) => ({ shape, fill: 'unit', grad: false }) as const;

export const bceLogitsCard = defineOp({
  name: 'bce_logits',
  inputs: ['logits', 'targets'],
  attrs,
  shape: (specs) => {
    const z = check('bce_logits', specs);
    return [{ shape: z.shape, dtype: lossDType(z.dtype) }];
  },
  grad: ({ inputs: [z, t], grads: [dy], attrs: a }) => [() => run(bceLogitsBwdCard, [z, t, dy], a)[0] as Tensor],
  reference: ([z, t], { positive }) => [
    {
      shape: z!.shape,
      data: z!.data.map((x, i) => {
        const y = t!.data[i] as number;
        return positive * y * softplus(-x) + (1 - y) * softplus(x);
      }),
    },
  ],
  samples: [
    { name: 'soft targets', inputs: [{ shape: [5, 37] }, target(5, 37)], dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'positives weigh more', inputs: [{ shape: [41] }, target(41)], attrs: { positive: 2.5 } },
    { name: 'large logits', inputs: [{ shape: [64], fill: { uniform: [-200, 200] } }, target(64)] },
    { name: 'logits of 0', inputs: [{ shape: [6], fill: { values: [0] } }, target(6)] },
    { name: 'empty', inputs: [{ shape: [0, 3] }, target(0, 3)] },
  ],
  bench: [{ name: '100 masks of 112x112', inputs: [{ shape: [100, 112, 112] }, target(100, 112, 112)] }],
});

export const bceLogitsBwdCard = defineOp({
  name: 'bce_logits_bwd',
  inputs: ['logits', 'targets', 'dy'],
  attrs,
  mixedDtypes: true,
  shape: (specs) => {
    const z = check('bce_logits_bwd', specs);
    const dy = specs[2] as TensorSpec;
    if (dy.dtype !== lossDType(z.dtype) || !sameShape(dy.shape, z.shape))
      rejectShape('bce_logits_bwd', 'dy of the shape of the logits (f32, or f64 for f64)', specs);
    return [z];
  },
  reference: ([z, t, dy], { positive }) => [
    {
      shape: z!.shape,
      data: z!.data.map((x, i) => {
        const y = t!.data[i] as number;
        return ((1 - y) * sigmoid(x) - positive * y * sigmoid(-x)) * (dy!.data[i] as number);
      }),
    },
  ],
  samples: [
    { name: 'soft targets', inputs: [{ shape: [5, 37] }, target(5, 37), { shape: [5, 37] }], attrs: { positive: 2.5 } },
    { name: 'bf16 logits', inputs: [{ shape: [67] }, target(67), { shape: [67], dtype: 'f32' }], dtypes: ['bf16'] },
    { name: 'empty', inputs: [{ shape: [0] }, target(0), { shape: [0] }] },
  ],
});

/**
 * positive t softplus(-z) + (1 - t) softplus(z): logits z and targets t in 0..1 of one shape and dtype -> the same shape, f32
 * (f64 for f64). Targets get no gradient. @throws E_OPTION
 */
export function bceLogits(logits: Tensor, targets: Tensor, { positive = 1 }: { positive?: number } = {}): Tensor {
  return run(bceLogitsCard, [logits, targets], { positive })[0] as Tensor;
}
