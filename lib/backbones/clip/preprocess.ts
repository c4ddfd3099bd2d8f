/** CLIP's own geometry and constants (openai/CLIP; preprocess of the published models). */
import { type HostArray, noGrad, normaliseImage, resize, scope, Tensor } from '../../engine/index.js';
import { type DecodeOptions, decodeImage, type ImageInput } from '../../image/decode.js';
import { show, WordmaskError } from '../../util/errors.js';

export const clipMean = [0.48145466, 0.4578275, 0.40821073] as const;
export const clipStd = [0.26862954, 0.26130258, 0.27577711] as const;

/**
 * Image u8 [H, W, 3] -> pixels f32 [1, 3, n, n]: short side to n with PIL's antialiased bicubic on 8-bit values, centre
 * crop, /255, minus mean, over deviation.
 */
export function clipPreprocess(image: Tensor, size: number): Tensor {
  return scope(() => {
    const [h, w] = resizedSize(image.shape[0] as number, image.shape[1] as number, size);
    const resized = resize(image, { width: w, height: h, mode: 'pil_bicubic' }); // [h, w, 3]
    const [top, left] = [halfToEven((h - size) / 2), halfToEven((w - size) / 2)];
    const crop = resized
      .slice(0, top, top + size)
      .slice(1, left, left + size)
      .contiguous(); // [n, n, 3]
    return normaliseImage(crop, Tensor.from(Float32Array.from(clipMean)), Tensor.from(Float32Array.from(clipStd)), {
      unit: true,
    }).reshape(1, 3, size, size);
  });
}

function resizedSize(height: number, width: number, size: number): [number, number] {
  const short = Math.min(height, width);
  return [
    height === short ? size : Math.floor((size * height) / short),
    width === short ? size : Math.floor((size * width) / short),
  ];
}

/** The input side of the largest published CLIP is 576. */
const maxSize = 4096;
/** The picture between resize and crop; only a very long and thin one gets there. */
const maxResizedPixels = 64e6;

/**
 * A picture as the published CLIP pipeline hands it to the model: short side to `size` (antialiased bicubic on 8-bit
 * values), centre crop, mean and deviation of CLIP -> `pixel_values` f32 [1, 3, size, size].
 * @throws E_OPTION for a size outside 1..4096; E_IMAGE_SIZE when the picture is too long and thin; as decoding a picture
 */
export async function preprocess(
  image: ImageInput,
  size = 224,
  options: DecodeOptions = {},
): Promise<HostArray & { data: Float32Array; shape: number[] }> {
  if (!Number.isInteger(size) || size < 1 || size > maxSize) {
    throw new WordmaskError(
      'E_OPTION',
      `preprocess: size must be a whole number from 1 to ${maxSize}, got ${show(size)}`,
      { details: { option: 'size' } },
    );
  }
  const { data, width, height } = await decodeImage(image, options);
  const [h, w] = resizedSize(height, width, size);
  if (h * w > maxResizedPixels) {
    throw new WordmaskError(
      'E_IMAGE_SIZE',
      `a picture of ${width} x ${height} pixels would become ${w} x ${h} before the centre crop, the limit is ${maxResizedPixels} pixels: crop it first`,
      { details: { value: h * w, limit: maxResizedPixels } },
    );
  }
  const pixels = await noGrad(() =>
    scope(() => clipPreprocess(Tensor.from(data, [height, width, 3], 'u8'), size).toArray()),
  );
  return pixels as { data: Float32Array; shape: number[] };
}

/** Rounds as Python does: the published crop offset is int(round(x)). */
function halfToEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x);
}
