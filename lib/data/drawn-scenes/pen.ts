/** Draws parts of a thing in the thing's own coordinates (x right, y down, about one unit large) into a display list. */
import type { Colour } from '../../image/palette.js';
import { cosTurns, type DisplayList, sinTurns } from './display-list.js';

/** Local (x, y) -> pixel (a x + b y + c, d x + e y + f). */
export type Affine = readonly [number, number, number, number, number, number];

export interface PenOptions {
  readonly map: Affine;
  /** Pixels of one local unit. */
  readonly size: number;
  readonly main: Colour;
  /** 0 plain, 1 striped, 2 dotted: on parts in the main colour alone. */
  readonly pattern: number;
  /** Cells of the pattern in one local unit, and its direction in turns. */
  readonly cells: number;
  readonly turn: number;
  /** Direction to the light in pixels, unit length. */
  readonly light: readonly [number, number];
}

export function mixColour(a: Colour, b: Colour, share: number): Colour {
  return [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share];
}

const white: Colour = [255, 255, 255];
const black: Colour = [12, 12, 16];
const luma = ([r, g, b]: Colour): number => 0.3 * r + 0.59 * g + 0.11 * b;

/** Colours of parts that are not what a caption calls the thing's colour. */
export const tones = {
  wood: [126, 82, 44],
  darkWood: [82, 52, 30],
  metal: [152, 158, 168],
  dark: [38, 38, 44],
  glass: [156, 208, 236],
  cream: [246, 234, 204],
  glow: [255, 238, 150],
  leaf: [58, 150, 52],
  stone: [138, 134, 130],
  terracotta: [164, 76, 50],
  slate: [82, 88, 104],
  flame: [255, 150, 30],
  beak: [250, 170, 40],
} as const satisfies Record<string, Colour>;

export class Pen {
  readonly main: Colour;
  /** The main colour, clearly darker (lighter if it is dark itself). */
  readonly deep: Colour;
  /** The main colour, clearly lighter (darker if it is light itself). */
  readonly pale: Colour;
  /** Against the main colour: near black or near white. */
  readonly contrast: Colour;
  readonly #list: DisplayList;
  readonly #options: PenOptions;
  readonly #light: readonly [number, number, number];
  readonly #pattern: Affine;
  readonly #second: Colour;
  #last: Colour | undefined;

  constructor(list: DisplayList, options: PenOptions) {
    const { main, map, size, light, cells, turn } = options;
    const bright = luma(main);
    this.main = main;
    this.deep = bright < 60 ? mixColour(main, white, 0.34) : mixColour(main, black, 0.45);
    this.pale = bright > 215 ? mixColour(main, black, 0.24) : mixColour(main, white, 0.5);
    this.contrast = bright > 110 ? [36, 34, 44] : [244, 240, 228];
    this.#second = mixColour(this.pale, this.contrast, 0.12);
    this.#list = list;
    this.#options = options;
    const [lx, ly] = [(0.34 * light[0]) / size, (0.34 * light[1]) / size];
    const centre = [map[2] - 0.2 * map[1], map[5] - 0.2 * map[4]] as const;
    this.#light = [1 - lx * centre[0] - ly * centre[1], lx, ly];
    // Pixel -> local is the inverse of the map; the pattern turns and scales that.
    const [a, b, c, d, e, f] = map;
    const determinant = a * e - b * d;
    const [i, j, k, l] = [e / determinant, -b / determinant, -d / determinant, a / determinant];
    const [m, n] = [-(i * c + j * f), -(k * c + l * f)];
    const [p, q] = [cells * cosTurns(turn), cells * sinTurns(turn)];
    this.#pattern = [p * i + q * k, p * j + q * l, p * m + q * n, p * k - q * i, p * l - q * j, p * n - q * m];
  }

  /** Pixels of one local unit, to leave out what would be too small. */
  get size(): number {
    return this.#options.size;
  }

