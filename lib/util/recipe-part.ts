/** A part of a recipe that a system checks by itself. */
import type { z } from 'zod';
import { show, WordmaskError } from './errors.js';
import { nearest } from './nearest.js';

/** E_OPTION about a key of a system's recipe. */
export function recipeProblem(system: string, option: string, text: string): WordmaskError {
  return new WordmaskError('E_OPTION', `${system}: ${option} ${text}`, { details: { option } });
}

/**
 * @param what the part: `model` or `losses`
 * @param known keys of all the system's schemas, for hints
 * @throws E_OPTION naming the key, the value and what is allowed
 */
export function parseRecipePart<T>(
  { system, what, known }: { readonly system: string; readonly what: string; readonly known: readonly string[] },
  schema: z.ZodType<T>,
  given: unknown,
): T {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0] as z.core.$ZodIssue;
  const path = [what, ...issue.path].join('.');
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] as string;
    const hint = nearest(key, known);
    throw recipeProblem(system, `${path}.${key}`, `is not known${hint ? `; did you mean ${show(hint)}?` : ''}`);
  }
  const value = issue.path.reduce<unknown>((v, k) => (v as Record<PropertyKey, unknown> | undefined)?.[k], given);
  throw recipeProblem(system, path, `${issue.message}, got ${show(value)}`);
}
