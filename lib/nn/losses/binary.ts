/** Losses of yes-or-no scores: binary cross-entropy, focal, dice. Logits and targets of one shape, targets in 0..1. */
import {
  add,
  bceLogits,
  div,
  mul,
  powScalar,
  scaleShift,
  scope,
  sigmoid,
  sum,
  type Tensor,
} from '../../engine/index.js';
import { like, type Reduction, reduced, wide } from './reduce.js';

export interface BinaryOptions extends Reduction {
  /** Weight of the target's part, for rare positives. Default 1. */
  readonly positive?: number;
}

/**
 * -(positive t log s(z) + (1 - t) log(1 - s(z))), s the logistic function.
 * @param logits any shape
 * @param targets the same shape, constants
 * @returns a scalar f32, or the logits' shape with reduce 'none'
 */
export function binaryCrossEntropy(logits: Tensor, targets: Tensor, options: BinaryOptions = {}): Tensor {
  return scope(() => {
    const z = wide(logits);
    return reduced(bceLogits(z, like(targets, z), { positive: options.positive ?? 1 }), options);
  });
}

export interface FocalOptions extends Reduction {
  /** Weight of positives; negatives have 1 - alpha. Default 0.25; negative: no such weight. */
  readonly alpha?: number;
  /** Exponent of the distance to the target. Default 2; 0 is plain cross-entropy. */
  readonly gamma?: number;
}

/**
 * Focal loss (Lin et al., arXiv 1708.02002, equation 5): alpha_t (1 - p_t)^gamma times the binary cross-entropy, p_t the
 * probability of the target.
 * @returns a scalar f32, or the logits' shape with reduce 'none'
 */
export function focal(logits: Tensor, targets: Tensor, options: FocalOptions = {}): Tensor {
  const { alpha = 0.25, gamma = 2 } = options;
  return scope(() => {
    const z = wide(logits);
    const t = like(targets, z);
    const p = sigmoid(z);
    const miss = add(mul(p, scaleShift(t, -1, 1)), mul(scaleShift(p, -1, 1), t)); // 1 - p_t
    const loss = mul(bceLogits(z, t), powScalar(miss, gamma));
    return reduced(alpha < 0 ? loss : mul(loss, scaleShift(t, 2 * alpha - 1, 1 - alpha)), options);
  });
}

/**
 * Dice loss of masks (V-Net, arXiv 1606.04797, with MaskFormer's smoothing): 1 - (2 sum s(z) t + 1) / (sum s(z) + sum t + 1)
 * a mask.
 * @param logits [M, ...], a mask a row
 * @param targets the same shape
 * @returns a scalar f32: mean over the masks; [M] with reduce 'none'
 */
export function dice(logits: Tensor, targets: Tensor, options: Reduction = {}): Tensor {
  return scope(() => {
    const masks = logits.shape[0] as number;
    const p = sigmoid(wide(logits)).reshape(masks, -1); // [M, N]
    const t = like(targets, p).reshape(masks, -1);
    const shared = scaleShift(sum(mul(p, t), 1), 2, 1); // [M]
    const all = scaleShift(add(sum(p, 1), sum(t, 1)), 1, 1);
    return reduced(scaleShift(div(shared, all), -1, 1), options);
  });
}
