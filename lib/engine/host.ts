/** The generic door to plain native algorithms on byte arrays (native/host). */
import { addon } from '../binding/addon.js';
import { currentContext } from './context.js';

/**
 * Runs a host algorithm off the event loop. The arrays must not be changed or transferred until the promise settles: pass
 * arrays that no user holds.
 */
export function hostCall(
  name: string,
  arrays: ArrayBufferView[],
  attrs: readonly number[] = [],
): Promise<Uint8Array[]> {
  return addon().host(name, arrays, Float64Array.from(attrs), currentContext().token);
}

/** The same on the calling thread, for work of a few microseconds. */
export function hostCallSync(name: string, arrays: ArrayBufferView[], attrs: readonly number[] = []): Uint8Array[] {
  return addon().hostSync(name, arrays, Float64Array.from(attrs));
}
