/** Reading recipes: every problem of a recipe in one error, unknown keys with the nearest known one. */
import { z } from 'zod';
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited } from '../util/files.js';
import { canonicalJson, parseJsonStrict } from '../util/json.js';
import { nearest } from '../util/nearest.js';
import { type Recipe, recipeSchema } from './recipe-schema.js';

export type {
  AdamWRecipe,
  DataRecipe,
  OptimiserGroup,
  OptimiserRecipe,
  Recipe,
  ScheduleRecipe,
} from './recipe-schema.js';

/** What a user writes: a recipe with defaults left out. */
export type RecipeInput = z.input<typeof recipeSchema>;

const sizeLimit = 4 << 20;

/** @throws E_OPTION naming every problem, E_USAGE or E_DISK when the file cannot be read */
export async function readRecipe(path: string, changes: Readonly<Record<string, unknown>> = {}): Promise<Recipe> {
  const bytes = await readFileLimited(path, { limit: sizeLimit, code: 'E_USAGE' });
  const json = parseJsonStrict(bytes, { code: 'E_OPTION', what: path });
  return checkRecipe(withChanges(json, changes), path);
}

/** `{ 'optimiser.rate': 1e-3 }` set in a copy of the recipe. */
export function withChanges(recipe: unknown, changes: Readonly<Record<string, unknown>>): unknown {
  if (Object.keys(changes).length === 0 || typeof recipe !== 'object' || recipe === null) return recipe;
  const copy = structuredClone(recipe) as Record<string, unknown>;
  for (const [key, value] of Object.entries(changes)) {
    const segments = key.split('.');
    if (segments.some((part) => part === '' || part === '__proto__'))
      throw new WordmaskError('E_OPTION', `${show(key)} is no path of a recipe: write optimiser.rate=0.001`);
    let at = copy;
    for (const part of segments.slice(0, -1)) {
      if (typeof at[part] !== 'object' || at[part] === null) at[part] = {};
      at = at[part] as Record<string, unknown>;
    }
    at[segments.at(-1) as string] = value;
  }
  return copy;
}

/**
 * Fills in defaults and checks the recipe as a whole.
 * @param what names it in messages
 * @throws E_OPTION with all problems: unknown keys, wrong types, impossible combinations
 */
export function checkRecipe(value: unknown, what = 'recipe'): Recipe {
  const parsed = recipeSchema.safeParse(value);
  const problems = parsed.success ? combinations(parsed.data) : describeIssues(parsed.error, value);
  if (parsed.success && problems.length === 0) return parsed.data;
  throw new WordmaskError('E_OPTION', `${what}: ${problems.join('; ')}`, { details: { file: what, problems } });
}

/** What each value alone does not show. */
function combinations(recipe: Recipe): string[] {
  const problems: string[] = [];
  const { steps, epochs, schedule, batch, accumulation, data } = recipe;
  if ((steps === undefined) === (epochs === undefined))
    problems.push(`give steps or epochs, ${steps === undefined ? 'one of the two' : 'not both'}`);
  if (steps !== undefined && schedule.warmup >= steps && schedule.kind !== 'constant')
    problems.push(`schedule.warmup is ${schedule.warmup}, the whole run has ${steps} steps: nothing is left to fall`);
  if (data.kind === 'drawn-scenes' && batch * accumulation > data.count)
    problems.push(
      `a step takes batch * accumulation = ${batch * accumulation} pairs, data.count has ${data.count}: pairs would repeat within a step`,
    );
  return problems;
}

function describeIssues(error: z.ZodError, value: unknown): string[] {
  return error.issues.flatMap((issue) => {
    const at = issue.path.join('.');
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(issue.path, key, value));
    if (issue.code === 'invalid_union' && issue.path.at(-1) === 'kind')
      return [`${at} must be ${discriminators(issue.path)}, got ${show(valueAt(value, issue.path))}`];
    const found = valueAt(value, issue.path);
    const text = issue.message.replace(/^Invalid input: expected /, 'must be ').replace(/, received .*$/, '');
    return [
      found === undefined
        ? `${at || 'the recipe'} is missing (${text})`
        : `${at || 'the recipe'}: ${text}, got ${show(found)}`,
    ];
  });
}

function unknownKey(path: readonly PropertyKey[], key: string, value: unknown): string {
  const known = knownKeys(path, value);
  const guess = nearest(key, known);
  const name = [...path, key].join('.');
  return `unknown key ${show(name)}${guess ? `, did you mean '${guess}'?` : ''} (known here: ${known.join(', ')})`;
}

/** Kinds that are known where one is asked for. */
function discriminators(path: readonly PropertyKey[]): string {
  const union = recipeSchema.shape[path[0] as 'data' | 'optimiser'] as z.ZodType;
  if (!(union instanceof z.ZodDiscriminatedUnion)) return 'one of the known kinds';
  const kinds = (union.options as unknown as { shape: { kind: z.ZodLiteral<string> } }[]).map(
    ({ shape }) => shape.kind.value,
  );
  return `${kinds.slice(0, -1).join(', ')} or ${kinds.at(-1)}`;
}

/** Keys that the schema has at a path. */
function knownKeys(path: readonly PropertyKey[], value: unknown): string[] {
  let schema: z.ZodType = recipeSchema;
  let here = value;
  for (const part of [...path, undefined]) {
    schema = unwrap(schema);
    if (schema instanceof z.ZodDiscriminatedUnion) {
      const kind = (here as { kind?: unknown }).kind;
      const option = (schema.options as z.ZodType[]).find(
        (each) => each instanceof z.ZodObject && (each.shape.kind as z.ZodType).safeParse(kind).success,
      );
      if (!option) return [];
      schema = option;
    }
    if (part === undefined) break;
    here = (here as Record<PropertyKey, unknown> | undefined)?.[part];
    if (schema instanceof z.ZodObject) schema = schema.shape[part as string] as z.ZodType;
    else if (schema instanceof z.ZodArray) schema = schema.element as z.ZodType;
    else return [];
  }
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function unwrap(schema: z.ZodType): z.ZodType {
  let inner = schema;
  while (inner instanceof z.ZodDefault || inner instanceof z.ZodOptional) inner = inner.unwrap() as z.ZodType;
  return inner;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const part of path) at = (at as Record<PropertyKey, unknown> | null | undefined)?.[part];
  return at;
}

/** What a resumed run may change: how long it goes, how its rate falls, how often it saves, tests and logs. */
const changeable = ['$schema', 'title', 'steps', 'epochs', 'schedule', 'save', 'log', 'eval', 'loader'];

/** Keys in which two recipes differ so that one cannot go on from the other's checkpoint. Data may have moved to another place. */
export function recipeDifferences(a: Recipe, b: Recipe): (keyof Recipe)[] {
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])] as (keyof Recipe)[];
  return keys.filter(
    (key) => !changeable.includes(key) && canonicalJson(comparable(a, key)) !== canonicalJson(comparable(b, key)),
  );
}

function comparable(recipe: Recipe, key: keyof Recipe): unknown {
  if (key !== 'data') return recipe[key];
  return { ...recipe.data, path: undefined, images: undefined, captions: undefined };
}
