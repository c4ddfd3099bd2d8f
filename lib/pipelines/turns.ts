/** So many calls at a time as memory allows, higher priority first, equals in the order of their calls. */
import { abortable } from '../util/slices.js';

interface Waiting {
  readonly priority: number;
  readonly bytes: number;
  readonly go: () => void;
}

export class Turns {
  #running = 0;
  #bytes = 0;
  readonly #waiting: Waiting[] = [];

  /** @param most calls at once @param budget bytes of all of them; one alone may take more */
  constructor(
    private readonly most: number,
    private readonly budget: number,
  ) {}

  /** Runs `work` when it is its turn. @throws the signal's reason when that comes first */
  async run<T>(
    { priority = 0, bytes, signal }: { priority?: number; bytes: number; signal?: AbortSignal },
    work: () => Promise<T>,
  ): Promise<T> {
    if (this.#waiting.length > 0 || !this.#fits(bytes)) await this.#turn(priority, bytes, signal);
    else this.#enter(bytes);
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      this.#leave(bytes);
    }
  }

  #fits(bytes: number): boolean {
    return this.#running === 0 || (this.#running < this.most && this.#bytes + bytes <= this.budget);
  }

  #enter(bytes: number): void {
    this.#running++;
    this.#bytes += bytes;
  }

  #leave(bytes: number): void {
    this.#running--;
    this.#bytes -= bytes;
    this.#admit();
  }

  /** Who goes has its place at once: whoever calls meanwhile waits. */
  #admit(): void {
    for (let next = this.#waiting[0]; next && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#enter(next.bytes);
      next.go();
    }
  }

  async #turn(priority: number, bytes: number, signal: AbortSignal | undefined): Promise<void> {
    let entry: Waiting | undefined;
    const turn = new Promise<void>((go) => {
      entry = { priority, bytes, go };
      const behind = this.#waiting.findIndex((other) => other.priority < priority);
      this.#waiting.splice(behind < 0 ? this.#waiting.length : behind, 0, entry);
    });
    try {
      await abortable(turn, signal);
    } catch (error) {
      const at = this.#waiting.indexOf(entry as Waiting);
      if (at < 0) this.#leave(bytes);
      else {
        this.#waiting.splice(at, 1);
        this.#admit();
      }
      throw error;
    }
  }
}
