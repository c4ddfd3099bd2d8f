/**
 * Boundary IoU and boundary F of label maps (evaluation.md section 7). One pass serves all classes: a pixel belongs
 * to the inner part of its class exactly if the square of side 2d + 1 around it is of that class throughout.
 */

import { show, WordmaskError } from '../../util/errors.js';
import { type ClassOptions, classTest, type LabelMap, mapPair } from './maps.js';
import { meanOfNumbers } from './semantic.js';

export interface BoundaryScores {
  /** Mean over the classes that occur in label or prediction. */
  boundaryIoU: number;
  /** Mean over the classes that occur in a label. */
  boundaryF: number;
  /** Per class; NaN where there is nothing to score. */
  iou: number[];
  f: number[];
}

/** Scores one pair of maps [H, W]; they need a shape. */
export function boundaryScores(pred: LabelMap, label: LabelMap, options: ClassOptions): BoundaryScores {
  return new Boundary(options).add(pred, label).result();
}

/** Sums over a data set: bands before dividing, F per picture. Shards merge. */
export class Boundary {
  readonly #classOf: (value: number) => number;
  readonly #numClasses: number;
  readonly #shared: Float64Array;
  readonly #joint: Float64Array;
  readonly #fSum: Float64Array;
  readonly #pictures: Float64Array;

  constructor(options: ClassOptions) {
    this.#classOf = classTest(options);
    this.#numClasses = options.numClasses;
    [this.#shared, this.#joint, this.#fSum, this.#pictures] = Array.from(
      { length: 4 },
      () => new Float64Array(options.numClasses),
    ) as [Float64Array, Float64Array, Float64Array, Float64Array];
  }

