/** Options of CLIP as RNN: the keys of its configs in camelCase, with the values of its constructor where a config leaves one out. */
import { z } from 'zod';
import { crfSettings } from '../../post/dense-crf.js';
import { show, WordmaskError } from '../../util/errors.js';
import { nearest } from '../../util/nearest.js';
import { promptKinds } from './prompts.js';
import { backgroundTexts, semanticTemplates } from './texts.js';

const share = z.number().min(0).max(1);
const positive = z.number().gt(0).max(10_000);
const weight = z.number().min(0).max(10_000);
const pair = z.union([positive, z.tuple([positive, positive])]);
const colour = z.union([positive, z.tuple([positive, positive, positive])]);
const texts = z.array(z.string().min(1).max(1024)).max(10_000);
const template = z
  .string()
  .max(1024)
  .refine((text) => text.split('{}').length === 2, 'needs exactly one {} each, where the word goes');

const shape = {
  /** `semantic`: class names, one forward for all; `refer`: sentences, each looked for alone. */
  mode: z.enum(['semantic', 'refer']),
  /** A text with a lower score leaves the loop. */
  confidenceThreshold: share,
  /** Share of a map's highest value above which boxes are drawn. */
  clipesThreshold: share,
  /** A proposal's pixels above it are the mask that is drawn into the picture. */
  maskThreshold: share,
  visualPromptType: z.array(z.enum(promptKinds)).max(6),
  stuffVisualPromptType: z.array(z.enum(promptKinds)).max(6),
  bgFactor: positive,
  stuffBgFactor: positive,
  /** Words that compete as background. */
  bgCls: texts,
  /** Scoring templates of the semantic mode; empty: the wrapped text alone. */
  semanticTemplates: z.array(template).max(128),
  /** Labels that are stuff: they get a run of their own, and things are painted over them. A data set's name stands for its stuff. */
  stuff: z.union([z.enum(['pc59', 'ade150']), texts]),
  crf: z.union([
    z.literal(false),
    z.strictObject({
      iterations: z.int().min(0).max(1000),
      gaussian: z.strictObject({ sxy: pair, compat: weight }).nullable(),
      bilateral: z.strictObject({ sxy: pair, srgb: colour, compat: weight }).nullable(),
    }),
  ]),
  /** Side of the pictures that are scored; null: that of the scoring model. */
  scoringSize: z.int().min(1).max(4096).nullable(),
  /** Quirks of the published code, off by default. */
  crfWrapQuirk: z.boolean(),
  referCharacterQuirk: z.boolean(),
};

const schema = z.strictObject(shape);

export type CarOptions = Readonly<z.infer<typeof schema>>;

export const carOptionNames: readonly string[] = Object.keys(shape);

export const defaults: CarOptions = {
  mode: 'semantic',
  confidenceThreshold: 0.45,
  clipesThreshold: 0.4,
  maskThreshold: 0.5,
  visualPromptType: ['circle'],
  stuffVisualPromptType: ['blur', 'gray'],
  bgFactor: 1,
  stuffBgFactor: 1,
  bgCls: [...backgroundTexts],
  semanticTemplates: [...semanticTemplates],
  stuff: [],
  crf: { ...crfSettings.car },
  scoringSize: null,
  crfWrapQuirk: false,
  referCharacterQuirk: false,
};

/**
 * Defaults overridden by each layer in turn (preset, file, call); of `crf`, parts that a layer leaves out stay.
 * @throws E_OPTION naming the option, the value and what is allowed, with the nearest known name for an unknown one
 */
export function carOptions(...layers: readonly (Readonly<Record<string, unknown>> | undefined)[]): CarOptions {
  const merged: Record<string, unknown> = { ...defaults };
  for (const layer of layers)
    for (const [key, value] of Object.entries(layer ?? {})) {
      if (value === undefined) continue;
      if (!Object.hasOwn(shape, key)) {
        const guess = nearest(key, carOptionNames);
        throw new WordmaskError(
          'E_OPTION',
          `clip-as-rnn: unknown option ${show(key)}${guess ? `, did you mean '${guess}'?` : ''} (known: ${carOptionNames.join(', ')})`,
          { details: { option: key } },
        );
      }
      const joins = key === 'crf' && typeof value === 'object' && value !== null && !Array.isArray(value);
      merged[key] = joins ? { ...((merged.crf || defaults.crf) as object), ...value } : value;
    }
  const parsed = schema.safeParse(merged);
  if (parsed.success) return Object.freeze(parsed.data);
  const issue = parsed.error.issues[0];
  const path = issue?.path.join('.') ?? '';
  const value = issue?.path.reduce<unknown>((v, k) => (v as Record<PropertyKey, unknown>)?.[k], merged);
  throw new WordmaskError('E_OPTION', `clip-as-rnn: option ${path}: ${issue?.message}, got ${show(value)}`, {
    details: { option: path, value },
  });
}
