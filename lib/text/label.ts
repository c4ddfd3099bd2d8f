/** One label of a vocabulary: its name, words and marks, checked and in one normal form. */
import { type ErrorCode, show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { isWellFormed } from './clean.js';

export interface Label {
  readonly name: string;
  /** Words that are compared with the image; empty only for a background label that has none of its own. */
  readonly prompts: readonly string[];
  /** RGB, 0..255. */
  readonly color?: readonly [number, number, number];
  readonly group?: string;
  /** A countable thing (true) or stuff (false), for panoptic and instance results. */
  readonly thing?: boolean;
  readonly background?: boolean;
}

/** `cat`, `dog|puppy` (the first word is the name), or an object whose `prompts` are the whole list. */
export type LabelInput =
  | string
  | {
      readonly name: string;
      readonly prompts?: readonly string[];
      readonly color?: readonly [number, number, number] | string;
      readonly group?: string;
      readonly thing?: boolean;
      readonly background?: boolean;
    };

export interface VocabularyLimits {
  labels: number;
  /** UTF-8 bytes of one name, prompt or template. */
  labelBytes: number;
  prompts: number;
  templates: number;
}

export const defaultLimits: Readonly<VocabularyLimits> = {
  labels: 10_000,
  labelBytes: 1024,
  prompts: 64,
  templates: 128,
};
/** A background label gathers the words of many things, so it may have more: the longest published list has 72. */
const backgroundPrompts = 256;

const labelKeys = ['name', 'prompts', 'color', 'group', 'thing', 'background'];

/**
 * Checks and normalises one label: blanks collapsed, Unicode composed (NFC), words that repeat dropped. A label that is marked
 * `background` and named "background" gets no words unless it lists some: that word describes no picture.
 * @param at place in the list, for messages
 * @throws E_LABEL
 */
export function parseLabel(input: unknown, at: number, limits: Readonly<VocabularyLimits>): Label {
  const where = `label ${at}`;
  if (typeof input === 'string') {
    checkBytes(input, where, (limits.labelBytes + 1) * limits.prompts, 'all its words together');
    const words = input.split('|').map((word) => cleanText(word, where, limits.labelBytes));
    return { name: words[0] as string, prompts: unique(words, where, limits.prompts) };
  }
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw fail(where, `must be a text or an object with a name, got ${show(input)}`, input);
  const extra = Object.keys(input).find((key) => !labelKeys.includes(key));
  if (extra !== undefined) {
    const hint = nearest(extra, labelKeys);
    throw fail(
      where,
      `has the unknown key ${show(extra)}${hint ? `; did you mean ${hint}?` : ''} (allowed: ${labelKeys.join(', ')})`,
      extra,
    );
  }
  const { name: rawName, prompts, color, group, thing, background } = input as Record<string, unknown>;
  const name = cleanText(rawName, `${where}: name`, limits.labelBytes);
  for (const [key, value] of [
    ['thing', thing],
    ['background', background],
  ]) {
    if (value !== undefined && typeof value !== 'boolean')
      throw fail(`${where} ${show(name)}`, `${key as string} must be true or false, got ${show(value)}`, value);
  }
  return {
    name,
    prompts: promptsOf(name, prompts, background === true, `${where} ${show(name)}`, limits),
    ...(color === undefined ? {} : { color: parseColor(color, `${where} ${show(name)}`) }),
    ...(group === undefined ? {} : { group: cleanText(group, `${where} ${show(name)}: group`, limits.labelBytes) }),
    ...(thing === undefined ? {} : { thing: thing as boolean }),
    ...(background === true ? { background: true } : {}),
  };
}

function promptsOf(
  name: string,
  prompts: unknown,
  background: boolean,
  where: string,
  limits: Readonly<VocabularyLimits>,
): readonly string[] {
  if (prompts !== undefined && !Array.isArray(prompts))
    throw fail(where, `prompts must be a list of texts, got ${show(prompts)}`, prompts);
  const list = (prompts ?? []) as readonly unknown[];
  if (list.length === 0) return background && name.toLowerCase() === 'background' ? [] : [name];
  const most = background ? Math.max(backgroundPrompts, limits.prompts) : limits.prompts;
  if (list.length > most) throw tooMany(where, list.length, most);
  return unique(
    list.map((prompt) => cleanText(prompt, `${where}: prompt`, limits.labelBytes)),
    where,
    most,
  );
}

function unique(words: readonly string[], where: string, most: number): readonly string[] {
  const list = [...new Set(words)];
  if (list.length > most) throw tooMany(where, list.length, most);
  return list;
}

function tooMany(where: string, value: number, limit: number): WordmaskError {
  return new WordmaskError('E_VOCAB', `${where} has ${value} prompts, the limit is ${limit}: leave some out`, {
    details: { value, limit },
  });
}

/**
 * A text in normal form: well-formed, not empty, within the byte limit, blanks collapsed.
 * @throws the given code (default E_LABEL)
 */
export function cleanText(value: unknown, where: string, limit: number, code: ErrorCode = 'E_LABEL'): string {
  if (typeof value !== 'string') throw fail(where, `must be a text, got ${show(value)}`, value, code);
  checkBytes(value, where, limit, 'it', code);
  if (!isWellFormed(value))
    throw fail(where, `holds half of a surrogate pair, which is no character: ${show(value)}`, value, code);
  const text = value
    .normalize('NFC')
    .replace(/[\p{White_Space}\p{Cc}]+/gu, ' ')
    .trim();
  if (text === '') throw fail(where, 'is empty', value, code);
  return text;
}

function checkBytes(value: string, where: string, limit: number, what: string, code: ErrorCode = 'E_LABEL'): void {
  // A character has at least one byte, so the length alone can refuse without counting.
  const bytes = value.length > limit ? value.length : Buffer.byteLength(value);
  if (bytes > limit)
    throw new WordmaskError(
      code,
      `${where}: ${show(value, 40)} has ${bytes} bytes or more, the limit for ${what} is ${limit}: shorten it`,
      { details: { value: bytes, limit } },
    );
}

/** `[r, g, b]` or `#rrggbb`. */
function parseColor(value: unknown, where: string): readonly [number, number, number] {
  if (typeof value === 'string' && /^#[0-9a-f]{6}$/i.test(value)) {
    const number = Number.parseInt(value.slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  }
  if (
    Array.isArray(value) &&
    value.length === 3 &&
    value.every((part) => Number.isInteger(part) && part >= 0 && part <= 255)
  ) {
    return [value[0] as number, value[1] as number, value[2] as number];
  }
  throw fail(where, `color must be [r, g, b] with whole numbers from 0 to 255 or "#rrggbb", got ${show(value)}`, value);
}

function fail(where: string, text: string, value: unknown, code: ErrorCode = 'E_LABEL'): WordmaskError {
  return new WordmaskError(code, `${where} ${text}`, {
    details: { value: typeof value === 'string' ? value.slice(0, 200) : value },
  });
}
