/** Outlines of masks and their reverse. */
import { hostCall } from '../../host.js';
import { asInt32, asUint32, type SampleArray } from './host-arrays.js';
import type { MapSize } from './rle.js';

export interface Ring {
  /** x, y pairs in pixels, corners alone, first point not repeated. Outer rings run clockwise as seen (y down), holes the other way. */
  readonly points: Int32Array;
  /** Index of the ring around this hole, -1 for an outer ring. */
  readonly parent: number;
}

/**
 * The exact outline along pixel edges of all samples but 0, or of one label. Regions are 4-connected; no ring touches itself;
 * each outer ring stands in front of its holes.
 */
export async function contours(map: SampleArray, { height, width }: MapSize, label = -1): Promise<Ring[]> {
  const [points, offsets, parents] = await hostCall('contours', [map], [height, width, map.BYTES_PER_ELEMENT, label]);
  const xy = asInt32(points as Uint8Array);
  const at = asUint32(offsets as Uint8Array);
  return Array.from(asInt32(parents as Uint8Array), (parent, i) => ({
    points: xy.slice(2 * (at[i] as number), 2 * (at[i + 1] as number)),
    parent,
  }));
}

/** u8 `[H, W]`, 1 where a pixel's centre is inside by the even-odd rule over all rings (x, y pairs). @throws E_USAGE for a point that is not finite */
export async function polygonMask(
  rings: readonly ArrayLike<number>[],
  { height, width }: MapSize,
): Promise<Uint8Array> {
  const offsets = new Uint32Array(rings.length + 1);
  rings.forEach((ring, i) => {
    offsets[i + 1] = (offsets[i] as number) + ring.length / 2;
  });
  const points = new Float64Array(2 * (offsets[rings.length] as number));
  rings.forEach((ring, i) => points.set(ring, 2 * (offsets[i] as number)));
  return (await hostCall('polygon_mask', [points, offsets], [height, width]))[0] as Uint8Array;
}
