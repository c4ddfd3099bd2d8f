import { hostCall, hostCallSync } from '../../host.js';
import { asFloat64, asUint32, type SampleArray } from './host-arrays.js';

export interface ConfusionOptions {
  /** C, 1..4096. */
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

export interface PairOptions {
  /** C, 1..4096. */
  readonly numClasses: number;
  /** Labels that are left out. */
  readonly ignore: readonly number[];
}

/** The counts that are not 0. */
export interface PairCounts {
  /** label * (C + 1) + prediction, rising; the last column of a row is "outside the classes". */
  readonly cells: Uint32Array;
  readonly counts: Uint32Array;
  /** Pixels whose label is neither a class nor ignored, and the first such label. */
  readonly outside: number;
  readonly outsideValue: number;
}

/** Counts of one pair of maps, off the event loop; unsigned samples, or i32 with negative predictions for "no class". */
export async function countPairs(pred: SampleArray, label: SampleArray, options: PairOptions): Promise<PairCounts> {
  return pairCounts(await hostCall('confusion_pairs', [pred, label], pairAttrs(pred, label, options)));
}

/** The same on the calling thread. */
export function countPairsSync(pred: SampleArray, label: SampleArray, options: PairOptions): PairCounts {
  return pairCounts(hostCallSync('confusion_pairs', [pred, label], pairAttrs(pred, label, options)));
}

function pairAttrs(pred: SampleArray, label: SampleArray, { numClasses, ignore }: PairOptions): number[] {
  return [numClasses, pred.BYTES_PER_ELEMENT, label.BYTES_PER_ELEMENT, ...ignore];
}

function pairCounts([cells, counts, outside]: readonly Uint8Array[]): PairCounts {
  const [pixels = 0, value = 0] = asFloat64(outside as Uint8Array);
  return {
    cells: asUint32(cells as Uint8Array),
    counts: asUint32(counts as Uint8Array),
    outside: pixels,
    outsideValue: value,
  };
}
