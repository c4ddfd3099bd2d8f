/** Class names of a data set: its own, or those of a file. */
import { basename } from 'node:path';
import type { ClassEntry } from '../../text/lists.js';
import { show, WordmaskError } from '../../util/errors.js';
import { readFileLimited } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';

const mostBytes = 16 * 2 ** 20;
const mostClasses = 65_535;

/** JSON list of names (`dog|puppy` has two prompts), or of `{ name, prompts?, color?, thing?, background? }`. @throws E_VOCAB naming file and entry */
export async function readClassFile(path: string, signal?: AbortSignal): Promise<readonly ClassEntry[]> {
  const bytes = await readFileLimited(path, { limit: mostBytes, code: 'E_VOCAB', signal });
  const list = parseJsonStrict(bytes, { code: 'E_VOCAB', what: path });
  if (!Array.isArray(list) || list.length === 0 || list.length > mostClasses)
    throw new WordmaskError(
      'E_VOCAB',
      `${path} must be a JSON list of 1 to ${mostClasses} class names in label order, got ${show(list)}`,
    );
  return list.map((entry: unknown, index) => toEntry(entry, `${basename(path)}, entry ${index}`));
}

const isText = (value: unknown): value is string => typeof value === 'string' && value.trim() !== '';

function toEntry(entry: unknown, where: string): ClassEntry {
  const bad = (problem: string): WordmaskError => new WordmaskError('E_VOCAB', `${where}: ${problem}`);
  if (typeof entry === 'string') {
    const words = entry.split('|').map((word) => word.trim());
    if (!words.every(isText)) throw bad('an empty name');
    return words.length === 1 ? plain(words[0] as string) : { name: words[0] as string, prompts: words };
  }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
    throw bad(`expected a name or { name, prompts }, got ${show(entry)}`);
  const { name, prompts, color, thing, background } = entry as Record<string, unknown>;
  if (!isText(name)) throw bad(`name must be a non-empty text, got ${show(name)}`);
  if (prompts !== undefined && (!Array.isArray(prompts) || !prompts.every(isText)))
    throw bad(`prompts must be a list of texts, got ${show(prompts)}`);
  const isColour = (value: unknown): value is [number, number, number] =>
    Array.isArray(value) &&
    value.length === 3 &&
    value.every((part) => Number.isInteger(part) && part >= 0 && part <= 255);
  if (color !== undefined && !isColour(color)) throw bad(`color must be [r, g, b] of 0 to 255, got ${show(color)}`);
  return {
    ...plain(name.trim()),
    ...(prompts !== undefined && { prompts }),
    ...(color !== undefined && { color }),
    ...(typeof thing === 'boolean' && { thing }),
    ...(background === true && { background }),
  };
}

function plain(name: string): ClassEntry {
  return name === 'background' ? { name, prompts: [], background: true } : { name, prompts: [name] };
}

/** Names of a file for a data set that knows how many classes it has. @throws E_VOCAB */
export async function classesOf(
  own: readonly ClassEntry[] | undefined,
  name: string,
  file: string | undefined,
  signal?: AbortSignal,
): Promise<readonly ClassEntry[]> {
  if (file === undefined) {
    if (own) return own;
    throw new WordmaskError(
      'E_USAGE',
      `data set ${name} has no class names of its own: pass classes, a JSON file with a list of names in label order`,
    );
  }
  const given = await readClassFile(file, signal);
  if (own && given.length !== own.length)
    throw new WordmaskError(
      'E_VOCAB',
      `class list ${file} has ${given.length} entries, the labels of ${name} have ${own.length} classes`,
      { details: { file, value: given.length, limit: own.length } },
    );
  return given.map((entry, i) => ({ ...(own?.[i]?.color && { color: own[i]?.color }), ...entry }));
}
