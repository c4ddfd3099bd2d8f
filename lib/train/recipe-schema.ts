/** The shape of a recipe; recipe.ts reads one and reports what is wrong with it. */
import { z } from 'zod';

const share = z.number().min(0).max(1);
const positive = z.number().positive().max(1e9);
const whole = (min: number, max = 2 ** 40) => z.int().min(min).max(max);
const path = z.string().min(1).max(4096);
const options = z.record(z.string().min(1).max(64), z.json());

/** Pictures are reduced so that the short side has at most this many pixels; 0 leaves them as they are. */
const side = whole(0, 65_535).default(320);

/** Where pairs come from; more kinds are added here and in sources.ts. */
const data = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('drawn-scenes'),
    /** Scenes of one epoch. */
    count: whole(1, 2 ** 31).default(40_000),
    /** Epochs in which the same scenes come back, with other captions, before new ones are drawn. */
    reuse: whole(1, 1_000_000).default(8),
    width: whole(16, 4096).default(64),
    height: whole(16, 4096).default(64),
    /** Samples carry the class of every pixel too, for yardsticks that train on masks. */
    labels: z.boolean().optional(),
    /** Further options of the drawing, checked there. */
    options: options.default({}),
  }),
  z.strictObject({ kind: z.literal('folder'), path, captions: path.optional(), side }),
  z.strictObject({ kind: z.literal('jsonl'), path, images: path.optional(), side }),
  z.strictObject({ kind: z.literal('tar'), path: z.union([path, z.array(path).min(1).max(100_000)]), side }),
]);

/** Parameter paths, `*` for one segment and `**` for any number; `!` in front takes some out again. */
const patterns = z.array(z.string().min(1).max(512)).min(1).max(256);
const decay = z.number().min(0).max(10);

const groups = z
  .array(
    z.strictObject({
      match: patterns,
      /** Takes only tensors of these numbers of axes. */
      ranks: z.array(whole(0, 8)).min(1).max(9).optional(),
      rate: z.number().min(0).max(1e9).optional(),
      decay: decay.optional(),
    }),
  )
  .max(64)
  .default([]);

const adamwShape = {
  rate: positive,
  betas: z.tuple([share, share]).default([0.9, 0.999]),
  eps: positive.default(1e-8),
  decay: decay.default(0),
  groups,
};

const optimiser = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('adamw'), ...adamwShape }),
  z.strictObject({
    kind: z.literal('sgd'),
    rate: positive,
    momentum: share.default(0.9),
    nesterov: z.boolean().default(false),
    decay: decay.default(0),
    groups,
  }),
  z.strictObject({
    kind: z.literal('muon'),
    rate: positive,
    /** Of what these paths name, the tensors of two axes are Muon's; `rest` has the others. */
    match: patterns,
    /** Weights that hold query, key and value one above the other. */
    packed: patterns.optional(),
    momentum: share.default(0.95),
    nesterov: z.boolean().default(true),
    decay: decay.default(0),
    /** Newton-Schulz steps. */
    orthogonalSteps: whole(1, 20).default(5),
    rest: z.strictObject(adamwShape),
  }),
]);

const schedule = z.strictObject({
  kind: z.enum(['constant', 'cosine', 'linear', 'poly']).default('cosine'),
  /** Steps in which the rate rises from 0. */
  warmup: whole(0).default(0),
  /** Share of the rate that is left at the end. */
  floor: share.default(0),
  /** Exponent of `poly`. */
  power: positive.default(0.9),
});

export const recipeSchema = z.strictObject({
  $schema: z.string().max(1024).optional(),
  title: z.string().max(1024).optional(),
  system: z.string().min(1).max(64),
  /** Sizes and options of the system. */
  model: options.default({}),
  /** Model that the training starts from: a folder, a hub id, or a built-in name. */
  base: path.optional(),
  losses: options.default({}),
  data,
  batch: whole(1, 1 << 20),
  /** Batches whose gradients make one step. */
  accumulation: whole(1, 1 << 16).default(1),
  steps: whole(1).optional(),
  epochs: positive.optional(),
  optimiser,
  /** Parameters that stay as they are, by path. */
  freeze: patterns.optional(),
  schedule: schedule.default({ kind: 'cosine', warmup: 0, floor: 0, power: 0.9 }),
  /** Largest global norm of the gradients; 0 leaves them as they are. */
  clip: z.number().min(0).max(1e9).default(0),
  /** Share of the running mean of the weights that a step keeps; 0 keeps no mean. */
  ema: share.default(0),
  precision: z.enum(['fp32', 'bf16']).default('fp32'),
  seed: whole(0, Number.MAX_SAFE_INTEGER).default(0),
  save: z
    .strictObject({ every: whole(1).default(500), keep: whole(1, 10_000).default(3) })
    .default({ every: 500, keep: 3 }),
  /** The system's own test: steps between two figures (0 has none), pairs it takes, and where from (drawn scenes have a split for it). */
  eval: z
    .strictObject({ every: whole(0).default(0), count: whole(1, 100_000).default(200), data: data.optional() })
    .default({ every: 0, count: 200 }),
  log: z.strictObject({ every: whole(1).default(10) }).default({ every: 10 }),
  loader: z
    .strictObject({ workers: whole(0, 64).optional(), prefetch: whole(1, 64).default(2) })
    .default({ prefetch: 2 }),
});

export type Recipe = z.infer<typeof recipeSchema>;
export type DataRecipe = Recipe['data'];
export type OptimiserRecipe = Recipe['optimiser'];
export type AdamWRecipe = Omit<Extract<OptimiserRecipe, { kind: 'adamw' }>, 'kind'>;
export type OptimiserGroup = AdamWRecipe['groups'][number];
export type ScheduleRecipe = Recipe['schedule'];
