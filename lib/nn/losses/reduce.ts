/** What the elementwise losses share: f32 arithmetic, weights, and how elements become one number. */
import { cast, div, mean, mul, sum, type Tensor } from '../../engine/index.js';

export interface Reduction {
  /** Factor on each element; its shape broadcasts to that of the loss. */
  readonly weights?: Tensor;
  /** 'mean' (default) divides the sum by the number of elements, also of those with weight 0. */
  readonly reduce?: 'mean' | 'sum' | 'none';
  /** Divides the sum by this instead: the number of masks, of positives, of images. */
  readonly per?: number;
}

/** Losses are computed in f32 whatever the model computes in; f64 stays. */
export function wide(x: Tensor): Tensor {
  return x.dtype === 'f32' || x.dtype === 'f64' ? x : cast(x, 'f32');
}

export function reduced(loss: Tensor, { weights, reduce = 'mean', per }: Reduction): Tensor {
  const weighted = weights ? mul(loss, weights) : loss;
  if (per !== undefined) return div(sum(weighted), per);
  if (reduce === 'none') return weighted;
  return reduce === 'sum' ? sum(weighted) : mean(weighted);
}

/** A tensor of the dtype of another. */
export function like(x: Tensor, model: Tensor): Tensor {
  return x.dtype === model.dtype ? x : cast(x, model.dtype);
}
