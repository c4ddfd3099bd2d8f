/**
 * Learns CLIP's byte-level byte pairs from captions (Sennrich, Haddow, Birch 2016, algorithm 1, over bytes) and writes them in
 * every form that CLIP tokenizers are read in. Deterministic: the most frequent pair is joined, the smaller pair in code
 * order among equals. Ids as in the original: bytes, bytes with word end, merges, start token, end token; the end token has
 * the highest id, which the published pooling by argmax needs.
 */
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
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
 * @throws E_OPTION for a vocabulary that has no room for all bytes, or over 65536; the signal's reason
 */
export async function learnBpe(
  captions: Iterable<string>,
  vocabulary: number,
  signal?: AbortSignal,
): Promise<LearnedBpe> {
  if (!Number.isInteger(vocabulary) || vocabulary < leastVocabulary || vocabulary > 65_536) {
    throw new WordmaskError(
      'E_OPTION',
      `a byte-level vocabulary has ${leastVocabulary} (all bytes of words and two special tokens) to 65536 entries, got ${show(vocabulary)}`,
      { details: { option: 'vocabulary', value: vocabulary } },
    );
  }
  const slices = new Slices(signal);
  const pairs = new Pairs();
  for (const word of await countWords(captions, slices)) {
    if (slices.due) await slices.pause();
    pairs.add(word);
  }
  const merges: string[] = [];
  // Two merges may make the same symbol ("a bc", "ab c"): it has one id.
  const symbols = new Set(alphabet);
  while (symbols.size < vocabulary - 2) {
    if (slices.due) await slices.pause();
    const best = pairs.mostFrequent();
    if (best === undefined) break;
    symbols.add(pairs.join(best));
    merges.push(best);
  }
  return { symbols: [...symbols, start, end], merges };
}

async function countWords(captions: Iterable<string>, slices: Slices): Promise<Word[]> {
  const counts = new Map<string, number>();
  for (const caption of captions) {
    if (slices.due) await slices.pause();
    for (const word of splitClip(cleanClip(caption))) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].map(([text, count]) => {
    const symbols = Array.from(Buffer.from(text, 'utf8'), (byte) => byteSymbols[byte] as string);
    symbols[symbols.length - 1] += wordEnd;
    return { count, symbols };
  });
}

/** Neighbouring symbols "left right" of all words: how often each pair occurs, and which words have it. */
class Pairs {
  readonly #counts = new Map<string, number>();
  readonly #words = new Map<string, Set<Word>>();

  add(word: Word): void {
    for (const pair of pairsOf(word)) {
      this.#counts.set(pair, (this.#counts.get(pair) ?? 0) + word.count);
      const words = this.#words.get(pair);
      if (words) words.add(word);
      else this.#words.set(pair, new Set([word]));
    }
  }

  #remove(word: Word): void {
    for (const pair of pairsOf(word)) {
      const left = (this.#counts.get(pair) as number) - word.count;
      if (left > 0) this.#counts.set(pair, left);
      else this.#counts.delete(pair);
      this.#words.get(pair)?.delete(word);
    }
  }

  /** The smaller one in code order among equals. */
  mostFrequent(): string | undefined {
    let [best, most]: [string | undefined, number] = [undefined, 0];
    for (const [pair, count] of this.#counts)
      if (count > most || (count === most && pair < (best as string))) [best, most] = [pair, count];
    return best;
  }

  /** Makes one symbol of the pair wherever it occurs; returns that symbol. */
  join(pair: string): string {
    const [left = '', right = ''] = pair.split(' ');
    for (const word of [...(this.#words.get(pair) ?? [])]) {
      this.#remove(word);
      word.symbols = joined(word.symbols, left, right);
      this.add(word);
    }
    return left + right;
  }
}

function pairsOf({ symbols }: Word): string[] {
  return symbols.slice(1).map((right, i) => `${symbols[i]} ${right}`);
}

/** From left to right, so that "a a" in "a a a" joins the first two. */
function joined(symbols: readonly string[], left: string, right: string): string[] {
  const out: string[] = [];
  for (let i = 0; i < symbols.length; i++) {
    const hit = symbols[i] === left && symbols[i + 1] === right;
    out.push(hit ? left + right : (symbols[i] as string));
    if (hit) i++;
  }
  return out;
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
