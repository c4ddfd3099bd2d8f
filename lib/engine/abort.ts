/** Ties an AbortSignal to the work started inside a call. */
import { addon } from '../binding/addon.js';
import { onAbort } from '../util/on-abort.js';
import { runInContext } from './context.js';

/** Work that can be called off. */
export interface Cancellation {
  /** Runs `fn`; commands queued inside belong to this work. */
  run<T>(fn: () => T): T;
  /** Commands that have not run are skipped, the one that runs ends at its next chunk. */
  cancel(): void;
}

export function cancellation(): Cancellation {
  const native = addon();
  const token = native.tokenCreate();
  return { run: (fn) => runInContext({ token }, fn), cancel: () => native.tokenCancel(token) };
}

/**
 * Runs `fn` so that commands queued inside are skipped once `signal` aborts. The returned promise then rejects with the
 * signal's reason in the abort event's own turn; `fn` itself ends in the background.
 */
export function withSignal<T>(signal: AbortSignal | undefined, fn: () => Promise<T>): Promise<T> {
  if (!signal) return fn();
  if (signal.aborted) return Promise.reject(signal.reason);
  const work = cancellation();
  return new Promise<T>((resolve, reject) => {
    const stopListening = onAbort(signal, () => {
      work.cancel();
      reject(signal.reason);
    });
    // Async, so that what `fn` throws before its first await ends in the same place.
    work
      .run(async () => fn())
      .finally(stopListening)
      .then(resolve, reject);
  });
}
