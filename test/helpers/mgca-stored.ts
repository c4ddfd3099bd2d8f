/** The statistics of alignment_stats from basic ops, everything stored: [B, Q, N] similarities, [B, Q, N, K] choices. */
import {
  type AlignmentStats,
  concat,
  div,
  equal,
  fill,
  gather,
  iota,
  l2Normalise,
  matmul,
  mul,
  scaleShift,
  softmax,
  stopGradient,
  sum,
  type Tensor,
  topk,
  where,
} from '#lib/entry/train.js';

export interface StoredOptions {
  readonly positives: number;
  readonly negatives: number;
  readonly rank: number;
  readonly temperature?: number;
  readonly cosinePixels?: boolean;
  readonly detach?: boolean;
  readonly divideByWeight?: boolean;
}

/** embeddings [B, N, D], text [B, D] */
export function storedStats(embeddings: Tensor, text: Tensor, options: StoredOptions): AlignmentStats {
  const [b = 0, n = 0, d = 0] = embeddings.shape;
  const texts = text.reshape(1, b, d).expand(b, b, d).contiguous();
  const similarity = matmul(texts, embeddings, { transposeB: true }); // [B, B, N]
  const p = softmax(scaleShift(similarity, 1 / (options.temperature ?? 1), 0), 2);
  const own = ownPairs(b, n);
  const mask = where(own, chosen(similarity, options.positives), chosen(similarity, options.negatives));
  let weights = mul(mask, options.detach ? stopGradient(p) : p);
  if (options.divideByWeight) weights = div(weights, sum(weights, 2, true));
  const regions = matmul(weights, embeddings); // [B, B, D]
  const cosines = sum(mul(l2Normalise(regions), l2Normalise(texts)), 2); // [B, B]
  const values = options.cosinePixels
    ? matmul(l2Normalise(texts), l2Normalise(embeddings), { transposeB: true })
    : similarity;
  const ranked = topk(values, options.rank)
    .values.slice(2, options.rank - 1)
    .reshape(b, b);
  const best = topk(values, 1).values.reshape(b, b);
  const diagonal = own.slice(2, 0, 1).reshape(b, b);
  return {
    regions: concat(
      Array.from({ length: b }, (_, i) =>
        regions
          .slice(0, i, i + 1)
          .slice(1, i, i + 1)
          .reshape(1, d),
      ),
      0,
    ),
    cosines,
    pixels: where(diagonal, ranked, best),
  };
}

/** True where image and text belong together, [B, B, N]. */
function ownPairs(b: number, n: number): Tensor {
  const rows = iota([b]).reshape(b, 1, 1);
  return equal(rows.expand(b, b, n).contiguous(), rows.reshape(1, b, 1).expand(b, b, n).contiguous());
}

/** 1 at the k largest of the last axis, lower index first among equals. */
function chosen(similarity: Tensor, k: number): Tensor {
  const n = similarity.shape[2] as number;
  const { indices } = topk(stopGradient(similarity), k); // [A, B, K]
  const [rows, columns] = [iota([n]).reshape(n, 1), iota([n]).reshape(1, n)];
  const identity = where(equal(rows, columns), fill([n, n], 1), 0); // [N, N]
  return sum(gather(identity, indices), 2); // [A, B, N]
}
