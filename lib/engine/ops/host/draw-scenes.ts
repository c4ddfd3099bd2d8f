/** Rasteriser of drawn scenes (drawn-scenes.md section 1): display lists in, pictures and label maps out. */
import { hostCall } from '../../host.js';
import { asInt32 } from './host-arrays.js';

/** Rows of `boxes` and columns of `counts` for each scene. */
export const drawnInstances = 32;
export const drawnLabels = 64;

export interface DrawnSize {
  readonly width: number;
  readonly height: number;
}

export interface DrawnArrays {
  /** RGB `[B, H, W, 3]`. */
  readonly images: Uint8Array;
  /** `[B, H, W]` */
  readonly labels: Uint8Array;
  /** `[B, H, W]`, 0 for stuff. */
  readonly instances: Uint8Array;
  /** `[B, 32, 5]`: pixels of the instance, left, top, right, bottom of its box (right and bottom are one beyond). */
  readonly boxes: Int32Array;
  /** `[B, 64]`: pixels of each label. */
  readonly counts: Int32Array;
}

/**
 * Draws B scenes on the thread pool, off the event loop. Each list is drawn at `drawn` and averaged down to `size`.
 * @param lists display lists one after another; @param begins u32 `[B + 1]`, where each begins and the last ends
 * @throws E_OPTION when the output is over 1 GiB, E_USAGE for a damaged list
 */
export async function drawScenesNative(
  lists: Float32Array,
  begins: Uint32Array,
  drawn: DrawnSize,
  size: DrawnSize,
): Promise<DrawnArrays> {
  const [images, labels, instances, boxes, counts] = (await hostCall(
    'draw_scenes',
    [lists, begins],
    [drawn.width, drawn.height, size.width, size.height],
  )) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  return { images, labels, instances, boxes: asInt32(boxes), counts: asInt32(counts) };
}
