/** Checks without a test framework: `npm run test:gpu` runs where Node, `dist/` and `build/` are all there is. */
import { isDeepStrictEqual } from 'node:util';
import type { Checks } from '../helpers/op-checks.js';

/** What came of a unit, as it goes between processes. */
export interface Counts {
  readonly passed: number;
  readonly failures: readonly string[];
  readonly skipped: readonly string[];
}

const keptFailures = 20;

export class Counter implements Checks {
  passed = 0;
  readonly failures: string[] = [];
  readonly skipped: string[] = [];

  ok(value: unknown, message = ''): boolean {
    if (value) {
      this.passed++;
      return true;
    }
    this.failures.push(message);
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
    this.skipped.push(reason);
  }

  counts(): Counts {
    const { passed, failures, skipped } = this;
    const more = failures.length - keptFailures;
    const shown = more > 0 ? [...failures.slice(0, keptFailures), ...Array(more).fill('')] : failures;
    return { passed, failures: shown, skipped };
  }
}

/** A part of the test that can fail, or end its process, without the others. */
export interface Unit {
  readonly id: string;
  run(counter: Counter): Promise<void> | void;
}
