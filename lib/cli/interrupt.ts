/**
 * Ctrl-C and SIGTERM. The first one asks the command to end well: work that cannot be kept is aborted, a batch finishes its
 * running images. The second one ends the process at once.
 */
import { exit } from './exit-codes.js';

export class Interrupt {
  /** Aborted by the first signal unless `soften` was called. */
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  #soft: (() => void) | undefined;
  #received: 'SIGINT' | 'SIGTERM' | undefined;
  readonly #handler = (name: NodeJS.Signals): void => this.#receive(name as 'SIGINT' | 'SIGTERM');

  constructor() {
    this.signal = this.#controller.signal;
    process.on('SIGINT', this.#handler);
    process.on('SIGTERM', this.#handler);
  }

  /** From now on the first signal only calls `onStop`, once. */
  soften(onStop: () => void): void {
    this.#soft = onStop;
  }

  get stopped(): boolean {
    return this.#received !== undefined;
  }

  /** 130 or 143. */
  get exitCode(): number {
    return this.#received === 'SIGTERM' ? exit.terminated : exit.interrupted;
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#handler);
    process.off('SIGTERM', this.#handler);
  }

  #receive(name: 'SIGINT' | 'SIGTERM'): void {
    const second = this.#received !== undefined;
    this.#received ??= name;
    if (second) process.exit(this.exitCode);
    if (this.#soft) this.#soft();
    else this.#controller.abort(new Interrupted(name));
  }
}

/** What an aborted call rejects with: not a failure to report, the user asked for it. */
export class Interrupted extends Error {
  constructor(readonly received: 'SIGINT' | 'SIGTERM') {
    super(`interrupted by ${received}`);
  }

  get exitCode(): number {
    return this.received === 'SIGTERM' ? exit.terminated : exit.interrupted;
  }
}
