/** Refiners of systems that predict by themselves: probabilities of channels over the picture they belong to. */
import { normaliseImage, scope, Tensor } from '../engine/index.js';
import { type CrfBilateralTerm, type CrfGaussianTerm, denseCrf, unaryFromSoftmax } from './dense-crf.js';
import { pamr } from './pamr.js';
import type { RefineChoice } from './predictor.js';
import type { Trace } from './read-out.js';

/** A system's own CRF, or none. */
export type CrfSetting =
  | false
  | {
      readonly iterations: number;
      readonly gaussian: CrfGaussianTerm | null;
      readonly bilateral: CrfBilateralTerm | null;
    };

/** The CRF of a call: its `refine` over the system's own; what neither says is the fallback's. */
export function chosenCrf(
  refine: RefineChoice | undefined,
  own: CrfSetting,
  fallback: Exclude<CrfSetting, false>,
): CrfSetting {
  if (refine === undefined) return own;
  if (refine.name !== 'crf') return false;
  const { name: _, ...given } = refine;
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...(own || fallback), ...set };
}

/** Marginals of the dense CRF over the picture u8 [H, W, 3] for the probabilities [C, H, W]. */
export function crfMarginals(
  picture: Tensor,
  shares: Tensor,
  { iterations, gaussian, bilateral }: Exclude<CrfSetting, false>,
  trace?: Trace,
): Tensor {
  return scope(() => {
    const unary = unaryFromSoftmax(shares);
    trace?.put('unary', unary);
    const marginals = denseCrf(picture, unary, {
      iterations,
      ...(gaussian && { gaussian }),
      ...(bilateral && { bilateral }),
    });
    trace?.put('crf_marginals', marginals);
    return marginals;
  });
}

/** PAMR over the picture u8 [H, W, 3], normalised as the encoder sees it (mean and deviation of values 0..1). */
export function pamrShares(
  picture: Tensor,
  shares: Tensor,
  refine: Extract<RefineChoice, { name: 'pamr' }>,
  constants: { readonly mean: readonly number[]; readonly std: readonly number[] },
): Tensor {
  return scope(() => {
    const [mean, std] = [constants.mean, constants.std].map((values) =>
      Tensor.from(Float32Array.from(values, (x) => x * 255)),
    ) as [Tensor, Tensor];
    const guide = normaliseImage(picture, mean, std);
    return pamr(guide, shares, { iterations: refine.steps, dilations: refine.dilations });
  });
}
