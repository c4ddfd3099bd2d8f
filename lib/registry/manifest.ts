/** wordmask.json: what a model folder says about itself. */
import { z } from 'zod';
import { WordmaskError } from '../util/errors.js';
import { readFileLimited, writeFileAtomic } from '../util/files.js';
import { parseJsonStrict } from '../util/json.js';
import { nearest } from '../util/nearest.js';

const hash = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 of 64 hexadecimal digits');
/** A relative path of plain names: no "..", no hidden or absolute ones. */
const fileName = z
  .string()
  .max(512)
  .regex(
    /^[A-Za-z0-9_][A-Za-z0-9._-]*(\/[A-Za-z0-9_][A-Za-z0-9._-]*){0,4}$/,
    'must be a plain file name inside the folder',
  );
const word = z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must be lower-case letters, digits and "-"');
const triple = z.tuple([z.number(), z.number(), z.number()]);
const options = z.record(z.string().max(64), z.json());

const schema = z.strictObject({
  format: z.literal(1),
  system: word.optional(),
  /** Encoders by role; `image-text` is the one for a CLIP model. */
  encoders: z
    .record(
      word,
      z.strictObject({ config: fileName.optional(), weights: fileName.optional(), tokenizer: fileName.optional() }),
    )
    .optional(),
  preprocessing: z
    .strictObject({ mean: triple, std: triple, shortSide: z.int().min(1).max(65_535) })
    .partial()
    .optional(),
  templates: z.union([z.string().max(64), z.array(z.string().max(1024)).min(1).max(128)]).optional(),
  /** Options of the system, checked by the system. */
  defaults: options.optional(),
  /** Settings found without labels by `tune`. */
  tuning: options.optional(),
  licence: z
    .union([z.string().max(1024), z.strictObject({ code: z.string().max(1024), weights: z.string().max(1024) })])
    .optional(),
  source: z
    .union([z.string().max(1024), z.strictObject({ id: z.string().max(256), revision: z.string().max(256) })])
    .optional(),
  /** The folder that holds the frozen tensors of a trained model. */
  base: z.strictObject({ model: z.string().min(1).max(4096), sha256: hash.optional() }).optional(),
  files: z.record(fileName, z.strictObject({ sha256: hash, bytes: z.int().min(0) })).optional(),
  /** Provenance of the file. */
  wordmask: options.optional(),
});

export type ModelManifest = z.infer<typeof schema>;

const sizeLimit = 16 << 20;

/**
 * Strict JSON of a model folder: no duplicate keys, no keys that name an object's prototype, at most 16 MiB.
 * @throws E_MODEL_FORMAT naming file, key and limit
 */
export async function readModelJson(path: string, signal?: AbortSignal): Promise<Record<string, unknown>> {
  const value = parseJsonStrict(await readFileLimited(path, { limit: sizeLimit, signal, code: 'E_MODEL_FORMAT' }), {
    code: 'E_MODEL_FORMAT',
    what: path,
  });
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw formatError(path, 'must be a JSON object');
  refusePrototypeKeys(path, value, '');
  return value as Record<string, unknown>;
}

function refusePrototypeKeys(path: string, value: unknown, at: string): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key === '__proto__' || key === 'constructor' || key === 'prototype')
      throw formatError(path, `has the forbidden key ${JSON.stringify(at + key)}`);
    refusePrototypeKeys(path, inner, `${at}${key}.`);
  }
}

/** @throws E_MODEL_FORMAT naming the key, the value's problem and, for an unknown key, the nearest known one */
export async function readManifest(path: string, signal?: AbortSignal): Promise<ModelManifest> {
  const json = await readModelJson(path, signal);
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => {
    if (issue.code === 'unrecognized_keys') {
      const hint = nearest(issue.keys[0] ?? '', Object.keys(schema.shape));
      return `unknown key ${issue.keys.map((key) => JSON.stringify([...issue.path, key].join('.'))).join(', ')}${hint ? ` (did you mean ${hint}?)` : ''}`;
    }
    return `${issue.path.join('.') || 'the file'}: ${issue.message}`;
  });
  throw formatError(path, `is not a usable wordmask.json: ${problems.slice(0, 20).join('; ')}`, { problems });
}

/** Writes wordmask.json atomically after checking it. @throws E_MODEL_FORMAT, E_DISK */
export async function writeManifest(path: string, manifest: ModelManifest, signal?: AbortSignal): Promise<void> {
  await writeFileAtomic(path, manifestText(path, manifest), { signal });
}

/** The text of a wordmask.json. @throws E_MODEL_FORMAT when it would not be read again */
export function manifestText(path: string, manifest: ModelManifest): string {
  const parsed = schema.safeParse(manifest);
  if (!parsed.success)
    throw formatError(path, parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  return `${JSON.stringify(parsed.data, null, 2)}\n`;
}

export function formatError(path: string, text: string, details: Record<string, unknown> = {}): WordmaskError {
  return new WordmaskError('E_MODEL_FORMAT', `${path} ${text}`, { details: { file: path, ...details } });
}
