/** GradCAM of an attention in one pass (kernels.md A5): neither probabilities nor their gradient leave the kernel. */
import { defineOp, type RefArray, type TensorSpec } from '../../card.js';
import { isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

const attrs = { scale: 1 };

function check(specs: readonly (TensorSpec | undefined)[]): TensorSpec[] {
  const [q, k, v, up, lengths] = specs;
  const [batch = 0, heads = 0, nq = 0, d = 0] = q!.shape;
  const [, , nk = 0, dv = 0] = v!.shape;
  const fits =
    q!.shape.length === 4 &&
    isFloat(q!.dtype) &&
    [k, v, up].every((spec) => spec!.dtype === q!.dtype) &&
    sameShape(k!.shape, [batch, heads, nk, d]) &&
    sameShape(v!.shape, [batch, heads, nk, dv]) &&
    sameShape(up!.shape, [batch, heads, nq, dv]) &&
    (!lengths || (lengths.dtype === 'i32' && sameShape(lengths.shape, [batch])));
  if (!fits) {
    return rejectShape(
      'attention_cam',
      'q [B, A, Nq, d], k [B, A, Nk, d], v [B, A, Nk, dv], dOut [B, A, Nq, dv] of one floating dtype, keyLengths i32 [B]',
      specs,
    );
  }
  return [{ shape: [batch, nq, nk], dtype: q!.dtype === 'f64' ? 'f64' : 'f32' }];
}

function reference([q, k, v, up, lengths]: readonly (RefArray | undefined)[], { scale }: typeof attrs): RefArray[] {
  const [batch, heads, nq, d] = q!.shape as [number, number, number, number];
  const [, , nk, dv] = v!.shape as [number, number, number, number];
  const data = new Float64Array(batch * nq * nk);
  const dot = (a: RefArray, i: number, b: RefArray, j: number, n: number) => {
    let sum = 0;
    for (let c = 0; c < n; c++) sum += (a.data[i * n + c] as number) * (b.data[j * n + c] as number);
    return sum;
  };
  for (let b = 0; b < batch; b++) {
    const keys = lengths ? Math.max(0, Math.min(nk, lengths.data[b] as number)) : nk;
    for (let a = 0; a < heads; a++) {
      const at = b * heads + a;
      for (let i = 0; i < nq; i++) {
        const logits = Array.from({ length: keys }, (_, j) => scale * dot(q!, at * nq + i, k!, at * nk + j, d));
        const top = Math.max(...logits);
        const mass = logits.reduce((sum, x) => sum + Math.exp(x - top), 0);
        logits.forEach((x, j) => {
          const slope = dot(up!, at * nq + i, v!, at * nk + j, dv);
          const place = (b * nq + i) * nk + j;
          data[place] = (data[place] as number) + (Math.max(slope, 0) * Math.exp(x - top)) / mass / heads;
        });
      }
    }
  }
  return [{ data, shape: [batch, nq, nk] }];
}

const shapes = (batch: number, heads: number, nq: number, nk: number, d: number, dv = d) => [
  { shape: [batch, heads, nq, d] },
  { shape: [batch, heads, nk, d] },
  { shape: [batch, heads, nk, dv] },
  { shape: [batch, heads, nq, dv] },
];

export const attentionCamCard = defineOp({
  name: 'attention_cam',
  inputs: ['q', 'k', 'v', 'dOut', 'keyLengths?'],
  attrs,
  mixedDtypes: true,
  shape: check,
  reference,
  samples: [
    { name: 'ragged', inputs: shapes(2, 3, 5, 37, 7, 9), attrs: { scale: 0.4 }, dtypes: ['f32', 'f64', 'bf16', 'f16'] },
    {
      name: 'lengths, one of them 0',
      inputs: [...shapes(3, 2, 4, 11, 8), { shape: [3], dtype: 'i32', fill: { values: [11, 0, 4] } }],
      attrs: { scale: 0.3 },
    },
    { name: 'one head, more keys than threads', inputs: shapes(1, 1, 3, 601, 16), attrs: { scale: 0.25 } },
    { name: 'no queries', inputs: shapes(1, 2, 0, 5, 4) },
    { name: 'no keys', inputs: shapes(1, 2, 3, 0, 4) },
  ],
  bench: [
    { name: 'text to picture, one head', inputs: shapes(1, 1, 35, 2305, 64), attrs: { scale: 0.125 } },
    { name: 'text to picture, 12 heads', inputs: shapes(1, 12, 35, 2305, 64), attrs: { scale: 0.125 } },
  ],
});

export interface AttentionCamOptions {
  /** Factor of the similarity; default 1 / sqrt(d). */
  readonly scale?: number;
  /** Keys from this index on are blocked: i32 [B]. */
  readonly keyLengths?: Tensor | undefined;
}

/**
 * Mean over heads of P * max(dP, 0), with P = softmax(scale q k^T) and dP = dOut v^T the gradient of a loss with respect to it
 * (Selvaraju et al. 2017 with attention in place of feature maps). q [B, A, Nq, d], k [B, A, Nk, d], v [B, A, Nk, dv] and dOut, the
 * gradient of the attention's output [B, A, Nq, dv] -> f32 [B, Nq, Nk]; a row without keys is 0. Has no gradient.
 * @throws E_OPTION when shapes or dtypes do not go together
 */
export function attentionCam(q: Tensor, k: Tensor, v: Tensor, dOut: Tensor, options: AttentionCamOptions = {}): Tensor {
  const scale = options.scale ?? 1 / Math.sqrt(q.shape[3] as number);
  return run(attentionCamCard, [q, k, v, dOut, options.keyLengths], { scale })[0] as Tensor;
}
