/**
 * Image-text matching with hard negatives (ALBEF, arXiv 2107.07651, section 3.2; BLIP, arXiv 2201.12086, section 3.2): whether a
 * caption fits a picture, the wrong ones drawn from the batch in proportion to how alike the contrastive side finds them.
 */
import {
  add,
  argmax,
  crossEntropy,
  exp,
  l2Normalise,
  log,
  matmul,
  mean,
  mul,
  noGrad,
  scaleShift,
  scope,
  softmax,
  Tensor,
} from '../../engine/index.js';
import type { Random } from '../../util/random.js';
import type { ContrastiveOptions } from './contrastive.js';

/** Added to every probability, as in the published code: no pair is wholly out of reach. */
const leastProbability = 1e-4;
/** Takes a pair out of the draw. */
const never = -1e9;

/**
 * Noise of the draws, [2, B, B]: Gumbel noise, with which the largest of log p + noise is a draw from p (Gumbel 1954), and a number far
 * below all others where caption and picture belong together.
 * @param same whether caption `j` is as right for picture `i` as its own
 */
export function negativeNoise(batch: number, random: Random, same: (i: number, j: number) => boolean): Float32Array {
  const noise = new Float32Array(2 * batch * batch);
  for (let side = 0, at = 0; side < 2; side++)
    for (let i = 0; i < batch; i++)
      for (let j = 0; j < batch; j++, at++) {
        const gumbel = -Math.log(-Math.log((random.bits() + 0.5) * 2 ** -32));
        noise[at] = same(i, j) ? never : gumbel;
      }
  return noise;
}

/**
 * A wrong caption for each picture and a wrong picture for each caption, drawn by softmax(scale * cosine) + 1e-4. No gradient.
 * @param image embeddings [B, E], normalised here
 * @param text embeddings [B, E], normalised here
 * @param noise of `negativeNoise` [2, B, B]
 * @returns `texts` by picture and `images` by caption, i32 [B]
 */
export function hardNegatives(
  image: Tensor,
  text: Tensor,
  noise: Tensor,
  { logitScale }: ContrastiveOptions,
): { readonly texts: Tensor; readonly images: Tensor } {
  return noGrad(() =>
    scope(() => {
      const scale = exp(logitScale.reshape(1, 1));
      const logits = mul(matmul(l2Normalise(image), l2Normalise(text), { transposeB: true }), scale); // [B, B]
      const draw = (rows: Tensor, side: number) =>
        argmax(add(log(scaleShift(softmax(rows), 1, leastProbability)), noise.select(0, side)), 1); // [B]
      return { texts: draw(logits, 0), images: draw(logits.permute(1, 0).contiguous(), 1) };
    }),
  );
}

/**
 * Mean cross-entropy of match logits.
 * @param logits [N, 2], index 1 = match: the right pairs first, the wrong ones behind them
 * @param right number of right pairs
 * @returns a scalar
 */
export function matchLoss(logits: Tensor, right: number): Tensor {
  return scope(() => {
    const targets = Int32Array.from({ length: logits.shape[0] as number }, (_, i) => Number(i < right));
    return mean(crossEntropy(logits, Tensor.from(targets, [targets.length], 'i32', logits.device)));
  });
}
