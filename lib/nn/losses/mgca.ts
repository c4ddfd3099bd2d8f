/**
 * Multi-grained cross-modal alignment (arXiv 2403.03707, equations 1-8): contrastive losses between texts and the object, the
 * regions and the pixels that they pick out. The equations of the published text are partly lost; what was rebuilt is an
 * option here, its default the reading argued in docs/mgca.md.
 */
import {
  type AlignmentStats,
  add,
  alignmentStats,
  crossEntropy,
  l2Normalise,
  matmul,
  mean,
  mul,
  scaleShift,
  scope,
  Tensor,
} from '../../engine/index.js';
import { show, WordmaskError } from '../../util/errors.js';
import { nearest } from '../../util/nearest.js';

export interface MgcaLossOptions {
  /** Share of an image's pixels that its own text picks out. */
  readonly alpha: number;
  /** The same for a text of another image. */
  readonly beta: number;
  /** Rank of the positive pixel, as a share: small is the surest pixel, larger a harder one. */
  readonly theta: number;
  /** What `theta` is a share of. The published sweep ends well inside the object, so: of the image. */
  readonly thetaOf: 'image' | 'object';
  /** Shares become counts by floor(x + 0.5) or by floor(x); at least 1. */
  readonly rounding: 'round' | 'floor';
  /** Temperature of the object and region losses, and of the pixel loss with cosines. */
  readonly tau: number;
  /**
   * Pixel loss on dot products over sqrt(D) or on cosines over tau. The paper scales "for numerical stability of the
   * exponential" and cites the transformer: dot products, which are of order 1 then, where cosines would shrink to +-0.04.
   */
  readonly pixelSim: 'dot' | 'cosine/tau';
  /** Factor on dot products in the pixel loss; 0 stands for 1 / sqrt(D). */
  readonly pixelScale: number;
  /** Divides similarities before the softmax over pixels; the text names none. */
  readonly softmaxTemperature: number;
  /** Region weights without gradient. Nothing in the text detaches them. */
  readonly detachP: boolean;
  /** Regions as weighted means. Only cosines of regions are used, so that both readings give the same losses. */
  readonly divideRegionByWeight: boolean;
  /** Weights of the three losses; the paper lists none. */
  readonly object: number;
  readonly region: number;
  readonly pixel: number;
}

export const mgcaLossDefaults: MgcaLossOptions = {
  alpha: 0.4,
  beta: 0.05,
  theta: 0.06,
  thetaOf: 'image',
  rounding: 'round',
  tau: 0.07,
  pixelSim: 'dot',
  pixelScale: 0,
  softmaxTemperature: 1,
  detachP: false,
  divideRegionByWeight: false,
  object: 1,
  region: 1,
  pixel: 1,
};

type Check = readonly [test: (value: unknown) => boolean, allowed: string];
const number = (least: number, most: number, open: boolean): Check => [
  (v) => typeof v === 'number' && (open ? v > least : v >= least) && v <= most,
  `a number ${open ? 'above' : 'from'} ${least} to ${most}`,
];
const oneOf = (...names: string[]): Check => [(v) => names.includes(v as string), names.join(' or ')];
const flag: Check = [(v) => typeof v === 'boolean', 'true or false'];
const share = number(0, 1, true);
const checks: Readonly<Record<keyof MgcaLossOptions, Check>> = {
  alpha: share,
  beta: share,
  theta: number(0, 1, false),
  thetaOf: oneOf('image', 'object'),
  rounding: oneOf('round', 'floor'),
  tau: number(0, 100, true),
  pixelSim: oneOf('dot', 'cosine/tau'),
  pixelScale: number(0, 1e4, false),
  softmaxTemperature: number(0, 1e6, true),
  detachP: flag,
  divideRegionByWeight: flag,
  object: number(0, 1e4, false),
  region: number(0, 1e4, false),
  pixel: number(0, 1e4, false),
};

/** @throws E_OPTION naming the option, its value and what is allowed, with the nearest name for an unknown one */
export function mgcaLossOptions(given: Readonly<Record<string, unknown>> = {}): MgcaLossOptions {
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const check = Object.hasOwn(checks, key) ? checks[key as keyof MgcaLossOptions] : undefined;
    const guess = nearest(key, Object.keys(checks));
    if (!check)
      throw refuse(key, `losses: unknown option ${show(key)}${guess ? `, did you mean '${guess}'?` : ''}`, value);
    if (!check[0](value)) throw refuse(key, `losses: ${key} must be ${check[1]}, got ${show(value)}`, value);
  }
  const options = {
    ...mgcaLossDefaults,
    ...Object.fromEntries(Object.entries(given).filter(([, v]) => v !== undefined)),
  };
  if (options.object + options.region + options.pixel === 0)
    throw refuse('object', 'losses: object, region and pixel are all 0: nothing is left to learn', 0);
  return options;
}

