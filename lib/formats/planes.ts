/** Planes of a result for the array formats, and label arrays from what array files hold. */
import { show, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import {
  type LabelArray,
  type LabelResult,
  type LegendEntry,
  labelArray,
  labelCount,
  type Plane,
  type PlaneName,
} from './format.js';

const SLICE = 1 << 20;

export const planeNames: readonly PlaneName[] = ['labels', 'score', 'margin', 'entropy', 'topk', 'probabilities'];

/** The named plane, packed; throws E_OPTION when the result has none of that name. */
export function planeOf(result: LabelResult, name: PlaneName): Plane {
  if (name === 'labels') return { data: result.labels, shape: [result.height, result.width] };
  const plane = result[name];
  if (!plane) {
    const there = planeNames.filter((known) => known === 'labels' || result[known]);
    throw new WordmaskError(
      'E_OPTION',
      `plane must be one of ${there.join(', ')} (ask segment for others through outputs), got ${show(name)}`,
    );
  }
  const size = plane.shape.reduce((product, side) => product * side, 1);
  if (size !== plane.data.length)
    throw new WordmaskError(
      'E_USAGE',
      `plane ${name} has ${plane.data.length} values, its shape [${plane.shape.join(', ')}] needs ${size}`,
    );
  return { data: plane.data, shape: plane.shape };
}

/**
 * Whole numbers as labels. Unsigned arrays are kept as they are; signed ones (safetensors has no unsigned 16-bit
 * type) are narrowed to what the legend or the values need, -1 and the narrow type's highest value being nothing.
 */
export async function labelPlane(
  data: ArrayLike<number>,
  legend: readonly LegendEntry[] | undefined,
  signal?: AbortSignal,
): Promise<LabelArray> {
  if (data instanceof Uint8Array || data instanceof Uint16Array || data instanceof Uint32Array) return data;
  const count = legend ? labelCount(legend) : await countOf(data, signal);
  const labels = await labelArray(count, data.length, signal);
  await inSlices(
    data.length,
    SLICE,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const value = data[i] as number;
        if (value === -1) continue;
        if (!Number.isInteger(value) || value < 0 || value >= count)
          throw new WordmaskError(
            'E_USAGE',
            `label ${value} at pixel ${i} is outside 0..${count - 1} (-1 stands for nothing)`,
          );
        labels[i] = value;
      }
    },
    signal,
  );
  return labels;
}

async function countOf(data: ArrayLike<number>, signal?: AbortSignal): Promise<number> {
  let count = 0;
  await inSlices(
    data.length,
    SLICE,
    (begin, end) => {
      for (let i = begin; i < end; i++) count = Math.max(count, (data[i] as number) + 1);
    },
    signal,
  );
  return count;
}
