/** CLIP's own geometry and constants (openai/CLIP; preprocess of the published models). */
import { Tensor, normaliseImage, resize, scope } from '../../engine/index.js';

export const clipMean = [0.48145466, 0.4578275, 0.40821073] as const;
export const clipStd = [0.26862954, 0.26130258, 0.27577711] as const;

/**
 * Image u8 [H, W, 3] -> pixels f32 [1, 3, n, n]: short side to n with PIL's antialiased bicubic on 8-bit values, centre
 * crop, /255, minus mean, over deviation.
 */
export function clipPreprocess(image: Tensor, size: number): Tensor {
  return scope(() => {
    const [height = 0, width = 0] = image.shape;
    const short = Math.min(height, width);
    const h = height === short ? size : Math.floor((size * height) / short);
    const w = width === short ? size : Math.floor((size * width) / short);
    const resized = resize(image, { width: w, height: h, mode: 'pil_bicubic' }); // [h, w, 3]
    const [top, left] = [halfToEven((h - size) / 2), halfToEven((w - size) / 2)];
    const crop = resized.slice(0, top, top + size).slice(1, left, left + size).contiguous(); // [n, n, 3]
    return normaliseImage(crop, Tensor.from(Float32Array.from(clipMean)), Tensor.from(Float32Array.from(clipStd)), { unit: true }).reshape(1, 3, size, size);
  });
}

/** Rounds as Python does: the published crop offset is int(round(x)). */
function halfToEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x);
}
