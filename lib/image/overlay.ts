/**
 * A picture with its labels: colours laid over it, outlines where labels meet, and a strip below with the names
 * beside their colours. The strip adds rows; the picture itself keeps its place and size.
 */
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { drawText, fillBox, onCanvas, type RgbImage } from './draw.js';
import { drawableText, glyphHeight, glyphWidth } from './glyphs.js';
import { type Colour, paletteFor } from './palette.js';

export interface OverlayInput {
  /** RGB [H, W, 3]; without it the colours stand on white. */
  image?: Uint8Array;
  width: number;
  height: number;
  /** [H, W] legend indices; the highest value of the type stays uncoloured. */
  labels: Uint8Array | Uint16Array | Uint32Array;
  legend: readonly { index: number; name: string; color?: Colour }[];
}

export interface OverlayOptions {
  /** Weight of the colours, 0 to 1 (0.5). */
  alpha?: number;
  /** Outlines in the full colour (true). */
  contours?: boolean;
  /** The strip of names (true). */
  legend?: boolean;
  signal?: AbortSignal;
}

export type { RgbImage } from './draw.js';

const MAX_ENTRIES = 48;
const MAX_NAME = 28;

/** RGB bytes of the overlay. Throws E_OPTION or E_USAGE for sizes and options that do not fit. */
export async function renderOverlay(input: OverlayInput, options: OverlayOptions = {}): Promise<RgbImage> {
  const { width, height, labels, image } = input;
  const alpha = options.alpha ?? 0.5;
  if (!(alpha >= 0 && alpha <= 1))
    throw new WordmaskError('E_OPTION', `alpha must be a number from 0 to 1, got ${show(options.alpha)}`);
  if (labels.length !== width * height || (image && image.length !== width * height * 3)) {
    throw new WordmaskError(
      'E_USAGE',
      `overlay needs ${width} x ${height} labels and as many RGB pixels, got ${labels.length} and ${show(image?.length)}`,
    );
  }
  const colours = new Map(
    paletteFor(input.legend.map(({ color }) => color)).map((colour, i) => [input.legend[i]?.index as number, colour]),
  );
  const picture = await blend(input, colours, alpha, options);
  if (options.legend === false) return picture.image;
  const entries = [...picture.areas].filter(([index]) => colours.has(index)).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const names = new Map(input.legend.map(({ index, name }) => [index, name]));
  const rows = entries.slice(0, MAX_ENTRIES).map(([index]) => ({
    text: drawableText(names.get(index) as string, MAX_NAME),
    colour: colours.get(index) as Colour,
  }));
  if (entries.length > MAX_ENTRIES)
    rows.push({ text: drawableText(`+ ${entries.length - MAX_ENTRIES} more`, MAX_NAME), colour: [255, 255, 255] });
  return rows.length === 0 ? picture.image : withStrip(picture.image, rows, options.signal);
}

/** Blends row by row and counts the area of each label on the way. */
async function blend(
  { image, width, height, labels }: OverlayInput,
  colours: ReadonlyMap<number, Colour>,
  alpha: number,
  options: OverlayOptions,
): Promise<{ image: RgbImage; areas: Map<number, number> }> {
  const data = new Uint8Array(width * height * 3);
  const areas = new Map<number, number>();
  const blank = [255, 255, 255] as const;
  const slices = new Slices(options.signal);
  const contours = options.contours ?? true;
  // Outlines grow with the picture, so that they can still be seen on a large one.
  const reach = Math.max(1, Math.round(Math.max(width, height) / 1500));
  for (let y = 0; y < height; y++) {
    let [current, begin]: [number, number] = [-1, 0];
    let colour: Colour | undefined;
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const label = labels[i] as number;
      if (label !== current) {
        areas.set(current, (areas.get(current) ?? 0) + x - begin);
        [current, begin, colour] = [label, x, colours.get(label)];
      }
      const border =
        contours &&
        ((x + reach < width && labels[i + reach] !== label) ||
          (y + reach < height && labels[i + reach * width] !== label));
      const weight = colour ? (border ? 1 : alpha) : 0;
      const over = colour ?? blank;
      for (let c = 0; c < 3; c++) {
        const base = image ? (image[3 * i + c] as number) : 255;
        data[3 * i + c] = base + weight * ((over[c] as number) - base) + 0.5;
      }
    }
    areas.set(current, (areas.get(current) ?? 0) + width - begin);
    if (slices.due) await slices.pause();
  }
  return { image: { data, width, height }, areas };
}

interface StripEntry {
  text: readonly string[];
  colour: Colour;
}

/** The picture with the entries below it, in as many columns as fit. */
async function withStrip(image: RgbImage, entries: readonly StripEntry[], signal?: AbortSignal): Promise<RgbImage> {
  const scale = Math.max(1, Math.round(Math.max(image.width, image.height) / 700));
  const line = (glyphHeight + 4) * scale;
  const swatch = glyphHeight * scale;
  const longest = entries.reduce((most, { text }) => Math.max(most, text.length), 0);
  const column = swatch + (longest * (glyphWidth + 1) + 8) * scale;
  const columns = Math.max(1, Math.floor((image.width - 4 * scale) / column));
  const width = Math.max(image.width, column + 4 * scale);
  const rows = Math.ceil(entries.length / columns);
  const height = image.height + rows * line + 4 * scale;
  const out = await onCanvas(image, width, height, signal);
  entries.forEach(({ text, colour }, k) => {
    const left = 4 * scale + Math.floor(k / rows) * column;
    const top = image.height + 4 * scale + (k % rows) * line;
    fillBox(out, left, top, swatch, swatch, colour);
    drawText(out, text, left + swatch + 3 * scale, top, scale);
  });
  return out;
}