  add(pred: LabelMap, label: LabelMap): this {
    const maps = mapPair(pred, label);
    const shape = maps.label.shape ?? maps.pred.shape;
    if (shape?.length !== 2)
      throw new WordmaskError(
        'E_USAGE',
        `boundary scores need maps as { data, shape: [height, width] }, got ${show(shape)}`,
      );
    const [height, width] = shape as readonly [number, number];
    const truth = Int32Array.from(maps.label.data, this.#classOf);
    // Ignored pixels leave both masks; a prediction outside the classes belongs to none.
    const guess = Int32Array.from(maps.pred.data, (value, i) =>
      (truth[i] as number) < 0 || !(value >= 0 && value < this.#numClasses) ? -1 : value,
    );
    this.#addBands(truth, guess, width, height);
    this.#addEdges(truth, guess, width, height);
    return this;
  }

  merge(other: Boundary): this {
    if (other.#numClasses !== this.#numClasses)
      throw new WordmaskError(
        'E_USAGE',
        `only scores of the same ${this.#numClasses} classes can be merged, got ${other.#numClasses}`,
      );
    const pairs = [
      [this.#shared, other.#shared],
      [this.#joint, other.#joint],
      [this.#fSum, other.#fSum],
      [this.#pictures, other.#pictures],
    ] as const;
    for (const [mine, theirs] of pairs) theirs.forEach((value, c) => (mine[c] = (mine[c] as number) + value));
    return this;
  }

  result(): BoundaryScores {
    const iou = Array.from(this.#shared, (shared, c) => shared / (this.#joint[c] as number));
    const f = Array.from(this.#fSum, (total, c) => total / (this.#pictures[c] as number));
    return { boundaryIoU: meanOfNumbers(iou), boundaryF: meanOfNumbers(f), iou, f };
  }

  #addBands(truth: Int32Array, guess: Int32Array, width: number, height: number): void {
    const depth = Math.max(1, roundHalfEven(0.02 * Math.hypot(height, width)));
    const truthBand = band(truth, width, height, depth);
    const guessBand = band(guess, width, height, depth);
    const bump = (sums: Float64Array, c: number): void => {
      sums[c] = (sums[c] as number) + 1;
    };
    for (let i = 0; i < truth.length; i++) {
      const [t, g] = [truthBand[i] as number, guessBand[i] as number];
      if (t >= 0) bump(this.#joint, t);
      if (t >= 0 && t === g) bump(this.#shared, t);
      else if (g >= 0) bump(this.#joint, g);
    }
  }

  #addEdges(truth: Int32Array, guess: Int32Array, width: number, height: number): void {
    const radius = Math.ceil(0.0075 * Math.hypot(height, width));
    const truthEdges = edges(truth, width, height);
    const guessEdges = edges(guess, width, height);
    const present = new Set(truth);
    present.delete(-1);
    const predicted = new Set(guess);
    for (const c of present) {
      const [t, g] = [truthEdges.get(c) ?? [], guessEdges.get(c) ?? []];
      const precision = nearShare(g, t, radius, width, height);
      const recall = nearShare(t, g, radius, width, height);
      // No boundary on either side: the class fills the picture in the label, and in the prediction it does or is not there.
      const f =
        t.length === 0 && g.length === 0
          ? Number(predicted.has(c))
          : precision + recall === 0
            ? 0
            : (2 * precision * recall) / (precision + recall);
      this.#fSum[c] = (this.#fSum[c] as number) + f;
      this.#pictures[c] = (this.#pictures[c] as number) + 1;
    }
  }
}

/** The map with -1 in place of every pixel that survives `depth` erosions of its class by a 3 x 3 square. */
function band(map: Int32Array, width: number, height: number, depth: number): Int32Array {
  // Side of the largest one-class square that ends (right, below) at the pixel, capped at what is asked.
  const side = new Int32Array(width * height);
  const need = 2 * depth + 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const own = map[i] as number;
      const same = x > 0 && y > 0 && map[i - 1] === own && map[i - width] === own && map[i - width - 1] === own;
      side[i] = same
        ? Math.min(need, 1 + Math.min(side[i - 1] as number, side[i - width] as number, side[i - width - 1] as number))
        : 1;
    }
  }
  const out = map.slice();
  for (let y = depth; y < height - depth; y++) {
    for (let x = depth; x < width - depth; x++) {
      if (side[(y + depth) * width + x + depth] === need) out[y * width + x] = -1;
    }
  }
  return out;
}

/** Pixels of each class that have a 4-neighbour of another; outside the picture does not count. */
function edges(map: Int32Array, width: number, height: number): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const own = map[i] as number;
      if (own < 0) continue;
      const inner =
        (x === 0 || map[i - 1] === own) &&
        (x === width - 1 || map[i + 1] === own) &&
        (y === 0 || map[i - width] === own) &&
        (y === height - 1 || map[i + width] === own);
      if (inner) continue;
      const list = found.get(own);
      if (list) list.push(i);
      else found.set(own, [i]);
    }
  }
  return found;
}

/** Share of `points` within Euclidean distance `radius` of one of `targets`; 0 if either is empty. */
function nearShare(
  points: readonly number[],
  targets: readonly number[],
  radius: number,
  width: number,
  height: number,
): number {
  if (points.length === 0 || targets.length === 0) return 0;
  const rows = points.map((i) => Math.floor(i / width));
  const top = rows.reduce((least, y) => Math.min(least, y), height);
  const bottom = rows.reduce((most, y) => Math.max(most, y), 0);
  // Each target marks a disc, row by row, by where the mark begins and ends; a running sum then covers the pixels.
  const marks = new Int32Array((width + 1) * (bottom - top + 1));
  for (const i of targets) {
    const [x, y] = [i % width, Math.floor(i / width)];
    for (let row = Math.max(top, y - radius); row <= Math.min(bottom, y + radius); row++) {
      const half = Math.floor(Math.sqrt(radius * radius - (row - y) ** 2));
      const begin = (row - top) * (width + 1) + Math.max(0, x - half);
      const end = (row - top) * (width + 1) + Math.min(width, x + half + 1);
      marks[begin] = (marks[begin] as number) + 1;
      marks[end] = (marks[end] as number) - 1;
    }
  }
  for (let i = 1; i < marks.length; i++)
    if (i % (width + 1) !== 0) marks[i] = (marks[i] as number) + (marks[i - 1] as number);
  const near = points.filter(
    (i, k) => (marks[((rows[k] as number) - top) * (width + 1) + (i % width)] as number) > 0,
  ).length;
  return near / points.length;
}

/** As Python rounds. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
