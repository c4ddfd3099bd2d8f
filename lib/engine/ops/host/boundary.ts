/** Counts behind the boundary scores, and exact morphology on masks (evaluation.md section 7). */
import { hostCall } from '../../host.js';
import { asFloat64, type SampleArray } from './host-arrays.js';
import type { MapSize } from './rle.js';

export interface BoundaryOptions extends MapSize {
  readonly numClasses: number;
  /** Label whose pixels are taken out of both masks; none by default. */
  readonly ignore?: number;
  /** Erosions of the band of Boundary IoU, from 1. */
  readonly band: number;
  /** Pixels within which an edge counts as found in Boundary F, 0..1024. */
  readonly radius: number;
}

/**
 * Row-major `[C, 6]`: band intersection, band union, edge pixels of the prediction, those near a true one, edge pixels of the
 * truth, those near a predicted one.
 */
export async function boundaryCounts(pred: SampleArray, label: SampleArray, o: BoundaryOptions): Promise<Float64Array> {
  const attrs = [
    o.height,
    o.width,
    pred.BYTES_PER_ELEMENT,
    label.BYTES_PER_ELEMENT,
    o.numClasses,
    o.ignore ?? -1,
    o.band,
    o.radius,
  ];
  return asFloat64((await hostCall('boundary_counts', [pred, label], attrs))[0] as Uint8Array);
}

/** u8 `[H, W]` of 0 and 1: erosion by a 3x3 square, `steps` times, everything outside counting as empty. */
export async function maskErode(mask: Uint8Array, { height, width }: MapSize, steps = 1): Promise<Uint8Array> {
  return (await hostCall('mask_erode', [mask], [height, width, steps]))[0] as Uint8Array;
}

/** Squared Euclidean distance of every pixel to the nearest set one, exact; Infinity where there is none. */
export async function distanceTransform(mask: Uint8Array, { height, width }: MapSize): Promise<Float64Array> {
  return asFloat64((await hostCall('distance_transform', [mask], [height, width]))[0] as Uint8Array);
}
