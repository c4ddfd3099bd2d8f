/**
 * Gradient caching (Gao et al. 2021, arXiv 2101.06983): the gradient of a loss over a large batch in the memory of a small
 * one. All chunks are embedded without a tape; the loss gives the gradient of the embeddings; each chunk is embedded again on
 * the tape and walked back from its part of that gradient.
 */
import {
  add,
  backward,
  concat,
  mul,
  noGrad,
  requireGrad,
  scope,
  stopGradient,
  sum,
  type Tensor,
} from '../../engine/index.js';
import { WordmaskError } from '../../util/errors.js';
import type { GradientSum } from '../optim/index.js';
import { contrastive } from './contrastive.js';

export interface CachedOptions {
  /** Number of chunks of the batch. */
  readonly chunks: number;
  /** Embeddings of chunk `index`, each [b, E]; called twice and the same both times (randomness by name: `dropout`). */
  embed(index: number): readonly Tensor[];
  /** The loss of the whole batch; parameters it uses itself (a temperature) get their gradient too. */
  loss(...embeddings: Tensor[]): Tensor;
  /** Receives the gradients; `add` is called once a chunk and once for the loss. */
  readonly into: GradientSum;
  /** Factor on the gradients. Default 1. */
  readonly weight?: number;
}

/**
 * The same gradients as `backward(loss(...whole embeddings))` gives, within rounding.
 * @returns the loss, off the tape
 * @throws E_USAGE where chunks differ in their number of embeddings
 */
export function cachedLoss(options: CachedOptions): Tensor {
  const { chunks, embed, into, weight = 1 } = options;
  if (!Number.isInteger(chunks) || chunks < 1)
    throw new WordmaskError('E_OPTION', `cachedLoss: chunks must be a whole number from 1 on, got ${chunks}`);
  return scope(() => {
    const parts = noGrad(() => Array.from({ length: chunks }, (_, i) => scope(() => embed(i).map(stopGradient))));
    const count = parts[0]?.length ?? 0;
    if (parts.some((part) => part.length !== count))
      throw new WordmaskError('E_USAGE', `cachedLoss: every chunk must give ${count} embeddings`);
    const whole = Array.from({ length: count }, (_, k) => requireGrad(joined(parts.map((part) => part[k] as Tensor))));
    const loss = options.loss(...whole);
    const grads = backward(loss);
    into.add(grads, weight);
    const begins = new Array<number>(count).fill(0);
    parts.forEach((part, i) => {
      const wanted = part.map(({ shape: [rows = 0] }, k) => {
        const begin = begins[k] as number;
        begins[k] = begin + rows;
        return grads.get(whole[k] as Tensor)?.slice(0, begin, begin + rows);
      });
      scope(() => walkChunk(embed(i), wanted, into, weight));
    });
    return loss.detach();
  });
}

/** Adds the parameters' gradients of sum_k <embedding_k, wanted_k>. */
function walkChunk(
  embeddings: readonly Tensor[],
  wanted: readonly (Tensor | undefined)[],
  into: GradientSum,
  weight: number,
): void {
  const terms = embeddings.flatMap((embedding, k) => {
    const grad = wanted[k];
    return grad && embedding.requiresGrad ? [sum(mul(embedding, grad))] : [];
  });
  if (terms.length > 0) into.add(backward(terms.reduce((total, term) => add(total, term))), weight);
}

/** As many rows as all together; `concat` takes 64 tensors at a time. */
function joined(parts: readonly Tensor[]): Tensor {
  if (parts.length <= 64) return noGrad(() => concat(parts, 0));
  const groups = Array.from({ length: Math.ceil(parts.length / 64) }, (_, i) => parts.slice(64 * i, 64 * i + 64));
  return joined(groups.map(joined));
}

export interface CachedContrastiveOptions extends Pick<CachedOptions, 'chunks' | 'into' | 'weight'> {
  /** Embeddings of chunk `index`: image and text [b, E]; called twice and the same both times. */
  embed(index: number): { readonly image: Tensor; readonly text: Tensor };
  /** Natural logarithm of the factor on the cosines, one element. */
  readonly logitScale: Tensor;
}

/** `contrastive` over all chunks as one batch, with the memory of one chunk and of [B, B] scores. @returns the loss, off the tape */
export function cachedContrastive({ embed, logitScale, ...options }: CachedContrastiveOptions): Tensor {
  return cachedLoss({
    ...options,
    embed: (index) => {
      const { image, text } = embed(index);
      return [image, text];
    },
    loss: (image, text) => contrastive(image as Tensor, text as Tensor, { logitScale }),
  });
}
