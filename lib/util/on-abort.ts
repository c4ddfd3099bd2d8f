/** Listening to an AbortSignal. */
import { setMaxListeners } from 'node:events';

/**
 * Calls `fn` once, in the abort event's own turn.
 * @returns stops listening
 */
export function onAbort(signal: AbortSignal, fn: () => void): () => void {
  // Any number of calls side by side may share a signal; Node takes more than ten listeners for a leak and says so.
  setMaxListeners(0, signal);
  signal.addEventListener('abort', fn, { once: true });
  return () => signal.removeEventListener('abort', fn);
}
