/** Pairs listed in a .jsonl file: a line `{ "image": PATH, "caption": TEXT | "captions": [...], "nouns": [...] }` each. */
import { isAbsolute, join } from 'node:path';
import { WordmaskError } from '../../util/errors.js';
import { guardDisk, openRegular, readFully } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';
import type { PairProblem, PairSample, PairSource } from '../types.js';
import { captionsOfRecord, excerpt } from './captions.js';
import { loadPair, mapPairs } from './load.js';

const lineLimit = 1 << 20;
const pieceBytes = 1 << 20;
const pathKeys = ['image', 'path', 'file', 'file_name', 'filename'];

/**
 * @param images folder that relative paths start from
 * @throws E_USAGE when the file is missing or has no line
 */
export async function openJsonlPairs(
  path: string,
  images: string,
  options: { readonly side?: number; readonly signal?: AbortSignal } = {},
): Promise<PairSource> {
  const lines = await lineStarts(path, options.signal);
  const count = lines.length / 2;
  if (count === 0)
    throw new WordmaskError('E_USAGE', `${path} lists no pair: a line {"image": ..., "caption": ...} each`);
  const readOne = async (index: number, inner?: AbortSignal): Promise<PairSample | PairProblem> => {
    const [begin = 0, end = 0] = lines.subarray(2 * index, 2 * index + 2);
    const key = `${path}, byte ${begin}`;
    if (end - begin > lineLimit)
      return { key, code: 'E_LABEL', problem: `the line has ${end - begin} bytes, at most ${lineLimit} are read` };
    const bytes = await readLine(path, begin, end - begin);
    let record: unknown;
    try {
      record = parseJsonStrict(bytes, { code: 'E_LABEL', what: 'the line' });
    } catch (error) {
      return { key, code: 'E_LABEL', problem: `${(error as Error).message}: ${excerpt(bytes)}` };
    }
    const image = imagePath(record);
    if (image === undefined) return { key, code: 'E_LABEL', problem: `names no image: ${excerpt(bytes)}` };
    return loadPair(image, isAbsolute(image) ? image : join(images, image), captionsOfRecord(record), {
      side: options.side ?? 0,
      signal: inner,
    });
  };
  return {
    name: path,
    count,
    read: (requests, inner) => mapPairs(requests, ({ index }) => readOne(index, inner)),
    close: async () => undefined,
  };
}

function imagePath(record: unknown): string | undefined {
  if (typeof record !== 'object' || record === null) return undefined;
  for (const key of pathKeys) {
    const value = Object.hasOwn(record, key) ? (record as Record<string, unknown>)[key] : undefined;
    if (typeof value === 'string' && value !== '' && !value.includes('\0')) return value;
  }
  return undefined;
}

async function readLine(path: string, offset: number, size: number): Promise<Buffer> {
  const handle = await openRegular(path);
  try {
    const bytes = Buffer.allocUnsafe(size);
    const got = await guardDisk('read', path, () => readFully(handle, bytes, offset));
    return bytes.subarray(0, got);
  } finally {
    await handle.close();
  }
}

/** First byte and end of each line that is not blank, two numbers a line. */
async function lineStarts(path: string, signal?: AbortSignal): Promise<Float64Array> {
  const handle = await openRegular(path, 'E_USAGE');
  let table = new Float64Array(2048);
  let used = 0;
  const add = (begin: number, end: number): void => {
    if (used + 2 > table.length) {
      const wider = new Float64Array(table.length * 2);
      wider.set(table);
      table = wider;
    }
    table[used++] = begin;
    table[used++] = end;
  };
  try {
    const piece = Buffer.allocUnsafe(pieceBytes);
    let begin = 0;
    let blank = true;
    for (let at = 0; ; ) {
      signal?.throwIfAborted();
      const got = await guardDisk('read', path, () => readFully(handle, piece, at));
      for (let i = 0; i < got; i++) {
        const byte = piece[i] as number;
        if (byte !== 0x0a) {
          if (blank && byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) blank = false;
          continue;
        }
        if (!blank) add(begin, at + i);
        begin = at + i + 1;
        blank = true;
      }
      at += got;
      if (got < pieceBytes) {
        if (!blank) add(begin, at);
        return table.slice(0, used);
      }
    }
  } finally {
    await handle.close();
  }
}