function refuse(option: string, text: string, value: unknown): WordmaskError {
  return new WordmaskError('E_OPTION', text, { details: { option, value } });
}

/** Pixels of a region under the own text and under another, and the rank of the positive pixel, of `pixels`. */
export function mgcaCounts(
  pixels: number,
  { alpha, beta, theta, thetaOf, rounding }: MgcaLossOptions,
): { positives: number; negatives: number; rank: number } {
  // 0.29 * 100 is a little less than 29: a share that means a whole number must give it.
  const count = (x: number) => Math.max(1, Math.floor(x + (rounding === 'round' ? 0.5 : 1e-9)));
  const positives = count(alpha * pixels);
  return {
    positives,
    negatives: count(beta * pixels),
    rank: count(theta * (thetaOf === 'image' ? pixels : positives)),
  };
}

/** Statistics of some images of a batch (the texts `first`, `first` + 1 ... are theirs) against all its texts. */
export function mgcaStats(embeddings: Tensor, text: Tensor, options: MgcaLossOptions, first = 0): AlignmentStats {
  return alignmentStats(embeddings, text, {
    ...mgcaCounts(embeddings.shape[1] as number, options),
    first,
    temperature: options.softmaxTemperature,
    cosinePixels: options.pixelSim === 'cosine/tau',
    detach: options.detachP,
  });
}

export interface MgcaLosses {
  readonly object: Tensor;
  readonly region: Tensor;
  readonly pixel: Tensor;
  readonly total: Tensor;
}

/** The losses from statistics of the whole batch: regions [B, D], cosines and pixels [B, B]. */
export function mgcaFromStats(stats: AlignmentStats, text: Tensor, options: MgcaLossOptions): MgcaLosses {
  return scope(() => {
    const width = text.shape[1] as number;
    const sharpen = (cosines: Tensor) => scaleShift(cosines, 1 / options.tau, 0);
    const objects = matmul(l2Normalise(stats.regions), l2Normalise(text), { transposeB: true }); // [B, B]
    const pixels =
      options.pixelSim === 'dot'
        ? scaleShift(stats.pixels, options.pixelScale || 1 / Math.sqrt(width), 0)
        : sharpen(stats.pixels);
    const object = symmetric(sharpen(objects));
    const region = symmetric(sharpen(stats.cosines));
    const pixel = symmetric(pixels);
    const weighted = [
      [object, options.object],
      [region, options.region],
      [pixel, options.pixel],
    ] as const;
    const total = weighted.map(([loss, weight]) => scaleShift(loss, weight, 0)).reduce((sum, loss) => add(sum, loss));
    return { object, region, pixel, total };
  });
}

/**
 * The three losses of a batch: pixel embeddings [B, N, D] (not normalised) with their texts [B, D], which get no gradient.
 * Memory beyond the embeddings does not grow with B^2 N.
 * @throws E_OPTION
 */
export function mgca(embeddings: Tensor, text: Tensor, given: Partial<MgcaLossOptions> = {}): MgcaLosses {
  const options = mgcaLossOptions(given);
  if (embeddings.shape[0] !== text.shape[0])
    throw new WordmaskError(
      'E_OPTION',
      `mgca: each image needs its text, got ${embeddings.shape[0]} images and ${text.shape[0]} texts`,
    );
  return scope(() => mgcaFromStats(mgcaStats(embeddings, text, options), text, options));
}

/** Mean of the cross-entropies over rows and over columns, the diagonal being right. */
function symmetric(logits: Tensor): Tensor {
  const count = logits.shape[0] as number;
  const targets = Tensor.from(
    Int32Array.from({ length: count }, (_, i) => i),
    [count],
    'i32',
    logits.device,
  );
  const rows = mean(crossEntropy(logits, targets));
  const columns = mean(crossEntropy(logits.permute(1, 0).contiguous(), targets));
  return mul(add(rows, columns), 0.5);
}
