/**
 * Batches of a run, some ahead of the step that takes them. What is in batch k is a function of the seed and k alone, so a
 * resumed run asks for the batches it still needs and gets the same ones; a sample that cannot be used is replaced by one
 * that the same rule names.
 */
import { isProblem, type PairProblem, type PairRequest, type PairSource } from '../data/types.js';
import { onDevice } from '../engine/index.js';
import type { HostBatch, PairSample, StepContext } from '../nn/trainable.js';
import { WordmaskError } from '../util/errors.js';
import { Random } from '../util/random.js';
import { Slices } from '../util/slices.js';
import { EpochOrder } from './order.js';

/** Replacements tried for one sample before the data count as unusable. */
const mostTries = 16;
const ordersKept = 3;

export interface LoaderOptions {
  readonly source: PairSource;
  readonly seed: number;
  readonly batch: number;
  /** Batches a step. */
  readonly parts: number;
  readonly steps: number;
  /** First step. */
  readonly start: number;
  /** Batches made ahead. */
  readonly prefetch: number;
  readonly compute: 'f32' | 'bf16';
  prepare(samples: readonly PairSample[], context: StepContext): Promise<HostBatch> | HostBatch;
  readonly signal?: AbortSignal;
}

export interface LoadedBatch {
  readonly batch: HostBatch;
  readonly context: StepContext;
  readonly problems: readonly PairProblem[];
}

/** Where a batch is, with its stream of random numbers at its beginning. */
export function stepContext(
  { seed, steps, compute }: { seed: number; steps: number; compute: 'f32' | 'bf16' },
  step: number,
  part: number,
): StepContext {
  return { step, steps, part, compute, random: new Random(seed).fork('step').fork(step).fork(part) };
}

export class Loader {
  readonly #queue: Promise<LoadedBatch>[] = [];
  readonly #orders = new Map<number, EpochOrder>();
  #asked: number;

  constructor(private readonly options: LoaderOptions) {
    this.#asked = options.start * options.parts;
  }

  /** The next batch. @throws E_IMAGE_CORRUPT when hardly anything can be read, and what source and system throw */
  next(): Promise<LoadedBatch> {
    this.#fill();
    const batch = this.#queue.shift();
    if (!batch) throw new WordmaskError('E_INTERNAL', 'the loader was asked for more batches than the run has');
    this.#fill();
    return batch;
  }

  #fill(): void {
    const { parts, steps, prefetch } = this.options;
    while (this.#queue.length < prefetch && this.#asked < steps * parts) {
      const batch = this.#load(this.#asked++);
      // Whoever takes the batch sees the error; until then it is nobody's unhandled one.
      batch.catch(() => undefined);
      this.#queue.push(batch);
    }
  }

  async #load(number: number): Promise<LoadedBatch> {
    const { parts, signal } = this.options;
    signal?.throwIfAborted();
    const [step, part] = [Math.floor(number / parts), number % parts];
    const { samples, problems } = await this.#read(number);
    // Samples that were in memory are here in the turn that asked for them.
    const slices = new Slices(signal);
    if (slices.due) await slices.pause();
    // Pictures are prepared on the CPU beside a device that trains.
    const batch = await onDevice('cpu', () => this.options.prepare(samples, stepContext(this.options, step, part)));
    return { batch, context: stepContext(this.options, step, part), problems };
  }

  async #read(number: number): Promise<{ samples: PairSample[]; problems: PairProblem[] }> {
    const { source, batch, signal } = this.options;
    const samples = new Array<PairSample>(batch);
    const problems: PairProblem[] = [];
    let open = Array.from({ length: batch }, (_, i) => i);
    for (let attempt = 0; open.length > 0; attempt++) {
      if (attempt > mostTries) throw tooMany(source, problems);
      const wanted = open.map((i) => this.#request(number * batch + i, attempt));
      const read = await source.read(wanted, signal);
      const missing: number[] = [];
      read.forEach((sample, at) => {
        const place = open[at] as number;
        if (isProblem(sample)) {
          problems.push(sample);
          missing.push(place);
        } else samples[place] = sample;
      });
      open = missing;
    }
    return { samples, problems };
  }

  /** Which sample stands at a place of the run; replacements are drawn from the whole epoch. */
  #request(place: number, attempt: number): PairRequest {
    const { source, seed } = this.options;
    const epoch = Math.floor(place / source.count);
    const order = this.#order(epoch);
    if (attempt === 0) return { index: order.at(place % source.count), epoch };
    const random = new Random(seed).fork('replacement').fork(place).fork(attempt);
    return { index: Math.floor(random.uniform() * source.count), epoch };
  }

  #order(epoch: number): EpochOrder {
    const found = this.#orders.get(epoch);
    if (found) return found;
    if (this.#orders.size >= ordersKept) this.#orders.delete(Math.min(...this.#orders.keys()));
    const order = new EpochOrder(this.options.source.count, this.options.seed, epoch);
    this.#orders.set(epoch, order);
    return order;
  }

  /** Waits for what is still being read. */
  async close(): Promise<void> {
    this.#asked = Number.POSITIVE_INFINITY;
    await Promise.allSettled(this.#queue.splice(0));
  }
}

function tooMany(source: PairSource, problems: readonly PairProblem[]): WordmaskError {
  const list = problems
    .slice(-4)
    .map(({ key, problem }) => `${key}: ${problem}`)
    .join('; ');
  return new WordmaskError(
    'E_IMAGE_CORRUPT',
    `${source.name}: ${problems.length} samples in a row could not be used (${list}): check the data`,
    { details: { source: source.name, problems: problems.slice(0, 100) } },
  );
}
