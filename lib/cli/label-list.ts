/**
 * Labels on a command line: commas separate labels, `|` separates the prompts of one label. Double quotes keep everything
 * between them, a backslash keeps the next character: `"salt, pepper",dog|puppy,a\|b`.
 */
import type { LabelInput } from '../text/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited } from '../util/files.js';

const fileLimit = 64 << 20;

/** Splits a text into labels; empty ones are kept, so that the vocabulary can name them. */
export function parseLabelList(text: string): LabelInput[] {
  if (text.trim() === '') return [];
  const labels: LabelInput[] = [];
  let prompts: string[] = [];
  let word = '';
  let quoted = false;
  const endPrompt = (): void => {
    prompts.push(word);
    word = '';
  };
  const endLabel = (): void => {
    endPrompt();
    labels.push({ name: prompts[0] as string, prompts });
    prompts = [];
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (c === '\\' && i + 1 < text.length) word += text[++i];
    else if (c === '"') quoted = !quoted;
    else if (quoted) word += c;
    else if (c === '|') endPrompt();
    else if (c === ',') endLabel();
    else word += c;
  }
  if (quoted)
    throw new WordmaskError('E_USAGE', `labels: a quote is not closed in ${show(text)}; write \\" for the character`);
  endLabel();
  return labels;
}

/** `cat,dog|puppy`, `@labels.txt` (one or more labels a line), or what a config file holds. @throws E_USAGE, E_DISK */
export async function readLabels(value: unknown): Promise<LabelInput[]> {
  if (Array.isArray(value))
    return value.flatMap((item) => (typeof item === 'string' ? parseLabelList(item) : [item as LabelInput]));
  if (typeof value !== 'string')
    throw new WordmaskError('E_USAGE', `labels must be a text or a list, got ${show(value)}`);
  if (!value.startsWith('@')) return parseLabelList(value);
  const bytes = await readFileLimited(value.slice(1), { limit: fileLimit, code: 'E_USAGE' });
  return bytes
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .flatMap(parseLabelList);
}
