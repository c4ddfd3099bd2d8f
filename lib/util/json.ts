/** Strict reading of JSON files: no duplicate keys, bounded depth, well-formed text; and a canonical form for hashes. */
import { type ErrorCode, show, WordmaskError } from './errors.js';

export interface JsonOptions {
  code: ErrorCode;
  /** What is read, for messages: usually the file's path. */
  what: string;
  /** Deepest nesting of arrays and objects (default 64). */
  maxDepth?: number;
}

/**
 * Parses UTF-8 bytes or text as JSON. Objects come back with plain own properties: a `__proto__` key is such a property and
 * changes no prototype as long as the object is not merged into another.
 * @throws the given code on ill-formed UTF-8, a syntax error, a key that occurs twice in one object, or too deep nesting
 */
export function parseJsonStrict(source: Uint8Array | string, options: JsonOptions): unknown {
  const text = typeof source === 'string' ? source : decodeUtf8(source, options);
  const problem = scan(text, options.maxDepth ?? 64);
  try {
    const value: unknown = JSON.parse(text);
    if (problem === undefined) return value;
  } catch (cause) {
    throw new WordmaskError(options.code, `${options.what} is not JSON: ${problem ?? (cause as Error).message}`, {
      cause,
      details: { what: options.what },
    });
  }
  throw new WordmaskError(options.code, `${options.what}: ${problem}`, { details: { what: options.what } });
}

function decodeUtf8(bytes: Uint8Array, options: JsonOptions): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new WordmaskError(options.code, `${options.what} is not UTF-8 text`, {
      cause,
      details: { what: options.what },
    });
  }
}

/**
 * JSON.parse keeps the last of two equal keys, which lets one file mean two things to two readers. This pass finds them (and
 * nesting over the limit) in one walk; syntax is left to JSON.parse, so on malformed text its answer does not matter.
 */
function scan(text: string, maxDepth: number): string | undefined {
  const keys: (Set<string> | undefined)[] = []; // one entry an open bracket, undefined for arrays
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x22) {
      const end = stringEnd(text, i);
      const open = keys[keys.length - 1];
      if (open && isKey(text, end)) {
        const key = unescape(text.slice(i, end));
        if (open.has(key)) return `the key ${show(key)} occurs twice in one object`;
        open.add(key);
      }
      i = end - 1;
    } else if (c === 0x7b || c === 0x5b) {
      if (keys.length >= maxDepth) return `arrays and objects are nested deeper than ${maxDepth}`;
      keys.push(c === 0x7b ? new Set() : undefined);
    } else if (c === 0x7d || c === 0x5d) {
      keys.pop();
    }
  }
  return undefined;
}

function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x5c) i++;
    else if (c === 0x22) return i + 1;
  }
  return text.length;
}

function isKey(text: string, end: number): boolean {
  for (let i = end; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return c === 0x3a;
  }
  return false;
}

function unescape(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted; // malformed: JSON.parse of the whole text will say so
  }
}

/** JSON with sorted keys and no blanks: equal values give equal text, so it can be hashed. Undefined properties are left out. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null);
  const record = value as Record<string, unknown>;
  const parts = Object.keys(record)
    .filter((key) => record[key] !== undefined)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(record[key])}`);
  return `{${parts.join(',')}}`;
}
