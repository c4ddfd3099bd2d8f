/**
 * What all tokenizers share: the frame of start and end token, cutting, padding, limits, and the guard that keeps a user's
 * text from ever becoming a special token.
 */
import { show, WordmaskError } from '../util/errors.js';
import { isWellFormed } from './clean.js';

export type TokenizerKind = 'clip' | 'bert' | 'roberta';

export interface EncodeOptions {
  /** Longest result, start and end token included. Longer text is cut and keeps its end token. */
  maxLength?: number;
  /** Fill shorter results up to this length with `padId`. */
  padTo?: number;
  /**
   * Read the names of special tokens inside the text as these tokens, as the published tokenizers do (default false).
   * Only for text that is not a user's: raw inputs of a published model.
   */
  specialTokens?: boolean;
}

export interface EncodedBatch {
  readonly ids: number[][];
  /** One sentence for each text that was cut. */
  readonly warnings: string[];
}

/** Longest text in UTF-8 bytes; a label may have 1,024 (vocabulary.ts). */
export const textLimit = 8192;

export interface TokenizerParts {
  readonly kind: TokenizerKind;
  readonly vocabSize: number;
  readonly sotId: number;
  readonly eotId: number;
  readonly padId: number;
  /** Special tokens by name, for `specialTokens: true`. */
  readonly special: ReadonlyMap<string, number>;
  /** Ids of text without any special token. */
  readonly encodeText: (text: string) => readonly number[];
  /** What the table calls each id. */
  readonly vocabulary: ReadonlyMap<string, number>;
}

export class Tokenizer {
  readonly kind: TokenizerKind;
  /** Number of ids; every id is below it. */
  readonly vocabSize: number;
  readonly sotId: number;
  readonly eotId: number;
  readonly padId: number;
  private readonly special: ReadonlyMap<string, number>;
  private readonly encodeText: (text: string) => readonly number[];
  private readonly vocabulary: ReadonlyMap<string, number>;
  private names: ReadonlyMap<number, string> | undefined;

  constructor(parts: TokenizerParts) {
    this.kind = parts.kind;
    this.vocabSize = parts.vocabSize;
    this.sotId = parts.sotId;
    this.eotId = parts.eotId;
    this.padId = parts.padId;
    this.special = parts.special;
    this.encodeText = parts.encodeText;
    this.vocabulary = parts.vocabulary;
  }

  /**
   * Ids with start and end token. Text that reads like a special token ("<|endoftext|>") stays text.
   * @throws E_LABEL for text that is no well-formed Unicode or longer than 8,192 bytes; E_OPTION for wrong lengths
   */
  encode(text: string, options?: EncodeOptions): number[];
  encode(texts: readonly string[], options?: EncodeOptions): number[][];
  encode(input: string | readonly string[], options: EncodeOptions = {}): number[] | number[][] {
    if (Array.isArray(input)) return this.encodeBatch(input as readonly string[], options).ids;
    return this.encodeBatch([input as string], options).ids[0] as number[];
  }

  /** As `encode`, with a warning for each text that was cut. */
  encodeBatch(texts: readonly string[], options: EncodeOptions = {}): EncodedBatch {
    const maxLength = checkLength('maxLength', options.maxLength, 2) ?? Infinity;
    const padTo = checkLength('padTo', options.padTo, 0) ?? 0;
    const warnings: string[] = [];
    const ids = texts.map((text) => {
      const body = this.body(text, options.specialTokens ?? false);
      const framed = [this.sotId, ...body.slice(0, Math.min(body.length, maxLength - 2)), this.eotId];
      if (body.length + 2 > maxLength) {
        warnings.push(
          `the text ${show(text)} has ${body.length + 2} tokens and was cut to ${maxLength}: the end of it is not seen`,
        );
      }
      while (framed.length < padTo) framed.push(this.padId);
      return framed;
    });
    return { ids, warnings };
  }

  /** Id of a special token by its name, if the tokenizer has it. */
  specialId(name: string): number | undefined {
    return this.special.get(name) ?? this.vocabulary.get(name);
  }

  /** What the tokenizer's table calls each id: `##naut`, `\u0120cat`, `[SEP]`; an id it does not have is `[ID]` with the number. */
  pieces(ids: readonly number[]): string[] {
    this.names ??= new Map([...this.vocabulary, ...this.special].map(([name, id]) => [id, name]));
    return ids.map((id) => this.names?.get(id) ?? `[${id}]`);
  }

  private body(text: string, specialTokens: boolean): readonly number[] {
    checkText(text);
    if (!specialTokens) return this.encodeText(text);
    const names = [...this.special.keys()]
      .sort((a, b) => b.length - a.length)
      .map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    const pieces = names.length > 0 ? text.split(new RegExp(`(${names.join('|')})`, 'u')) : [text];
    return pieces.flatMap((piece) => this.special.get(piece) ?? (piece === '' ? [] : [...this.encodeText(piece)]));
  }
}

function checkText(text: string): void {
  if (typeof text !== 'string')
    throw new WordmaskError('E_USAGE', `encode: a text must be a string, got ${show(text)}`);
  const bytes = text.length > textLimit ? text.length : Buffer.byteLength(text);
  if (bytes > textLimit) {
    throw new WordmaskError(
      'E_LABEL',
      `the text ${show(text, 40)} has ${bytes} bytes, the limit is ${textLimit}: shorten it`,
      { details: { value: bytes, limit: textLimit } },
    );
  }
  if (!isWellFormed(text)) {
    throw new WordmaskError(
      'E_LABEL',
      `the text ${show(text)} holds half of a surrogate pair, which is no character: correct its encoding`,
      { details: { value: text } },
    );
  }
}

function checkLength(name: string, value: number | undefined, least: number): number | undefined {
  if (value === undefined) return undefined;
  if (Number.isSafeInteger(value) && value >= least && value <= 65536) return value;
  throw new WordmaskError(
    'E_OPTION',
    `encode: ${name} must be a whole number from ${least} to 65536, got ${show(value)}`,
    { details: { option: name, value } },
  );
}
