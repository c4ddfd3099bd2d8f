/** Ties an AbortSignal to the work started inside a call. */
import { addon } from '../binding/addon.js';
import { runInContext } from './context.js';

/**
 * Runs `fn` so that commands queued inside are skipped once `signal` aborts. The returned promise then rejects with the
 * signal's reason in the abort event's own turn; `fn` itself ends in the background.
 */
export function withSignal<T>(signal: AbortSignal | undefined, fn: () => Promise<T>): Promise<T> {
  if (!signal) return fn();
  if (signal.aborted) return Promise.reject(signal.reason);
  const native = addon();
  const token = native.tokenCreate();
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => {
      native.tokenCancel(token);
      reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    // Async, so that what `fn` throws before its first await ends in the same place.
    runInContext({ token }, async () => fn())
      .finally(() => signal.removeEventListener('abort', onAbort))
      .then(resolve, reject);
  });
}
