/** What `explain` is asked: which words, and against which others. */
import type { LabelInput, VocabularyOptions } from '../text/index.js';
import { show, WordmaskError } from '../util/errors.js';
import type { CheckedOptions, SegmentOptions } from './segment-options.js';
import { Vocabulary } from './vocabulary.js';

export type ExplainInput = LabelInput | number | readonly (LabelInput | number)[] | Vocabulary;

interface ExplainWords {
  /** The words are labels of this one, and compete with its others; without it every word stands alone. */
  readonly vocabulary?: Vocabulary | readonly LabelInput[];
  /** How prompts of a word join, where the words are made into a vocabulary here (default `max`). */
  readonly ensemble?: VocabularyOptions['ensemble'];
}

/** Options of `segment` that shape a map, and the words to compete with. */
export type ExplainOptions = ExplainWords & SegmentOptions;

export interface ExplainRequest {
  /** All words there are. */
  readonly vocab: Vocabulary;
  /** Indices of the labels whose maps are asked for, in their order. */
  readonly asked: readonly number[];
  /** Every word by itself, against no other. */
  readonly alone: boolean;
}

/** Options of `segment` that say something about label maps only. */
const refused: Readonly<Record<string, string>> = {
  outputs: 'the map itself is the only output',
  k: 'the map itself is the only output',
  threshold: 'a map has no background: compare its values instead',
  background: 'a map has no background: words that compete go into the vocabulary',
  minArea: 'a map has no segments',
  labels: 'name the words to explain as the second argument',
};

/** @throws E_USAGE for what is no object */
export function splitExplainOptions(options: ExplainOptions): ExplainWords & SegmentOptions {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new WordmaskError('E_USAGE', `options must be an object, got ${show(options)}`);
  return options;
}

/** @throws E_OPTION naming the option and why a map has none of it */
export function refuseExplainOptions({ common }: CheckedOptions): void {
  for (const [option, why] of Object.entries(refused)) {
    const value = common[option as keyof typeof common];
    if (value !== undefined)
      throw new WordmaskError('E_OPTION', `explain: option ${option} is ${show(value)}; ${why}`, {
        details: { option, value },
      });
  }
}

/** @throws E_LABEL for empty and unknown words, E_USAGE, E_VOCAB, E_OPTION */
export function explainRequest(input: ExplainInput, { vocabulary, ensemble }: ExplainWords): ExplainRequest {
  const words = input instanceof Vocabulary ? input : Array.isArray(input) ? input : [input as LabelInput | number];
  if (!(words instanceof Vocabulary) && words.length === 0)
    throw new WordmaskError('E_LABEL', 'explain needs at least one word, got an empty list');
  if (vocabulary === undefined) return aloneRequest(words, ensemble);
  if (words instanceof Vocabulary)
    throw new WordmaskError('E_USAGE', 'explain: with option vocabulary, name the labels to explain, not a Vocabulary');
  const given = vocabulary instanceof Vocabulary ? vocabulary : Vocabulary.from(vocabulary, { ensemble });
  const vocab = ensemble === undefined || vocabulary !== given ? given : given.configure({ ensemble });
  const asked = words.map((word) => {
    if (typeof word !== 'string' && typeof word !== 'number')
      throw new WordmaskError(
        'E_LABEL',
        `explain: with option vocabulary, a label is its name or index there, got ${show(word)}`,
      );
    return withPrompts(vocab, vocab.indexOf(word));
  });
  return {
    vocab,
    asked: [...new Set(asked)].length === asked.length ? asked : refuseTwice(vocab, asked),
    alone: false,
  };
}

function aloneRequest(
  words: Vocabulary | readonly (LabelInput | number)[],
  ensemble: ExplainWords['ensemble'],
): ExplainRequest {
  if (words instanceof Vocabulary) {
    const vocab = ensemble === undefined ? words : words.configure({ ensemble });
    const asked = [...vocab.labels.keys()].filter((index) => (vocab.labels[index]?.prompts.length ?? 0) > 0);
    return { vocab, asked, alone: true };
  }
  const number = words.find((word) => typeof word === 'number');
  if (number !== undefined)
    throw new WordmaskError('E_LABEL', `explain: ${number} is an index into option vocabulary, which was not given`);
  const vocab = Vocabulary.from(words as readonly LabelInput[], { ensemble });
  return { vocab, asked: [...vocab.labels.keys()].map((index) => withPrompts(vocab, index)), alone: true };
}

function withPrompts(vocab: Vocabulary, index: number): number {
  const label = vocab.labels[index];
  if (label && label.prompts.length > 0) return index;
  throw new WordmaskError('E_LABEL', `${show(label?.name)} has no words of its own to look for: name another label`, {
    details: { label: label?.name },
  });
}

function refuseTwice(vocab: Vocabulary, asked: readonly number[]): never {
  const twice = asked.find((index, i) => asked.indexOf(index) !== i) as number;
  throw new WordmaskError('E_LABEL', `explain: the label ${show(vocab.labels[twice]?.name)} is named twice`);
}
