/** Row filters and bit packing of PNG, off the event loop (the compression itself is node:zlib's). */
import { isWordmaskError, WordmaskError } from '../../../util/errors.js';
import { hostCall } from '../../host.js';
import { asUint16 } from './host-arrays.js';

export interface PngRows {
  /** Bytes of one row without the filter byte. */
  readonly rowBytes: number;
  readonly height: number;
  /** Bytes of a pixel, 1 for depths under 8: the distance of the "left" byte. */
  readonly pixelBytes: number;
}

export interface PngLayout {
  readonly width: number;
  readonly height: number;
  /** 1, 2, 4, 8 or 16. */
  readonly bitDepth: number;
  /** Samples of a pixel, 1..4. */
  readonly channels: number;
}

/** 0 none, 1 sub, 2 up, 3 average, 4 Paeth, 5 per row the smallest sum of absolute differences. */
export type PngFilter = 0 | 1 | 2 | 3 | 4 | 5;

/**
 * Filtered rows (filter byte in front of each) -> `rowBytes * height` bytes.
 * @throws E_IMAGE_CORRUPT when the size does not fit or a filter byte is above 4
 */
export async function pngUnfilter(filtered: Uint8Array, rows: PngRows): Promise<Uint8Array> {
  try {
    const [out] = await hostCall('png_unfilter', [filtered], [rows.rowBytes, rows.height, rows.pixelBytes]);
    return out as Uint8Array;
  } catch (cause) {
    if (!isWordmaskError(cause) || (cause.code !== 'E_USAGE' && cause.code !== 'E_OPTION')) throw cause;
    throw new WordmaskError('E_IMAGE_CORRUPT', `PNG: ${cause.message}`, { cause });
  }
}

/** `rowBytes * height` bytes -> rows with their filter bytes. */
export async function pngFilter(raw: Uint8Array, rows: PngRows, filter: PngFilter = 5): Promise<Uint8Array> {
  const [out] = await hostCall('png_filter', [raw], [rows.rowBytes, rows.height, rows.pixelBytes, filter]);
  return out as Uint8Array;
}

/** Packed rows -> one number a sample, `[height, width, channels]`: Uint8Array, Uint16Array for 16 bits. */
export async function pngUnpack(rows: Uint8Array, layout: PngLayout): Promise<Uint8Array | Uint16Array> {
  const [out] = await hostCall('png_unpack', [rows], [layout.width, layout.height, layout.bitDepth, layout.channels]);
  return layout.bitDepth === 16 ? asUint16(out as Uint8Array) : (out as Uint8Array);
}

/** The reverse. @throws when a sample does not fit the bit depth */
export async function pngPack(samples: Uint8Array | Uint16Array, layout: PngLayout): Promise<Uint8Array> {
  const [out] = await hostCall('png_pack', [samples], [layout.width, layout.height, layout.bitDepth, layout.channels]);
  return out as Uint8Array;
}

/**
 * The image data (a zlib stream) of an 8-bit grey PNG that is `value` inside a mask and 0 outside, from the mask's runs: rising
 * row-major positions, begin and end in turn.
 */
export async function maskDeflate(
  toggles: Uint32Array,
  size: { readonly width: number; readonly height: number },
  value = 255,
): Promise<Uint8Array> {
  return (await hostCall('mask_deflate', [toggles], [size.height, size.width, value]))[0] as Uint8Array;
}
