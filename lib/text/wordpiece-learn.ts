/**
 * A table of BERT's word pieces from captions: frequent words whole, and letters from which every other word can be put together.
 * Deterministic: the more frequent word first, the smaller one in code order among equals. Ids as in BLIP's table: special
 * tokens, letters, words, [DEC], [ENC].
 */
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { splitBert } from './split.js';

const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
/** Behind all others, as in BLIP: start tokens of its decoder and of its text encoder that looks at a picture. */
const behind = ['[DEC]', '[ENC]'];
/** What lower-case text without accents is made of, as far as it is ASCII: typed words of these are never unknown. */
const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).filter((c) => !/[A-Z]/.test(c));
/** Punctuation stands alone; letters and digits also go on with a word. */
const alphabet = [...letters, ...letters.filter((c) => /[a-z0-9]/.test(c)).map((c) => `##${c}`)];
const leastPieces = special.length + alphabet.length + behind.length;

/**
 * Lines of vocab.txt.
 * @param captions any text; it is cleaned and cut into words as at encoding
 * @param pieces most entries; fewer where all words are in before
 * @throws E_OPTION for a table that has no room for all letters, or over 65536; the signal's reason
 */
export async function learnWordPieces(
  captions: Iterable<string>,
  pieces: number,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  if (!Number.isInteger(pieces) || pieces < leastPieces || pieces > 65_536)
    throw new WordmaskError(
      'E_OPTION',
      `a table of word pieces has ${leastPieces} (letters and special tokens) to 65536 entries, got ${show(pieces)}`,
      { details: { option: 'vocabulary', value: pieces } },
    );
  const slices = new Slices(signal);
  const counts = new Map<string, number>();
  for (const caption of captions) {
    if (slices.due) await slices.pause();
    for (const word of splitBert(caption, true)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const known = new Set(alphabet);
  const words = [...counts]
    .filter(([word]) => !known.has(word))
    .sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
    .slice(0, pieces - leastPieces)
    .map(([word]) => word);
  return [...special, ...alphabet, ...words, ...behind];
}

/**
 * The tokenizer's files by name: vocab.txt, tokenizer_config.json, special_tokens_map.json, as Hugging Face's BertTokenizer and this
 * package read them.
 * @param maxLength positions of the text tower
 */
export function wordPieceFiles(pieces: readonly string[], maxLength: number): Record<string, string> {
  const names = {
    cls_token: '[CLS]',
    mask_token: '[MASK]',
    pad_token: '[PAD]',
    sep_token: '[SEP]',
    unk_token: '[UNK]',
  };
  const config = { tokenizer_class: 'BertTokenizer', do_lower_case: true, model_max_length: maxLength, ...names };
  return {
    'vocab.txt': pieces.map((piece) => `${piece}\n`).join(''),
    'tokenizer_config.json': `${JSON.stringify(config, null, 1)}\n`,
    'special_tokens_map.json': `${JSON.stringify(names, null, 1)}\n`,
  };
}
