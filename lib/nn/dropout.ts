/**
 * Dropout (Srivastava et al. 2014) and drop-path (stochastic depth, arXiv 1603.09382) with counter-based numbers: what is
 * dropped is a function of the stream alone, so a replay under `checkpoint` and a resumed run drop the same.
 */
import { dropout as drop, type Tensor } from '../engine/index.js';
import type { Random } from '../util/random.js';

/**
 * Zeros a share of `rate` of the elements and divides the others by 1 - rate. Leave it out at inference.
 * @param random a stream of this use alone, `context.random.fork('block3.mlp')`; it does not move
 * @throws E_OPTION
 */
export function dropout(x: Tensor, rate: number, random: Random): Tensor {
  return drop(x, { rate, seed: seedOf(random) });
}

/** The same for whole samples: x [B, ...], a residual branch that some samples of the batch go without. @throws E_OPTION */
export function dropPath(x: Tensor, rate: number, random: Random): Tensor {
  return drop(x, { rate, seed: seedOf(random), group: Math.max(1, x.size / Math.max(1, x.shape[0] ?? 1)) });
}

/** 53 bits that depend on the stream's name, not on how much was drawn from it. */
function seedOf(random: Random): number {
  const own = random.fork('dropout');
  return own.bits() + (own.bits() & 0x1fffff) * 2 ** 32;
}
