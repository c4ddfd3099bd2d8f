/** A source read by worker threads: requests are dealt out in equal pieces, answers come back in order. */
import { Worker } from 'node:worker_threads';
import type { PairProblem, PairRequest, PairSample, PairSource } from '../data/types.js';
import { WordmaskError } from '../util/errors.js';
import { abortable } from '../util/slices.js';
import { errorOfRecord } from './error-record.js';
import type { WorkerAnswer, WorkerSetup } from './source-worker.js';

type Samples = (PairSample | PairProblem)[];

interface Waiting {
  readonly resolve: (samples: Samples) => void;
  readonly reject: (error: unknown) => void;
}

class SourceThread {
  readonly opened: Promise<{ name: string; count: number }>;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #lost: unknown;

  constructor(setup: WorkerSetup, onWarn: (message: string) => void) {
    this.#worker = new Worker(new URL('./source-worker.js', import.meta.url), { workerData: setup });
    // The process may end while a thread waits for requests.
    this.#worker.unref();
    this.opened = new Promise((resolve, reject) => {
      this.#waiting.set(-1, { resolve: () => undefined, reject });
      this.#worker.on('message', (answer: WorkerAnswer) => {
        if ('opened' in answer) {
          this.#waiting.delete(-1);
          resolve(answer.opened);
        } else if ('warning' in answer) onWarn(answer.warning);
        else this.#settle(answer);
      });
    });
    this.opened.catch(() => undefined);
    this.#worker.on('error', (cause) => this.#fail(cause));
    this.#worker.on('exit', () => this.#fail(undefined));
  }

  read(requests: readonly PairRequest[]): Promise<Samples> {
    if (this.#lost) return Promise.reject(this.#lost);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, requests });
    });
  }

  #settle(answer: Extract<WorkerAnswer, { id: number }>): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ('error' in answer) waiting?.reject(errorOfRecord(answer.error));
    else waiting?.resolve(answer.samples);
  }

  #fail(cause: unknown): void {
    this.#lost ??= new WordmaskError('E_WORKER_LOST', 'a thread that reads training data has ended', { cause });
    for (const { reject } of this.#waiting.values()) reject(this.#lost);
    this.#waiting.clear();
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** @throws as `openSource`, E_WORKER_LOST */
export async function openSourceWorkers(
  setup: WorkerSetup,
  count: number,
  options: { readonly signal?: AbortSignal; readonly onWarn?: (message: string) => void } = {},
): Promise<PairSource> {
  const warned = new Set<string>();
  const onWarn = (message: string): void => {
    // Each thread meets the same broken shard.
    if (!warned.has(message)) options.onWarn?.(message);
    warned.add(message);
  };
  const threads = Array.from({ length: count }, () => new SourceThread(setup, onWarn));
  const close = async (): Promise<void> => {
    await Promise.all(threads.map((thread) => thread.close()));
  };
  try {
    const [source] = await abortable(Promise.all(threads.map(({ opened }) => opened)), options.signal);
    const { name, count: samples } = source as { name: string; count: number };
    return {
      name,
      count: samples,
      close,
      read: async (requests, signal) => {
        const piece = Math.ceil(requests.length / threads.length);
        const parts = threads.map((thread, i) => {
          const mine = requests.slice(i * piece, (i + 1) * piece);
          return mine.length > 0 ? thread.read(mine) : Promise.resolve([]);
        });
        return (await abortable(Promise.all(parts), signal)).flat();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
