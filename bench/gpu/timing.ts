/**
 * Times work on a device's queue. One launch is shorter than the way to it through JavaScript, so calls are timed in batches
 * between two fences; work of known length is queued in front of the first fence, so that the whole batch waits on the device
 * before its clock starts and the host's time to queue it is not counted.
 */
import { linear, noGrad, scope, sync, type Tensor } from '#lib/engine/index.js';
import type { Bench, Prepared } from './case.js';

export interface QueuedTiming {
  /** Milliseconds of one call: of batches, each divided by its calls. */
  readonly median: number;
  readonly p95: number;
  readonly p99: number;
  readonly best: number;
  /** Batches, and calls in each. */
  readonly runs: number;
  readonly batch: number;
  /** Microseconds that the host takes to queue one call. */
  readonly queueUs: number;
  /** Whether the batch was on the device's queue before its time began. */
  readonly primed: boolean;
  /** Highest use of the process and of the device during the case, inputs included. */
  readonly memory?: { readonly 'host MiB': number; readonly 'device MiB': number };
  /** Milliseconds by stage, of a call that tells. */
  readonly stages?: Readonly<Record<string, number>>;
}

export interface TimingOptions {
  readonly seconds: number;
  readonly least: number;
}

/** Nearest rank. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number;
}

function summary(samples: number[], batch: number, queueUs: number, primed: boolean): QueuedTiming {
  samples.sort((a, b) => a - b);
  return {
    median: percentile(samples, 0.5),
    p95: percentile(samples, 0.95),
    p99: percentile(samples, 0.99),
    best: samples[0] as number,
    runs: samples.length,
    batch,
    queueUs,
    primed,
  };
}

/** Length of a batch: long beside the fences' own 20 us, short enough for many. */
const batchMs = 4;
const mostCalls = 128;
/** A fence that settles so soon after the last call was queued may have been late: the event loop was busy. */
const lateMs = 0.1;

/** A product that keeps the device busy for a known time. */
class Primer {
  readonly #x: Tensor;
  readonly #weight: Tensor;
  #ms = 0;

  constructor(bench: Bench) {
    const side = bench.tiny ? 64 : 4096;
    this.#x = bench.normal([side, side]);
    this.#weight = bench.normal([side, side]);
  }

  queue(times: number): void {
    for (let i = 0; i < times; i++) scope(() => void linear(this.#x, this.#weight));
  }

  /** How many fill `ms`. */
  async count(ms: number): Promise<number> {
    if (this.#ms === 0) {
      this.queue(2);
      await sync();
      const start = performance.now();
      this.queue(8);
      await sync();
      this.#ms = Math.max(0.01, (performance.now() - start) / 8);
    }
    return Math.max(1, Math.ceil(ms / this.#ms));
  }
}

export class Timer {
  readonly #primer: Primer | undefined;

  /** The CPU runs its queue on the threads that are timed: nothing can wait in front of it. */
  constructor(bench: Bench) {
    this.#primer = bench.device === 'cpu' ? undefined : noGrad(() => new Primer(bench));
  }

  async time(prepared: Prepared, options: TimingOptions): Promise<QueuedTiming> {
    return prepared.waits ? timeWaiting(prepared, options) : this.#timeQueued(prepared, options);
  }

  async #timeQueued(prepared: Prepared, { seconds, least }: TimingOptions): Promise<QueuedTiming> {
    let turn = 0;
    const queue = (count: number): number => {
      const start = performance.now();
      for (let i = 0; i < count; i++) scope(() => void prepared.call(turn++));
      return performance.now() - start;
    };
    const wall = async (count: number): Promise<number> => {
      const start = performance.now();
      queue(count);
      await sync();
      return performance.now() - start;
    };
    const first = await wall(1);
    if (first < 1000) await wall(2);
    const each = first < 1000 ? (await wall(2)) / 2 : first;
    const batch = Math.max(1, Math.min(mostCalls, Math.round(batchMs / each)));
    const end = performance.now() + seconds * 1000;
    const samples: number[] = [];
    let queued = 0;
    let spent = 0;
    let primed = this.#primer !== undefined;
    let primers = this.#primer ? await this.#primer.count(1.5 * queue(batch) + 0.2) : 0;
    await sync();
    while (samples.length < least || (performance.now() < end && samples.length < 10_000)) {
      if (primed) noGrad(() => this.#primer?.queue(primers));
      const started = primed ? sync().then(() => performance.now()) : performance.now();
      spent += queue(batch);
      queued += batch;
      const over = performance.now();
      await sync();
      const ended = performance.now();
      const begun = await started;
      if (!primed || begun > over + lateMs) samples.push((ended - begun) / batch);
      // More of it in front, up to half a second's worth; where that does not help, the host's time counts.
      else if (primers < 4096) primers *= 2;
      else primed = false;
    }
    return summary(samples, batch, (1000 * spent) / queued, primed);
  }
}

async function timeWaiting(prepared: Prepared, { seconds, least }: TimingOptions): Promise<QueuedTiming> {
  await prepared.call(0);
  const samples: number[] = [];
  const end = performance.now() + seconds * 1000;
  for (let turn = 1; samples.length < least || performance.now() < end; turn++) {
    const start = performance.now();
    await prepared.call(turn);
    samples.push(performance.now() - start);
  }
  return summary(samples, 1, 0, false);
}
