/** Options of `segment`, checked once: the system's own, those of every system, and how background is decided. */
import { z } from 'zod';
import { crfDefaults } from '../post/dense-crf.js';
import type { DenseOptions } from '../post/dense-options.js';
import type { ReadOutSettings, Refine } from '../post/read-out.js';
import { parseBackground } from '../text/background.js';
import type { BackgroundPolicy } from '../text/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

export type OutputName = 'labels' | 'score' | 'margin' | 'entropy' | 'topk' | 'probabilities';

const outputNames = ['labels', 'score', 'margin', 'entropy', 'topk', 'probabilities'] as const;
const pair = z.union([z.number().gt(0), z.tuple([z.number().gt(0), z.number().gt(0)])]);
const colour = z.union([z.number().gt(0), z.tuple([z.number().gt(0), z.number().gt(0), z.number().gt(0)])]);
const refineSchema = z.union([
  z.enum(['none', 'pamr', 'crf']),
  z.strictObject({ name: z.literal('none') }),
  z.strictObject({
    name: z.literal('pamr'),
    steps: z.number().int().min(0).max(100).optional(),
    dilations: z.array(z.number().int().min(1).max(512)).min(1).max(8).optional(),
  }),
  z.strictObject({
    name: z.literal('crf'),
    iterations: z.number().int().min(0).max(1000).optional(),
    gaussian: z.strictObject({ sxy: pair, compat: z.number() }).nullable().optional(),
    bilateral: z.strictObject({ sxy: pair, srgb: colour, compat: z.number() }).nullable().optional(),
  }),
]);

const shape = {
  task: z.literal('semantic'),
  outputs: z.array(z.enum(outputNames)),
  k: z.number().int().min(1).max(64),
  labels: z.array(z.string()).min(1),
  threshold: z.number().min(0).max(1),
  background: z.unknown(),
  size: z.union([z.literal('native'), z.number().int().min(1).max(65535)]),
  maxSide: z.number().int().min(1).max(65535),
  window: z.number().int().min(0).max(65535),
  tile: z.union([z.literal('auto'), z.number().int().min(1).max(65535)]),
  refine: refineSchema,
  minArea: z.number().int().min(0),
  /** Timers count milliseconds in 31 bits. */
  timeoutMs: z
    .number()
    .gt(0)
    .max(2 ** 31 - 1),
  signal: z.instanceof(AbortSignal),
  /** Of pictures that wait for the encoder, higher goes first; default 0. */
  priority: z.number(),
  preset: z.string(),
  matte: z.tuple([z.number(), z.number(), z.number()]),
  formats: z.array(z.enum(['jpeg', 'png', 'webp', 'tiff', 'avif'])),
  keepImage: z.boolean(),
  limits: z
    .strictObject({ pixels: z.number().min(1), fileBytes: z.number().min(1), side: z.number().min(1) })
    .partial(),
};
const schema = z.strictObject(shape).partial();

export type SegmentOptions = Partial<z.input<z.ZodObject<typeof shape>>> & { readonly [systemOption: string]: unknown };

export interface CheckedOptions {
  readonly common: z.infer<typeof schema>;
  /** What is left for the system. */
  readonly system: Readonly<Record<string, unknown>>;
}

/** Which options a system takes beside and in place of those of `segment`. */
export interface OptionRules {
  /** The system's own; a name that `segment` has too means the system's. */
  readonly names: readonly string[];
  /** Own option that `size` sets, and the one that `window` sets. */
  readonly size?: string;
  readonly window?: string;
  /** Options of `segment` that mean nothing to the system, with the reason. */
  readonly refused: Readonly<Record<string, string>>;
}

/** Where one of several forms is allowed, zod says only that none fits. */
const allowed: Readonly<Record<string, string>> = {
  size: "allowed are 'native' and a whole number of pixels",
  tile: "allowed are 'auto' and a whole number of pixels",
  refine:
    'allowed are none, pamr, crf and an object { name, ...parameters } (pamr: steps, dilations; crf: iterations, gaussian, bilateral)',
};

