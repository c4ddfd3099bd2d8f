/** Pictures as JPEG files, through sharp: for data sets whose preparation stores them so. */
import { abortable } from '../util/slices.js';

/**
 * Baseline JPEG with halved colour, the standard tables scaled to `quality` and the standard Huffman tables, as PIL writes it by
 * default at 75.
 * @param image RGB [H, W, 3]
 */
export async function encodeJpeg(
  { data, width, height }: { readonly data: Uint8Array; readonly width: number; readonly height: number },
  { quality = 75, signal }: { readonly quality?: number; readonly signal?: AbortSignal } = {},
): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp');
  const work = sharp(data, { raw: { width, height, channels: 3 }, limitInputPixels: false })
    .jpeg({ quality, chromaSubsampling: '4:2:0', optimiseCoding: false })
    .toBuffer();
  return abortable(work, signal);
}
