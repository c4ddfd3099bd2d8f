/** Writer of the display lists that native/host/draw_scenes.cpp draws; coordinates are pixels of the drawing. */
import type { Colour } from '../../image/palette.js';

const TABLE = 64;

/** Sine of one turn in 64 steps, by a polynomial: the same numbers on every machine. Exact at quarter turns. */
const sines = new Float64Array(TABLE).map((_, i) => {
  const quarter = i % 32 <= 16 ? i % 32 : 32 - (i % 32);
  const x = (quarter / 16) * (Math.PI / 2);
  const z = x * x;
  let sum = 0;
  for (let k = 15; k > 1; k -= 2) sum = ((1 + sum) * -z) / (k * (k - 1));
  const value = quarter === 16 ? 1 : x * (1 + sum);
  return i < 32 ? value : -value;
});

/** sin(2 pi turns), linear between 64 points; good to 1e-3, for angles of parts. */
export function sinTurns(turns: number): number {
  const at = (turns - Math.floor(turns)) * TABLE;
  const i = Math.floor(at);
  const a = sines[i % TABLE] as number;
  return a + ((sines[(i + 1) % TABLE] as number) - a) * (at - i);
}

export const cosTurns = (turns: number): number => sinTurns(turns + 0.25);

export interface SceneHead {
  /** Pixels a scene unit; u and v of the left upper corner. */
  readonly scale: number;
  readonly u: number;
  readonly v: number;
  readonly gain: Colour;
  readonly blur: number;
  readonly grain: number;
  readonly seed: number;
  readonly paper: boolean;
  readonly label: number;
}

export interface TextureFill {
  readonly kind: number;
  readonly seed: number;
  readonly top: number;
  readonly bottom: number;
  readonly colours: readonly [Colour, Colour, Colour];
  readonly parameter: number;
}

export interface PaintFill {
  readonly colour: Colour;
  readonly second: Colour;
  readonly alpha: number;
  /** 0 plain, 1 stripes, 2 dots. */
  readonly pattern: number;
  /** Pixel -> pattern cell, row by row. */
  readonly map: readonly [number, number, number, number, number, number];
  readonly sharp: number;
  /** Brightness l0 + l1 x + l2 y over pixels. */
  readonly light: readonly [number, number, number];
}

/** A growing list of numbers, reused for the scenes of a batch. */
export class DisplayList {
  #numbers = new Float32Array(1 << 14);
  #length = 0;
  #contours: number[] = [];
  #points = new Float32Array(1 << 10);
  #coordinates = 0;
  #contourBegin = 0;

  get length(): number {
    return this.#length;
  }

  /** A copy of what was written. */
  take(): Float32Array {
    return this.#numbers.slice(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  #room(count: number): void {
    if (this.#length + count <= this.#numbers.length) return;
    const larger = new Float32Array(2 * (this.#length + count));
    larger.set(this.#numbers.subarray(0, this.#length));
    this.#numbers = larger;
  }

  #put(value: number): void {
    this.#numbers[this.#length++] = value;
  }

  #putColour(colour: Colour): void {
    this.#put(colour[0]);
    this.#put(colour[1]);
    this.#put(colour[2]);
  }

  head(head: SceneHead): void {
    this.#room(12);
    this.#put(head.scale);
    this.#put(head.u);
    this.#put(head.v);
    this.#putColour(head.gain);
    this.#put(head.blur);
    this.#put(head.grain);
    this.#put(head.seed);
    this.#put(head.paper ? 1 : 0);
    this.#put(head.label);
  }

  /** Fills from here on belong to an instance (1..31), to stuff (0) or to nothing (255: a shadow). */
  object(instance: number, label: number): void {
    this.#room(3);
    this.#put(1);
    this.#put(instance);
    this.#put(label);
  }

  paint(paint: PaintFill): void {
    this.#room(20);
    this.#put(2);
    this.#putColour(paint.colour);
    this.#putColour(paint.second);
    this.#put(paint.alpha);
    this.#put(paint.pattern);
    for (let i = 0; i < 6; i++) this.#put(paint.map[i] as number);
    this.#put(paint.sharp);
    this.#put(paint.light[0]);
    this.#put(paint.light[1]);
    this.#put(paint.light[2]);
  }

  texture(texture: TextureFill): void {
    this.#room(15);
    this.#put(3);
    this.#put(texture.kind);
    this.#put(texture.seed);
    this.#put(texture.top);
    this.#put(texture.bottom);
    for (const colour of texture.colours) this.#putColour(colour);
    this.#put(texture.parameter);
  }

  point(x: number, y: number): void {
    if (this.#coordinates + 2 > this.#points.length) {
      const larger = new Float32Array(2 * this.#points.length);
      larger.set(this.#points);
      this.#points = larger;
    }
    this.#points[this.#coordinates++] = x;
    this.#points[this.#coordinates++] = y;
  }

  /** Ends a contour; the next point begins another one of the same fill. */
  contour(): void {
    this.#contours.push((this.#coordinates - this.#contourBegin) / 2);
    this.#contourBegin = this.#coordinates;
  }

  /** Fills the contours given since the last fill with the current paint or texture. */
  fill(): void {
    this.#room(2 + this.#contours.length + this.#coordinates);
    this.#put(4);
    this.#put(this.#contours.length);
    for (const n of this.#contours) this.#put(n);
    for (let i = 0; i < this.#coordinates; i++) this.#put(this.#points[i] as number);
    this.#contours.length = 0;
    this.#coordinates = 0;
    this.#contourBegin = 0;
  }
}
