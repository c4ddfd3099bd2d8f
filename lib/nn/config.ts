/** config.json of a published model, checked field by field. */
import { z } from 'zod';
import { show, WordmaskError } from '../util/errors.js';

// Limits are ten times the largest published models: a config beyond them is damaged or hostile.
export const size = (limit: number) => z.number().int().min(1).max(limit);
export const widthField = size(16384);
export const ffnField = size(65536);
export const layersField = size(512);
export const headsField = size(1024);
export const epsField = z.number().gt(0).lt(0.1);
export const activationField = z.enum(['quick_gelu', 'gelu']);

/** @param what the family, as messages call it @throws E_MODEL_FORMAT naming every key, its value and what is allowed */
export function checkedConfig<T extends z.ZodType>(file: string, json: unknown, schema: T, what: string): z.infer<T> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'the file'}: ${message}, found ${show(valueAt(json, path))}`,
  );
  throw new WordmaskError('E_MODEL_FORMAT', `${file}: not a usable ${what} config; ${problems.join('; ')}`, {
    details: { file, problems },
  });
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    json,
  );
}

/** @throws E_MODEL_FORMAT when the heads do not divide the width */
export function checkHeads(file: string, name: string, width: number, heads: number): void {
  if (width % heads === 0) return;
  throw new WordmaskError(
    'E_MODEL_FORMAT',
    `${file}: ${name}: the width ${width} is not a multiple of num_attention_heads ${heads}`,
    { details: { file } },
  );
}

/** Heads as configured; where a config is silent, of 64 channels as in every published tower. @throws E_MODEL_FORMAT */
export function headsOf(file: string, name: string, width: number, given: number | undefined): number {
  const heads = given ?? width / 64;
  if (given === undefined && !Number.isInteger(heads)) {
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${file}: ${name}.heads is missing, and tensors do not tell it: add the number of attention heads`,
      { details: { file } },
    );
  }
  checkHeads(file, name, width, heads);
  return heads;
}

/** Sizes that the shapes of a checkpoint's tensors tell. */
export class ShapeReader {
  constructor(private readonly shapes: ReadonlyMap<string, { readonly shape: readonly number[] }>) {}

  has(name: string): boolean {
    return this.shapes.has(name);
  }

  /** Axis of a tensor, from the back where negative; `otherwise` where it is missing, which coverage reports. */
  dim(name: string, axis: number, otherwise: number): number {
    return this.shapes.get(name)?.shape.at(axis) || otherwise;
  }

  /** Numbers N of the names that begin with `PREFIX.N.` and hold `infix` behind it, ascending. */
  numbers(prefix: string, infix = ''): number[] {
    const found = new Set<number>();
    for (const name of this.shapes.keys()) {
      if (!name.startsWith(`${prefix}.`)) continue;
      const [number = ''] = name.slice(prefix.length + 1).split('.', 1);
      const behind = name.slice(prefix.length + 1 + number.length + 1);
      if (/^\d{1,3}$/.test(number) && behind.startsWith(infix)) found.add(Number(number));
    }
    return [...found].sort((a, b) => a - b);
  }

  /** How many layers there are below a prefix: one more than the highest number. */
  layers(prefix: string, otherwise: number): number {
    const last = this.numbers(prefix).at(-1);
    return last === undefined ? otherwise : last + 1;
  }
}
