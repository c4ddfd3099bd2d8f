/** Symmetric contrastive loss of CLIP (arXiv 2103.00020, figure 3). */
import { add, crossEntropy, exp, l2Normalise, matmul, mean, mul, scope, Tensor } from '../../engine/index.js';

export interface ContrastiveOptions {
  /** Natural logarithm of the factor on the cosines, a one-element tensor; CLIP starts at ln(1 / 0.07). */
  readonly logitScale: Tensor;
}

/**
 * Mean of the cross-entropies image -> text and text -> image, pair i of one side belonging to pair i of the other.
 * @param image embeddings [B, E], normalised here
 * @param text embeddings [B, E], normalised here
 * @returns a scalar
 */
export function contrastive(image: Tensor, text: Tensor, options: ContrastiveOptions): Tensor {
  return scope(() => {
    const batch = image.shape[0] as number;
    const targets = Tensor.from(
      Int32Array.from({ length: batch }, (_, i) => i),
      [batch],
      'i32',
      image.device,
    );
    const scale = exp(options.logitScale.reshape(1, 1));
    const logits = mul(matmul(l2Normalise(image), l2Normalise(text), { transposeB: true }), scale); // [B, B]
    const forImages = mean(crossEntropy(logits, targets));
    const forTexts = mean(crossEntropy(logits.permute(1, 0).contiguous(), targets));
    return mul(add(forImages, forTexts), 0.5);
  });
}
