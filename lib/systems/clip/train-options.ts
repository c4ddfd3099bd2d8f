/** What a recipe says about a CLIP that learns from captions: sizes of the towers and the three loss terms. */
import { z } from 'zod';
import type { ClipConfig } from '../../backbones/clip/index.js';
import { type Noun, nounsOf, templateSet } from '../../text/index.js';
import { parseRecipePart, recipeProblem } from '../../util/recipe-part.js';

const size = (limit: number) => z.int().min(1).max(limit);
const share = z.number().min(0).max(1);
const activation = z.enum(['quick_gelu', 'gelu']);
const template = z
  .string()
  .max(1024)
  .refine((text) => text.split('{}').length === 2, 'needs exactly one {}, where the word goes');
const templates = z.union([z.string().max(64), z.array(template).min(1).max(128)]);

const vision = z.strictObject({
  image: size(1024).default(64),
  patch: size(128).default(8),
  width: size(4096).default(128),
  layers: size(64).default(4),
  heads: size(64).default(2),
});
const text = z.strictObject({
  width: size(4096).default(128),
  layers: size(64).default(2),
  heads: size(64).default(2),
  /** Tokens of the longest text, start and end token included. */
  context: z.int().min(4).max(512).default(32),
  /** Entries of the byte-pair vocabulary that is learnt from the captions. */
  vocabulary: z.int().min(512).max(65_536).default(1024),
});
const modelSchema = z.strictObject({
  vision: vision.prefault({}),
  text: text.prefault({}),
  projection: size(4096).default(128),
  activation: activation.default('gelu'),
  /** Share of the patches that a step sees of each image, drawn anew each time. */
  patches: z.number().gt(0).max(1).default(0.5),
  /** From this share of the run on every patch is seen. */
  allPatchesFrom: share.default(0.9),
  /** What the finished model says in its wordmask.json: system, templates and options of its read-out. */
  readOut: z
    .strictObject({
      system: z.string().max(64).default('maskclip'),
      templates: templates.optional(),
      defaults: z.record(z.string().max(64), z.json()).default({}),
    })
    .prefault({}),
});

const nounPatch = z.strictObject({
  weight: z.number().gt(0).max(100).default(0.4),
  /** A class list by name, or nouns with all words for each. */
  nouns: z.union([
    z.string().max(64),
    z
      .array(z.array(z.string().min(1).max(200)).min(1).max(64))
      .min(1)
      .max(4096),
  ]),
  templates: templates.default(['a {}']),
  /** How often another word for the noun stands in the template. */
  synonyms: share.default(0.3),
  /** Weight of nouns that a caption does not name: they may be in the picture all the same. */
  unnamed: share.default(0.3),
  /** Factor in the log-mean-exp over the patches. */
  sharpness: z.number().gt(0).max(1000).default(10),
  scale: z.number().gt(0).max(1000).default(10),
  bias: z.number().min(-1000).max(1000).default(-3),
});
/** Cross-entropy of each patch against the class that fills most of it: a yardstick, for it needs masks. */
const patchLabels = z.strictObject({
  weight: z.number().gt(0).max(100).default(1),
  /** A class list by name: labels count its entries. */
  nouns: z.string().max(64),
  templates: templates.default(['a {}']),
  synonyms: share.default(0.3),
});
const lossesSchema = z.strictObject({
  /** Weight of the contrastive loss of captions; 0 leaves it out. */
  contrastive: z.number().min(0).max(100).default(1),
  /** Largest factor on the cosines of the contrastive terms. */
  maxScale: z.number().gt(1).max(10_000).default(100),
  /** Weight of the contrastive loss on the mean of the patches; 0 leaves the term out. */
  valuePath: z.number().min(0).max(100).default(0),
  /** Left out, or null in a change of a recipe: without the term. */
  nounPatch: nounPatch.nullish(),
  patchLabels: patchLabels.optional(),
});

export type ClipTrainModel = z.infer<typeof modelSchema>;
/** Words of classes, and the sentences they stand in. */
export interface NounWords {
  readonly nouns: readonly Noun[];
  readonly templates: readonly string[];
  readonly synonyms: number;
}
export type ClipTrainLosses = Omit<z.infer<typeof lossesSchema>, 'nounPatch' | 'patchLabels'> & {
  readonly patchLabels?: NounWords & { readonly weight: number };
  readonly nounPatch?: Omit<z.infer<typeof nounPatch>, 'nouns' | 'templates'> & {
    readonly nouns: readonly Noun[];
    readonly templates: readonly string[];
  };
};

/** @throws E_OPTION naming the key, the value and what is allowed */
export function parseTrainModel(given: unknown): ClipTrainModel {
  const model = parse('model', modelSchema, given);
  const { vision: v, text: t } = model;
  if (v.image % v.patch !== 0)
    throw refuse('model.vision.image', `must be a multiple of the patch size ${v.patch}, got ${v.image}`);
  for (const [name, tower] of Object.entries({ vision: v, text: t }))
    if (tower.width % tower.heads !== 0)
      throw refuse(`model.${name}.width`, `must be a multiple of the ${tower.heads} heads, got ${tower.width}`);
  return model;
}

/** @throws E_OPTION as `parseTrainModel`, and for a class list or template set that is not known */
export function parseTrainLosses(given: unknown): ClipTrainLosses {
  const { nounPatch: nouns, patchLabels: labels, ...terms } = parse('losses', lossesSchema, given);
  if (terms.contrastive === 0 && terms.valuePath === 0 && !nouns && !labels)
    throw refuse('losses', 'leave nothing to learn: give a term a weight above 0');
  const rest = {
    ...terms,
    ...(labels && {
      patchLabels: { ...labels, nouns: nounsOf(labels.nouns), templates: templateTexts(labels.templates) },
    }),
  };
  if (!nouns) return rest;
  return { ...rest, nounPatch: { ...nouns, nouns: nounsOf(nouns.nouns), templates: templateTexts(nouns.templates) } };
}

function templateTexts(choice: string | readonly string[]): readonly string[] {
  return typeof choice === 'string' ? templateSet(choice) : choice;
}

function parse<T>(what: string, schema: z.ZodType<T>, given: unknown): T {
  return parseRecipePart({ system: 'clip', what, known: knownKeys }, schema, given);
}

const knownKeys = [modelSchema, vision, text, lossesSchema, nounPatch, patchLabels].flatMap((schema) =>
  Object.keys(schema.shape),
);

const refuse = (option: string, text: string) => recipeProblem('clip', option, text);

/** The model's config.json in memory; the end token has the highest id. */
export function trainConfig(
  { vision: v, text: t, projection, activation }: ClipTrainModel,
  vocabulary: number,
): ClipConfig {
  const tower = ({ width, layers, heads }: { width: number; layers: number; heads: number }) => ({
    ...{ width, layers, heads, activation },
    ffn: 4 * width,
    eps: 1e-5,
  });
  return {
    embed: projection,
    vision: { ...tower(v), imageSize: v.image, patch: v.patch },
    text: { ...tower(t), vocabulary, positions: t.context, eosTokenId: vocabulary - 1 },
  };
}
