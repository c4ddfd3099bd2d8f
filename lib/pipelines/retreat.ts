/** What a call gives up when memory runs out, before it gives up itself (user-interfaces.md section 8). */
import { trimMemory } from '../engine/index.js';
import { isWordmaskError } from '../util/errors.js';

/**
 * Runs `full`; where memory runs out, frees the caches and runs `reduced` instead, with `warning` among the call's warnings. Both
 * give the same bytes.
 * @throws E_OOM of the second try, with the caller's `plan` in its details
 */
export async function withRetreat<T>(
  warnings: string[],
  warning: string,
  full: () => Promise<T>,
  reduced: () => Promise<T>,
): Promise<T> {
  try {
    return await full();
  } catch (error) {
    if (!isWordmaskError(error) || error.code !== 'E_OOM') throw error;
    trimMemory();
    warnings.push(warning);
  }
  return reduced();
}
