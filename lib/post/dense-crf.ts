/**
 * Fully connected CRF as a refiner of class maps: mean field inference with Gaussian filter terms (Krähenbühl & Koltun,
 * NIPS 2011), the settings in use, and the unary potentials from probabilities or labels.
 */
import {
  type CrfTermAttrs,
  cast,
  clamp,
  crfMaxTerms,
  crfNormalisations,
  denseCrfOp,
  log,
  neg,
  scaleShift,
  scope,
  Tensor,
  type TypedArray,
} from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

/**
 * Label compatibility: a number is a Potts weight (how strongly equal labels attract); C numbers or a C x C matrix are the
 * compatibility itself, which is subtracted (Potts with weight w is -w on the diagonal). A matrix is made symmetric.
 */
export type CrfCompat = number | readonly number[] | readonly (readonly number[])[] | Tensor;

export interface CrfGaussianTerm {
  /** Standard deviation of the position in pixels, one for both axes or [sx, sy]. */
  readonly sxy: number | readonly [number, number];
  readonly compat: CrfCompat;
  readonly normalisation?: (typeof crfNormalisations)[number];
}

export interface CrfBilateralTerm extends CrfGaussianTerm {
  /** Standard deviation of the colour in levels of 0..255, one for all channels or one each. */
  readonly srgb: number | readonly [number, number, number];
}

export type CrfTerm =
  | ({ readonly kind: 'gaussian' } & CrfGaussianTerm)
  | ({ readonly kind: 'bilateral' } & CrfBilateralTerm);

export interface CrfTerms {
  readonly gaussian?: CrfGaussianTerm;
  readonly bilateral?: CrfBilateralTerm;
  /** More terms, added behind `gaussian` and `bilateral`. */
  readonly terms?: readonly CrfTerm[];
  /** Of the terms that name none; default `symmetric`. */
  readonly normalisation?: (typeof crfNormalisations)[number];
}

export interface DenseCrfOptions extends CrfTerms {
  /** Mean field steps; default 10. */
  readonly iterations?: number;
  /** The refiner record of a segmentation plan may be passed as it is. */
  readonly kind?: 'crf';
}

export const crfMaxIterations = 1000;

/** Setting of `refine: 'crf'`, for which there is no published one. */
export const crfDefaults = {
  iterations: 10,
  gaussian: { sxy: 3, compat: 3 },
  bilateral: { sxy: 80, srgb: 13, compat: 10 },
} as const;

/** Published settings of PnP-OVSS (paper; earlier version; its COCO-Stuff setting) and CLIP as RNN. */
export const crfSettings = {
  pnpOvss: { iterations: 10, gaussian: { sxy: 3, compat: 7 }, bilateral: { sxy: 50, srgb: 5, compat: 10 } },
  pnpOvssEarlier: { iterations: 20, gaussian: { sxy: 3, compat: 7 }, bilateral: { sxy: 50, srgb: 5, compat: 10 } },
  pnpOvssEarlierCocoStuff: {
    iterations: 20,
    gaussian: { sxy: 3, compat: 7 },
    bilateral: { sxy: 20, srgb: 5, compat: 10 },
  },
  car: { iterations: 10, gaussian: { sxy: 1, compat: 3 }, bilateral: { sxy: 67, srgb: 3, compat: 4 } },
} as const satisfies Record<string, DenseCrfOptions>;

/**
 * Marginals of the CRF after `iterations` mean field steps.
 * @param image RGB as decoded, u8 [H, W, 3]; may be undefined where no term is bilateral
 * @param unary negative log probabilities, f32 [C, H, W]
 * @returns f32 [C, H, W], summing to 1 over classes; the label is the first index of the maximum
 * @throws E_OPTION for options or shapes out of range; E_NUMERIC at the next await where `unary` holds NaN
 */
