/** One pair from encoded bytes: the picture decoded within limits, at least one caption, or the reason why not. */
import { decodeImage } from '../../image/decode.js';
import { isWordmaskError } from '../../util/errors.js';
import type { PairProblem, PairSample } from '../types.js';
import type { Captions } from './captions.js';

/** Pictures decoded at a time: what is in memory besides the batch. */
const atOnce = 8;

export interface LoadOptions {
  /** Longest short side of the result; 0 leaves pictures as they are. */
  readonly side: number;
  readonly signal?: AbortSignal;
}

/** @param image a path or the encoded bytes */
export async function loadPair(
  key: string,
  image: string | Uint8Array,
  { captions, nouns }: Captions,
  { side, signal }: LoadOptions,
): Promise<PairSample | PairProblem> {
  if (captions.length === 0) return { key, code: 'E_LABEL', problem: 'has no caption' };
  try {
    const { data, width, height } = await decodeImage(image, { signal, shortSide: side });
    return { key, image: { data, width, height }, captions, ...(nouns && { nouns }) };
  } catch (error) {
    if (signal?.aborted || !isWordmaskError(error)) throw error;
    return { key, code: error.code, problem: error.message };
  }
}

/** Calls `load` for each item, a few at a time, results in order. */
export async function mapPairs<T, R>(items: readonly T[], load: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++;
      results[at] = await load(items[at] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  return results;
}
