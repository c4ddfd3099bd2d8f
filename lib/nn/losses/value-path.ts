/**
 * Terms that tie patch features to words while CLIP learns from captions alone. Both read the patches on the value path of the
 * last block, as MaskCLIP does at inference (arXiv 2112.01071, section 3.2), so what they teach is what a dense read-out sees.
 */
import {
  add,
  bceLogits,
  exp,
  l2Normalise,
  log,
  matmul,
  mean,
  mul,
  scaleShift,
  scope,
  sum,
  type Tensor,
} from '../../engine/index.js';
import { type ContrastiveOptions, contrastive } from './contrastive.js';

/**
 * Contrastive loss with the image given by the mean of its normalised patches.
 * @param patches [B, K, E] of unit length
 * @param text embeddings [B, E]
 * @returns a scalar
 */
export function valuePath(patches: Tensor, text: Tensor, options: ContrastiveOptions): Tensor {
  return scope(() => contrastive(mean(patches, 1), text, options));
}

export interface NounPatchOptions {
  /** Natural logarithm of the factor on the pooled cosine, one element. */
  readonly logScale: Tensor;
  /** Added to the product, one element. */
  readonly bias: Tensor;
  /** Sharpness of the pooling: 0 would be the mean over the patches, infinity the best patch. */
  readonly sharpness: number;
  /** Weight of nouns that the caption does not name: they may be in the picture all the same. */
  readonly unnamedWeight: number;
}

/**
 * Binary cross-entropy of "this noun is in the caption", from its best patches: cosines pooled by log-mean-exp over the patches,
 * summed over the nouns, mean over the images.
 * @param patches [B, K, E] of unit length
 * @param nouns embeddings [Q, E], normalised here
 * @param named [B, Q], 1 where the caption names the noun, else 0
 * @returns a scalar
 */
export function nounPatch(patches: Tensor, nouns: Tensor, named: Tensor, options: NounPatchOptions): Tensor {
  return scope(() => {
    const batch = patches.shape[0] as number;
    const cosines = matmul(patches, l2Normalise(nouns), { transposeB: true }); // [B, K, Q]
    const sharp = exp(scaleShift(cosines, options.sharpness, 0));
    const pooled = scaleShift(log(mean(sharp, 1)), 1 / options.sharpness, 0); // [B, Q]
    const logits = add(mul(pooled, exp(options.logScale.reshape(1, 1))), options.bias.reshape(1, 1));
    const entropy = bceLogits(logits, named);
    const { unnamedWeight } = options;
    const weights = scaleShift(named, 1 - unnamedWeight, unnamedWeight);
    return scaleShift(sum(mul(entropy, weights)), 1 / batch, 0);
  });
}
