/** Finds and reads the tokenizer of a model folder: tokenizer.json, or the vocabulary files of CLIP, BERT or RoBERTa. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited } from '../util/files.js';
import { parseJsonStrict } from '../util/json.js';
import { Slices } from '../util/slices.js';
import { Bpe, byteOrder } from './bpe.js';
import type { LearnedBpe } from './bpe-learn.js';
import { cleanClip } from './clean.js';
import { hubTokenizer } from './hub-tokenizer.js';
import { splitBert, splitClip, splitGpt2 } from './split.js';
import { Tokenizer } from './tokenizer.js';
import { WordPiece } from './wordpiece.js';

export interface LoadOptions {
  signal?: AbortSignal;
}

const fileLimit = 64 << 20;
const maxId = 1 << 24;
/** Merges that OpenAI's file lists beyond those its vocabulary uses are left out, as in its own code. */
const clipMerges = 49152 - 256 - 2;
const start = '<|startoftext|>';
const end = '<|endoftext|>';

/**
 * Loads the tokenizer of a folder. Looked for in this order: `tokenizer.json`; `vocab.json` + `merges.txt` (CLIP or RoBERTa,
 * told apart by their special tokens); `bpe_simple_vocab_16e6.txt` or `.txt.gz` (CLIP); `vocab.txt` (BERT). All three CLIP
 * forms give the same ids. @throws E_TOKENIZER naming file and part; E_DISK
 */
export async function loadTokenizer(folder: string, options: LoadOptions = {}): Promise<Tokenizer> {
  const config = await tokenizerConfig(folder, options);
  if (await exists(join(folder, 'tokenizer.json'))) {
    const path = join(folder, 'tokenizer.json');
    const json = parseJsonStrict(await read(path, options), { code: 'E_TOKENIZER', what: path });
    await new Slices(options.signal).pause();
    return hubTokenizer(path, json, config);
  }
  if (await exists(join(folder, 'vocab.json'))) return fromVocabAndMerges(folder, config, options);
  for (const name of ['bpe_simple_vocab_16e6.txt', 'bpe_simple_vocab_16e6.txt.gz']) {
    if (await exists(join(folder, name))) return fromClipTable(join(folder, name), options);
  }
  if (await exists(join(folder, 'vocab.txt'))) return fromWordPieces(join(folder, 'vocab.txt'), config, options);
  throw new WordmaskError(
    'E_TOKENIZER',
    `${folder} holds no tokenizer: needs tokenizer.json, vocab.json with merges.txt, bpe_simple_vocab_16e6.txt[.gz] or vocab.txt`,
    { details: { folder } },
  );
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function read(path: string, options: LoadOptions): Promise<Buffer> {
  return readFileLimited(path, { ...options, limit: fileLimit, code: 'E_TOKENIZER' });
}

export interface TokenizerConfig {
  readonly padToken?: string;
  readonly lowerCase: boolean;
}

async function tokenizerConfig(folder: string, options: LoadOptions): Promise<TokenizerConfig> {
  const path = join(folder, 'tokenizer_config.json');
  if (!(await exists(path))) return { lowerCase: true };
  const value = parseJsonStrict(await read(path, options), { code: 'E_TOKENIZER', what: path });
  if (typeof value !== 'object' || value === null) throw tokenizerError(path, 'is not a JSON object');
  const config = new Map(Object.entries(value));
  const pad: unknown = config.get('pad_token');
  const content: unknown = typeof pad === 'object' && pad !== null ? (pad as { content?: unknown }).content : pad;
  return {
    padToken: typeof content === 'string' ? content : undefined,
    lowerCase: config.get('do_lower_case') !== false,
  };
}

async function fromVocabAndMerges(folder: string, config: TokenizerConfig, options: LoadOptions): Promise<Tokenizer> {
  const vocabPath = join(folder, 'vocab.json');
  const mergesPath = join(folder, 'merges.txt');
  // Tables of 50,000 entries are built in a few ms each; the event loop turns between them.
  const slices = new Slices(options.signal);
  const json = parseJsonStrict(await read(vocabPath, options), { code: 'E_TOKENIZER', what: vocabPath });
  await slices.pause();
  const vocabulary = idTable(vocabPath, json);
  const merges = mergeLines(mergesPath, (await read(mergesPath, options)).toString('utf8'));
  await slices.pause();
  if (vocabulary.has(start) && vocabulary.has(end)) return clipTokenizer(vocabulary, merges, config.padToken ?? end);
  if (vocabulary.has('<s>') && vocabulary.has('</s>')) return robertaTokenizer(vocabPath, vocabulary, merges, config);
  throw tokenizerError(
    vocabPath,
    'is the vocabulary of no known tokenizer: CLIP has <|startoftext|> and <|endoftext|>, RoBERTa has <s> and </s>',
  );
}

/** The tokenizer of byte pairs that were learnt here: the same ids as from their files. */
export function bpeTokenizer({ symbols, merges }: LearnedBpe): Tokenizer {
  return clipTokenizer(new Map(symbols.map((symbol, id) => [symbol, id])), merges, end);
}

/** OpenAI's own file holds merges alone; ids follow: bytes, bytes with word end, merges, special tokens. */
async function fromClipTable(path: string, options: LoadOptions): Promise<Tokenizer> {
  const raw = await read(path, options);
  const text = path.endsWith('.gz') ? await unzip(path, raw) : raw;
  const merges = mergeLines(path, text.toString('utf8')).slice(0, clipMerges);
  await new Slices(options.signal).pause();
  const symbols = [
    ...byteOrder,
    ...byteOrder.map((c) => `${c}</w>`),
    ...merges.map((pair) => pair.replace(' ', '')),
    start,
    end,
  ];
  const vocabulary = new Map<string, number>();
  symbols.forEach((symbol, id) => vocabulary.set(symbol, id));
  await new Slices(options.signal).pause();
  return clipTokenizer(vocabulary, merges, undefined);
}

async function unzip(path: string, bytes: Buffer): Promise<Buffer> {
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: fileLimit });
  } catch (cause) {
    throw new WordmaskError(
      'E_TOKENIZER',
      `${path} is no gzip file of at most ${fileLimit} bytes unpacked: ${(cause as Error).message}`,
      { cause, details: { file: path, limit: fileLimit } },
    );
  }
}

