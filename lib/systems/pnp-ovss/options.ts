/** Options of PnP-OVSS, by the names of its page in camelCase, with the values of the published scripts (HEAD). */
import { z } from 'zod';
import { crfSettings } from '../../post/dense-crf.js';
import { show, WordmaskError } from '../../util/errors.js';
import { nearest } from '../../util/nearest.js';

const positive = z.number().gt(0).max(10_000);
const weight = z.number().min(0).max(10_000);
const pair = z.union([positive, z.tuple([positive, positive])]);
const colour = z.union([positive, z.tuple([positive, positive, positive])]);
const classNames = z.union([z.int().min(0), z.string().max(4096)]);

const shape = {
  /** Side of the square that the picture is squashed to; whole patches. */
  imageSize: z.int().min(1).max(8192),
  resize: z.enum(['bicubic', 'bilinear']),
  /** Number of the layer in the checkpoint's names, and head, both from 0. */
  layer: z.int().min(0).max(1000),
  head: z.int().min(0).max(1000),
  /** GradCAM passes; 1 is GradCAM alone. */
  passes: z.int().min(1).max(64),
  /** Patches blanked behind each pass: the `n` with the highest score, or half of those that are left. */
  drop: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('topk'), n: z.int().min(0).max(65_536) }),
    z.strictObject({ kind: z.literal('half') }),
  ]),
  firstPassWeight: z.union([z.literal(1), z.literal(2)]),
  /** What a dropped patch shows: the mean colour (blanked behind the normalisation) or black (in front of it). */
  blank: z.enum(['mean', 'black']),
  /** Share of a map's range below which a cell is 0. */
  threshold: z.number().min(0).max(1),
  /** Cells at or above the threshold become 1 (v2) in place of keeping their value. */
  binarise: z.boolean(),
  /** Standard deviation of the blur as a share of the longer side; 0 leaves it out. */
  sigma: z.number().min(0).max(1),
  backgroundChannel: z.enum(['always', 'fewer-than-3']),
  /** Probabilities for the CRF: softmax of the blurred maps, or (v2) the maps themselves, background being what they leave of 1. */
  unary: z.enum(['softmax', 'maps']),
  crf: z.union([
    z.literal(false),
    z.strictObject({
      iterations: z.int().min(0).max(1000),
      gaussian: z.strictObject({ sxy: pair, compat: weight }).nullable(),
      bilateral: z.strictObject({ sxy: pair, srgb: colour, compat: weight }).nullable(),
    }),
  ]),
  /** Which labels are looked for in a picture. */
  classProvider: z.enum(['given', 'json', 'clip', 'all', 'oracle']),
  /** For `json` and `oracle`: by picture, or for every picture of the call; a text names a JSON file. */
  classes: z.union([
    z.string().min(1).max(4096),
    z.array(classNames).max(10_000),
    z.record(z.string(), z.union([z.string().max(1 << 16), z.array(classNames).max(10_000)])),
    z.null(),
  ]),
  /** Key of the picture in `classes`; null: the name of its file without extension. */
  imageId: z.union([z.string().max(1024), z.null()]),
  /** Words of the caption: those of the labels looked for, or (v2) of the whole vocabulary. */
  caption: z.enum(['present', 'all']),
  /** Blur of the masks of the search's reward, a share of the side; and whether the search tries others. Nothing else looks at them. */
  rewardBlur: z.number().gt(0).max(1),
  searchBlur: z.boolean(),
  /** Quirks of the published code, off by default. */
  lastClassSum: z.boolean(),
  emptyChannelQuirk: z.boolean(),
  adeNoNormalise: z.boolean(),
};

const schema = z.strictObject(shape);

export type PnpOptions = Readonly<z.infer<typeof schema>>;
export type ListedClasses = PnpOptions['classes'];

export const pnpOptionNames: readonly string[] = Object.keys(shape);

export const defaults: PnpOptions = {
  imageSize: 336,
  resize: 'bicubic',
  layer: 7,
  head: 9,
  passes: 4,
  drop: { kind: 'topk', n: 10 },
  firstPassWeight: 2,
  blank: 'mean',
  threshold: 0.15,
  binarise: false,
  sigma: 0.05,
  backgroundChannel: 'always',
  unary: 'softmax',
  crf: { ...crfSettings.pnpOvss },
  classProvider: 'given',
  classes: null,
  imageId: null,
  caption: 'present',
  rewardBlur: 0.04,
  searchBlur: false,
  lastClassSum: false,
  emptyChannelQuirk: false,
  adeNoNormalise: false,
};

/** Where one of several forms is allowed, zod says only that none fits. */
const allowed: Readonly<Record<string, string>> = {
  drop: "needs { kind: 'topk', n: 10 } or { kind: 'half' }",
  crf: 'needs false or { iterations, gaussian: { sxy, compat } | null, bilateral: { sxy, srgb, compat } | null }',
  classes:
    'needs a list of labels (names or indices), an object of such lists by picture, or the path of a JSON file with one',
  firstPassWeight: 'needs 1 or 2',
};

/** Parts of these that a layer leaves out stay as the layers below have them. */
const joined = new Set(['crf']);

function merge(below: unknown, value: unknown): unknown {
  const record = (x: unknown): x is object => typeof x === 'object' && x !== null && !Array.isArray(x);
  return record(below) && record(value) ? { ...below, ...value } : value;
}

/**
 * Defaults overridden by each layer in turn (preset, file, call).
 * @throws E_OPTION naming the option, the value and what is allowed, with the nearest known name for an unknown one
 */
export function pnpOptions(...layers: readonly (Readonly<Record<string, unknown>> | undefined)[]): PnpOptions {
  const merged: Record<string, unknown> = { ...defaults };
  for (const layer of layers) {
    for (const [key, value] of Object.entries(layer ?? {})) {
      if (value === undefined) continue;
      if (!Object.hasOwn(shape, key)) {
        const guess = nearest(key, pnpOptionNames);
        throw new WordmaskError(
          'E_OPTION',
          `pnp-ovss: unknown option ${show(key)}${guess ? `, did you mean '${guess}'?` : ''} (known: ${pnpOptionNames.join(', ')})`,
          { details: { option: key } },
        );
      }
      merged[key] = joined.has(key) ? merge(merged[key] || defaults.crf, value) : value;
    }
  }
  const parsed = schema.safeParse(merged);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const path = issue?.path.join('.') ?? '';
    const [option = ''] = path.split('.');
    const value = issue?.path.reduce<unknown>((v, k) => (v as Record<PropertyKey, unknown>)?.[k], merged);
    throw new WordmaskError(
      'E_OPTION',
      `pnp-ovss: option ${path} ${allowed[option] ?? issue?.message}, got ${show(value)}`,
      {
        details: { option: path, value },
      },
    );
  }
  const { classProvider, classes } = parsed.data;
  if ((classProvider === 'json' || classProvider === 'oracle') && classes === null)
    throw new WordmaskError(
      'E_OPTION',
      `pnp-ovss: classProvider '${classProvider}' needs the option classes: ${allowed.classes}; with 'given' the labels of the call are looked for`,
      { details: { option: 'classes' } },
    );
  return Object.freeze(parsed.data);
}
