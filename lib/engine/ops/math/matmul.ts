import { defineOp, type GradContext, type RefArray, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { numel, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { sumTo } from './sum_to.js';

const attrs = { transposeA: false, transposeB: false };
type MatmulAttrs = typeof attrs;

function outputShape(a: readonly number[], b: readonly number[], flags: MatmulAttrs): number[] | undefined {
  if (a.length < 2 || b.length < 2) return undefined;
  const [m, ka] = flags.transposeA ? [a.at(-1), a.at(-2)] : [a.at(-2), a.at(-1)];
  const [kb, n] = flags.transposeB ? [b.at(-1), b.at(-2)] : [b.at(-2), b.at(-1)];
  const leadA = a.slice(0, -2);
  const leadB = b.slice(0, -2);
  if (ka !== kb || (leadA.length > 0 && leadB.length > 0 && !sameShape(leadA, leadB))) return undefined;
  return [...(leadA.length > 0 ? leadA : leadB), m as number, n as number];
}

function shape([a, b]: readonly (TensorSpec | undefined)[], flags: MatmulAttrs): TensorSpec[] {
  const out = outputShape(a!.shape, b!.shape, flags);
  if (!out) {
    const text = `a [..., ${flags.transposeA ? 'K, M' : 'M, K'}] and b [..., ${flags.transposeB ? 'N, K' : 'K, N'}] with leading axes equal or absent on one side`;
    return rejectShape('matmul', text, [a, b]);
  }
  return [{ shape: out, dtype: a!.dtype }];
}

function reference([a, b]: readonly (RefArray | undefined)[], flags: MatmulAttrs): RefArray[] {
  const out = outputShape(a!.shape, b!.shape, flags) as number[];
  const [m, n] = out.slice(-2) as [number, number];
  const k = a!.shape.at(flags.transposeA ? -2 : -1) as number;
  const batches = numel(out.slice(0, -2));
  const data = new Float64Array(batches * m * n);
  const [stepA, stepB] = [a!.shape.length > 2 ? m * k : 0, b!.shape.length > 2 ? k * n : 0];
  for (let batch = 0; batch < batches; batch++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let c = 0; c < k; c++) {
          const x = a!.data[batch * stepA + (flags.transposeA ? c * m + i : i * k + c)] as number;
          sum += x * (b!.data[batch * stepB + (flags.transposeB ? j * k + c : c * n + j)] as number);
        }
        data[(batch * m + i) * n + j] = sum;
      }
    }
  }
  return [{ data, shape: out }];
}

/** Both gradients are products again, with the flags set so that no operand is copied. */
function grad({ inputs, attrs: flags, grads }: GradContext<MatmulAttrs>): (() => Tensor)[] {
  const [a, b, dy] = [inputs[0] as Tensor, inputs[1] as Tensor, grads[0] as Tensor];
  const { transposeA, transposeB } = flags;
  const da = () =>
    transposeA
      ? matmul(b, dy, { transposeA: transposeB, transposeB: true })
      : matmul(dy, b, { transposeB: !transposeB });
  const db = () =>
    transposeB
      ? matmul(dy, a, { transposeA: true, transposeB: transposeA })
      : matmul(a, dy, { transposeA: !transposeA });
  return [
    () => (a.rank === 2 && b.rank > 2 ? sumTo(da(), a.shape) : da()),
    () => {
      if (b.rank > 2 || a.rank === 2) return db();
      if (transposeA) return sumTo(db(), b.shape);
      // One tall product over all rows of all batches.
      const rows = numel(a.shape.slice(0, -1));
      const x = a.reshape([rows, a.shape.at(-1) as number]);
      const dx = dy.reshape([rows, dy.shape.at(-1) as number]);
      return transposeB ? matmul(dx, x, { transposeA: true }) : matmul(x, dx, { transposeA: true });
    },
  ];
}

const dtypes = ['f32', 'f64', 'bf16'] as const;
const flagNames = [
  ['nn', {}],
  ['tn', { transposeA: true }],
  ['nt', { transposeB: true }],
  ['tt', { transposeA: true, transposeB: true }],
] as const;

export const matmulCard = defineOp({
  name: 'matmul',
  inputs: ['a', 'b'],
  attrs,
  shape,
  reference,
  grad,
  samples: [
    ...flagNames.flatMap(([name, flags]) => {
      const transposeA = 'transposeA' in flags;
      const transposeB = 'transposeB' in flags;
      const left = transposeA ? [19, 13] : [13, 19];
      const right = transposeB ? [51, 19] : [19, 51];
      return [
        { name, inputs: [{ shape: left }, { shape: right }], attrs: flags, dtypes },
        {
          name: `${name}, batches`,
          inputs: [{ shape: [2, 3, ...left] }, { shape: [2, 3, ...right] }],
          attrs: flags,
          dtypes,
        },
        { name: `${name}, one b`, inputs: [{ shape: [3, ...left] }, { shape: right }], attrs: flags, dtypes },
        { name: `${name}, one a`, inputs: [{ shape: left }, { shape: [3, ...right] }], attrs: flags, dtypes },
      ];
    }),
    { name: 'two K blocks', inputs: [{ shape: [9, 1000] }, { shape: [1000, 17] }], dtypes, grad: false },
    {
      name: 'heads, whole lines of 16 bytes',
      inputs: [{ shape: [2, 3, 37, 64] }, { shape: [2, 3, 136, 64] }],
      attrs: { transposeB: true },
      dtypes,
      grad: false,
    },
    { name: 'one row', inputs: [{ shape: [1, 64] }, { shape: [64, 100] }], dtypes },
    { name: 'no rows', inputs: [{ shape: [2, 0, 8] }, { shape: [2, 8, 5] }] },
    { name: 'no batches', inputs: [{ shape: [0, 3, 8] }, { shape: [0, 8, 5] }] },
    { name: 'no inner', inputs: [{ shape: [3, 0] }, { shape: [0, 5] }] },
  ],
  bench: [
    {
      name: 'weight gradient 5516x768x768',
      inputs: [{ shape: [5516, 768] }, { shape: [5516, 768] }],
      attrs: { transposeA: true },
      dtypes: ['f32', 'bf16'],
      flops: 2 * 5516 * 768 * 768,
    },
    {
      name: '12x197x64 by 64x197',
      inputs: [{ shape: [12, 197, 64] }, { shape: [12, 197, 64] }],
      attrs: { transposeB: true },
      dtypes: ['f32', 'bf16'],
      flops: 2 * 12 * 197 * 197 * 64,
    },
  ],
});

/**
 * Matrix product over the last two axes: a [..., M, K] b [..., K, N] -> [..., M, N]. A flag reads its operand with those
 * axes swapped. Leading axes are equal, or absent on one side. Sums are f32 (f64 for f64), in one order per element.
 * @throws E_OPTION for shapes that do not fit
 */
export function matmul(a: Tensor, b: Tensor, options: Partial<MatmulAttrs> = {}): Tensor {
  return run(matmulCard, [a, b], options)[0] as Tensor;
}
