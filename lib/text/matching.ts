/** Captions of matching models: ids and pieces, with the start token that image-text matching takes. */
import { WordmaskError } from '../util/errors.js';
import { loadTokenizer } from './load.js';
import type { Tokenizer, TokenizerKind } from './tokenizer.js';

export interface CaptionTokens {
  readonly ids: number[];
  readonly pieces: string[];
}

/** A tokenizer with another start token, e.g. [ENC] in place of [CLS]. */
export class CaptionTokenizer {
  constructor(
    private readonly tokenizer: Tokenizer,
    readonly startId: number,
    private readonly startName: string,
  ) {}

  /** Not cut, whatever the length. @throws E_LABEL */
  tokenize(text: string): CaptionTokens {
    const ids = [this.startId, ...this.tokenizer.encode(text).slice(1)];
    return { ids, pieces: [this.startName, ...this.tokenizer.pieces(ids.slice(1))] };
  }

  /** Ids with the tokenizer's own start token, cut to a length: the contrastive side. @throws E_LABEL */
  encode(texts: readonly string[], maxLength: number): number[][] {
    return this.tokenizer.encode(texts, { maxLength });
  }
}

export interface CaptionRule {
  readonly kind: TokenizerKind;
  readonly start: string;
  /** Rows of the model's word embeddings. */
  readonly rows: number;
  /**
   * How many special tokens published folders leave out of the tokenizer's files, the start token being the last of them and their
   * ids the last rows (BLIP: 2, [DEC] and [ENC]).
   */
  readonly behindTable?: number;
  readonly signal?: AbortSignal;
}

/** @throws E_TOKENIZER when the folder's tokenizer does not go with the model; E_DISK */
export async function captionTokenizer(folder: string, rule: CaptionRule): Promise<CaptionTokenizer> {
  const { kind, start, rows, behindTable = 0, signal } = rule;
  const tokenizer = await loadTokenizer(folder, { signal });
  const fail = (text: string): never => {
    throw new WordmaskError('E_TOKENIZER', `${folder}: ${text}`, { details: { folder } });
  };
  if (tokenizer.kind !== kind) fail(`is a ${tokenizer.kind} tokenizer, this model reads ${kind} tokens`);
  if (tokenizer.vocabSize > rows)
    fail(`the tokenizer has ${tokenizer.vocabSize} ids, the model only ${rows} rows of word embeddings`);
  const startId = tokenizer.specialId(start);
  if (startId !== undefined) return new CaptionTokenizer(tokenizer, startId, start);
  if (behindTable === 0 || tokenizer.vocabSize > rows - behindTable) {
    fail(
      `the tokenizer of ${tokenizer.vocabSize} ids lacks the start token ${start}, and the model's ${rows} rows of word embeddings leave no place for it behind them`,
    );
  }
  return new CaptionTokenizer(tokenizer, rows - 1, start);
}
