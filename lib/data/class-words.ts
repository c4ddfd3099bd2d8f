/** Words for the classes of a data set: a published list, a file, or the data set's own names. */
import { type ClassEntry, classList, classListNames } from '../text/index.js';

export { type ClassEntry, classList, classListNames, templateSetNames } from '../text/index.js';

import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited, sha256 } from '../util/files.js';
import { canonicalJson, parseJsonStrict } from '../util/json.js';

export type BackgroundWording = 'listed' | 'name' | 'none';

export interface WordChoice {
  /** `dataset`, the name of a class list, a path to a JSON list, or one of `namedWords`. */
  readonly file: string;
  readonly background: BackgroundWording;
}

const fileLimit = 16 << 20;

/** A label of a vocabulary; without prompts it is scored but not asked for. */
export interface WordedClass {
  readonly name: string;
  readonly prompts: readonly string[];
  readonly color?: readonly [number, number, number];
  readonly thing?: boolean;
  readonly background?: boolean;
}

/** Lists that are made of others. */
const made: Readonly<Record<string, () => readonly (readonly string[])[]>> = {
  // CAT-Seg's PAS-20b: the 39 classes of PC-59 that are none of VOC's 20 stand for background (evaluation.md section 1).
  'pas20b-queries': () => {
    const voc = classList('voc20').map(({ name }) => name);
    const spoken = new Set([...voc.map(squeezed), 'table']);
    const others = classList('pc59')
      .map(({ name }) => name)
      .filter((name) => !spoken.has(squeezed(name)));
    return [...voc.map((name) => [name]), others];
  },
  // pnp-ovss.md section 12.
  'voc20-pnp-ovss': () => classList('voc20').map(({ name }) => [name === 'diningtable' ? 'table' : name]),
};

function squeezed(name: string): string {
  return name.toLowerCase().replace(/[\s-]/g, '');
}

/**
 * One label a class, in the order of the classes, with the words of a choice.
 * @throws E_VOCAB when the list has another length, E_OPTION for an unknown list
 */
export async function wordLabels(
  classes: readonly ClassEntry[],
  choice: WordChoice,
  signal?: AbortSignal,
): Promise<WordedClass[]> {
  const words = await readWords(classes, choice.file, signal);
  const background = classes.findIndex((entry) => entry.background);
  // A list without entries for classes that are never asked for (background, unused ids) serves as well.
  const asked = classes.flatMap(({ prompts }, c) => (prompts.length > 0 ? [c] : []));
  const places = words.length === classes.length ? [...classes.keys()] : asked;
  if (words.length !== places.length)
    throw new WordmaskError(
      'E_VOCAB',
      `the list ${show(choice.file)} has ${words.length} entries, the data set has ${classes.length} classes: one entry a class is needed, in the order of the labels`,
      { details: { file: choice.file, value: words.length, expected: classes.length } },
    );
  const entries = new Map(places.map((place, i) => [place, words[i] as readonly string[]]));
  return classes.map(({ name, color, thing }, c) => {
    const marked = c === background;
    const listed = entries.get(c) ?? [];
    const prompts = !marked ? listed : wordsOfBackground(choice.background, name, listed);
    return {
      name,
      prompts,
      ...(color && { color }),
      ...(thing !== undefined && { thing }),
      ...(marked && { background: true }),
    };
  });
}

function wordsOfBackground(wording: BackgroundWording, name: string, listed: readonly string[]): readonly string[] {
  if (wording === 'none') return [];
  return wording === 'name' || listed.length === 0 ? [name] : listed;
}

async function readWords(
  classes: readonly ClassEntry[],
  file: string,
  signal?: AbortSignal,
): Promise<readonly (readonly string[])[]> {
  if (file === 'dataset') return classes.map(({ prompts }) => prompts);
  const own = made[file];
  if (own) return own();
  if (!isPath(file)) return classList(file).map(({ prompts }) => prompts);
  const bytes = await readFileLimited(file, { limit: fileLimit, signal, code: 'E_VOCAB' });
  const list = parseJsonStrict(bytes, { code: 'E_VOCAB', what: file });
  if (!Array.isArray(list) || list.length === 0)
    throw new WordmaskError(
      'E_VOCAB',
      `${file} must be a list with an entry a class: a name, a list of words, or { name, prompts }; got ${show(list)}`,
      { details: { file } },
    );
  return list.map((entry, at) => wordsOfEntry(entry, `${file}, entry ${at}`));
}

function wordsOfEntry(entry: unknown, where: string): readonly string[] {
  if (typeof entry === 'string') return entry.split('|');
  const listed = Array.isArray(entry) ? entry : (entry as { prompts?: unknown } | null)?.prompts;
  const name = (entry as { name?: unknown } | null)?.name;
  const words = listed === undefined && typeof name === 'string' ? [name] : listed;
  if (!Array.isArray(words) || words.length === 0 || !words.every((word) => typeof word === 'string'))
    throw new WordmaskError(
      'E_VOCAB',
      `${where} must be a name, a list of words, or { name, prompts }, got ${show(entry)}`,
    );
  return words as string[];
}

function isPath(file: string): boolean {
  return /[/\\]|\.json$/i.test(file);
}

/** Names of lists that `wordLabels` takes besides paths. */
export function wordListNames(): string[] {
  return ['dataset', ...classListNames(), ...Object.keys(made)];
}

/** SHA-256 of names, or of the words a class, in order. */
export function wordsHash(words: readonly unknown[]): string {
  return sha256(canonicalJson(words));
}
