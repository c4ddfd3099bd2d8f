/** LayerNorm over the last axis (kernels.md N1). */
import { defineOp, once, type TensorSpec } from '../../card.js';
import { isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refRound, refRows } from '../reference.js';
import { cast } from './cast.js';

const attrs = { eps: 1e-5, bf16Out: false };

function isParameter(spec: TensorSpec | undefined, width: number): boolean {
  return spec === undefined || (isFloat(spec.dtype) && sameShape(spec.shape, [width]));
}

function normalised(row: number[], eps: number): { h: number[]; rstd: number } {
  const mean = row.reduce((s, v) => s + v, 0) / row.length;
  const variance = row.reduce((s, v) => s + (v - mean) ** 2, 0) / row.length;
  const rstd = 1 / Math.sqrt(variance + eps);
  return { h: row.map((v) => (v - mean) * rstd), rstd };
}

export const layerNormCard = defineOp({
  name: 'layer_norm',
  inputs: ['x', 'gain?', 'bias?'],
  attrs,
  mixedDtypes: true,
  shape: (specs, a) => {
    const [x, gain, bias] = specs;
    const width = x!.shape.at(-1) ?? 0;
    if (x!.shape.length < 1 || !isFloat(x!.dtype) || !isParameter(gain, width) || !isParameter(bias, width))
      rejectShape('layer_norm', 'x [..., D], gain [D], bias [D]', specs);
    if (a.bf16Out && x!.dtype !== 'f32' && x!.dtype !== 'bf16')
      rejectShape('layer_norm', 'f32 or bf16 with bf16Out', specs);
    return [{ shape: x!.shape, dtype: a.bf16Out ? 'bf16' : x!.dtype }];
  },
  grad: ({ inputs: [x, gain, bias], grads: [dy], attrs: { eps }, takeSum }) => {
    const up = () => (x!.dtype === 'f32' && dy!.dtype === 'bf16' ? dy : cast(dy!, x!.dtype));
    // In a pre-norm block x is the residual stream too: its gradient so far is added here, not in a pass of its own.
    const all = once(() => run(layerNormBwdCard, [x, gain, up(), takeSum(0)], { eps }));
    const part = (i: number, like: Tensor | undefined) => like && (() => cast(all()[i] as Tensor, like.dtype));
    return [part(0, x), part(1, gain), part(2, bias)];
  },
  reference: ([x, gain, bias], a) => [
    refRows(x!, (row) =>
      normalised(row, a.eps).h.map((h, i) => {
        const y = h * (gain?.data[i] ?? 1) + (bias?.data[i] ?? 0);
        return a.bf16Out ? refRound(y, 'bf16') : y;
      }),
    ),
  ],
  samples: [
    {
      name: 'tokens',
      inputs: [{ shape: [2, 7, 33] }, { shape: [33], fill: 'positive' }, { shape: [33] }],
      dtypes: ['f32', 'f64', 'bf16', 'f16'],
    },
    {
      name: 'width of B/16',
      inputs: [{ shape: [3, 768] }, { shape: [768], fill: 'positive' }, { shape: [768] }],
      dtypes: ['f32', 'bf16'],
    },
    {
      name: 'large mean',
      inputs: [{ shape: [3, 197], fill: { uniform: [99, 101] } }, { shape: [197] }, undefined],
      dtypes: ['f64'],
    },
    {
      name: 'wide',
      inputs: [{ shape: [2, 1288] }, { shape: [1288] }, { shape: [1288] }],
      dtypes: ['f32', 'bf16'],
      grad: false,
    },
    { name: 'no parameters, tiny eps', inputs: [{ shape: [5, 17] }, undefined, undefined], attrs: { eps: 1e-12 } },
    { name: 'bias alone', inputs: [{ shape: [5, 17] }, undefined, { shape: [17] }] },
    {
      name: 'bf16 rows, f32 parameters',
      inputs: [{ shape: [4, 65] }, { shape: [65], dtype: 'f32' }, { shape: [65], dtype: 'f32' }],
      dtypes: ['bf16'],
    },
    {
      name: 'f32 in, bf16 out',
      inputs: [{ shape: [4, 65] }, { shape: [65] }, { shape: [65] }],
      attrs: { bf16Out: true },
      dtypes: ['f32', 'bf16'],
    },
    { name: 'one column', inputs: [{ shape: [4, 1] }, { shape: [1] }, { shape: [1] }] },
    { name: 'no rows', inputs: [{ shape: [0, 8] }, { shape: [8] }, { shape: [8] }] },
  ],
  bench: [
    {
      name: 'B/16, 8 images',
      inputs: [{ shape: [8, 197, 768] }, { shape: [768] }, { shape: [768] }],
      dtypes: ['f32', 'bf16'],
    },
  ],
});

