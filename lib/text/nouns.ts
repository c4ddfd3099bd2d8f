/** Finds known nouns in captions by their words: what a lexicon can tell without a parser. */
import { cleanClip } from './clean.js';
import { classList } from './lists.js';
import { splitClip } from './split.js';

/** A noun with all words for it. */
export interface Noun {
  readonly name: string;
  readonly words: readonly string[];
}

/** Of a class list by name, its background left out, or of lists of words, the first of each being its name. @throws E_OPTION */
export function nounsOf(given: string | readonly (readonly string[])[]): Noun[] {
  if (typeof given !== 'string') return given.map((words) => ({ name: words[0] as string, words }));
  return classList(given)
    .filter((entry) => !entry.background)
    .map(({ name, prompts }) => ({ name, words: prompts }));
}

/** Words of a caption are compared as CLIP's tokenizer cuts them, in lower case, singular or plural. */
export class NounFinder {
  /** First word -> phrases that begin with it, longest first. */
  private readonly phrases = new Map<string, { readonly words: readonly string[]; readonly noun: number }[]>();

  constructor(readonly nouns: readonly Noun[]) {
    nouns.forEach(({ name, words }, noun) => {
      for (const phrase of new Set([name, ...words])) {
        const singular = splitClip(cleanClip(phrase));
        for (const form of [singular, ...plurals(singular)]) this.add(form, noun);
      }
    });
    for (const list of this.phrases.values()) list.sort((a, b) => b.words.length - a.words.length);
  }

  private add(words: readonly string[], noun: number): void {
    const first = words[0];
    if (first === undefined) return;
    const list = this.phrases.get(first) ?? [];
    // A form that two nouns share belongs to the first of them.
    if (!list.some((known) => known.words.join(' ') === words.join(' '))) list.push({ words, noun });
    this.phrases.set(first, list);
  }

  /** Indices of the nouns that the caption names, ascending. The longest phrase wins: "fire truck" names no fire. */
  find(caption: string): number[] {
    const words = splitClip(cleanClip(caption));
    const found = new Set<number>();
    for (let at = 0; at < words.length; ) {
      const hit = this.phrases
        .get(words[at] as string)
        ?.find((phrase) => phrase.words.every((word, i) => words[at + i] === word));
      if (hit) found.add(hit.noun);
      at += hit?.words.length ?? 1;
    }
    return [...found].sort((a, b) => a - b);
  }
}

/** Regular plurals of a phrase's last word. */
function plurals(phrase: readonly string[]): string[][] {
  const last = phrase.at(-1);
  if (last === undefined || !/^\p{L}+$/u.test(last)) return [];
  const forms = [`${last}s`];
  if (/(s|x|z|ch|sh|o)$/.test(last)) forms.push(`${last}es`);
  if (/[^aeiou]y$/.test(last)) forms.push(`${last.slice(0, -1)}ies`);
  if (/fe?$/.test(last)) forms.push(last.replace(/fe?$/, 'ves'));
  return forms.map((form) => [...phrase.slice(0, -1), form]);
}