/** Splits and checks. @throws E_OPTION naming the option, its value and what is allowed */
export function checkSegmentOptions(options: SegmentOptions, rules: OptionRules): CheckedOptions {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new WordmaskError('E_USAGE', `options must be an object, got ${show(options)}`);
  const common: Record<string, unknown> = {};
  const system: Record<string, unknown> = {};
  const systemNames = new Set(rules.names);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (systemNames.has(key)) system[key] = value;
    else if (Object.hasOwn(rules.refused, key))
      throw new WordmaskError('E_OPTION', `segment: option ${key} is ${show(value)}; ${rules.refused[key]}`, {
        details: { option: key, value },
      });
    else if (Object.hasOwn(shape, key)) common[key] = value;
    else {
      const guess = nearest(key, [...Object.keys(shape), ...rules.names]);
      throw new WordmaskError(
        'E_OPTION',
        `segment: unknown option ${show(key)}${guess ? `, did you mean '${guess}'?` : ''}`,
        { details: { option: key } },
      );
    }
  }
  const parsed = schema.safeParse(common);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const option = issue?.path.join('.') ?? '';
    throw new WordmaskError(
      'E_OPTION',
      `segment: option ${option} is ${show(common[String(issue?.path[0])])}; ${allowed[option] ?? issue?.message}`,
      { details: { option, value: common[String(issue?.path[0])] } },
    );
  }
  const { size, window } = parsed.data;
  if (rules.size !== undefined && size !== undefined && size !== 'native') system[rules.size] = size;
  if (rules.window !== undefined && window !== undefined) system[rules.window] = window;
  return { common: parsed.data, system };
}

/** The refiner of a call: the option, else the system's own PAMR setting. */
export function refineOf(option: CheckedOptions['common']['refine'], dense: DenseOptions): Refine {
  const choice =
    option === undefined
      ? { name: dense.pamr.steps > 0 ? ('pamr' as const) : ('none' as const) }
      : typeof option === 'string'
        ? { name: option }
        : option;
  if (choice.name === 'none') return { kind: 'none' };
  if (choice.name === 'pamr') {
    const given = choice as { steps?: number; dilations?: number[] };
    const steps = given.steps ?? (dense.pamr.steps || 10);
    return steps === 0 ? { kind: 'none' } : { kind: 'pamr', steps, dilations: given.dilations ?? dense.pamr.dilations };
  }
  const {
    name: _,
    iterations = crfDefaults.iterations,
    gaussian = crfDefaults.gaussian,
    bilateral = crfDefaults.bilateral,
  } = choice as Extract<typeof choice, { name: 'crf' }> & {
    iterations?: number;
    gaussian?: typeof crfDefaults.gaussian | null;
    bilateral?: typeof crfDefaults.bilateral | null;
  };
  return { kind: 'crf', iterations, ...(gaussian && { gaussian }), ...(bilateral && { bilateral }) };
}

/** Threshold, margin and class of background under a policy (user-interfaces.md section 3). */
export function backgroundRule(
  policy: BackgroundPolicy,
  common: CheckedOptions['common'],
  dense: DenseOptions,
  markedLabel: number,
): Pick<ReadOutSettings, 'threshold' | 'margin' | 'background'> {
  const chosen = common.background === undefined ? policy : parseBackground(common.background);
  const background = markedLabel;
  if (common.threshold !== undefined) return { threshold: common.threshold, margin: 0, background };
  if (chosen.mode === 'threshold') return { threshold: chosen.value, margin: 0, background };
  if (chosen.mode === 'margin') return { threshold: 0, margin: chosen.value, background };
  if (chosen.mode === 'auto') return { threshold: dense.probThreshold, margin: 0, background };
  return { threshold: 0, margin: 0, background };
}
