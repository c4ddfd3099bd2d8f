/** Values over a picture as colours from dark to bright, laid over it, with a strip below that says what the colours mean. */
import { show, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import { drawText, fillBox, onCanvas, type RgbImage } from './draw.js';
import { drawableText, glyphHeight, glyphWidth } from './glyphs.js';

export interface HeatMapInput {
  /** RGB [H, W, 3]; without it the colours stand alone. */
  image?: Uint8Array;
  width: number;
  height: number;
  /** [H, W]. */
  values: Float32Array;
  /** Values of the first and the last colour; what lies beyond takes those. */
  low: number;
  high: number;
  /** What the values are of, for the strip. */
  title: string;
}

export interface HeatMapOptions {
  /** Weight of the colours, 0 to 1 (0.5). */
  alpha?: number;
  /** The strip below (true). */
  legend?: boolean;
  signal?: AbortSignal;
}

/** Every eighth of viridis (Smith, van der Walt; CC0): brightness rises evenly, also for colour-blind eyes and in grey print. */
const stops: readonly (readonly [number, number, number])[] = [
  [68, 1, 84],
  [71, 44, 122],
  [59, 81, 139],
  [44, 113, 142],
  [33, 144, 141],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
];
const levels = 256;
/** [256, 3] */
const colours = Uint8Array.from({ length: levels * 3 }, (_, i) => {
  const at = (Math.floor(i / 3) / (levels - 1)) * (stops.length - 1);
  const k = Math.min(stops.length - 2, Math.floor(at));
  const [a, b] = [stops[k]?.[i % 3] as number, stops[k + 1]?.[i % 3] as number];
  return Math.round(a + (at - k) * (b - a));
});

/** RGB bytes. @throws E_OPTION, E_USAGE for sizes and options that do not fit */
export async function renderHeatMap(input: HeatMapInput, options: HeatMapOptions = {}): Promise<RgbImage> {
  const { width, height, values, image, low, high } = input;
  const alpha = options.alpha ?? 0.5;
  if (!(alpha >= 0 && alpha <= 1))
    throw new WordmaskError('E_OPTION', `alpha must be a number from 0 to 1, got ${show(options.alpha)}`, {
      details: { option: 'alpha', value: options.alpha },
    });
  if (values.length !== width * height || (image && image.length !== width * height * 3))
    throw new WordmaskError(
      'E_USAGE',
      `a heat map needs ${width} x ${height} values and as many RGB pixels, got ${values.length} and ${show(image?.length)}`,
    );
  const weight = image ? alpha : 1;
  const factor = high > low ? (levels - 1) / (high - low) : 0;
  const data = new Uint8Array(width * height * 3);
  await inSlices(
    values.length,
    1 << 16,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const level = Math.min(levels - 1, Math.max(0, Math.round(((values[i] as number) - low) * factor)));
        for (let c = 0; c < 3; c++) {
          const base = image ? (image[3 * i + c] as number) : 0;
          data[3 * i + c] = base + weight * ((colours[3 * level + c] as number) - base) + 0.5;
        }
      }
    },
    options.signal,
  );
  const picture = { data, width, height };
  return options.legend === false ? picture : withScale(picture, input, options.signal);
}

/** The picture with two rows below: what the values are of, and the colours between their lowest and highest value. */
async function withScale(image: RgbImage, { low, high, title }: HeatMapInput, signal?: AbortSignal): Promise<RgbImage> {
  const scale = Math.max(1, Math.round(Math.max(image.width, image.height) / 700));
  const letter = (glyphWidth + 1) * scale;
  const gap = 4 * scale;
  const [left, right] = [low, high].map((value) => drawableText(valueText(value), 16)) as [string[], string[]];
  const ends = (left.length + right.length) * letter + 4 * gap;
  const width = Math.max(image.width, ends + 64 * scale);
  const name = drawableText(title, Math.floor((width - 2 * gap) / letter));
  const line = (glyphHeight + 4) * scale;
  const out = await onCanvas(image, width, image.height + 2 * line + gap, signal);
  const top = image.height + gap;
  drawText(out, name, gap, top, scale);
  drawText(out, left, gap, top + line, scale);
  drawText(out, right, width - gap - right.length * letter, top + line, scale);
  const begin = 2 * gap + left.length * letter;
  const bar = width - ends;
  for (let x = 0; x < bar; x++) {
    const level = Math.round((x / Math.max(1, bar - 1)) * (levels - 1));
    const [r = 0, g = 0, b = 0] = colours.subarray(3 * level, 3 * level + 3);
    fillBox(out, begin + x, top + line, 1, glyphHeight * scale, [r, g, b]);
  }
  return out;
}

/** Three digits, and no exponent where none is needed. */
export function valueText(value: number): string {
  return String(Number(value.toPrecision(3)));
}
