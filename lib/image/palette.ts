/** Colours for labels: the VOC map, and a deterministic palette of any length for vocabularies that bring none. */
import { show, WordmaskError } from '../util/errors.js';

export type Colour = readonly [number, number, number];

/** VOC's rule: the bits of the index spread over R, G, B from the top bit down. One to one up to 2^24 - 1. */
export function vocColour(index: number): Colour {
  let [r, g, b] = [0, 0, 0];
  let rest = index;
  for (let bit = 7; bit >= 0 && rest > 0; bit--) {
    r |= (rest & 1) << bit;
    g |= ((rest >> 1) & 1) << bit;
    b |= ((rest >> 2) & 1) << bit;
    rest >>= 3;
  }
  return [r, g, b];
}

/** The first `count` VOC colours as RGB triples; entry 255 is the void colour (224, 224, 192). */
export function vocPalette(count = 256): Uint8Array {
  const out = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) out.set(vocColour(i), i * 3);
  return out;
}

const GOLDEN = 0.618033988749895;

/**
 * `count` colours, all different, none black or white: hues step by the golden ratio, three levels of saturation
 * and lightness take turns, so neighbours in a list lie far apart. A longer palette begins with the shorter one.
 */
export function distinctPalette(count: number): Colour[] {
  const taken = new Set<number>();
  return Array.from({ length: count }, (_, i) => {
    const level = i % 3;
    return freeColour(
      hsv((i * GOLDEN + 0.02) % 1, [0.85, 0.6, 0.95][level] as number, [0.95, 0.85, 0.6][level] as number),
      taken,
    );
  });
}

/**
 * One colour per entry: the given one where there is one, else from `distinctPalette`. With `unique`, a colour
 * that an earlier entry (or `reserved`) has is moved to the nearest free value, so that colours tell labels apart.
 */
export function paletteFor(
  given: readonly (Colour | undefined)[],
  options: { unique?: boolean; reserved?: readonly Colour[] } = {},
): Colour[] {
  const automatic = distinctPalette(given.length);
  const colours = given.map((colour, i) => checkColour(colour) ?? (automatic[i] as Colour));
  if (!options.unique) return colours;
  const taken = new Set((options.reserved ?? []).map(packColour));
  return colours.map((colour) => freeColour(colour, taken));
}

/** R + 256 G + 65536 B. */
export function packColour([r, g, b]: Colour): number {
  return r + 256 * g + 65536 * b;
}

function unpackColour(value: number): Colour {
  return [value & 255, (value >> 8) & 255, (value >> 16) & 255];
}

function checkColour(colour: Colour | undefined): Colour | undefined {
  if (colour === undefined) return undefined;
  if (
    !Array.isArray(colour) ||
    colour.length !== 3 ||
    !colour.every((value) => Number.isInteger(value) && value >= 0 && value <= 255)
  ) {
    throw new WordmaskError('E_OPTION', `color must be [r, g, b] of whole numbers from 0 to 255, got ${show(colour)}`);
  }
  return colour;
}

function freeColour(colour: Colour, taken: Set<number>): Colour {
  let packed = packColour(colour);
  // 4,099 is prime: the walk visits all 2^24 values and first changes red and green a little.
  while (taken.has(packed)) packed = (packed + 4099) % 2 ** 24;
  taken.add(packed);
  return unpackColour(packed);
}

function hsv(hue: number, saturation: number, value: number): Colour {
  const channel = (shift: number): number => {
    const k = (shift + hue * 6) % 6;
    return Math.round(255 * value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}
