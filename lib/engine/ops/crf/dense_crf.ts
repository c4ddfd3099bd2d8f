/**
 * Mean field inference of a fully connected CRF with up to eight Gaussian filter terms, each over pixel positions
 * (`gaussian`) or positions and colours (`bilateral`). Krähenbühl & Koltun, NIPS 2011; filter: permutohedral lattice of
 * Adams, Baek & Davis 2010.
 */
import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type OpCard, type Sample, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { denseCrfReference } from './dense_crf_reference.js';

export const crfMaxTerms = 8;

/** What `normalisation` numbers mean; `symmetric` is the usual one. */
export const crfNormalisations = ['symmetric', 'none', 'before', 'after'] as const;

export interface CrfTermAttrs {
  /** 0: absent, 1: gaussian, 2: bilateral. */
  readonly kind: 0 | 1 | 2;
  readonly sx?: number;
  readonly sy?: number;
  readonly sr?: number;
  readonly sg?: number;
  readonly sb?: number;
  /** Potts weight, used where no compat array is given. */
  readonly compat?: number;
  /** Index into `crfNormalisations`. */
  readonly normalisation?: number;
}

type CrfAttrs = Record<string, number>;

const absent = { kind: 0, sx: 1, sy: 1, sr: 1, sg: 1, sb: 1, compat: 0, normalisation: 0 } as const;

/** Attributes of the op: `iterations`, then `kind0`, `sx0`, ... of every term. */
function attrsOf(terms: readonly CrfTermAttrs[], iterations: number): CrfAttrs {
  const attrs: CrfAttrs = { iterations };
  for (let k = 0; k < crfMaxTerms; k++) {
    for (const [key, value] of Object.entries({ ...absent, ...terms[k] })) attrs[`${key}${k}`] = value;
  }
  return attrs;
}

const expected = 'image u8 [H, W, 3] (needed by bilateral terms), unary f32 [C, H, W], compat arrays f32 [C] or [C, C]';

function shape(inputs: readonly (TensorSpec | undefined)[], attrs: CrfAttrs): readonly TensorSpec[] {
  const [image, unary] = inputs;
  if (unary?.dtype !== 'f32' || unary.shape.length !== 3) rejectShape('dense_crf', expected, inputs);
  const [classes, height, width] = unary.shape as readonly [number, number, number];
  const fits =
    !image ||
    (image.dtype === 'u8' &&
      image.shape.length === 3 &&
      image.shape[0] === height &&
      image.shape[1] === width &&
      image.shape[2] === 3);
  const compatFits = inputs
    .slice(2)
    .every(
      (c) =>
        !c ||
        (c.dtype === 'f32' && (c.shape.length === 1 || c.shape.length === 2) && c.shape.every((d) => d === classes)),
    );
  if (!fits || !compatFits) rejectShape('dense_crf', expected, inputs);
  checkAttr(
    'iterations',
    attrs.iterations as number,
    (n) => Number.isInteger(n) && n >= 0,
    'a whole number of at least 0',
  );
  for (let k = 0; k < crfMaxTerms; k++) {
    const kind = attrs[`kind${k}`] as number;
    checkAttr(`kind${k}`, kind, (n) => n === 0 || n === 1 || n === 2, '0, 1 or 2');
    if (kind === 2 && !image) rejectShape('dense_crf', expected, inputs);
    const scales = ['sx', 'sy', 'sr', 'sg', 'sb'].slice(0, kind === 0 ? 0 : kind === 1 ? 2 : 5);
    for (const key of scales)
      checkAttr(
        `${key}${k}`,
        attrs[`${key}${k}`] as number,
        (n) => n > 0 && Number.isFinite(n),
        'a finite number above 0',
      );
    checkAttr(`compat${k}`, attrs[`compat${k}`] as number, Number.isFinite, 'a finite number');
    checkAttr(
      `normalisation${k}`,
      attrs[`normalisation${k}`] as number,
      (n) => n in crfNormalisations,
      `0 to ${crfNormalisations.length - 1} (${crfNormalisations.join(', ')})`,
    );
  }
  return [unary];
}

function checkAttr(name: string, value: number, valid: (n: number) => boolean, allowed: string): void {
  if (!valid(value))
    throw new WordmaskError('E_OPTION', `dense_crf: ${name} must be ${allowed}, got ${value}`, {
      details: { name, value },
    });
}

const gaussian = { kind: 1, sx: 3, sy: 3, compat: 3 } as const;
const bilateral = { kind: 2, sx: 80, sy: 80, sr: 13, sg: 13, sb: 13, compat: 10 } as const;

function sample(
  name: string,
  classes: number,
  height: number,
  width: number,
  terms: readonly CrfTermAttrs[],
  iterations: number,
  more: Partial<{ colours: readonly [number, number]; compat: readonly number[][] }> = {},
): Sample<CrfAttrs> {
  const colours = more.colours ?? [0, 255];
  return {
    name,
    dtypes: ['f32'],
    inputs: [
      { shape: [height, width, 3], dtype: 'u8', fill: { integers: colours } },
      { shape: [classes, height, width], fill: { uniform: [0, 4] } },
      ...(more.compat ?? []).map((dims) => ({ shape: dims, fill: { uniform: [-4, 0] as const } })),
    ],
    attrs: attrsOf(terms, iterations),
  };
}