export function denseCrf(image: Tensor | undefined, unary: Tensor, options: DenseCrfOptions): Tensor {
  checkKeys('options', options, ['gaussian', 'bilateral', 'terms', 'normalisation', 'iterations', 'kind']);
  const terms: CrfTerm[] = [
    ...(options.gaussian ? [{ kind: 'gaussian' as const, ...options.gaussian }] : []),
    ...(options.bilateral ? [{ kind: 'bilateral' as const, ...options.bilateral }] : []),
    ...(options.terms ?? []),
  ];
  if (terms.length > crfMaxTerms) refuse('terms', terms.length, `at most ${crfMaxTerms} terms in all`);
  const iterations = options.iterations ?? 10;
  if (!Number.isInteger(iterations) || iterations < 0 || iterations > crfMaxIterations)
    refuse('iterations', iterations, `a whole number from 0 to ${crfMaxIterations}`);
  const attrs = terms.map((term, k) => termAttrs(term, k, options.normalisation ?? 'symmetric'));
  if (!image && attrs.some(({ kind }) => kind === 2))
    throw new WordmaskError('E_USAGE', 'denseCrf: a bilateral term compares colours and needs an image');
  const classes = unary.shape[0] ?? 0;
  return scope(() => {
    const compats = terms.map((term, k) => compatTensor(`${nameOf(term, k)}.compat`, term.compat, classes));
    return denseCrfOp(image, unary, attrs, iterations, compats);
  });
}

const nameOf = (term: CrfTerm, index: number) => `terms[${index}] (${String(term?.kind)})`;

function termAttrs(term: CrfTerm, index: number, fallback: (typeof crfNormalisations)[number]): CrfTermAttrs {
  const name = nameOf(term, index);
  const kind: unknown = term?.kind;
  if (kind !== 'gaussian' && kind !== 'bilateral') refuse(`terms[${index}].kind`, kind, "'gaussian' or 'bilateral'");
  const bilateral = term.kind === 'bilateral';
  checkKeys(name, term, ['kind', 'sxy', 'compat', 'normalisation', ...(bilateral ? ['srgb'] : [])]);
  const [sx, sy] = scales(`${name}.sxy`, term.sxy, 2) as [number, number];
  const [sr, sg, sb] = bilateral ? (scales(`${name}.srgb`, term.srgb, 3) as [number, number, number]) : [1, 1, 1];
  const normalisation = term.normalisation ?? fallback;
  if (!crfNormalisations.includes(normalisation))
    refuse(`${name}.normalisation`, normalisation, `one of ${crfNormalisations.join(', ')}`);
  const compat = typeof term.compat === 'number' ? term.compat : 0;
  if (!Number.isFinite(compat)) refuse(`${name}.compat`, compat, 'a finite number');
  return {
    kind: bilateral ? 2 : 1,
    sx,
    sy,
    sr,
    sg,
    sb,
    compat,
    normalisation: crfNormalisations.indexOf(normalisation),
  };
}

function scales(name: string, value: number | readonly number[], count: number): readonly number[] {
  const list = typeof value === 'number' ? new Array<number>(count).fill(value) : value;
  const valid =
    Array.isArray(list) &&
    list.length === count &&
    list.every((s) => typeof s === 'number' && s > 0 && Number.isFinite(s));
  if (!valid) refuse(name, value, `a finite number above 0, or ${count} of them`);
  return list;
}

function compatTensor(name: string, compat: CrfCompat, classes: number): Tensor | undefined {
  if (typeof compat === 'number' || compat instanceof Tensor) return typeof compat === 'number' ? undefined : compat;
  const rows = (Array.isArray(compat) ? compat : []) as readonly (number | readonly number[])[];
  const matrix = Array.isArray(rows[0]);
  const flat = rows.flat() as number[];
  const fits =
    rows.length === classes &&
    rows.every((row) => Array.isArray(row) === matrix && (!matrix || (row as readonly number[]).length === classes));
  if (!fits || !flat.every(Number.isFinite))
    refuse(name, compat, `a number, ${classes} numbers or a ${classes} x ${classes} matrix, all finite`);
  return Tensor.from(Float32Array.from(flat), matrix ? [classes, classes] : [classes]);
}

/**
 * U = -ln p with p limited to clip..1. `p` need not sum to 1.
 * @param p probabilities [C, ...], any float dtype; the logarithm is taken in it
 * @param options.scale mixes p with the uniform distribution: scale * p + (1 - scale) / C
 * @returns f32 [C, ...]
 */
