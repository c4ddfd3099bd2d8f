/**
 * The protocol record of evaluation.md section 1: every choice that a figure depends on. A report stores the record with its
 * SHA-256; what two reports chose differently is found key by key.
 */
import { z } from 'zod';
import { show, WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import { canonicalJson } from '../util/json.js';
import { nearest } from '../util/nearest.js';

export const protocolNames = ['tcl', 'sclip', 'd2', 'pnp-ovss', 'car'] as const;
export type ProtocolName = (typeof protocolNames)[number];
export const splitNames = ['voc', 'coco-stuff', 'ade847'] as const;
export type SplitChoice = (typeof splitNames)[number];

/** A list of words: its name (of assets/classes, or a file) and the SHA-256 of its content. */
const fileSchema = z.strictObject({ file: z.string().min(1).max(4096), hash: z.string().regex(/^[0-9a-f]{64}$/) });
const side = z.int().min(1).max(65535);
const pair = z.union([z.number().gt(0), z.tuple([z.number().gt(0), z.number().gt(0)])]);
const colour = z.union([pair, z.tuple([z.number().gt(0), z.number().gt(0), z.number().gt(0)])]);
const templateText = z
  .string()
  .max(1024)
  .refine((text) => text.split('{}').length === 2, 'needs exactly one {} each, where the word goes');

const json: z.ZodType<JsonValue> = z.lazy(() =>
  z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(json), z.record(z.string(), json)]),
);
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

export const protocolShape = {
  name: z.enum(protocolNames),
  /** Rules of counting: mmsegmentation's IoUMetric, or detectron2's SemSegEvaluator. */
  evaluator: z.enum(['mmseg', 'd2']),
  /** A class that is predicted but in no label: counted as 0, or left out of the mean. */
  absent: z.enum(['zero', 'skip']),
  /** Name as the command line takes it. */
  dataset: z.string().min(1).max(256),
  classes: fileSchema,
  /** Words that stand for the classes. `background`: what class 0 of that name is worded with. */
  queries: z.strictObject({ ...fileSchema.shape, background: z.enum(['listed', 'name', 'none']) }),
  /** Set name or templates; null where the system words its prompts itself. */
  templates: z.union([z.string().min(1).max(256), z.array(templateText).min(1).max(128)]).nullable(),
  /** How the features of a name's templates become one. */
  average: z.enum(['normalise-mean-normalise', 'mean-normalise', 'projected-mean-normalise']).nullable(),
  /** Sizes of the picture that the encoder sees; null where the system alone decides. */
  resize: z
    .strictObject({
      mode: z.enum(['none', 'keep-ratio', 'short-side', 'squash', 'round-up']),
      shortSide: side.nullable(),
      longSide: side.nullable(),
      multiple: z.int().min(1).max(4096),
    })
    .nullable(),
  /** Crop 0: the whole picture at once; null as for `resize`. */
  window: z.strictObject({ crop: z.int().min(0).max(65535), stride: z.int().min(0).max(65535) }).nullable(),
  /** `system`: by a rule of the system's own. */
  background: z.strictObject({
    mode: z.enum(['none', 'threshold', 'margin', 'system']),
    value: z.number().min(0).max(1).nullable(),
  }),
  /** What a system of its own kind is not told, its options say. */
  refine: z.union([
    z.enum(['none', 'system', 'pamr', 'crf']),
    z.strictObject({
      name: z.literal('pamr'),
      steps: z.int().min(1).max(100).optional(),
      dilations: z.array(z.int().min(1).max(512)).min(1).max(8).optional(),
    }),
    z.strictObject({
      name: z.literal('crf'),
      iterations: z.int().min(0).max(1000).optional(),
      gaussian: z.strictObject({ sxy: pair, compat: z.number() }).nullable().optional(),
      bilateral: z.strictObject({ sxy: pair, srgb: colour, compat: z.number() }).nullable().optional(),
    }),
  ]),
  /** Label value that does not count, after the label's own rules; null: all count. */
  ignore: z.int().min(0).max(4294967295).nullable(),
  reduceZeroLabel: z.boolean(),
  /** Rule that turns stored label values into class indices, named by the data set; `none`. */
  labelMap: z.string().min(1).max(256),
  /** Seen and unseen classes to score apart. */
  split: z.enum(splitNames).nullable(),
  /** What is averaged over windows. */
  merge: z.enum(['cosine', 'score', 'none']),
  /** Everything else the system was told, all of it. */
  systemOptions: z.record(z.string(), json),
};

