/** One call at a time, higher priority first, equals in the order of their calls. */
import { abortable } from '../util/slices.js';

interface Waiting {
  readonly priority: number;
  readonly go: () => void;
}

export class Turns {
  #busy = false;
  readonly #waiting: Waiting[] = [];

  /** Runs `work` when it is its turn. @throws the signal's reason when that comes first */
  async run<T>(priority: number, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (this.#busy) await this.#turn(priority, signal);
    this.#busy = true;
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      this.#pass();
    }
  }

  async #turn(priority: number, signal: AbortSignal | undefined): Promise<void> {
    let entry: Waiting | undefined;
    const turn = new Promise<void>((go) => {
      entry = { priority, go };
      const behind = this.#waiting.findIndex((other) => other.priority < priority);
      this.#waiting.splice(behind < 0 ? this.#waiting.length : behind, 0, entry);
    });
    try {
      await abortable(turn, signal);
    } catch (error) {
      const at = this.#waiting.indexOf(entry as Waiting);
      if (at >= 0) this.#waiting.splice(at, 1);
      // The turn had come already: it goes on to the next.
      else this.#pass();
      throw error;
    }
  }

  /** `#busy` stays set where somebody waits: whoever calls meanwhile waits too. */
  #pass(): void {
    const next = this.#waiting.shift();
    if (next) next.go();
    else this.#busy = false;
  }
}
