/** Which format a file has, by its first bytes, so that only allowed decoders ever see a user's bytes. */

export type ImageFormat = 'jpeg' | 'png' | 'webp' | 'tiff' | 'avif';

export const imageFormats: readonly ImageFormat[] = ['jpeg', 'png', 'webp', 'tiff', 'avif'];

/** What the first bytes say: a format we can decode, or the name of one that we refuse, or undefined. */
export function sniffImage(bytes: Uint8Array): { format?: ImageFormat; name: string } | undefined {
  const latin = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 512)).toString('latin1');
  if (latin.startsWith('\xff\xd8\xff')) return { format: 'jpeg', name: 'JPEG' };
  if (latin.startsWith('\x89PNG\r\n\x1a\n')) return { format: 'png', name: 'PNG' };
  if (latin.startsWith('RIFF') && latin.slice(8, 12) === 'WEBP') return { format: 'webp', name: 'WebP' };
  if (/^(?:II[*+]\0|MM\0[*+])/.test(latin)) return { format: 'tiff', name: 'TIFF' };
  if (latin.slice(4, 8) === 'ftyp') return sniffBrand(latin);
  if (/^GIF8[79]a/.test(latin)) return { name: 'GIF' };
  if (latin.startsWith('BM')) return { name: 'BMP' };
  if (latin.startsWith('%PDF')) return { name: 'PDF' };
  if (latin.startsWith('8BPS')) return { name: 'PSD' };
  if (latin.startsWith('\0\0\0\x0cJXL ') || latin.startsWith('\xff\x0a')) return { name: 'JPEG XL' };
  if (latin.startsWith('\0\0\0\x0cjP')) return { name: 'JPEG 2000' };
  if (/^(?:\xef\xbb\xbf)?\s*(?:<\?xml|<!--|<!DOCTYPE|<svg)/i.test(latin) || /<svg[\s>]/i.test(latin))
    return { name: 'SVG' };
  return undefined;
}

function sniffBrand(latin: string): { format?: ImageFormat; name: string } {
  const brands = latin.slice(8, 64);
  if (/avi[fs]/.test(brands)) return { format: 'avif', name: 'AVIF' };
  return { name: /hei[cxs]|hev[cx]|mif1/.test(brands) ? 'HEIC' : 'MP4' };
}
