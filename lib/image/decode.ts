/**
 * Pictures to 8-bit RGB, off the event loop, through sharp: orientation applied, alpha laid over white or `matte`,
 * 16-bit samples reduced to their high byte, grey widened, CMYK converted to sRGB through its profile. Other colour
 * profiles are ignored, as OpenCV and PIL do, because the published figures of every system rest on that.
 * Label maps never come here: image/png.ts reads them exactly.
 */
import type { Metadata, Sharp, SharpOptions } from 'sharp';
import { Tensor } from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { abortable } from '../util/slices.js';
import { checkImageSize, type ImageLimits, imageLimits } from './limits.js';
import { type ImageFormat, imageFormats, sniffImage } from './sniff.js';
import { hashBytes, type ImageInput, isRawImage, type RawImage, readRaw, readSource } from './source.js';

export type { ImageFormat } from './sniff.js';
export type { ImageInput, RawImage } from './source.js';

export interface DecodeOptions {
  /** Under transparent pixels: `[r, g, b]` of 0 to 255 (white). */
  matte?: readonly [number, number, number];
  /** Formats to accept (jpeg, png, webp); `tiff` and `avif` must be asked for. */
  formats?: readonly ImageFormat[];
  limits?: Partial<ImageLimits>;
  /** Reduces a picture whose short side is longer to this many pixels (Lanczos, after a decoder's own halving). */
  shortSide?: number;
  signal?: AbortSignal;
}

export interface DecodedImage {
  /** RGB, [H, W, 3], of the upright picture. */
  data: Uint8Array;
  width: number;
  height: number;
  /** SHA-256 of the encoded bytes; of `WxHxC` and the samples for raw pixels. */
  hash: string;
  format: ImageFormat | 'raw';
}

export type SharpModule = (input: Buffer, options?: SharpOptions) => Sharp;
let loadedSharp: Promise<SharpModule> | undefined;

/** sharp takes 60 ms to load, so it is loaded by the first picture; its operation cache would keep pictures alive. */
export function loadSharp(): Promise<SharpModule> {
  loadedSharp ??= import('sharp').then(({ default: sharp }) => {
    sharp.cache(false);
    return sharp;
  });
  return loadedSharp;
}

/**
 * Decodes one picture.
 * @throws WordmaskError E_USAGE, E_URL_FORBIDDEN, E_DISK, E_IMAGE_FORMAT, E_IMAGE_CORRUPT, E_IMAGE_SIZE; the
 * signal's reason when aborted
 */
export async function decodeImage(input: ImageInput, options: DecodeOptions = {}): Promise<DecodedImage> {
  const { signal } = options;
  signal?.throwIfAborted();
  const limits = imageLimits(options.limits);
  const background = matteColour(options.matte);
  if (input instanceof Tensor)
    throw new WordmaskError(
      'E_USAGE',
      'image is a tensor, and pixels are needed on the host here: pass { data: await tensor.data(), width, height, channels: 3 }',
    );
  if (isRawImage(input)) return decodeRaw(input, limits, background, signal);
  const formats = allowedFormats(options.formats);
  const bytes = await readSource(input, limits, signal);
  const format = checkFormat(bytes, formats);
  const [hash, pixels] = await Promise.all([
    hashBytes(bytes, '', signal),
    decodeEncoded(bytes, format, limits, background, options),
  ]);
  return { ...pixels, hash, format };
}

/**
 * Size of the upright picture from its header alone, and its format.
 * @throws as `decodeImage`, except for damage behind the header
 */
export async function probeImage(
  input: Exclude<ImageInput, RawImage | Tensor>,
  options: Omit<DecodeOptions, 'matte'> = {},
): Promise<{ width: number; height: number; format: ImageFormat }> {
  const { signal } = options;
  const limits = imageLimits(options.limits);
  const bytes = await readSource(input, limits, signal);
  const format = checkFormat(bytes, allowedFormats(options.formats));
  const sharp = await loadSharp();
  const header = await abortable(sharp(bytes, { limitInputPixels: false }).metadata(), signal).catch(
    (cause: unknown) => {
      throw signal?.aborted ? cause : damaged(format, cause);
    },
  );
  checkImageSize(header.width, header.height, limits);
  return { width: header.autoOrient.width, height: header.autoOrient.height, format };
}

