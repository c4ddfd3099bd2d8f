/** The picture of a call for systems that look at it on their device: decoded pixels, or a tensor that lies there already. */
import { Tensor } from '../engine/index.js';
import type { DecodedImage, ImageInput } from '../image/decode.js';
import { checkImageSize, imageLimits } from '../image/limits.js';
import { WordmaskError } from '../util/errors.js';
import { decodeFor } from './call-options.js';
import type { CheckedOptions } from './segment-options.js';

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** What says which picture it was, in a result's provenance. */
  readonly hash: string;
  /** Decoded pixels; none of a tensor, which is not copied to the host. */
  readonly host?: DecodedImage;
  /** u8 [H, W, 3] on the device; the picture's own. */
  readonly pixels: Tensor;
}

/**
 * @param device of the model
 * @throws as `decodeImage`; of a tensor E_USAGE for another dtype or shape, E_OPTION for another device, E_IMAGE_SIZE, E_DISPOSED
 */
export async function pictureFor(
  image: ImageInput,
  device: string,
  options: CheckedOptions['common'],
): Promise<Picture> {
  // At once: the caller may dispose of a tensor as soon as the call has begun.
  if (image instanceof Tensor) return tensorPicture(image, device, options);
  const host = await decodeFor(image, options);
  const { data, width, height, hash } = host;
  return { width, height, hash, host, pixels: Tensor.lend(data, [height, width, 3], 'u8') };
}

function tensorPicture(tensor: Tensor, device: string, { limits }: CheckedOptions['common']): Picture {
  const [height = 0, width = 0, channels] = tensor.shape;
  const text = `a ${tensor.dtype}[${tensor.shape.join(', ')}] tensor on ${tensor.device}`;
  if (tensor.dtype !== 'u8' || tensor.rank !== 3 || channels !== 3)
    throw new WordmaskError('E_USAGE', `image must be u8 [H, W, 3] (RGB), got ${text}`);
  if (tensor.device !== device)
    throw new WordmaskError('E_OPTION', `image is ${text}, the model is on ${device}: move one of them, to() copies`, {
      details: { devices: [tensor.device, device] },
    });
  checkImageSize(width, height, imageLimits(limits), 'image tensor');
  const handle = tensor.detach();
  const pixels = handle.contiguous();
  if (pixels !== handle) handle.dispose();
  return { width, height, hash: `tensor u8[${tensor.shape.join(', ')}] on ${device}`, pixels };
}

/** The picture of a call for systems that look at it on the host; a tensor is read. @throws as `pictureFor` */
export async function hostPicture(
  image: ImageInput,
  device: string,
  options: CheckedOptions['common'],
): Promise<DecodedImage> {
  if (!(image instanceof Tensor)) return decodeFor(image, options);
  const { pixels, width, height, hash } = tensorPicture(image, device, options);
  try {
    return { data: (await pixels.data()) as Uint8Array, width, height, hash, format: 'raw' };
  } finally {
    pixels.dispose();
  }
}
