/**
 * COCO run lengths: counts of zeros and ones in turn down the columns, zeros first (Uint32Array), and their text form
 * (user-interfaces.md section 7). What ends in Sync is for small masks.
 */
import { hostCall, hostCallSync } from '../../host.js';
import { asFloat64, asUint32, type SampleArray } from './host-arrays.js';

export interface MapSize {
  readonly height: number;
  readonly width: number;
}

/** Runs of all samples but 0. map: row-major `[H, W]`. */
export async function rleEncode(map: SampleArray, { height, width }: MapSize): Promise<Uint32Array> {
  const [out] = await hostCall('rle_encode', [map], [height, width, map.BYTES_PER_ELEMENT]);
  return asUint32(out as Uint8Array);
}

/** Runs of each of the given (different) labels or segment numbers, in one pass over the map. */
export async function rleEncodeLabels(
  map: SampleArray,
  { height, width }: MapSize,
  labels: readonly number[],
): Promise<Uint32Array[]> {
  const out = await hostCall('rle_encode', [map, Int32Array.from(labels)], [height, width, map.BYTES_PER_ELEMENT]);
  return out.map(asUint32);
}

/** Row-major u8 `[H, W]` with `value` where the mask is set. @throws E_USAGE when the counts do not cover height * width */
export async function rleDecode(counts: Uint32Array, { height, width }: MapSize, value = 1): Promise<Uint8Array> {
  return (await hostCall('rle_decode', [counts], [height, width, value]))[0] as Uint8Array;
}

const latin1 = new TextDecoder('latin1');

export async function rleToString(counts: Uint32Array): Promise<string> {
  return latin1.decode((await hostCall('rle_to_string', [counts]))[0]);
}

/** @throws E_USAGE when the text is damaged */
export async function rleFromString(text: string): Promise<Uint32Array> {
  return asUint32((await hostCall('rle_from_string', [Buffer.from(text, 'latin1')]))[0] as Uint8Array);
}

const mergeOperations = { and: 0, or: 1, xor: 2, not: 3 } as const;
export type RleOperation = keyof typeof mergeOperations;

/** and, or, xor of one or more masks of one size, or not of a single one. */
export function rleMergeSync(operation: RleOperation, masks: readonly Uint32Array[]): Uint32Array {
  return asUint32(hostCallSync('rle_merge', [...masks], [mergeOperations[operation]])[0] as Uint8Array);
}

export interface RleExtent {
  readonly area: number;
  /** x, y, width, height in pixels; zeros for an empty mask. */
  readonly bbox: [x: number, y: number, width: number, height: number];
}

export function rleExtentSync(masks: readonly Uint32Array[], height: number): RleExtent[] {
  const table = asFloat64(hostCallSync('rle_area_bbox', [...masks], [height])[0] as Uint8Array);
  return masks.map((_, i) => {
    const [area, x, y, w, h] = table.subarray(5 * i, 5 * i + 5) as unknown as [number, number, number, number, number];
    return { area, bbox: [x, y, w, h] };
  });
}

function joined(masks: readonly Uint32Array[]): [counts: Uint32Array, offsets: Uint32Array] {
  const offsets = new Uint32Array(masks.length + 1);
  masks.forEach((mask, i) => {
    offsets[i + 1] = (offsets[i] as number) + mask.length;
  });
  const counts = new Uint32Array(offsets[masks.length] as number);
  masks.forEach((mask, i) => counts.set(mask, offsets[i]));
  return [counts, offsets];
}

/**
 * IoU of every mask of `a` with every mask of `b`, row-major `[a.length, b.length]`; against a crowd (`crowd[j]` not 0) the
 * share of the mask of `a` that lies inside. All masks have one size.
 */
export async function rleIou(
  a: readonly Uint32Array[],
  b: readonly Uint32Array[],
  crowd: Uint8Array = new Uint8Array(b.length),
): Promise<Float64Array> {
  return asFloat64((await hostCall('rle_iou', [...joined(a), ...joined(b), crowd]))[0] as Uint8Array);
}
