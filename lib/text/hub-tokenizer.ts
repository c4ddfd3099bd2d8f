/**
 * tokenizer.json through @huggingface/tokenizers. That library turns the text of a special token into the token wherever it
 * stands, so it gets the file without added tokens and without post-processor: the frame is ours, and text stays text.
 */
import { show, WordmaskError } from '../util/errors.js';
import { cleanClip } from './clean.js';
import type { TokenizerConfig } from './load.js';
import { Tokenizer, type TokenizerKind } from './tokenizer.js';

interface TokenizerJson {
  added_tokens?: unknown;
  model?: { type?: unknown; vocab?: unknown; end_of_word_suffix?: unknown };
  pre_tokenizer?: unknown;
}

const frames: Record<TokenizerKind, readonly [sot: string, eot: string, pad: string]> = {
  clip: ['<|startoftext|>', '<|endoftext|>', '<|endoftext|>'],
  bert: ['[CLS]', '[SEP]', '[PAD]'],
  roberta: ['<s>', '</s>', '<pad>'],
};

/** @param json parsed tokenizer.json @throws E_TOKENIZER naming the part that is not known */
export async function hubTokenizer(path: string, json: unknown, config: TokenizerConfig): Promise<Tokenizer> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw fail(path, 'is not a JSON object');
  const file = json as TokenizerJson;
  const kind = kindOf(path, file);
  const special = specialTokens(path, file);
  const library = await build(path, file);
  const id = (name: string): number => {
    const found = special.get(name) ?? library.token_to_id(name);
    if (found === undefined) throw fail(path, `lacks the token ${show(name)} that a ${kind} tokenizer needs`);
    return found;
  };
  const [sot, eot, pad] = frames[kind];
  const sotId = id(sot);
  const eotId = id(eot);
  const encodeText = (text: string): readonly number[] => {
    const ids: readonly unknown[] = library.encode(kind === 'clip' ? cleanClip(text) : text, {
      add_special_tokens: false,
    }).ids;
    for (const value of ids) {
      if (!Number.isInteger(value) || value === sotId || value === eotId) {
        throw fail(
          path,
          `gives a part of the text ${show(text)} ${value === undefined ? 'no id' : `the special id ${String(value)}`}`,
        );
      }
    }
    return ids as readonly number[];
  };
  let largest = Math.max(sotId, eotId, ...special.values());
  const vocabulary: ReadonlyMap<string, number> = library.get_vocab();
  for (const value of vocabulary.values()) largest = Math.max(largest, value);
  return new Tokenizer({
    kind,
    sotId,
    eotId,
    padId: id(config.padToken ?? pad),
    encodeText,
    vocabulary,
    vocabSize: largest + 1,
    special:
      special.size > 0
        ? special
        : new Map([
            [sot, sotId],
            [eot, eotId],
          ]),
  });
}

function kindOf(path: string, { model, pre_tokenizer }: TokenizerJson): TokenizerKind {
  if (model?.type === 'WordPiece') return 'bert';
  if (model?.type === 'BPE' && model.end_of_word_suffix === '</w>') return 'clip';
  if (model?.type === 'BPE' && JSON.stringify(pre_tokenizer ?? null).includes('"ByteLevel"')) return 'roberta';
  throw fail(
    path,
    `has a model of type ${show(model?.type)} that is not known: needs CLIP's byte pairs, BERT's word pieces or RoBERTa's byte pairs`,
  );
}

function specialTokens(path: string, file: TokenizerJson): Map<string, number> {
  const special = new Map<string, number>();
  const added = file.added_tokens ?? [];
  if (!Array.isArray(added) || added.length > 10_000)
    throw fail(path, 'has added_tokens that are not a list of at most 10000');
  for (const token of added as { id?: unknown; content?: unknown }[]) {
    if (
      typeof token?.content !== 'string' ||
      token.content === '' ||
      !Number.isInteger(token.id) ||
      (token.id as number) < 0
    )
      throw fail(path, `has the added token ${show(token)} without content or id`);
    special.set(token.content, token.id as number);
  }
  return special;
}

async function build(path: string, file: TokenizerJson) {
  const { Tokenizer: Library } = await import('@huggingface/tokenizers');
  try {
    // Some exports list the special tokens in CLIP's pattern as well.
    const preTokenizer: unknown = JSON.parse(
      JSON.stringify(file.pre_tokenizer ?? null).replace(/<\\\\\|(start|end)oftext\\\\\|>\|/g, ''),
    );
    return new Library(
      { normalizer: null, decoder: null, ...file, pre_tokenizer: preTokenizer, added_tokens: [], post_processor: null },
      {},
    );
  } catch (cause) {
    throw new WordmaskError('E_TOKENIZER', `${path} has a part that is not known: ${(cause as Error).message}`, {
      cause,
      details: { file: path },
    });
  }
}

function fail(path: string, text: string): WordmaskError {
  return new WordmaskError('E_TOKENIZER', `${path} ${text}`, { details: { file: path } });
}
