/** What an image may be: user-interfaces.md section 9. */
import { show, WordmaskError } from '../util/errors.js';

export interface ImageLimits {
  /** Width times height (64,000,000). */
  pixels: number;
  /** Encoded bytes (64 MiB). */
  fileBytes: number;
  /** Longest side (65,535). */
  side: number;
}

export const defaultLimits: Readonly<ImageLimits> = { pixels: 64_000_000, fileBytes: 64 * 2 ** 20, side: 65_535 };

const variables: Record<keyof ImageLimits, string> = {
  pixels: 'WORDMASK_LIMIT_PIXELS',
  fileBytes: 'WORDMASK_LIMIT_FILE_BYTES',
  side: 'WORDMASK_LIMIT_SIDE',
};

/** Defaults, then WORDMASK_LIMIT_PIXELS, WORDMASK_LIMIT_FILE_BYTES and WORDMASK_LIMIT_SIDE, then the option. */
export function imageLimits(given: Partial<ImageLimits> = {}): ImageLimits {
  const limits = { ...defaultLimits };
  for (const key of Object.keys(variables) as (keyof ImageLimits)[]) {
    const text = process.env[variables[key]];
    const value = given[key] ?? (text === undefined || text === '' ? limits[key] : Number(text));
    if (!Number.isFinite(value) || value < 1) {
      throw new WordmaskError(
        'E_OPTION',
        `limits.${key} must be a number of at least 1, got ${show(given[key] ?? text)}`,
        { details: { option: `limits.${key}` } },
      );
    }
    limits[key] = value;
  }
  return limits;
}

/** Throws E_IMAGE_SIZE unless both sides and the area are within the limits. */
export function checkImageSize(width: number, height: number, limits: ImageLimits, what = 'image'): void {
  const details = { width, height, limits };
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new WordmaskError(
      'E_IMAGE_SIZE',
      `${what} has size ${show(width)} x ${show(height)}; both sides must be whole numbers of at least 1`,
      { details },
    );
  }
  if (width > limits.side || height > limits.side) {
    throw new WordmaskError(
      'E_IMAGE_SIZE',
      `${what} is ${width} x ${height} pixels; no side may exceed ${limits.side}: reduce it or raise limits.side`,
      { details },
    );
  }
  if (width * height > limits.pixels) {
    const mega = ((width * height) / 1e6).toFixed(1);
    throw new WordmaskError(
      'E_IMAGE_SIZE',
      `${what} is ${width} x ${height} = ${mega} megapixels; the limit is ${limits.pixels / 1e6}: reduce it or raise limits.pixels`,
      { details },
    );
  }
}

/** Throws E_IMAGE_SIZE when an encoded file is too large, E_IMAGE_CORRUPT when it is empty. */
export function checkFileSize(bytes: number, limits: ImageLimits, what = 'image'): void {
  if (bytes === 0) throw new WordmaskError('E_IMAGE_CORRUPT', `${what} is empty (0 bytes)`);
  if (bytes > limits.fileBytes) {
    throw new WordmaskError(
      'E_IMAGE_SIZE',
      `${what} has ${bytes} bytes; the limit is ${limits.fileBytes}: reduce it or raise limits.fileBytes`,
      { details: { bytes, limit: limits.fileBytes } },
    );
  }
}