export function unaryFromSoftmax(
  p: Tensor,
  options: { readonly scale?: number | null; readonly clip?: number } = {},
): Tensor {
  checkKeys('options', options, ['scale', 'clip']);
  const { scale = null, clip = 1e-5 } = options;
  if (scale !== null && !(scale > 0 && scale <= 1)) refuse('scale', scale, 'above 0 and at most 1, or null');
  if (!(clip > 0 && clip < 1)) refuse('clip', clip, 'between 0 and 1');
  if (p.rank < 1 || p.shape[0] === 0)
    refuse('p', `shape [${p.shape.join(', ')}]`, 'of shape [C, ...] with at least one class');
  return scope(() => {
    const mixed = scale === null ? p : scaleShift(p, scale, (1 - scale) / (p.shape[0] as number));
    const unary = neg(log(clamp(mixed, clip, 1)));
    return unary.dtype === 'f32' ? unary : cast(unary, 'f32');
  });
}

/**
 * Unary of a label map: -ln(gtProb) at the label, -ln((1 - gtProb) / (n - 1)) elsewhere. With `zeroUnsure` (the default)
 * label 0 means "unsure", gets -ln(1/n) for every class, and classes are labelled 1..n; else they are 0..n-1.
 * @returns f32 [n, ...shape]
 */
export function unaryFromLabels(
  labels: { readonly data: TypedArray; readonly shape: readonly number[] },
  n: number,
  gtProb: number,
  zeroUnsure = true,
): Tensor {
  if (!Number.isInteger(n) || n < 2) refuse('n', n, 'a whole number of at least 2');
  if (!(gtProb > 0 && gtProb < 1)) refuse('gtProb', gtProb, 'between 0 and 1');
  const { data, shape } = labels;
  const pixels = shape.reduce((a, d) => a * d, 1);
  if (data.length !== pixels) refuse('labels', show(data), `${pixels} values for shape [${shape.join(', ')}]`);
  const first = zeroUnsure ? 1 : 0;
  const unary = new Float32Array(n * pixels).fill(-Math.log((1 - gtProb) / (n - 1)));
  for (let i = 0; i < pixels; i++) {
    const label = data[i] as number;
    if (zeroUnsure && label === 0) {
      for (let c = 0; c < n; c++) unary[c * pixels + i] = -Math.log(1 / n);
    } else if (Number.isInteger(label) && label >= first && label < n + first) {
      unary[(label - first) * pixels + i] = -Math.log(gtProb);
    } else {
      refuse('labels', `${label} at index ${i}`, `whole numbers from 0 to ${n - 1 + first}`);
    }
  }
  return Tensor.lend(unary, [n, ...shape]);
}

const caffeMean = [104.008, 116.669, 122.675] as const;

/**
 * The image that CLIP as RNN's published code hands its CRF: channels in the order B, G, R, minus a mean, truncated
 * towards zero and wrapped to a byte. The wrap is an oversight there; it is kept for reproduction.
 * @param rgb u8 [H, W, 3]
 */
export function wrappedBgr(rgb: Uint8Array): Uint8Array {
  const out = new Uint8Array(rgb.length);
  for (let i = 0; i + 2 < rgb.length; i += 3) {
    // Storing a negative number in a Uint8Array takes it modulo 256.
    for (let c = 0; c < 3; c++) out[i + c] = Math.trunc((rgb[i + 2 - c] as number) - (caffeMean[c] as number));
  }
  return out;
}

function checkKeys(name: string, value: object, allowed: readonly string[]): void {
  if (typeof value !== 'object' || value === null) refuse(name, value, 'an object');
  for (const key of Object.keys(value)) {
    if (allowed.includes(key)) continue;
    const guess = nearest(key, allowed);
    throw new WordmaskError(
      'E_OPTION',
      `denseCrf: unknown key ${show(key)} in ${name}${guess ? `, did you mean '${guess}'?` : ''} (known: ${allowed.join(', ')})`,
      { details: { key } },
    );
  }
}

function refuse(name: string, value: unknown, allowed: string): never {
  throw new WordmaskError('E_OPTION', `denseCrf: ${name} must be ${allowed}, got ${show(value)}`, {
    details: { name, value: show(value) },
  });
}