  #paint(colour: Colour, alpha = 1): void {
    if (this.#last === colour && alpha === 1) return;
    this.#last = alpha === 1 ? colour : undefined;
    const { pattern, size, cells } = this.#options;
    this.#list.paint({
      colour,
      second: this.#second,
      alpha,
      pattern: colour === this.main ? pattern : 0,
      map: this.#pattern,
      sharp: size / cells,
      light: this.#light,
    });
  }

  #point(x: number, y: number): void {
    const [a, b, c, d, e, f] = this.#options.map;
    this.#list.point(a * x + b * y + c, d * x + e * y + f);
  }

  /** points: x, y in turn. */
  polygon(points: readonly number[], colour: Colour, alpha = 1): void {
    this.#paint(colour, alpha);
    for (let i = 0; i < points.length; i += 2) this.#point(points[i] as number, points[i + 1] as number);
    this.#list.contour();
    this.#list.fill();
  }

  /** A polygon with holes, given as polygons; each hole must run the other way round. */
  pierced(outline: readonly number[], holes: readonly (readonly number[])[], colour: Colour): void {
    this.#paint(colour);
    for (const points of [outline, ...holes]) {
      for (let i = 0; i < points.length; i += 2) this.#point(points[i] as number, points[i + 1] as number);
      this.#list.contour();
    }
    this.#list.fill();
  }

  rect(x0: number, y0: number, x1: number, y1: number, colour: Colour): void {
    this.polygon([x0, y0, x1, y0, x1, y1, x0, y1], colour);
  }

  ellipse(x: number, y: number, rx: number, ry: number, colour: Colour, turn = 0, alpha = 1): void {
    this.polygon(this.arc(x, y, rx, ry, 0, 1, turn), colour, alpha);
  }

  /** Points of an elliptic arc between two angles in turns (0 right, 0.25 down), the ellipse turned by `turn`. */
  arc(x: number, y: number, rx: number, ry: number, from: number, to: number, turn = 0): number[] {
    const radius = Math.max(rx, ry) * this.size;
    const whole = radius < 4 ? 12 : radius < 12 ? 20 : radius < 40 ? 32 : 64;
    const closed = to - from === 1;
    const steps = Math.max(2, Math.ceil(Math.abs(to - from) * whole));
    const [c, s] = turn === 0 ? [1, 0] : [cosTurns(turn), sinTurns(turn)];
    const out: number[] = [];
    for (let i = 0; i < (closed ? steps : steps + 1); i++) {
      const angle = from + ((to - from) * i) / steps;
      const [px, py] = [rx * cosTurns(angle), ry * sinTurns(angle)];
      out.push(x + c * px - s * py, y + s * px + c * py);
    }
    return out;
  }

  /** A band of even width along a line of points. */
  line(points: readonly number[], width: number, colour: Colour): void {
    const thick = Math.max(width, 1.1 / this.size) / 2;
    const left: number[] = [];
    const right: number[] = [];
    const n = points.length / 2;
    for (let i = 0; i < n; i++) {
      const [before, after] = [Math.max(i - 1, 0), Math.min(i + 1, n - 1)];
      const dx = (points[2 * after] as number) - (points[2 * before] as number);
      const dy = (points[2 * after + 1] as number) - (points[2 * before + 1] as number);
      const length = Math.sqrt(dx * dx + dy * dy) || 1;
      const [nx, ny] = [(-dy / length) * thick, (dx / length) * thick];
      const [x, y] = [points[2 * i] as number, points[2 * i + 1] as number];
      left.push(x + nx, y + ny);
      right.unshift(x - nx, y - ny);
    }
    this.polygon([...left, ...right], colour);
  }

  /** A ring: an ellipse with an elliptic hole. */
  ring(x: number, y: number, rx: number, ry: number, width: number, colour: Colour): void {
    const w = Math.max(width, 1.2 / this.size);
    this.pierced(
      this.arc(x, y, rx, ry, 0, 1),
      [this.arc(x, y, Math.max(rx - w, 0), Math.max(ry - w, 0), 1, 0)],
      colour,
    );
  }
}