const schema = z.strictObject(protocolShape);
export type Protocol = Readonly<z.infer<typeof schema>>;
export const protocolKeys = Object.keys(protocolShape) as (keyof Protocol)[];

/** A protocol file or option: some of the record's keys; the rest is filled in from the protocol of that name. */
export type ProtocolChanges = { readonly [K in keyof Protocol]?: K extends PartKey ? Parts<Protocol[K]> : Protocol[K] };

/** Records inside the record, of which changes may name a part. */
const partKeys = ['classes', 'queries', 'resize', 'window', 'background'] as const;
type PartKey = (typeof partKeys)[number];
type Parts<T> = T extends null ? null : Partial<T>;

const { classes, queries, resize, window, background } = protocolShape;
const partial = schema
  .extend({
    classes: classes.partial(),
    queries: queries.partial(),
    resize: resize.unwrap().partial().nullable(),
    window: window.unwrap().partial().nullable(),
    background: background.partial({ value: true }),
  })
  .partial();

/**
 * Checks a whole record.
 * @throws E_OPTION naming the key, its value and what is allowed; a key that is unknown comes with the nearest known one
 */
export function checkProtocol(value: unknown, what = 'protocol'): Protocol {
  return check(schema, value, what) as Protocol;
}

/** Checks some of a record's keys. @throws E_OPTION */
export function checkProtocolChanges(value: unknown, what = 'protocol'): ProtocolChanges {
  return check(partial, value, what) as ProtocolChanges;
}

function check(with_: z.ZodType, value: unknown, what: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new WordmaskError('E_OPTION', `${what} must be an object with keys of a protocol, got ${show(value)}`);
  refuseUnknown(value, what);
  const parsed = with_.safeParse(value);
  if (parsed.success) return parsed.data;
  // A misspelt key also leaves the right one missing: the first says more.
  const issue = parsed.error.issues.find(({ code }) => code === 'unrecognized_keys') ?? parsed.error.issues[0];
  const path = issue?.path.map(String) ?? [];
  if (issue?.code === 'unrecognized_keys') {
    const key = issue.keys[0] as string;
    throw unknownKey([...path, key].join('.'), innerKeys(path[0]), key, what);
  }
  const found = path.reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], value);
  throw new WordmaskError(
    'E_OPTION',
    found === undefined
      ? `${what}: ${path.join('.')} is missing`
      : `${what}: ${path.join('.')} is ${show(found)}; ${hintFor(path[0], found) ?? issue?.message}`,
    { details: { option: path.join('.'), value: found } },
  );
}

function refuseUnknown(value: object, what: string): void {
  const key = Object.keys(value).find((name) => !Object.hasOwn(protocolShape, name));
  if (key !== undefined) throw unknownKey(key, protocolKeys, key, what);
}

function unknownKey(at: string, known: readonly string[], key: string, what: string): WordmaskError {
  const guess = nearest(key, known);
  return new WordmaskError(
    'E_OPTION',
    `${what}: unknown key ${show(at)}${guess ? `, did you mean '${guess}'?` : ''} (known: ${known.join(', ')})`,
    { details: { option: at } },
  );
}

const inner: Readonly<Record<string, readonly string[]>> = {
  classes: ['file', 'hash'],
  queries: ['file', 'hash', 'background'],
  resize: ['mode', 'shortSide', 'longSide', 'multiple'],
  window: ['crop', 'stride'],
  background: ['mode', 'value'],
  refine: ['name', 'steps', 'dilations', 'iterations', 'gaussian', 'bilateral'],
};

function innerKeys(key: string | undefined): readonly string[] {
  return inner[key ?? ''] ?? [];
}

/** Where one of several forms is allowed, zod says only that none fits. */
function hintFor(key: string | undefined, found: unknown): string | undefined {
  if (key === 'name' && typeof found === 'string') {
    const guess = nearest(found, protocolNames);
    return `allowed are ${protocolNames.join(', ')}${guess ? `; did you mean '${guess}'?` : ''}`;
  }
  if (key === 'refine')
    return "allowed are 'none', 'pamr', 'crf', 'system', { name: 'pamr', steps, dilations } and { name: 'crf', iterations, gaussian, bilateral }";
  return key === 'templates'
    ? 'allowed are the name of a set, a list of templates with one {} each, and null'
    : undefined;
}

/** SHA-256 of the record in canonical form: equal records, equal hashes, whatever the order of their keys. */
export function protocolHash(protocol: Protocol): string {
  return sha256(canonicalJson(protocol));
}
