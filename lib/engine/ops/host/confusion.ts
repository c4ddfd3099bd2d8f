import { hostCall } from '../../host.js';
import { asFloat64, type SampleArray } from './host-arrays.js';

export interface ConfusionOptions {
  /** C, 1..3000. */
  readonly numClasses: number;
  /** Label that is left out; none by default. */
  readonly ignore?: number;
}

/**
 * Pixels by label (row) and prediction (column), row-major `[C, C + 1]`, exact integers; the last column counts predictions
 * outside 0..C-1, labels outside are left out. Both maps have the same number of samples.
 */
export async function countConfusion(
  pred: SampleArray,
  label: SampleArray,
  options: ConfusionOptions,
): Promise<Float64Array> {
  const [out] = await hostCall(
    'confusion',
    [pred, label],
    [options.numClasses, options.ignore ?? -1, pred.BYTES_PER_ELEMENT, label.BYTES_PER_ELEMENT],
  );
  return asFloat64(out as Uint8Array);
}
