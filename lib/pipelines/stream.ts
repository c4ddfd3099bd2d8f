/**
 * Many pictures, one after another: decoding runs ahead of the encoder, by a bounded number of pictures, and small ones are
 * encoded together.
 */
import type { ImageInput } from '../image/decode.js';
import { isWordmaskError, show, WordmaskError } from '../util/errors.js';
import { abortable } from '../util/slices.js';
import type { Model, VocabularyInput } from './model.js';
import type { SegmentOptions } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import { Vocabulary } from './vocabulary.js';

export interface StreamOptions extends Omit<SegmentOptions, 'onError'> {
  /**
   * Pictures in work at once, or `auto`: one decodes while one is computed, and of small ones as many more as fill a group of
   * windows.
   */
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
const leastAhead = 2;
/** Pixels in work at once, where that is more than the least number of pictures. */
const pixelsAhead = 16 << 20;

/** Large pictures among small ones: decoded, they wait till there is room. */
class Room {
  #pictures = 0;
  #pixels = 0;
  #waiting: (() => void)[] = [];

  async enter(pixels: number, signal: AbortSignal | undefined): Promise<void> {
    while (this.#pictures >= leastAhead && this.#pixels + pixels > pixelsAhead)
      await abortable(new Promise<void>((resolve) => this.#waiting.push(resolve)), signal);
    this.#pictures++;
    this.#pixels += pixels;
  }

  leave(pixels: number): void {
    this.#pictures--;
    this.#pixels -= pixels;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Pictures like the last one that keep the model busy, within the room for pixels. */
function enough(model: Model, { width, height }: Segmentation, options: SegmentOptions): number {
  return Math.max(
    leastAhead,
    Math.min(model.ahead(width, height, options), Math.floor(pixelsAhead / (width * height))),
  );
}

export async function* streamImages(
  model: Model,
  images: Iterable<ImageInput> | AsyncIterable<ImageInput>,
  vocabulary: VocabularyInput,
  options: StreamOptions,
): AsyncGenerator<StreamResult> {
  const { batch = 'auto', ordered = true, onError = 'yield', ...segmentOptions } = options;
  checkStream(batch, onError);
  const vocab = vocabulary instanceof Vocabulary ? vocabulary : Vocabulary.from(vocabulary);
  // Once for all pictures: calls side by side would each encode the words.
  const { signal } = segmentOptions as SegmentOptions;
  await model.prepare(vocab, segmentOptions as SegmentOptions);
  let ahead = batch === 'auto' ? leastAhead : batch;
  const running = new Map<number, Promise<StreamResult>>();
  const source = iterate(images);
  const given: Given = { count: 0, ended: false };
  // A consumer that stops early leaves work behind, which nobody wants any more.
  const stop = new AbortController();
  const inner = {
    ...segmentOptions,
    signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
  } as SegmentOptions;
  const room = batch === 'auto' ? new Room() : undefined;
  const start = (at: number, input: ImageInput) => void running.set(at, one(model, at, input, vocab, inner, room));
  try {
    for (;;) {
      if (!given.ended && !given.next && running.size < ahead) given.next = take(source, given, start, signal);
      const first =
        running.size === 0
          ? undefined
          : ordered
            ? running.get(Math.min(...running.keys()))
            : Promise.race(running.values());
      if (!first && !given.next) break;
      // Whichever comes first: a source may well wait for the results of what it gave before.
      const result = await Promise.race([first, given.next].filter((promise) => promise !== undefined));
      if (given.failure) throw given.failure.reason;
      if (!result) continue;
      running.delete(result.index);
      signal?.throwIfAborted();
      if (!result.ok && onError === 'throw') throw result.error;
      if (batch === 'auto' && result.ok) ahead = enough(model, result.value, segmentOptions as SegmentOptions);
      yield result;
    }
  } finally {
    stop.abort(new WordmaskError('E_ABORTED', 'the stream was ended before this picture'));
    await Promise.allSettled(running.values());
    // A source that owes a picture cannot be told before it has given it.
    const told = source.return?.(undefined);
    if (given.next) told?.catch(() => undefined);
    else await told;
  }
}

function checkStream(batch: unknown, onError: unknown): void {
  if (batch !== 'auto' && !(Number.isInteger(batch) && (batch as number) >= 1 && (batch as number) <= mostAhead))
    throw new WordmaskError(
      'E_OPTION',
      `stream: batch must be 'auto' or a whole number from 1 to ${mostAhead}, got ${show(batch)}`,
      { details: { option: 'batch' } },
    );
  if (onError !== 'yield' && onError !== 'throw')
    throw new WordmaskError('E_OPTION', `stream: onError must be 'yield' or 'throw', got ${show(onError)}`, {
      details: { option: 'onError' },
    });
}

/** What came from the source so far. */
interface Given {
  count: number;
  ended: boolean;
  /** While a picture is asked for; never rejects. */
  next?: Promise<void>;
  failure?: { readonly reason: unknown };
}

async function take(
  source: AsyncIterator<ImageInput>,
  given: Given,
  start: (at: number, input: ImageInput) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    const next = await abortable(source.next(), signal);
    given.next = undefined;
    if (next.done) given.ended = true;
    else start(given.count++, next.value);
  } catch (reason) {
    // On an abort the source still owes its picture: `next` stays.
    if (!signal?.aborted) given.next = undefined;
    given.failure = { reason };
  }
}

async function one(
  model: Model,
  index: number,
  input: ImageInput,
  vocab: Vocabulary,
  options: SegmentOptions,
  room: Room | undefined,
): Promise<StreamResult> {
  let [taken, over] = [0, false];
  const admit = async (pixels: number, signal: AbortSignal | undefined) => {
    await room?.enter(pixels, signal);
    // After an abort the call ends before its work does.
    if (over) room?.leave(pixels);
    else taken = pixels;
  };
  try {
    return { ok: true, index, input, value: await model.segmentAdmitted(input, vocab, options, admit) };
  } catch (cause) {
    const error = isWordmaskError(cause)
      ? cause
      : new WordmaskError('E_INTERNAL', `picture ${index} failed: ${(cause as Error)?.message ?? show(cause)}`, {
          cause,
        });
    return { ok: false, index, input, error };
  } finally {
    over = true;
    if (taken > 0) room?.leave(taken);
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