export const layerNormBwdCard = defineOp({
  name: 'layer_norm_bwd',
  inputs: ['x', 'gain?', 'dy', 'before?'],
  attrs: { eps: 1e-5 },
  mixedDtypes: true,
  shape: (specs) => {
    const [x, gain, dy, before] = specs;
    const width = x!.shape.at(-1) ?? 0;
    const fits =
      sameShape(x!.shape, dy!.shape) &&
      (x!.dtype === dy!.dtype || (x!.dtype === 'f32' && dy!.dtype === 'bf16')) &&
      (!before || (sameShape(x!.shape, before.shape) && x!.dtype === before.dtype)) &&
      isParameter(gain, width);
    if (!fits)
      rejectShape('layer_norm_bwd', 'x [..., D], gain [D], dy like x (or bf16 beside f32), before like x', specs);
    const parameter = { shape: [width], dtype: gain?.dtype ?? x!.dtype };
    return [{ shape: x!.shape, dtype: x!.dtype }, parameter, parameter];
  },
  reference: ([x, gain, dy, before], { eps }) => {
    const width = x!.shape.at(-1) as number;
    const dgain = new Float64Array(width);
    const dbias = new Float64Array(width);
    const dx = refRows(x!, (row, r) => {
      const { h, rstd } = normalised(row, eps);
      const up = [...dy!.data.subarray(r * width, (r + 1) * width)];
      const g = up.map((v, i) => v * (gain?.data[i] ?? 1));
      up.forEach((v, i) => {
        dgain[i]! += v * (h[i] as number);
        dbias[i]! += v;
      });
      const c0 = g.reduce((s, v) => s + v, 0) / width;
      const c1 = g.reduce((s, v, i) => s + v * (h[i] as number), 0) / width;
      return g.map((v, i) => rstd * (v - c0 - (h[i] as number) * c1) + (before?.data[r * width + i] ?? 0));
    });
    return [dx, { data: dgain, shape: [width] }, { data: dbias, shape: [width] }];
  },
  samples: [
    {
      name: 'several parts',
      inputs: [{ shape: [2, 37, 33] }, { shape: [33], fill: 'positive' }, { shape: [2, 37, 33] }],
      dtypes: ['f32', 'f64', 'bf16'],
    },
    {
      name: 'wide',
      inputs: [{ shape: [9, 1288] }, { shape: [1288] }, { shape: [9, 1288] }],
      dtypes: ['f32', 'bf16'],
    },
    { name: 'no gain', inputs: [{ shape: [5, 17] }, undefined, { shape: [5, 17] }] },
    {
      name: 'with the gradient so far',
      inputs: [{ shape: [9, 33] }, { shape: [33], fill: 'positive' }, { shape: [9, 33] }, { shape: [9, 33] }],
      dtypes: ['f32', 'f64', 'bf16'],
    },
    {
      name: 'f32 rows, bf16 gradient',
      inputs: [
        { shape: [9, 33], dtype: 'f32' },
        { shape: [33], dtype: 'f32', fill: 'positive' },
        { shape: [9, 33] },
        { shape: [9, 33], dtype: 'f32' },
      ],
      dtypes: ['bf16'],
    },
    { name: 'no rows', inputs: [{ shape: [0, 8] }, { shape: [8] }, { shape: [0, 8] }] },
  ],
  bench: [
    {
      name: 'B/16, 8 images',
      inputs: [{ shape: [8, 197, 768] }, { shape: [768] }, { shape: [8, 197, 768] }],
      dtypes: ['f32', 'bf16'],
    },
  ],
});

/**
 * (x - mean) / sqrt(variance + eps) * gain + bias over the last axis, statistics in f32 (f64 for f64).
 * x [..., D]; gain and bias [D] in any float dtype, either may be missing; the result has x's dtype, or bf16 with `bf16Out`.
 * @throws E_OPTION
 */
export function layerNorm(
  x: Tensor,
  gain?: Tensor,
  bias?: Tensor,
  eps = 1e-5,
  { bf16Out = false }: { bf16Out?: boolean } = {},
): Tensor {
  return run(layerNormCard, [x, gain, bias], { eps, bf16Out })[0] as Tensor;
}