function matteColour(matte: DecodeOptions['matte']): { r: number; g: number; b: number } {
  const [r, g, b] = matte ?? [255, 255, 255];
  if (matte && (matte.length !== 3 || !matte.every((value) => Number.isInteger(value) && value >= 0 && value <= 255))) {
    throw new WordmaskError('E_OPTION', `matte must be [r, g, b] of whole numbers from 0 to 255, got ${show(matte)}`);
  }
  return { r, g, b };
}

function allowedFormats(formats: readonly ImageFormat[] = ['jpeg', 'png', 'webp']): readonly ImageFormat[] {
  const unknown = formats.find((format) => !imageFormats.includes(format));
  if (unknown !== undefined)
    throw new WordmaskError('E_OPTION', `formats may hold ${imageFormats.join(', ')}, got ${show(unknown)}`);
  return formats;
}

function checkFormat(bytes: Uint8Array, formats: readonly ImageFormat[]): ImageFormat {
  const found = sniffImage(bytes);
  if (found?.format && formats.includes(found.format)) return found.format;
  const name = found?.name ?? 'of an unknown format';
  const advice = found?.format ? `add '${found.format}' to the formats option` : 'convert it to JPEG, PNG or WebP';
  throw new WordmaskError('E_IMAGE_FORMAT', `image is ${name}; accepted are ${formats.join(', ')}: ${advice}`, {
    details: { found: found?.name, accepted: formats },
  });
}

async function decodeRaw(
  input: RawImage,
  limits: ImageLimits,
  background: object,
  signal?: AbortSignal,
): Promise<DecodedImage> {
  const { width, height, channels } = input;
  checkImageSize(width, height, limits, 'raw image');
  const bytes = await readRaw(input, signal);
  const hash = await hashBytes(bytes, `${width}x${height}x${channels}:`, signal);
  if (channels === 3) return { data: bytes, width, height, hash, format: 'raw' };
  const sharp = await loadSharp();
  const pipeline = sharp(bytes, { raw: { width, height, channels: channels as 1 | 4 }, limitInputPixels: false });
  return { ...(await pixelsOf(pipeline, background, { width, height }, signal)), hash, format: 'raw' };
}

async function decodeEncoded(
  bytes: Buffer,
  format: ImageFormat,
  limits: ImageLimits,
  background: object,
  { signal, shortSide }: DecodeOptions,
) {
  const sharp = await loadSharp();
  const base: SharpOptions = { limitInputPixels: false, failOn: 'error', sequentialRead: true };
  const header = await abortable(sharp(bytes, base).metadata(), signal).catch((cause: unknown) => {
    throw signal?.aborted ? cause : damaged(format, cause);
  });
  checkImageSize(header.width, header.height, limits);
  const upright = { width: header.autoOrient.width, height: header.autoOrient.height };
  const pipeline = sharp(bytes, { ...base, ignoreIcc: header.space !== 'cmyk' }).autoOrient();
  const size = reducedSize(upright, shortSide);
  if (size !== upright) pipeline.resize({ ...size, fit: 'fill' });
  return pixelsOf(pipeline, background, size, signal, format);
}

type Size = Pick<Metadata, 'width' | 'height'>;

function reducedSize(size: Size, shortSide: number | undefined): Size {
  const factor = (shortSide ?? 0) / Math.min(size.width, size.height);
  if (factor <= 0 || factor >= 1) return size;
  const scaled = (side: number): number => Math.max(1, Math.round(side * factor));
  return { width: scaled(size.width), height: scaled(size.height) };
}

/** Runs the pipeline to RGB bytes; an abort rejects at once, sharp's own thread then ends by itself. */
async function pixelsOf(pipeline: Sharp, background: object, size: Size, signal?: AbortSignal, format?: ImageFormat) {
  const work = pipeline
    .flatten({ background })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  const { data, info } = await abortable(work, signal).catch((cause: unknown) => {
    throw signal?.aborted ? cause : damaged(format ?? 'raw', cause);
  });
  if (info.channels !== 3 || info.width !== size.width || info.height !== size.height) {
    throw new WordmaskError(
      'E_INTERNAL',
      `decoder gave ${info.width} x ${info.height} x ${info.channels} where ${size.width} x ${size.height} x 3 was due; please report this picture`,
    );
  }
  return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), width: info.width, height: info.height };
}

function damaged(format: ImageFormat | 'raw', cause: unknown): WordmaskError {
  const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
  return new WordmaskError('E_IMAGE_CORRUPT', `${format.toUpperCase()} image is damaged or cut short: ${reason}`, {
    cause,
  });
}
