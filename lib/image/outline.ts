/**
 * One-pixel outlines on an RGB picture, pixel for pixel as OpenCV 5 draws them with line type 8 (4.x keeps fractions of pixels
 * along a line and may put one a pixel aside): ellipses as polygons, rectangles, the rim of a mask. What lies outside of the
 * picture is cut off.
 */

export type Colour = readonly [number, number, number];

export interface Canvas {
  /** [H, W, 3] */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

const one = 2 ** 16;

/** Ellipse with half axes along the picture's axes. Whole numbers; an axis of 0 gives a line or a point. */
export function drawEllipse(
  canvas: Canvas,
  [cx, cy]: readonly [number, number],
  [ax, ay]: readonly [number, number],
  colour: Colour,
): void {
  const points = ellipsePolygon([cx, cy], [ax, ay]);
  points.forEach((point, i) => {
    if (i > 0) drawLine(canvas, points[i - 1] as Point, point, colour);
  });
}

/** Outline of the rectangle from [x0, y0] to [x1, y1], both in it. */
export function drawRectangle(
  canvas: Canvas,
  [x0, y0]: readonly [number, number],
  [x1, y1]: readonly [number, number],
  colour: Colour,
): void {
  const [left, right] = [Math.max(0, x0), Math.min(canvas.width - 1, x1)];
  const [top, bottom] = [Math.max(0, y0), Math.min(canvas.height - 1, y1)];
  for (let x = left; x <= right; x++) for (const y of [y0, y1]) put(canvas, x, y, colour);
  for (let y = top; y <= bottom; y++) for (const x of [x0, x1]) put(canvas, x, y, colour);
}

/** Pixels of the mask that have a pixel outside of it, or the border of the picture, beside, above or below them. */
export function drawRim(canvas: Canvas, mask: Uint8Array, colour: Colour): void {
  const { width, height } = canvas;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      if (mask[at] === 0) continue;
      const inside =
        x > 0 &&
        x < width - 1 &&
        y > 0 &&
        y < height - 1 &&
        mask[at - 1] &&
        mask[at + 1] &&
        mask[at - width] &&
        mask[at + width];
      if (!inside) put(canvas, x, y, colour);
    }
}

/** Holes of a mask filled: what cannot be reached from outside the picture by steps along the axes belongs to it. */
export function fillHoles(mask: Uint8Array, width: number, height: number): Uint8Array {
  const filled = new Uint8Array(mask.length).fill(1);
  const reached: number[] = [];
  const visit = (at: number): void => {
    if (mask[at] !== 0 || filled[at] === 0) return;
    filled[at] = 0;
    reached.push(at);
  };
  for (let x = 0; x < width; x++) for (const y of [0, height - 1]) visit(y * width + x);
  for (let y = 0; y < height; y++) for (const x of [0, width - 1]) visit(y * width + x);
  for (let at = reached.pop(); at !== undefined; at = reached.pop()) {
    const x = at % width;
    if (x > 0) visit(at - 1);
    if (x < width - 1) visit(at + 1);
    if (at >= width) visit(at - width);
    if (at + width < mask.length) visit(at + width);
  }
  return filled;
}

type Point = readonly [number, number];

/** OpenCV's table of sines holds seven digits in single precision. */
const sines = Float32Array.from({ length: 451 }, (_, degree) => Number(Math.sin((degree * Math.PI) / 180).toFixed(7)));

/** The polygon of an ellipse, its corners at the nearest pixels. */
function ellipsePolygon([cx, cy]: Point, [ax, ay]: Point): Point[] {
  const size = Math.max(ax, ay);
  const delta = size < 3 ? 90 : size < 10 ? 30 : size < 15 ? 18 : 5;
  const points: Point[] = [];
  for (let step = 0; step < 360 + delta; step += delta) {
    const degree = Math.min(step, 360);
    const x = nearest(cx + ax * (sines[450 - degree] as number));
    const y = nearest(cy + ay * (sines[degree] as number));
    points.push([x, y]);
  }
  return points;
}

/** To 1/65536 of a pixel by way of the nearest pixel (half to even), then to a pixel (half up). */
function nearest(value: number): number {
  const pixel = halfToEven(value);
  return Math.floor(pixel + halfToEven((value - pixel) * one) / one + 0.5);
}

function halfToEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor % 2 === 0 ? 0 : 1) : Math.round(x);
}

/** Bresenham's line from left to right, eight neighbours a step. */
function drawLine(canvas: Canvas, from: Point, to: Point, colour: Colour): void {
  const clipped = clip(canvas, from, to);
  if (!clipped) return;
  const [[x1, y1], [x2, y2]] = clipped[0][0] <= clipped[1][0] ? clipped : [clipped[1], clipped[0]];
  const [dx, dy, up] = [x2 - x1, Math.abs(y2 - y1), y2 < y1 ? -1 : 1];
  const steep = dy > dx;
  const [long, short] = steep ? [dy, dx] : [dx, dy];
  let [x, y] = [x1, y1];
  let error = long - 2 * short;
  for (let k = 0; k <= long; k++) {
    put(canvas, x, y, colour);
    const both = error < 0;
    error += both ? 2 * (long - short) : -2 * short;
    if (both || !steep) x++;
    if (both || steep) y += up;
  }
}

/** The part of a line inside the picture: sides first, quotients cut to whole numbers as OpenCV's clipLine does. */
function clip({ width, height }: Canvas, from: Point, to: Point): [Point, Point] | undefined {
  const [right, bottom] = [width - 1, height - 1];
  let [[x1, y1], [x2, y2]] = [from, to];
  const beside = (x: number): number => (x < 0 ? 1 : 0) + (x > right ? 2 : 0);
  const outside = (x: number, y: number): number => beside(x) + (y < 0 ? 4 : 0) + (y > bottom ? 8 : 0);
  let [c1, c2] = [outside(x1, y1), outside(x2, y2)];
  const crosses = (): boolean => (c1 & c2) === 0 && (c1 | c2) !== 0;
  if (crosses()) {
    if (c1 & 12) {
      const edge = c1 < 8 ? 0 : bottom;
      x1 += Math.trunc(((edge - y1) * (x2 - x1)) / (y2 - y1));
      y1 = edge;
      c1 = beside(x1);
    }
    if (c2 & 12) {
      const edge = c2 < 8 ? 0 : bottom;
      x2 += Math.trunc(((edge - y2) * (x2 - x1)) / (y2 - y1));
      y2 = edge;
      c2 = beside(x2);
    }
  }
  if (crosses()) {
    if (c1) {
      const edge = c1 === 1 ? 0 : right;
      y1 += Math.trunc(((edge - x1) * (y2 - y1)) / (x2 - x1));
      x1 = edge;
      c1 = 0;
    }
    if (c2) {
      const edge = c2 === 1 ? 0 : right;
      y2 += Math.trunc(((edge - x2) * (y2 - y1)) / (x2 - x1));
      x2 = edge;
      c2 = 0;
    }
  }
  return (c1 | c2) === 0
    ? [
        [x1, y1],
        [x2, y2],
      ]
    : undefined;
}

function put({ data, width, height }: Canvas, x: number, y: number, colour: Colour): void {
  if (x < 0 || x >= width || y < 0 || y >= height) return;
  data.set(colour, 3 * (y * width + x));
}
