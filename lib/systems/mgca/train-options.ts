/** What a recipe says about the training of MGCA besides its losses: pictures, texts, and how the finished model is read. */
import { z } from 'zod';
import { classList, type Noun, templateSet } from '../../text/index.js';
import { show, WordmaskError } from '../../util/errors.js';
import { nearest } from '../../util/nearest.js';

const template = z
  .string()
  .max(1024)
  .refine((text) => text.split('{}').length === 2, 'needs exactly one {}, where the word goes');
const templates = z.union([z.string().max(64), z.array(template).min(1).max(128)]);

const schema = z.strictObject({
  /** Side of the square that a picture becomes; 0: the encoder's own. */
  image: z.int().min(0).max(4096).default(0),
  /** Statistics that pictures are normalised with: TCL's are ImageNet's; an encoder of one's own may want those it was trained with. */
  normalisation: z.enum(['imagenet', 'clip']).default('imagenet'),
  /** Smallest and largest share of a picture's area that a random crop takes (TCL's; the paper names none). */
  crop: z
    .tuple([z.number().gt(0).max(1), z.number().gt(0).max(1)])
    .refine(([least, most]) => least <= most, 'must be [smallest, largest]')
    .default([0.08, 1]),
  /** How often a picture is mirrored. */
  flip: z.number().min(0).max(1).default(0.5),
  /**
   * Further changes of pictures. Off: the paper names none, and some (inversion, solarisation) make what a caption says of colours untrue.
   * The recipe of the paper's data takes those of TCL, on whose code the method builds.
   */
  augment: z
    .strictObject({
      operations: z.int().min(0).max(8).default(0),
      magnitude: z.number().min(0).max(10).default(9),
      deviation: z.number().min(0).max(10).default(0.5),
      jitter: z.number().min(0).max(1).default(0),
      erase: z.number().min(0).max(1).default(0),
    })
    .prefault({}),
  /** Texts made from nouns that compete with the caption, as in GroupViT; 0 uses captions alone. */
  prompts: z.int().min(0).max(16).default(3),
  promptTemplates: templates.default('imagenet-80'),
  /** Where the data list no nouns: a class list, or nouns with all words for each, to look for in captions. */
  nouns: z
    .union([
      z.string().max(64),
      z
        .array(z.array(z.string().min(1).max(200)).min(1).max(64))
        .min(1)
        .max(65_536),
    ])
    .optional(),
  /** Images that the encoder and, in larger batches, the decoder take at once: bounds the memory of a step. */
  imagesAtOnce: z.int().min(1).max(4096).default(32),
  /** What the finished model says in its wordmask.json. */
  readOut: z
    .strictObject({ templates: templates.optional(), defaults: z.record(z.string().max(64), z.json()).default({}) })
    .prefault({}),
});

export type MgcaTrainModel = Omit<z.infer<typeof schema>, 'nouns' | 'promptTemplates'> & {
  readonly nouns?: readonly Noun[];
  readonly promptTemplates: readonly string[];
};

/** @throws E_OPTION naming the key, the value and what is allowed, with the nearest name for an unknown one */
export function parseMgcaModel(given: unknown): MgcaTrainModel {
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw refuse(parsed.error.issues[0] as z.core.$ZodIssue, given);
  const { nouns, promptTemplates, ...rest } = parsed.data;
  return {
    ...rest,
    promptTemplates: typeof promptTemplates === 'string' ? templateSet(promptTemplates) : promptTemplates,
    ...(nouns !== undefined && { nouns: nounsOf(nouns) }),
  };
}

function nounsOf(nouns: string | readonly (readonly string[])[]): Noun[] {
  if (typeof nouns !== 'string') return nouns.map((words) => ({ name: words[0] as string, words }));
  return classList(nouns)
    .filter(({ background }) => !background)
    .map(({ name, prompts }) => ({ name, words: prompts }));
}

function refuse(issue: z.core.$ZodIssue, given: unknown): WordmaskError {
  const path = ['model', ...issue.path].join('.');
  const value = issue.path.reduce<unknown>((v, k) => (v as Record<PropertyKey, unknown> | undefined)?.[k], given);
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const hint = unknown && nearest(unknown, Object.keys(schema.shape));
  const text = unknown
    ? `${path}.${unknown} is not known${hint ? `; did you mean ${show(hint)}?` : ''}`
    : `${path} ${issue.message}, got ${show(value)}`;
  return new WordmaskError('E_OPTION', `mgca: ${text}`, { details: { option: unknown ? `${path}.${unknown}` : path } });
}
