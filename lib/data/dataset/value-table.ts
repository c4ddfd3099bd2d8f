/** Stored label value to class index, all choices in one table: map, then zero reduction, then ignore (evaluation.md section 6). */
import { inSlices } from '../../util/slices.js';
import type { StoredLabels } from '../types/spec.js';

/** In a value table: the data set does not know this value. */
export const unknownValue = -1;

/** Index = stored value. */
export function valueTable(stored: StoredLabels, classCount: number): Int32Array {
  const { bits, map, ignore, reduceZero } = stored;
  const highest = 2 ** bits - 1;
  const table = new Int32Array(highest + 1).fill(unknownValue);
  for (let value = 0; value <= highest; value++) {
    let mapped = map ? map.get(value) : value;
    if (mapped === undefined) continue;
    if (reduceZero === 'wrapping') mapped = mapped === 0 ? highest : mapped - 1;
    else if (reduceZero === 'guarded' && mapped !== ignore) mapped = mapped === 0 ? ignore : mapped - 1;
    if (mapped === ignore || mapped < classCount) table[value] = mapped;
  }
  return table;
}

const grain = 1 << 19;

/** Values that a table does not know, with their numbers of pixels, by rising value. */
export type UnknownValues = ReadonlyMap<number, number>;

/**
 * Puts every sample through the table: in place where 8 bits stay 8 bits, else into an array of the width that the largest value
 * needs. Samples beyond the table are unknown.
 */
export async function throughTable(
  samples: Uint8Array | Uint16Array,
  table: Int32Array,
  signal?: AbortSignal,
): Promise<{ data: Uint8Array | Uint16Array; unknown: UnknownValues }> {
  const wide = table.some((value) => value > 255);
  const narrow = !wide && samples instanceof Uint8Array;
  const data = narrow ? samples : wide ? new Uint16Array(samples.length) : new Uint8Array(samples.length);
  const full = new Int32Array(1 << (8 * samples.BYTES_PER_ELEMENT)).fill(unknownValue);
  full.set(table.subarray(0, full.length));
  const unknown = new Map<number, number>();
  await inSlices(
    samples.length,
    grain,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const sample = samples[i] as number;
        const value = full[sample] as number;
        if (value >= 0) data[i] = value;
        else unknown.set(sample, (unknown.get(sample) ?? 0) + 1);
      }
    },
    signal,
  );
  return { data, unknown: new Map([...unknown].sort(([a], [b]) => a - b)) };
}
