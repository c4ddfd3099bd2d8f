/** Checks without a test framework: `npm run test:gpu` runs where Node, `dist/` and `build/` are all there is. */
import { isDeepStrictEqual } from 'node:util';
import type { Checks } from '../helpers/op-checks.js';

const shownFailures = 40;

export class Counter implements Checks {
  passed = 0;
  failed = 0;
  skipped = 0;
  #where = '';

  /** What the next checks are about; stands in front of their failures. */
  at(where: string): this {
    this.#where = where;
    return this;
  }

  ok(value: unknown, message = ''): boolean {
    if (value) {
      this.passed++;
      return true;
    }
    if (++this.failed <= shownFailures) console.error(`failed: ${this.#where}: ${message}`);
    return false;
  }

  equal(found: unknown, wanted: unknown, message = ''): boolean {
    return this.ok(Object.is(found, wanted), `${message}: found ${String(found)}, wanted ${String(wanted)}`);
  }

  same(found: unknown, wanted: unknown, message = ''): boolean {
    return this.ok(
      isDeepStrictEqual(found, wanted),
      `${message}: found ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`,
    );
  }

  skip(reason: string): void {
    this.skipped++;
    console.error(`skipped: ${this.#where}: ${reason}`);
  }

  /** Runs a part; what it throws is a failure of it. */
  async part(where: string, body: () => Promise<void> | void): Promise<void> {
    this.at(where);
    try {
      await body();
    } catch (error) {
      this.at(where).ok(false, error instanceof Error ? error.message : String(error));
    }
  }

  line(): string {
    const skipped = this.skipped > 0 ? `, ${this.skipped} skipped` : '';
    return `${this.passed} passed, ${this.failed} failed${skipped}`;
  }
}