/** @param padToken undefined: pad with 0, as OpenAI's own code does */
function clipTokenizer(
  vocabulary: ReadonlyMap<string, number>,
  merges: readonly string[],
  padToken: string | undefined,
): Tokenizer {
  const bpe = new Bpe(vocabulary, merges, '</w>');
  const eotId = vocabulary.get(end) as number;
  return new Tokenizer({
    kind: 'clip',
    vocabSize: sizeOf(vocabulary),
    sotId: vocabulary.get(start) as number,
    eotId,
    padId: padToken === undefined ? 0 : (vocabulary.get(padToken) ?? eotId),
    special: pick(vocabulary, [start, end]),
    vocabulary,
    encodeText: (text) => splitClip(cleanClip(text)).flatMap((word) => bpe.encodeWord(word)),
  });
}

function robertaTokenizer(
  path: string,
  vocabulary: ReadonlyMap<string, number>,
  merges: readonly string[],
  config: TokenizerConfig,
): Tokenizer {
  const bpe = new Bpe(vocabulary, merges, '');
  return new Tokenizer({
    kind: 'roberta',
    vocabSize: sizeOf(vocabulary),
    sotId: needed(path, vocabulary, '<s>'),
    eotId: needed(path, vocabulary, '</s>'),
    padId: needed(path, vocabulary, config.padToken ?? '<pad>'),
    special: pick(vocabulary, ['<s>', '</s>', '<pad>', '<unk>', '<mask>']),
    vocabulary,
    encodeText: (text) => splitGpt2(text).flatMap((word) => bpe.encodeWord(word)),
  });
}

