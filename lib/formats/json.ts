/** JSON that came from outside: parsed with a typed error, its fields looked at before they are used. */
import { show, WordmaskError } from '../util/errors.js';
import type { LegendEntry, Provenance } from './format.js';

export type JsonObject = Record<string, unknown>;

/** Parses UTF-8 JSON. Throws E_USAGE naming the format when the text is not JSON. */
export function parseJson(bytes: Uint8Array, format: string): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch (cause) {
    throw new WordmaskError('E_USAGE', `${format} file is not JSON: ${(cause as Error).message}`, { cause });
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The list under `key`, each item an object; throws E_USAGE otherwise. */
export function objectList(parent: unknown, key: string, what: string): JsonObject[] {
  const list = isObject(parent) ? parent[key] : undefined;
  if (!Array.isArray(list) || !list.every(isObject))
    throw new WordmaskError('E_USAGE', `${what} needs ${JSON.stringify(key)} as a list of objects, got ${show(list)}`);
  return list;
}

export function integerField(item: JsonObject, key: string, what: string, least = 0): number {
  const value = item[key];
  if (!Number.isSafeInteger(value) || (value as number) < least)
    throw new WordmaskError(
      'E_USAGE',
      `${what}: ${JSON.stringify(key)} must be a whole number of at least ${least}, got ${show(value)}`,
    );
  return value as number;
}

export function textField(item: JsonObject, key: string, what: string): string {
  const value = item[key];
  if (typeof value !== 'string')
    throw new WordmaskError('E_USAGE', `${what}: ${JSON.stringify(key)} must be a text, got ${show(value)}`);
  return value;
}

/** COCO's category id of a legend index: ids start at 1. */
export function categoryId(index: number): number {
  return index + 1;
}

export function categoriesOf(legend: readonly LegendEntry[]): JsonObject[] {
  return legend.map(({ index, name, color, group, thing }) => ({
    id: categoryId(index),
    name,
    supercategory: group ?? '',
    isthing: thing === false ? 0 : 1,
    ...(color && { color }),
  }));
}

/** UTF-8 bytes of JSON; lone surrogates come out as escapes, so the text is well-formed whatever the labels hold. */
export function jsonBytes(value: unknown): Uint8Array {
  return new Uint8Array(Buffer.from(JSON.stringify(value), 'utf8'));
}

export function provenanceOf(root: unknown): Provenance | undefined {
  const value = isObject(root) ? root.wordmask : undefined;
  return isObject(value) ? value : undefined;
}
