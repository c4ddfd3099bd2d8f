/** Small pictures for pages: shrunk and encoded for the eye, never for measuring. */
import { loadSharp } from './decode.js';
import type { RgbImage } from './overlay.js';

const quality = 82;

/** Fits a picture into a square of `side` pixels; a smaller one stays as it is. */
export async function shrinkRgb(image: RgbImage, side: number): Promise<RgbImage> {
  const { width, height } = image;
  const scale = side / Math.max(width, height);
  if (scale >= 1) return image;
  const size = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
  const sharp = await loadSharp();
  const data = await sharp(Buffer.from(image.data.buffer, image.data.byteOffset, image.data.byteLength), raw(image))
    .resize({ ...size, fit: 'fill' })
    .raw()
    .toBuffer();
  return { ...size, data };
}

export async function encodeWebp(image: RgbImage): Promise<Uint8Array> {
  const sharp = await loadSharp();
  return sharp(Buffer.from(image.data.buffer, image.data.byteOffset, image.data.byteLength), raw(image))
    .webp({ quality, smartSubsample: true })
    .toBuffer();
}

function raw({ width, height }: RgbImage): { raw: { width: number; height: number; channels: 3 } } {
  return { raw: { width, height, channels: 3 } };
}

/** Labels at the middle of each pixel of a smaller map. */
export function shrinkLabels<T extends Uint8Array | Uint16Array | Uint32Array>(
  labels: T,
  from: { readonly width: number; readonly height: number },
  to: { readonly width: number; readonly height: number },
): T {
  const out = new (labels.constructor as new (length: number) => T)(to.width * to.height);
  for (let y = 0; y < to.height; y++) {
    const row = Math.floor(((y + 0.5) * from.height) / to.height) * from.width;
    for (let x = 0; x < to.width; x++)
      out[y * to.width + x] = labels[row + Math.floor(((x + 0.5) * from.width) / to.width)] as number;
  }
  return out;
}
