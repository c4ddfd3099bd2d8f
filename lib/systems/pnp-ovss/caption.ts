/** Captions of PnP-OVSS and which of their tokens stand for which word (section 4 of its page; Salience DropOut's bookkeeping). */
import type { MatchingModel } from '../../nn/matching.js';
import { show, WordmaskError } from '../../util/errors.js';

/** Tokenizers of the published models; none reads more in one caption there. */
const longest = 500;
const prefix = 'A picture of';

/** A word of a caption and what it stands for. */
export interface CaptionWord {
  readonly word: string;
  /** Index of the class map that it goes into. */
  readonly target: number;
  /** What the user calls it, for messages. */
  readonly name: string;
}

export interface CaptionSpan {
  readonly target: number;
  /** Rows without that of token 0. */
  readonly begin: number;
  readonly end: number;
}

export interface Caption {
  readonly text: string;
  readonly ids: readonly number[];
  readonly pieces: readonly string[];
  readonly spans: readonly CaptionSpan[];
}

/** A single word, as the published code makes class names: a blank or hyphen would begin a new class. */
export function mergedWord(name: string): string {
  return name.replace(/[\s\p{Pd}]+/gu, '');
}

/**
 * Captions over the words, in their order, as few as the model's positions allow.
 * @throws E_LABEL for a word that has no tokens, or more than a caption holds
 */
export function buildCaptions(model: MatchingModel, words: readonly CaptionWord[]): Caption[] {
  const limit = Math.min(longest, model.maxTokens);
  const empty = model.tokenize(prefix).ids.length;
  const captions: Caption[] = [];
  let taken: (CaptionWord & { pieces: number })[] = [];
  let length = empty;
  const close = (): void => {
    if (taken.length > 0) captions.push(caption(model, taken, empty - 2));
    taken = [];
    length = empty;
  };
  for (const word of words) {
    // Word pieces and byte pairs never cross the blank in front of a word, so a caption's tokens are those of its words.
    const pieces = word.word === '' ? 0 : model.tokenize(`${prefix} ${word.word}`).ids.length - empty;
    if (pieces < 1)
      throw new WordmaskError(
        'E_LABEL',
        `the label ${show(word.name)} has no letters that the model's tokenizer knows how to read: give it another prompt`,
        { details: { label: word.name } },
      );
    if (empty + pieces > limit)
      throw new WordmaskError(
        'E_LABEL',
        `the label ${show(word.name)} has ${pieces} tokens, a caption of this model holds ${limit - empty}: give it a shorter prompt`,
        { details: { label: word.name, value: pieces, limit: limit - empty } },
      );
    if (length + pieces > limit) close();
    taken.push({ ...word, pieces });
    length += pieces;
  }
  close();
  return captions;
}

/** @param lead tokens of the prefix, without start and end token */
function caption(model: MatchingModel, words: readonly (CaptionWord & { pieces: number })[], lead: number): Caption {
  const text = [prefix, ...words.map(({ word }) => word)].join(' ');
  const { ids, pieces } = model.tokenize(text);
  let begin = lead;
  const spans = words.map(({ target, pieces: count }) => {
    const span = { target, begin, end: begin + count };
    begin = span.end;
    return span;
  });
  // Rows go without that of the start token; behind the last word stands the end token.
  if (begin !== ids.length - 2)
    throw new WordmaskError('E_INTERNAL', `the caption ${show(text)} has ${ids.length} tokens, its words ${begin + 2}`);
  return { text, ids, pieces, spans };
}

/** Names of pieces that stand for text that is not in the vocabulary. */
const unknownPieces = new Set(['[UNK]', '<unk>']);

/** Targets whose words the tokenizer does not know at all: their maps are those of "some unknown word". */
export function unknownTargets(captions: readonly Caption[]): number[] {
  const known = new Set<number>();
  const all = new Set<number>();
  for (const { pieces, spans } of captions)
    for (const { target, begin, end } of spans) {
      all.add(target);
      if (pieces.slice(begin + 1, end + 1).some((piece) => !unknownPieces.has(piece))) known.add(target);
    }
  return [...all].filter((target) => !known.has(target));
}
