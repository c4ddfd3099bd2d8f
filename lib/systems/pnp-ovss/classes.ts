/** Which labels of the vocabulary PnP-OVSS looks for in a picture (section 3 of its page). */
import type { PredictorWords } from '../../post/predictor.js';
import { show, WordmaskError } from '../../util/errors.js';
import { readFileLimited } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';
import { nearest } from '../../util/nearest.js';
import { mergedWord } from './caption.js';
import type { ListedClasses, PnpOptions } from './options.js';

/** Answers of the language model count from here on, in percent, strictly above. */
const leastConfidence = 70;
const fileLimit = 256 << 20;

type Listed = Exclude<ListedClasses, string | null>;

/** A file of listed classes, read once a predictor. */
export class ClassFiles {
  readonly #read = new Map<string, Promise<Listed>>();

  async get(classes: ListedClasses, signal?: AbortSignal): Promise<Listed> {
    if (classes === null) return [];
    if (typeof classes !== 'string') return classes;
    const known = this.#read.get(classes);
    if (known) return known;
    const reading = readListed(classes, signal);
    this.#read.set(classes, reading);
    // A file that was not there may be there next time.
    reading.catch(() => this.#read.delete(classes));
    return reading;
  }
}

async function readListed(file: string, signal?: AbortSignal): Promise<Listed> {
  const bytes = await readFileLimited(file, { limit: fileLimit, signal, code: 'E_OPTION' });
  const value = parseJsonStrict(bytes, { code: 'E_OPTION', what: file });
  const entry = (x: unknown): boolean =>
    typeof x === 'string' ||
    (Array.isArray(x) && x.every((item) => typeof item === 'string' || Number.isInteger(item)));
  const fits = Array.isArray(value)
    ? entry(value)
    : typeof value === 'object' && value !== null && Object.values(value).every(entry);
  if (fits) return value as Listed;
  throw new WordmaskError(
    'E_OPTION',
    `${file}: needs an object that gives each picture a list of labels (names or indices) or an answer "[id: name, ...], [percent, ...]"`,
    { details: { option: 'classes', file } },
  );
}

/** Labels of the call that a list names, in its order. @throws E_OPTION for a label that the vocabulary does not have */
export function listedLabels(
  listed: Listed,
  imageId: string | undefined,
  words: PredictorWords,
  source: string,
): number[] {
  const entry = Array.isArray(listed)
    ? listed
    : entryOf(listed as Record<string, string | (string | number)[]>, imageId);
  const indices =
    typeof entry === 'string' ? answered(entry, words, source) : entry.map((item) => indexOf(item, words, source));
  const chosen = new Set(words.chosen);
  return [...new Set(indices)].filter((index) => chosen.has(index));
}

function entryOf(
  listed: Record<string, string | (string | number)[]>,
  imageId: string | undefined,
): string | (string | number)[] {
  if (imageId === undefined)
    throw new WordmaskError(
      'E_OPTION',
      'classes lists labels by picture, and this picture has no file name: say which one it is with the option imageId',
      { details: { option: 'imageId' } },
    );
  if (Object.hasOwn(listed, imageId)) return listed[imageId] as string | (string | number)[];
  // COCO's file names are its numbers with zeros in front.
  const bare = imageId.replace(/^0+(?=\d)/, '');
  const found = Object.hasOwn(listed, bare) ? bare : undefined;
  if (found !== undefined) return listed[found] as string | (string | number)[];
  const guess = nearest(imageId, Object.keys(listed).slice(0, 10_000));
  throw new WordmaskError(
    'E_OPTION',
    `classes has no entry for the picture ${show(imageId)}${guess ? `; did you mean ${show(guess)}?` : ''}: add one, or say which it is with the option imageId`,
    { details: { option: 'classes', imageId } },
  );
}

function indexOf(item: string | number, { labels }: PredictorWords, source: string): number {
  if (typeof item === 'number') {
    if (Number.isInteger(item) && item >= 0 && item < labels.length) return item;
    throw new WordmaskError(
      'E_OPTION',
      `${source} names the label number ${show(item)}, the vocabulary has 0 to ${labels.length - 1}`,
      { details: { option: 'classes', value: item } },
    );
  }
  const found = byName(item, labels);
  if (found >= 0) return found;
  const names = labels.map(({ name }) => name);
  const guess = nearest(item, names);
  throw new WordmaskError(
    'E_OPTION',
    `${source} names the label ${show(item)}, which the vocabulary does not have${guess ? `; did you mean ${show(guess)}?` : ''}`,
    { details: { option: 'classes', value: item } },
  );
}

/** Blanks, hyphens and case do not count, as in captions. */
function byName(name: string, labels: PredictorWords['labels']): number {
  const key = (text: string): string => mergedWord(text).toLowerCase();
  const wanted = key(name);
  return labels.findIndex((label) => key(label.name) === wanted);
}

/**
 * An answer of the published prompt, `[id: name, ...], [percent, ...]`: labels above 70 percent. Without percentages all count;
 * an empty answer and one without a sure label mean the first label, as in the published code.
 */
function answered(answer: string, words: PredictorWords, source: string): number[] {
  const [names = '', shares] = [...answer.matchAll(/\[([^[\]]*)\]/g)].map((match) => match[1] as string);
  const entries = names
    .split(/[,;]/)
    .map((text) => text.trim())
    .filter((text) => text !== '');
  const percents = shares?.split(/[,;]/).map((text) => Number.parseFloat(text)) ?? [];
  const first = words.chosen.slice(0, 1);
  const sure = entries.filter((_, i) => shares === undefined || (percents[i] ?? Number.NaN) > leastConfidence);
  return sure.length === 0 ? [...first] : sure.map((text) => answeredLabel(text, words, source));
}

function answeredLabel(text: string, words: PredictorWords, source: string): number {
  const [, id, name = text] = /^["']?(\d+)["']?\s*[:.-]\s*(.*)$/s.exec(text) ?? [];
  const found = byName(name.replace(/^["']|["']$/g, ''), words.labels);
  if (found >= 0) return found;
  // Numbers count from 1 over the classes that are not background.
  const counted = words.labels.flatMap((label, index) => (label.background ? [] : [index]));
  const byNumber = id === undefined ? undefined : counted[Number(id) - 1];
  return byNumber ?? indexOf(name, words, source);
}

/** Options whose labels depend on the picture. */
export function isListed({ classProvider }: PnpOptions): boolean {
  return classProvider === 'json' || classProvider === 'oracle';
}
