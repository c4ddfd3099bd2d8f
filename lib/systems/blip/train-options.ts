/** What a recipe says about a matching model that learns from captions: sizes of the towers and the two losses. */
import { z } from 'zod';
import type { BlipConfig } from '../../backbones/blip/index.js';
import { type Noun, nounsOf } from '../../text/index.js';
import { parseRecipePart, recipeProblem } from '../../util/recipe-part.js';

const size = (limit: number) => z.int().min(1).max(limit);
const share = z.number().min(0).max(1);
const activation = z.enum(['quick_gelu', 'gelu']);

const vision = z.strictObject({
  image: size(1024).default(64),
  patch: size(128).default(8),
  width: size(4096).default(128),
  layers: size(64).default(4),
  heads: size(64).default(2),
});
/** Captions that are a list of nouns, as PnP-OVSS asks its models: "a picture of boat brickwall sky". */
const nounLists = z.strictObject({
  /** How often one takes the place of a caption that names a noun. */
  share: share.default(0.25),
  /** A class list by name, or nouns with all words for each. */
  nouns: z.union([
    z.string().max(64),
    z
      .array(z.array(z.string().min(1).max(200)).min(1).max(64))
      .min(1)
      .max(4096),
  ]),
  prefix: z.string().max(200).default('a picture of'),
  /** How often another word for the noun stands in the list. */
  synonyms: share.default(0.3),
});
const text = z.strictObject({
  width: size(4096).default(128),
  /** Every layer looks at the picture; the last one has no gradient with respect to the words. */
  layers: size(64).default(4),
  heads: size(64).default(4),
  /** Tokens of the longest text, start and end token included. */
  context: z.int().min(4).max(512).default(32),
  /** Entries of the table of word pieces that is made from the captions. */
  vocabulary: z.int().min(128).max(65_536).default(1024),
  nounLists: nounLists.nullish(),
});
const modelSchema = z.strictObject({
  vision: vision.prefault({}),
  text: text.prefault({}),
  /** Width of the contrastive embedding. */
  projection: size(4096).default(128),
  activation: activation.default('gelu'),
  /** Share of the patches that a step sees of each image, drawn anew each time. */
  patches: z.number().gt(0).max(1).default(0.5),
  /** From this share of the run on every patch is seen. */
  allPatchesFrom: share.default(0.9),
  /** What the finished model says in its wordmask.json: system and its options. */
  readOut: z
    .strictObject({
      system: z.string().max(64).default('pnp-ovss'),
      defaults: z.record(z.string().max(64), z.json()).default({}),
    })
    .prefault({}),
});
const lossesSchema = z.strictObject({
  /** Weight of the contrastive loss. 0: it is computed and has no gradient, and negatives are drawn by chance. */
  contrastive: z.number().min(0).max(100).default(1),
  /** Weight of the matching loss; 0 leaves it out. */
  matching: z.number().min(0).max(100).default(1),
  /** Largest factor on the cosines. */
  maxScale: z.number().gt(1).max(10_000).default(100),
});

export type BlipTrainModel = z.infer<typeof modelSchema>;
export type BlipTrainLosses = z.infer<typeof lossesSchema>;
export type NounLists = Omit<z.infer<typeof nounLists>, 'nouns'> & { readonly nouns: readonly Noun[] };

/** @throws E_OPTION naming the key, the value and what is allowed */
export function parseTrainModel(given: unknown): BlipTrainModel {
  const model = parse('model', modelSchema, given);
  const { vision: v, text: t } = model;
  if (v.image % v.patch !== 0)
    throw refuse('model.vision.image', `must be a multiple of the patch size ${v.patch}, got ${v.image}`);
  for (const [name, tower] of Object.entries({ vision: v, text: t }))
    if (tower.width % tower.heads !== 0)
      throw refuse(`model.${name}.width`, `must be a multiple of the ${tower.heads} heads, got ${tower.width}`);
  return model;
}

/** @throws E_OPTION as `parseTrainModel` */
export function parseTrainLosses(given: unknown): BlipTrainLosses {
  const losses = parse('losses', lossesSchema, given);
  if (losses.contrastive === 0 && losses.matching === 0)
    throw refuse('losses', 'leave nothing to learn: give a term a weight above 0');
  return losses;
}

/** @throws E_OPTION for a class list that is not known */
export function nounListsOf({ text: { nounLists: lists } }: BlipTrainModel): NounLists | undefined {
  if (!lists || lists.share === 0) return undefined;
  return { ...lists, nouns: nounsOf(lists.nouns) };
}

function parse<T>(what: string, schema: z.ZodType<T>, given: unknown): T {
  return parseRecipePart({ system: 'blip', what, known: knownKeys }, schema, given);
}

const knownKeys = [modelSchema, vision, text, nounLists, lossesSchema].flatMap((schema) => Object.keys(schema.shape));

const refuse = (option: string, text: string) => recipeProblem('blip', option, text);

/** The model's config.json in memory. */
export function trainConfig(
  { vision: v, text: t, projection, activation: act }: BlipTrainModel,
  vocabulary: number,
): BlipConfig {
  const tower = ({ width, layers, heads }: { width: number; layers: number; heads: number }) => ({
    ...{ width, layers, heads, activation: act },
    ffn: 4 * width,
  });
  return {
    embed: projection,
    vision: { ...tower(v), imageSize: v.image, patch: v.patch, eps: 1e-6 },
    text: {
      ...tower(t),
      ...{ vocabulary, positions: t.context, types: 0, keyWidth: v.width, fusionLayer: 0 },
      eps: 1e-12,
    },
  };
}
