import { defineOp, type GradContext, type RefArray, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

const attrs = { normalise: true as boolean, scale: 1 };
type CosineAttrs = typeof attrs;
const bwdAttrs = { ...attrs, ofWeight: false as boolean };

function fits(x: TensorSpec, w: TensorSpec): boolean {
  const dtypes =
    (x.dtype === 'f64' && w.dtype === 'f64') || ((x.dtype === 'f32' || x.dtype === 'bf16') && w.dtype === 'f32');
  return dtypes && x.shape.length === 3 && w.shape.length === 2 && x.shape[2] === w.shape[1];
}

const expected = 'x [N, P, D] in f32 or bf16 and w [S, D] in f32 (or both f64)';

/** Rows of x divided by their length (at least 1e-12). */
function unitRows(x: RefArray, normalise: boolean): { rows: Float64Array; lengths: Float64Array } {
  const d = x.shape.at(-1) as number;
  const count = d === 0 ? 0 : x.data.length / d;
  const lengths = Float64Array.from({ length: count }, (_, p) =>
    normalise ? Math.max(Math.hypot(...x.data.subarray(p * d, (p + 1) * d)), 1e-12) : 1,
  );
  return { rows: x.data.map((value, i) => value / (lengths[Math.floor(i / d)] as number)), lengths };
}

function reference([x, w]: readonly (RefArray | undefined)[], { normalise, scale }: CosineAttrs): RefArray[] {
  const [n, p, d] = x!.shape as [number, number, number];
  const s = w!.shape[0] as number;
  const { rows } = unitRows(x!, normalise);
  const data = new Float64Array(n * s * p);
  data.forEach((_, at) => {
    const patch = Math.floor(at / (s * p)) * p + (at % p);
    const row = Math.floor(at / p) % s;
    let sum = 0;
    for (let i = 0; i < d; i++) sum += (rows[patch * d + i] as number) * (w!.data[row * d + i] as number);
    data[at] = scale * sum;
  });
  return [{ data, shape: [n, s, p] }];
}

function referenceBwd(
  [x, w, g]: readonly (RefArray | undefined)[],
  { normalise, scale, ofWeight }: typeof bwdAttrs,
): RefArray[] {
  const [n, p, d] = x!.shape as [number, number, number];
  const s = w!.shape[0] as number;
  const { rows, lengths } = unitRows(x!, normalise);
  const dw = new Float64Array(w!.data.length);
  const du = new Float64Array(x!.data.length);
  g!.data.forEach((value, at) => {
    const patch = Math.floor(at / (s * p)) * p + (at % p);
    const row = Math.floor(at / p) % s;
    for (let i = 0; i < d; i++) {
      dw[row * d + i] = (dw[row * d + i] as number) + scale * value * (rows[patch * d + i] as number);
      du[patch * d + i] = (du[patch * d + i] as number) + scale * value * (w!.data[row * d + i] as number);
    }
  });
  if (ofWeight) return [{ data: dw, shape: w!.shape }];
  if (!normalise) return [{ data: du, shape: x!.shape }];
  const dx = new Float64Array(x!.data.length);
  for (let patch = 0; patch < n * p; patch++) {
    let along = 0;
    for (let i = patch * d; i < (patch + 1) * d; i++) along += (rows[i] as number) * (du[i] as number);
    for (let i = patch * d; i < (patch + 1) * d; i++)
      dx[i] = ((du[i] as number) - (rows[i] as number) * along) / (lengths[patch] as number);
  }
  return [{ data: dx, shape: x!.shape }];
}

export const cosineLogitsBwdCard = defineOp({
  name: 'cosine_logits_bwd',
  inputs: ['x', 'w', 'g'],
  attrs: bwdAttrs,
  mixedDtypes: true,
  shape: ([x, w, g], { ofWeight }) => {
    const ok =
      fits(x!, w!) &&
      g!.dtype === w!.dtype &&
      sameShape(g!.shape, [x!.shape[0] as number, w!.shape[0] as number, x!.shape[1] as number]);
    return ok
      ? [ofWeight ? w! : x!]
      : rejectShape('cosine_logits_bwd', `${expected} and g [N, S, P] like w`, [x, w, g]);
  },
  reference: referenceBwd,
  samples: [true, false].flatMap((ofWeight) => [
    {
      name: ofWeight ? 'dw' : 'dx',
      inputs: [{ shape: [2, 53, 20] }, { shape: [7, 20] }, { shape: [2, 7, 53] }],
      attrs: { ofWeight, scale: 3 },
    },
    {
      name: ofWeight ? 'dw, bf16 patches' : 'dx, bf16 patches',
      dtypes: ['bf16'] as const,
      attrs: { ofWeight },
      inputs: [
        { shape: [2, 19, 20] },
        { shape: [7, 20], dtype: 'f32' as const },
        { shape: [2, 7, 19], dtype: 'f32' as const },
      ],
    },
    {
      name: ofWeight ? 'dw, raw' : 'dx, raw',
      inputs: [{ shape: [1, 9, 5] }, { shape: [3, 5] }, { shape: [1, 3, 9] }],
      attrs: { ofWeight, normalise: false },
    },
    {
      name: ofWeight ? 'dw, empty' : 'dx, empty',
      inputs: [{ shape: [1, 0, 5] }, { shape: [3, 5] }, { shape: [1, 3, 0] }],
      attrs: { ofWeight },
    },
  ]),
});

function grad({ inputs, attrs: { normalise, scale }, grads }: GradContext<CosineAttrs>): (() => Tensor)[] {
  const of = (ofWeight: boolean) => () =>
    run(cosineLogitsBwdCard, [inputs[0], inputs[1], grads[0]], { normalise, scale, ofWeight })[0] as Tensor;
  return [of(false), of(true)];
}

export const cosineLogitsCard = defineOp({
  name: 'cosine_logits',
  inputs: ['x', 'w'],
  attrs,
  mixedDtypes: true,
  reference,
  grad,
  shape: ([x, w]) =>
    fits(x!, w!)
      ? [{ shape: [x!.shape[0] as number, w!.shape[0] as number, x!.shape[1] as number], dtype: w!.dtype }]
      : rejectShape('cosine_logits', expected, [x, w]),
  samples: [
    { name: 'two images', inputs: [{ shape: [2, 53, 20] }, { shape: [7, 20] }] },
    { name: 'scaled', inputs: [{ shape: [1, 196, 64] }, { shape: [21, 64] }], attrs: { scale: 100 }, grad: false },
    { name: 'raw', inputs: [{ shape: [1, 9, 5] }, { shape: [3, 5] }], attrs: { normalise: false } },
    { name: 'bf16 patches', inputs: [{ shape: [2, 37, 33] }, { shape: [7, 33], dtype: 'f32' }], dtypes: ['bf16'] },
    { name: 'many rows', inputs: [{ shape: [2, 50, 8] }, { shape: [205, 8] }], grad: false },
    {
      name: 'bf16 patches in eights',
      inputs: [{ shape: [2, 131, 40] }, { shape: [35, 40], dtype: 'f32' }],
      attrs: { scale: 10 },
      dtypes: ['bf16'],
      grad: false,
    },
    {
      name: 'bf16 patches, many rows',
      inputs: [{ shape: [1, 19, 16] }, { shape: [143, 16], dtype: 'f32' }],
      dtypes: ['bf16'],
      grad: false,
    },
    { name: 'many names', inputs: [{ shape: [1, 9, 12] }, { shape: [515, 12] }], grad: false },
    { name: 'zero patch', inputs: [{ shape: [1, 3, 4], fill: { values: [0] } }, { shape: [2, 4] }], grad: false },
    { name: 'no patches', inputs: [{ shape: [1, 0, 5] }, { shape: [3, 5] }] },
    { name: 'no names', inputs: [{ shape: [1, 4, 5] }, { shape: [0, 5] }] },
  ],
  bench: [21, 171, 1000].map((s) => ({
    name: `784 patches, ${s} names`,
    inputs: [{ shape: [1, 784, 512] }, { shape: [s, 512] }],
    dtypes: ['f32'] as const,
    flops: 2 * 784 * 512 * s,
  })),
});

/**
 * Similarity of every patch with every name: x [N, P, D], w [S, D] with unit rows -> scale <x / |x|, w> as [N, S, P] in f32
 * (f64 for f64 inputs). x may be bf16; its normalised form is never stored. Differentiable in both.
 * @throws E_OPTION for shapes or dtypes that do not fit
 */
export function cosineLogits(x: Tensor, w: Tensor, options: Partial<CosineAttrs> = {}): Tensor {
  return run(cosineLogitsCard, [x, w], options)[0] as Tensor;
}
