/** Cross-entropy of class scores against class indices, softmax fused (kernels.md R4). */
import { defineOp, type RefArray, type TensorSpec } from '../../card.js';
import { type DType, isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refRows } from '../reference.js';

const attrs = { ignore: -100 };
const lossDType = (logits: DType): DType => (logits === 'f64' ? 'f64' : 'f32');

function check(op: string, specs: readonly (TensorSpec | undefined)[]): TensorSpec {
  const [x, target] = specs;
  if (
    x!.shape.length !== 2 ||
    !isFloat(x!.dtype) ||
    target!.dtype !== 'i32' ||
    !sameShape(target!.shape, [x!.shape[0] as number])
  )
    rejectShape(op, 'logits [R, C] and i32 targets [R]', specs);
  return x as TensorSpec;
}

function probabilities(row: number[]): { p: number[]; logTotal: number } {
  const top = Math.max(...row);
  const total = row.reduce((s, v) => s + Math.exp(v - top), 0);
  return { p: row.map((v) => Math.exp(v - top) / total), logTotal: top + Math.log(total) };
}

const classes = (...values: number[]) => ({ shape: [values.length], dtype: 'i32', fill: { values } }) as const;

export const crossEntropyCard = defineOp({
  name: 'cross_entropy',
  inputs: ['logits', 'targets'],
  attrs,
  shape: (specs) => {
    const x = check('cross_entropy', specs);
    return [{ shape: [x.shape[0] as number], dtype: lossDType(x.dtype) }]; // [R]
  },
  grad: ({ inputs: [x, targets], grads: [dy], attrs: a }) => [
    () => run(crossEntropyBwdCard, [x, targets, dy], a)[0] as Tensor,
  ],
  reference: ([x, targets], { ignore }) => {
    const { data } = refRows(
      x!,
      (row, r) => {
        const t = targets!.data[r] as number;
        return [t === ignore ? 0 : probabilities(row).logTotal - (row[t] as number)];
      },
      1,
    );
    return [{ data, shape: [x!.shape[0] as number] } satisfies RefArray];
  },
  samples: [
    { name: 'rows', inputs: [{ shape: [5, 37] }, classes(0, 36, 4, 4, 17)], dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'ignored rows', inputs: [{ shape: [4, 7] }, classes(255, 3, 255, 6)], attrs: { ignore: 255 } },
    { name: 'large scores', inputs: [{ shape: [2, 9], fill: { uniform: [200, 300] } }, classes(8, 0)] },
    { name: 'one class', inputs: [{ shape: [2, 1] }, classes(0, 0)] },
    { name: 'many classes', inputs: [{ shape: [2, 1288] }, classes(1287, 3)], grad: false },
    { name: 'no rows', inputs: [{ shape: [0, 3] }, classes()] },
  ],
  bench: [
    {
      name: '1024 pairs, in-batch',
      inputs: [{ shape: [1024, 1024] }, { shape: [1024], dtype: 'i32', fill: { integers: [0, 1023] } }],
    },
  ],
});

export const crossEntropyBwdCard = defineOp({
  name: 'cross_entropy_bwd',
  inputs: ['logits', 'targets', 'dy'],
  attrs,
  mixedDtypes: true,
  shape: (specs) => {
    const x = check('cross_entropy_bwd', specs);
    const dy = specs[2] as TensorSpec;
    if (dy.dtype !== lossDType(x.dtype) || !sameShape(dy.shape, [x.shape[0] as number]))
      rejectShape('cross_entropy_bwd', 'logits [R, C], i32 targets [R] and dy [R] (f32, or f64 for f64)', specs);
    return [{ shape: x.shape, dtype: x.dtype }];
  },
  reference: ([x, targets, dy], { ignore }) => [
    refRows(x!, (row, r) => {
      const t = targets!.data[r] as number;
      return probabilities(row).p.map((p, c) => (t === ignore ? 0 : (p - (c === t ? 1 : 0)) * (dy!.data[r] as number)));
    }),
  ],
  samples: [
    { name: 'rows', inputs: [{ shape: [5, 37] }, classes(0, 36, 4, 4, 17), { shape: [5] }] },
    {
      name: 'bf16 scores',
      inputs: [{ shape: [5, 37] }, classes(0, 36, 4, 4, 17), { shape: [5], dtype: 'f32' }],
      dtypes: ['bf16'],
    },
    { name: 'ignored rows', inputs: [{ shape: [3, 7] }, classes(-100, 3, 6), { shape: [3] }] },
  ],
});

/**
 * -log softmax(logits)[target] of each row: logits [R, C], i32 targets [R] -> f32 [R] (f64 for f64 logits). Rows whose
 * target is `ignore` give loss 0 and gradient 0.
 * @throws E_OPTION; a target outside 0..C-1 fails the result
 */
export function crossEntropy(logits: Tensor, targets: Tensor, { ignore = -100 }: { ignore?: number } = {}): Tensor {
  return run(crossEntropyCard, [logits, targets], { ignore })[0] as Tensor;
}
