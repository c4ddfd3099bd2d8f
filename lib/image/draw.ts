/** Boxes and letters on RGB pictures, for legends. */
import { inSlices } from '../util/slices.js';
import { glyphRows, glyphWidth } from './glyphs.js';
import type { Colour } from './palette.js';

export interface RgbImage {
  /** [H, W, 3]. */
  data: Uint8Array;
  width: number;
  height: number;
}

/** The picture at the top left of a white one of at least its size. */
export async function onCanvas(
  image: RgbImage,
  width: number,
  height: number,
  signal?: AbortSignal,
): Promise<RgbImage> {
  const out: RgbImage = { data: new Uint8Array(width * height * 3), width, height };
  await inSlices(
    height,
    64,
    (begin, end) => {
      out.data.fill(255, begin * width * 3, end * width * 3);
      for (let y = begin; y < Math.min(end, image.height); y++)
        out.data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), y * width * 3);
    },
    signal,
  );
  return out;
}

/** Characters of `drawableText` in black, `scale` pixels a dot. */
export function drawText(image: RgbImage, text: readonly string[], left: number, top: number, scale: number): void {
  text.forEach((character, n) => drawGlyph(image, character, left + n * (glyphWidth + 1) * scale, top, scale));
}

function drawGlyph(image: RgbImage, character: string, left: number, top: number, scale: number): void {
  glyphRows(character).forEach((bits, row) => {
    for (let x = 0; x < glyphWidth; x++) {
      if (bits & (1 << (glyphWidth - 1 - x)))
        fillBox(image, left + x * scale, top + row * scale, scale, scale, [0, 0, 0]);
    }
  });
}

export function fillBox(
  image: RgbImage,
  left: number,
  top: number,
  width: number,
  height: number,
  colour: Colour,
): void {
  for (let y = top; y < Math.min(top + height, image.height); y++) {
    for (let x = left; x < Math.min(left + width, image.width); x++) image.data.set(colour, (y * image.width + x) * 3);
  }
}
