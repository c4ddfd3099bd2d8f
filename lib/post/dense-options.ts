/**
 * Options of systems that compare patch features with text: one record for CLIP, MaskCLIP, SCLIP, ClearCLIP, NACLIP and
 * their kin (dense-clip-baselines.md section 7). Names are those of the systems' pages in camelCase; naclip.md's own
 * spellings (arch reduced|vanilla, attention naclip|nonly|csa|vanilla) are accepted for the same values.
 */
import { z } from 'zod';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

const attentionKinds = ['qk', 'v', 'qq+kk', 'qq', 'kk', 'kk+gauss', 'gauss'] as const;
const attentionAliases: Record<string, (typeof attentionKinds)[number]> = {
  vanilla: 'qk',
  naclip: 'kk+gauss',
  nonly: 'gauss',
  csa: 'qq+kk',
  identity: 'v',
  SCLIP: 'qq+kk',
  ClearCLIP: 'qq',
  MaskCLIP: 'v',
  sclip: 'qq+kk',
  clearclip: 'qq',
  maskclip: 'v',
};
const activationAliases: Record<string, string> = { GELU: 'gelu', QuickGELU: 'quick_gelu' };

const side = z.number().int().min(1).max(65535);
const cropSide = z.number().int().min(0).max(65535);
const templateList = z
  .array(
    z
      .string()
      .max(1024)
      .refine((text) => text.split('{}').length === 2, 'needs exactly one {} each, where the word goes'),
  )
  .min(1)
  .max(128);
const triple = z.tuple([z.number(), z.number(), z.number()]);
const deviation = z.tuple([z.number().gt(0), z.number().gt(0), z.number().gt(0)]);

const shape = {
  attention: z.preprocess((v) => (typeof v === 'string' ? (attentionAliases[v] ?? v) : v), z.enum(attentionKinds)),
  residual: z.boolean(),
  ffn: z.boolean(),
  sigma: z.number().gt(0).max(10000),
  logitScale: z.number().gt(0).max(10000),
  probThreshold: z.number().min(0).max(1),
  areaThreshold: z.number().min(0).max(1),
  shortSide: side,
  longSide: side,
  crop: cropSide,
  stride: cropSide,
  padToPatch: z.enum(['none', 'centre', 'end']),
  oneStep: z.boolean(),
  pamr: z.strictObject({
    steps: z.number().int().min(0).max(100),
    dilations: z.array(z.number().int().min(1).max(512)).min(1).max(8),
  }),
  mean: triple,
  std: deviation,
  positions: z.enum(['exact', 'plus0.1']),
  renormalise: z.boolean(),
  templates: z.union([z.string(), templateList]),
  averaging: z.enum(['normalise-mean-normalise', 'mean-normalise']),
  activation: z.preprocess(
    (v) => (typeof v === 'string' ? (activationAliases[v] ?? v) : v),
    z.enum(['quick_gelu', 'gelu', 'model']),
  ),
  layerNormEps: z.number().min(0).max(0.1),
  keySmoothing: z.number().min(0).max(1),
  promptDenoising: z.number().min(0).max(1),
  units: z
    .int()
    .min(0)
    .max(65536)
    .refine(
      (count) => Number.isInteger(Math.sqrt(count)),
      'needs a square number (a grid of meta points), or 0 for pixels',
    ),
};

const schema = z.strictObject(shape);

/** All options of a dense system; every one has a value in the system's defaults. */
export type DenseOptions = Readonly<z.infer<typeof schema>>;

/** Other spellings of whole options. */
function expandAliases(given: Record<string, unknown>): Record<string, unknown> {
  const { arch, pamrSteps, pamrDilations, ...rest } = given;
  if (arch !== undefined) {
    if (arch !== 'reduced' && arch !== 'vanilla')
      throw new WordmaskError('E_OPTION', `arch must be 'reduced' or 'vanilla', got ${show(arch)}`, {
        details: { option: 'arch', value: arch },
      });
    rest.residual ??= arch === 'vanilla';
    rest.ffn ??= arch === 'vanilla';
  }
  if (pamrSteps !== undefined || pamrDilations !== undefined) {
    rest.pamr ??= {
      ...(pamrSteps !== undefined && { steps: pamrSteps }),
      ...(pamrDilations !== undefined && { dilations: pamrDilations }),
    };
  }
  return rest;
}

/** Names of all options, for help and "did you mean". */
export const denseOptionNames: readonly string[] = [...Object.keys(shape), 'arch', 'pamrSteps', 'pamrDilations'];

/**
 * Defaults overridden by each layer in turn (preset, file, call).
 * @throws E_OPTION naming the option, the value and what is allowed, with the nearest known name for an unknown one
 */
export function denseOptions(
  defaults: DenseOptions,
  ...layers: readonly (Readonly<Record<string, unknown>> | undefined)[]
): DenseOptions {
  const merged: Record<string, unknown> = { ...defaults };
  for (const layer of layers) {
    for (const [key, value] of Object.entries(expandAliases({ ...layer }))) {
      if (value === undefined) continue;
      if (!(key in shape)) {
        const guess = nearest(key, denseOptionNames);
        throw new WordmaskError('E_OPTION', `unknown option ${show(key)}${guess ? `, did you mean '${guess}'?` : ''}`, {
          details: { option: key },
        });
      }
      // Parts of `pamr` that a layer does not name stay as the layers below it have them.
      merged[key] =
        key === 'pamr' && typeof value === 'object' && value !== null
          ? { ...(merged.pamr as object), ...value }
          : value;
    }
  }
  const parsed = schema.safeParse(merged);
  if (parsed.success) return Object.freeze(parsed.data);
  const issue = parsed.error.issues[0];
  const path = issue?.path.join('.') ?? '';
  throw new WordmaskError(
    'E_OPTION',
    `option ${path}: ${issue?.message}, got ${show(issue?.path.reduce<unknown>((v, k) => (v as Record<PropertyKey, unknown>)?.[k], merged))}`,
    { details: { option: path } },
  );
}

/** CLIP's constants x 255, rounded as the NACLIP and SCLIP configs write them. */
export const clipMean255 = [122.771, 116.746, 104.094] as const;
export const clipStd255 = [68.501, 66.632, 70.323] as const;

/** What the NACLIP family shares (naclip.md sections 2-6); each system states its differences. */
export const familyDefaults: DenseOptions = {
  attention: 'qk',
  residual: true,
  ffn: true,
  sigma: 5,
  logitScale: 40,
  probThreshold: 0,
  areaThreshold: 0,
  shortSide: 336,
  longSide: 2048,
  crop: 224,
  stride: 112,
  padToPatch: 'none',
  oneStep: false,
  pamr: { steps: 0, dilations: [8, 16] },
  mean: [...clipMean255],
  std: [...clipStd255],
  positions: 'plus0.1',
  renormalise: false,
  templates: 'imagenet-80',
  averaging: 'normalise-mean-normalise',
  activation: 'model',
  layerNormEps: 0,
  keySmoothing: 0,
  promptDenoising: 0,
  units: 0,
};
