/**
 * Dense CRF (Kraehenbuehl, Koltun: arXiv 1210.5644) with the arithmetic of dense-crf.md: Gaussian and bilateral kernels on the
 * permutohedral lattice, mean-field iterations. This file turns named options into the op's terms.
 */
import { type CrfTermAttrs, type Tensor, clamp, crfNormalisations, denseCrfOp, log, neg, scope, scaleShift } from '../engine/index.js';
import { WordmaskError, show } from '../util/errors.js';

type Pair = number | readonly [number, number];
type Triple = number | readonly [number, number, number];

export interface GaussianTerm {
  /** Deviation in pixels, a number or [x, y]. */
  readonly sxy: Pair;
  /** Potts weight. */
  readonly compat: number;
}
export interface BilateralTerm extends GaussianTerm {
  /** Deviation in 8-bit colour steps, a number or [r, g, b]. */
  readonly srgb: Triple;
}

export interface CrfTerms {
  readonly gaussian?: GaussianTerm;
  readonly bilateral?: BilateralTerm;
  readonly normalisation?: (typeof crfNormalisations)[number];
}

/** Setting of `refine: 'crf'` for dense CLIP systems; no paper states one (dense-crf.md section 7). */
export const crfDefaults = { iterations: 10, gaussian: { sxy: 3, compat: 3 }, bilateral: { sxy: 80, srgb: 13, compat: 10 } } as const;

/**
 * Marginals f32 [C, H, W] after `iterations` mean-field steps.
 * @param image u8 [H, W, 3], needed by the bilateral term
 * @param unary f32 [C, H, W], negative log probabilities
 * @throws E_OPTION
 */
export function denseCrf(image: Tensor | undefined, unary: Tensor, options: CrfTerms & { readonly iterations: number }): Tensor {
  const { gaussian, bilateral, iterations, normalisation = 'symmetric' } = options;
  if (!Number.isInteger(iterations) || iterations < 0 || iterations > 1000) throw option('iterations', iterations, 'a whole number from 0 to 1000');
  const code = crfNormalisations.indexOf(normalisation);
  if (code < 0) throw option('normalisation', normalisation, `one of ${crfNormalisations.join(', ')}`);
  if (bilateral && !image) throw new WordmaskError('E_USAGE', 'denseCrf: the bilateral term compares colours and needs an image');
  const terms: CrfTermAttrs[] = [];
  if (gaussian) {
    const [sx, sy] = spread('gaussian.sxy', gaussian.sxy, 2);
    terms.push({ kind: 1, sx, sy, compat: weight('gaussian.compat', gaussian.compat), normalisation: code });
  }
  if (bilateral) {
    const [sx, sy] = spread('bilateral.sxy', bilateral.sxy, 2);
    const [sr, sg, sb] = spread('bilateral.srgb', bilateral.srgb, 3);
    terms.push({ kind: 2, sx, sy, sr, sg, sb, compat: weight('bilateral.compat', bilateral.compat), normalisation: code });
  }
  return denseCrfOp(image, unary, terms, iterations);
}

function spread(name: string, value: number | readonly number[], count: number): number[] {
  const list = typeof value === 'number' ? new Array<number>(count).fill(value) : [...(value ?? [])];
  if (list.length !== count || !list.every((x) => Number.isFinite(x) && x > 0)) throw option(name, value, `a positive number or ${count} of them`);
  return list;
}

function weight(name: string, value: number): number {
  if (!Number.isFinite(value)) throw option(name, value, 'a number');
  return value;
}

function option(name: string, value: unknown, allowed: string): WordmaskError {
  return new WordmaskError('E_OPTION', `denseCrf: ${name} must be ${allowed}, got ${show(value)}`, { details: { option: name, value } });
}

/**
 * Negative log of probabilities (pydensecrf's unary_from_softmax): with `scale` p becomes scale p + (1 - scale) / C; then p is
 * kept within clip..1. p f32 [C, H, W] need not sum to 1.
 */
export function unaryFromSoftmax(p: Tensor, { scale, clip = 1e-5 }: { scale?: number; clip?: number } = {}): Tensor {
  return scope(() => {
    const mixed = scale === undefined ? p : scaleShift(p, scale, (1 - scale) / (p.shape[0] as number));
    return neg(log(clamp(mixed, clip, 1)));
  });
}