async function fromWordPieces(path: string, config: TokenizerConfig, options: LoadOptions): Promise<Tokenizer> {
  const lines = (await read(path, options)).toString('utf8').split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  const vocabulary = new Map<string, number>();
  lines.forEach((line, id) => {
    if (vocabulary.has(line))
      throw tokenizerError(
        path,
        `holds ${show(line)} twice, in lines ${(vocabulary.get(line) as number) + 1} and ${id + 1}`,
      );
    vocabulary.set(line, id);
  });
  return pieceTokenizer(path, vocabulary, config);
}

/** The tokenizer of word pieces that were learnt here: the same ids as from their files. */
export function wordPieceTokenizer(pieces: readonly string[]): Tokenizer {
  return pieceTokenizer('vocab.txt', new Map(pieces.map((piece, id) => [piece, id])), { lowerCase: true });
}

function pieceTokenizer(path: string, vocabulary: ReadonlyMap<string, number>, config: TokenizerConfig): Tokenizer {
  const pieces = new WordPiece(vocabulary, needed(path, vocabulary, '[UNK]'));
  return new Tokenizer({
    kind: 'bert',
    vocabSize: vocabulary.size,
    sotId: needed(path, vocabulary, '[CLS]'),
    eotId: needed(path, vocabulary, '[SEP]'),
    padId: needed(path, vocabulary, config.padToken ?? '[PAD]'),
    special: pick(vocabulary, ['[CLS]', '[SEP]', '[PAD]', '[UNK]', '[MASK]', '[DEC]', '[ENC]']),
    vocabulary,
    encodeText: (text) => splitBert(text, config.lowerCase).flatMap((word) => pieces.encodeWord(word)),
  });
}

/** symbol -> id of a parsed vocab.json, with ids checked and unique. @throws E_TOKENIZER */
export function idTable(path: string, value: unknown): Map<string, number> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw tokenizerError(path, 'is not an object of symbol to id');
  const table = new Map<string, number>();
  const seen = new Set<number>();
  for (const symbol of Object.keys(value)) {
    const id = (value as Record<string, unknown>)[symbol];
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= maxId)
      throw tokenizerError(
        path,
        `gives ${show(symbol)} the id ${show(id)}; ids are whole numbers from 0 to ${maxId - 1}`,
      );
    if (seen.has(id as number))
      throw tokenizerError(path, `gives the id ${id as number} to two symbols, one of them ${show(symbol)}`);
    seen.add(id as number);
    table.set(symbol, id as number);
  }
  return table;
}

function mergeLines(path: string, text: string): string[] {
  const lines = text.split(/\r?\n/);
  // The first line of these files is a comment with the version; a lone "#" pair is a merge.
  if (/^"?[\w.]*#version/.test(lines[0] ?? '')) lines.shift();
  const merges = lines.filter((line) => line !== '');
  for (const line of merges) {
    const blank = line.indexOf(' ');
    if (blank < 1 || blank === line.length - 1 || line.indexOf(' ', blank + 1) >= 0)
      throw tokenizerError(
        path,
        `holds the line ${show(line)}, where two symbols with one blank between them must stand`,
      );
  }
  return merges;
}

function sizeOf(vocabulary: ReadonlyMap<string, number>): number {
  let largest = -1;
  for (const id of vocabulary.values()) largest = Math.max(largest, id);
  return largest + 1;
}

function needed(path: string, vocabulary: ReadonlyMap<string, number>, symbol: string): number {
  const id = vocabulary.get(symbol);
  if (id !== undefined) return id;
  throw tokenizerError(path, `lacks the token ${show(symbol)}`);
}

function pick(vocabulary: ReadonlyMap<string, number>, names: readonly string[]): Map<string, number> {
  return new Map(
    names.flatMap((name) => {
      const id = vocabulary.get(name);
      return id === undefined ? [] : [[name, id] as const];
    }),
  );
}

function tokenizerError(path: string, text: string): WordmaskError {
  return new WordmaskError('E_TOKENIZER', `${path} ${text}`, { details: { file: path } });
}
