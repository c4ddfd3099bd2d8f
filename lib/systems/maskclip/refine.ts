/**
 * MaskCLIP's optional refinements on the patch grid (chongzhou96/MaskCLIP decode_heads/maskclip_head.py, refine_output;
 * dense-clip-baselines.md section 3). Prompt denoising comes first, then key smoothing. As in the published code, keys
 * are divided by their norm over the patches, channel by channel, and the weighted sum is not normalised.
 */
import {
  div,
  fill,
  less,
  matmul,
  max,
  maximum,
  mul,
  scope,
  softmax,
  sqrt,
  square,
  sum,
  type Tensor,
  where,
} from '../../engine/index.js';
import type { DenseFeatures } from '../../post/dense-encode.js';
import type { DenseOptions } from '../../post/dense-options.js';

/** Factor on the cosines inside the refinements; the published code fixes it. */
const temperature = 100;

/** Cosine maps [N, S, P] -> maps [N, S, P]: cosines, or probabilities where keys are smoothed. */
export function refineScores(scores: Tensor, features: DenseFeatures, options: DenseOptions): Tensor {
  return scope(() => {
    const denoised = options.promptDenoising > 0 ? denoise(scores, options.promptDenoising) : scores;
    if (options.keySmoothing <= 0 || !features.keys) return denoised;
    return smooth(denoised, features.keys, options.keySmoothing);
  });
}

/** A class whose best probability in the window is under the threshold gets cosine -100. */
function denoise(scores: Tensor, threshold: number): Tensor {
  const best = max(softmax(mul(scores, temperature), 1), 2, true); // [N, S, 1]
  const weak = less(best, threshold).expand(scores.shape);
  return where(weak, fill(scores.shape, -100), scores);
}

/** Positions whose best probability is under the threshold take the key-weighted sum of all positions' probabilities. */
function smooth(scores: Tensor, keys: Tensor, threshold: number): Tensor {
  const p = softmax(mul(scores, temperature), 1); // [N, S, P]
  const norms = maximum(sqrt(sum(square(keys), 1, true)), 1e-12); // [N, 1, D]: over patches
  const unit = div(keys, norms); // [N, P, D]
  const weights = matmul(unit, unit, { transposeB: true }); // [N, P, P], symmetric
  const mixed = matmul(p, weights); // [N, S, P]
  const unsure = less(max(p, 1, true), threshold).expand(p.shape); // [N, S, P]
  return where(unsure, mixed, p);
}
