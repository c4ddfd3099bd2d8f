/** Many pictures, one after another: decoding runs ahead of the encoder, by a bounded number of pictures. */
import type { ImageInput } from '../image/decode.js';
import { isWordmaskError, show, WordmaskError } from '../util/errors.js';
import { abortable } from '../util/slices.js';
import type { Model, VocabularyInput } from './model.js';
import type { SegmentOptions } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import { Vocabulary } from './vocabulary.js';

export interface StreamOptions extends Omit<SegmentOptions, 'onError'> {
  /** Pictures in work at once, or `auto` (2: one decodes while one is computed). */
  readonly batch?: number | 'auto';
  /** Results in the order of the inputs (default true). */
  readonly ordered?: boolean;
  /** `yield` (default): a failed picture is a result; `throw`: it ends the stream. */
  readonly onError?: 'yield' | 'throw';
}

export type StreamResult =
  | { readonly ok: true; readonly index: number; readonly input: ImageInput; readonly value: Segmentation }
  | { readonly ok: false; readonly index: number; readonly input: ImageInput; readonly error: WordmaskError };

const mostAhead = 64;

export async function* streamImages(
  model: Model,
  images: Iterable<ImageInput> | AsyncIterable<ImageInput>,
  vocabulary: VocabularyInput,
  options: StreamOptions,
): AsyncGenerator<StreamResult> {
  const { batch = 'auto', ordered = true, onError = 'yield', ...segmentOptions } = options;
  const ahead = batch === 'auto' ? 2 : batch;
  if (!Number.isInteger(ahead) || ahead < 1 || ahead > mostAhead)
    throw new WordmaskError(
      'E_OPTION',
      `stream: batch must be 'auto' or a whole number from 1 to ${mostAhead}, got ${show(batch)}`,
      { details: { option: 'batch' } },
    );
  if (onError !== 'yield' && onError !== 'throw')
    throw new WordmaskError('E_OPTION', `stream: onError must be 'yield' or 'throw', got ${show(onError)}`, {
      details: { option: 'onError' },
    });
  const vocab = vocabulary instanceof Vocabulary ? vocabulary : Vocabulary.from(vocabulary);
  // Once for all pictures: calls side by side would each encode the words.
  const { signal } = segmentOptions as SegmentOptions;
  await model.prepare(vocab, segmentOptions as SegmentOptions);
  const running = new Map<number, Promise<StreamResult>>();
  const source = iterate(images);
  let index = 0;
  let ended = false;
  let waiting = false;
  const start = async () => {
    waiting = true;
    const next = await abortable(source.next(), signal);
    waiting = false;
    if (next.done) {
      ended = true;
      return;
    }
    const at = index++;
    running.set(at, one(model, at, next.value, vocab, segmentOptions as SegmentOptions));
  };
  try {
    while (!ended || running.size > 0) {
      while (!ended && running.size < ahead) await start();
      if (running.size === 0) break;
      const result = await (ordered
        ? (running.get(Math.min(...running.keys())) as Promise<StreamResult>)
        : Promise.race(running.values()));
      running.delete(result.index);
      signal?.throwIfAborted();
      if (!result.ok && onError === 'throw') throw result.error;
      yield result;
    }
  } finally {
    // A consumer that stops early leaves work behind: wait for it, so that nothing runs on after the loop.
    await Promise.allSettled(running.values());
    // A source that owes a picture cannot be told before it has given it.
    const told = source.return?.(undefined);
    if (waiting) told?.catch(() => undefined);
    else await told;
  }
}

async function one(
  model: Model,
  index: number,
  input: ImageInput,
  vocab: Vocabulary,
  options: SegmentOptions,
): Promise<StreamResult> {
  try {
    return { ok: true, index, input, value: await model.segment(input, vocab, options) };
  } catch (cause) {
    const error = isWordmaskError(cause)
      ? cause
      : new WordmaskError('E_INTERNAL', `picture ${index} failed: ${(cause as Error)?.message ?? show(cause)}`, {
          cause,
        });
    return { ok: false, index, input, error };
  }
}

function iterate(images: Iterable<ImageInput> | AsyncIterable<ImageInput>): AsyncIterator<ImageInput> {
  async function* all(): AsyncGenerator<ImageInput> {
    yield* images;
  }
  if (typeof images !== 'object' || images === null || !(Symbol.iterator in images || Symbol.asyncIterator in images)) {
    throw new WordmaskError('E_USAGE', `stream: needs an iterable of pictures, got ${show(images)}`);
  }
  return all();
}
