/**
 * Learns CLIP's byte-level byte pairs from captions (Sennrich, Haddow, Birch 2016, algorithm 1, over bytes) and writes them in
 * every form that CLIP tokenizers are read in. Deterministic: the most frequent pair is joined, the smaller pair in code
 * order among equals. Ids as in the original: bytes, bytes with word end, merges, start token, end token; the end token has
 * the highest id, which the published pooling by argmax needs.
 */
import { show, WordmaskError } from '../util/errors.js';
import { byteOrder, byteSymbols } from './bpe.js';
import { cleanClip } from './clean.js';
import { splitClip } from './split.js';

const start = '<|startoftext|>';
const end = '<|endoftext|>';
const wordEnd = '</w>';
/** CLIP's blanks, which part words and stand in none. */
const blanks = new Set([0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20]);

/**
 * Bytes that cleaned words can hold, in CLIP's order, then those that can end a word: whatever is typed has ids. Left out is what
 * never comes: blanks, capitals, bytes outside UTF-8; digits inside words (each is a word); bytes that begin a character at a
 * word's end.
 */
const alphabet: readonly string[] = (() => {
  const bytes = byteOrder.map((symbol) => byteSymbols.indexOf(symbol));
  const occurs = (byte: number) =>
    !blanks.has(byte) && !(byte >= 0x41 && byte <= 0x5a) && byte !== 0xc0 && byte !== 0xc1 && byte < 0xf5;
  const inside = bytes.filter((byte) => occurs(byte) && !(byte >= 0x30 && byte <= 0x39));
  const atEnd = bytes.filter((byte) => occurs(byte) && byte < 0xc0);
  const symbol = (byte: number) => byteSymbols[byte] as string;
  return [...inside.map(symbol), ...atEnd.map((byte) => symbol(byte) + wordEnd)];
})();
const leastVocabulary = alphabet.length + 2;

export interface LearnedBpe {
  /** Symbols in order of id. */
  readonly symbols: readonly string[];
  /** Pairs "left right" in order of rank. */
  readonly merges: readonly string[];
}

interface Word {
  readonly count: number;
  symbols: string[];
}

/**
 * @param captions any text; it is cleaned and cut into words as at encoding
 * @param vocabulary most entries; fewer where all words are one symbol each before
 * @throws E_OPTION for a vocabulary that has no room for all bytes, or over 65536
 */
export function learnBpe(captions: Iterable<string>, vocabulary: number): LearnedBpe {
  if (!Number.isInteger(vocabulary) || vocabulary < leastVocabulary || vocabulary > 65_536) {
    throw new WordmaskError(
      'E_OPTION',
      `a byte-level vocabulary has ${leastVocabulary} (all bytes of words and two special tokens) to 65536 entries, got ${show(vocabulary)}`,
      { details: { option: 'vocabulary', value: vocabulary } },
    );
  }
  const words = countWords(captions);
  const merges: string[] = [];
  // Two merges may make the same symbol ("a bc", "ab c"): it has one id.
  const symbols = new Set(alphabet);
  while (symbols.size < vocabulary - 2) {
    const best = mostFrequent(words);
    if (best === undefined) break;
    const [left = '', right = ''] = best.split(' ');
    for (const word of words) join(word, left, right);
    merges.push(best);
    symbols.add(left + right);
  }
  return { symbols: [...symbols, start, end], merges };
}

function countWords(captions: Iterable<string>): Word[] {
  const counts = new Map<string, number>();
  for (const caption of captions)
    for (const word of splitClip(cleanClip(caption))) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([text, count]) => {
    const symbols = Array.from(Buffer.from(text, 'utf8'), (byte) => byteSymbols[byte] as string);
    symbols[symbols.length - 1] += wordEnd;
    return { count, symbols };
  });
}

function mostFrequent(words: readonly Word[]): string | undefined {
  const counts = new Map<string, number>();
  for (const { count, symbols } of words) {
    for (let i = 0; i + 1 < symbols.length; i++) {
      const pair = `${symbols[i]} ${symbols[i + 1]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best: string | undefined;
  for (const [pair, count] of counts) {
    const leader = best === undefined ? 0 : (counts.get(best) as number);
    if (count > leader || (count === leader && pair < (best as string))) best = pair;
  }
  return best;
}

function join(word: Word, left: string, right: string): void {
  const { symbols } = word;
  if (!symbols.includes(left)) return;
  const joined: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    const hit = symbols[i] === left && symbols[i + 1] === right;
    joined.push(hit ? left + right : (symbols[i] as string));
    if (hit) i++;
  }
  word.symbols = joined;
}

/**
 * The tokenizer's files by name: tokenizer.json, vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json. Hugging
 * Face's CLIPTokenizer and CLIPTokenizerFast and this package read the same ids from them.
 * @param maxLength context of the text tower
 */
export function bpeFiles({ symbols, merges }: LearnedBpe, maxLength: number): Record<string, string> {
  const vocab = Object.fromEntries(symbols.map((symbol, id) => [symbol, id]));
  const config = {
    tokenizer_class: 'CLIPTokenizer',
    add_prefix_space: false,
    do_lower_case: true,
    bos_token: start,
    eos_token: end,
    pad_token: end,
    unk_token: end,
    errors: 'replace',
    model_max_length: maxLength,
  };
  const special = { bos_token: start, eos_token: end, pad_token: end, unk_token: end };
  return {
    'tokenizer.json': json(tokenizerJson(vocab, merges)),
    'vocab.json': `${JSON.stringify(vocab)}\n`,
    'merges.txt': `#version: 0.2\n${merges.map((pair) => `${pair}\n`).join('')}`,
    'tokenizer_config.json': json(config),
    'special_tokens_map.json': json(special),
  };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 1)}\n`;
}

/** As Hugging Face's conversion of CLIP's tokenizer lays it out. */
function tokenizerJson(vocab: Record<string, number>, merges: readonly string[]): Record<string, unknown> {
  const token = (content: string) => ({
    id: vocab[content],
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: content === start,
    special: true,
  });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [token(start), token(end)],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        {
          type: 'Split',
          pattern: { Regex: "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+" },
          behavior: 'Removed',
          invert: true,
        },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
      ],
    },
    post_processor: {
      type: 'RobertaProcessing',
      sep: [end, vocab[end]],
      cls: [start, vocab[start]],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: end,
      continuing_subword_prefix: '',
      end_of_word_suffix: wordEnd,
      fuse_unk: false,
      vocab,
      merges,
    },
  };
}