export const denseCrfCard: OpCard<CrfAttrs> = defineOp<CrfAttrs>({
  name: 'dense_crf',
  inputs: ['image?', 'unary', ...Array.from({ length: crfMaxTerms }, (_, k) => `compat${k}?`)],
  attrs: attrsOf([], 10),
  shape,
  reference: denseCrfReference,
  samples: [
    sample('noise 13x11', 3, 11, 13, [gaussian, bilateral], 4),
    sample('dark colours 17x9', 5, 9, 17, [gaussian, { ...bilateral, sx: 50, sy: 50, sr: 5, sg: 5, sb: 5 }], 3, {
      colours: [0, 40],
    }),
    sample('one colour', 21, 6, 7, [gaussian, bilateral], 2, { colours: [77, 77] }),
    sample('70x66, several chunks', 2, 66, 70, [{ ...gaussian, sx: 1.5, sy: 4 }, bilateral], 2, {
      colours: [100, 140],
    }),
    sample('single pixel', 4, 1, 1, [gaussian, bilateral], 3),
    sample('one row', 2, 1, 19, [gaussian, bilateral], 2),
    sample('one column', 9, 18, 1, [bilateral, gaussian], 2),
    sample('one class', 1, 5, 6, [gaussian], 2),
    sample('150 classes', 150, 5, 7, [gaussian, bilateral], 2, { colours: [0, 60] }),
    // More classes than a device keeps in the registers of a warp.
    sample('1030 classes', 1030, 2, 3, [gaussian, bilateral], 2, { colours: [0, 60] }),
    sample('no iteration', 3, 4, 5, [gaussian, bilateral], 0),
    sample('no term', 3, 4, 5, [], 5),
    sample(
      'normalisations',
      4,
      9,
      10,
      [
        { ...gaussian, normalisation: 1, compat: 0.5 },
        { ...bilateral, normalisation: 2 },
        { ...gaussian, sx: 2, normalisation: 3 },
      ],
      3,
      { colours: [0, 90] },
    ),
    sample('compat vector and matrix', 6, 8, 9, [gaussian, bilateral], 3, { colours: [0, 90], compat: [[6], [6, 6]] }),
    sample(
      'eight terms',
      3,
      6,
      8,
      Array.from({ length: 8 }, (_, k) =>
        k % 2 ? { ...bilateral, sx: 10 * k, compat: 1 } : { ...gaussian, sx: 1 + k, compat: 1 },
      ),
      2,
      { colours: [0, 90] },
    ),
    // Coordinates of so small scales need keys of more than 63 bits.
    sample('tiny scales', 3, 7, 9, [{ kind: 2, sx: 0.01, sy: 0.01, sr: 0.02, sg: 0.02, sb: 0.02, compat: 3 }], 2, {
      colours: [0, 255],
    }),
    {
      name: 'gaussian without image',
      dtypes: ['f32'],
      inputs: [undefined, { shape: [3, 10, 7], fill: { uniform: [0, 4] } }],
      attrs: attrsOf([gaussian], 3),
    },
    { name: 'no class', dtypes: ['f32'], inputs: [undefined, { shape: [0, 4, 5] }], attrs: attrsOf([gaussian], 3) },
    { name: 'no pixel', dtypes: ['f32'], inputs: [undefined, { shape: [3, 0, 5] }], attrs: attrsOf([gaussian], 3) },
  ],
  // Random colours (almost six vertices a pixel) are the worst case of the filter; see bench/ for photographs.
  bench: [
    {
      name: '500x375 C21 noise in 0..40',
      inputs: [
        { shape: [375, 500, 3], dtype: 'u8', fill: { integers: [0, 40] } },
        { shape: [21, 375, 500], fill: { uniform: [0, 4] } },
      ],
      attrs: attrsOf([gaussian, bilateral], 10),
      dtypes: ['f32'],
    },
  ],
});

/**
 * @param image u8 [H, W, 3], or undefined where no term is bilateral
 * @param unary f32 [C, H, W], negative log probabilities
 * @param terms at most eight, added in this order
 * @param compats per term an optional array f32 [C] (diagonal) or [C, C]; it replaces the term's Potts weight and is
 *   subtracted: Potts with weight w is the diagonal -w
 * @returns marginals f32 [C, H, W]
 * @throws E_OPTION for shapes and attributes out of range; E_NUMERIC (at the next await) for NaN in `unary`
 */
export function denseCrfOp(
  image: Tensor | undefined,
  unary: Tensor,
  terms: readonly CrfTermAttrs[],
  iterations: number,
  compats: readonly (Tensor | undefined)[] = [],
): Tensor {
  if (terms.length > crfMaxTerms)
    throw new WordmaskError('E_OPTION', `dense_crf: takes at most ${crfMaxTerms} terms, got ${terms.length}`);
  return run(denseCrfCard, [image, unary, ...compats], attrsOf(terms, iterations))[0] as Tensor;
}
