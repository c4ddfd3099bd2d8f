/**
 * Scores of a label map under many background thresholds, from one pass over its pixels: a pixel's label survives every
 * threshold up to its probability (score_finish: p >= t in float32), so counting by the number of thresholds it survives is enough.
 */
import { show, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';

/** Labels as somebody drew them: [H, W]. */
export interface TruthMap {
  readonly data: ArrayLike<number>;
  readonly width: number;
  readonly height: number;
}

/** Fractions; NaN where there is nothing to score. */
export interface ThresholdScores {
  readonly value: number;
  readonly mIoU: number;
  readonly pixelAccuracy: number;
  /** Share of the pixels that become background. */
  readonly background: number;
}

interface Counted {
  readonly labels: ArrayLike<number>;
  readonly score: ArrayLike<number>;
}

const grain = 1 << 18;

export class ThresholdCurve {
  /** Classes that are scored: the labels and, where none of them is background, a class for it behind them. */
  readonly #classes: number;
  readonly #background: number;
  readonly #thresholds: Float32Array;
  /** Of threshold j and class c at j * classes + c: right pixels and predicted ones. */
  readonly #right: Float64Array;
  readonly #predicted: Float64Array;
  readonly #truth: Float64Array;

  /**
   * @param grid rising thresholds from 0 to 1
   * @param labels number of labels
   * @param marked index of the label that is background, or -1
   */
  constructor(
    readonly grid: readonly number[],
    private readonly labels: number,
    private readonly marked: number,
    private readonly ignore: number,
  ) {
    this.#classes = marked < 0 ? labels + 1 : labels;
    this.#background = marked < 0 ? labels : marked;
    this.#thresholds = Float32Array.from(grid);
    this.#right = new Float64Array(grid.length * this.#classes);
    this.#predicted = new Float64Array(grid.length * this.#classes);
    this.#truth = new Float64Array(this.#classes);
  }

  /** Counts a picture for every threshold. @throws E_USAGE for a truth of another size or with values that are no label */
  async add(found: Counted, truth: TruthMap, name: string, signal?: AbortSignal): Promise<void> {
    const count = this.#thresholds.length;
    await this.checkTruth(found.labels.length, truth, name, signal);
    // At k * classes + c: pixels whose label survives the first k thresholds.
    const [right, predicted] = [this.#table(count + 1), this.#table(count + 1)];
    // Pixels of true background, and all, by the number of thresholds they survive.
    const [empty, all] = [new Float64Array(count + 1), new Float64Array(count + 1)];
    await inSlices(
      found.labels.length,
      grain,
      (begin, end) => {
        for (let i = begin; i < end; i++) {
          const wanted = this.#classOf(truth.data[i] as number);
          if (wanted < 0) continue;
          const guess = this.#guess(found.labels[i] as number);
          const k = this.#survived(found.score[i] as number);
          bump(predicted, k * this.#classes + guess);
          if (guess === wanted) bump(right, k * this.#classes + guess);
          if (wanted === this.#background) bump(empty, k);
          bump(all, k);
          bump(this.#truth, wanted);
        }
      },
      signal,
    );
    for (let j = 0; j < count; j++) {
      for (let k = j + 1; k <= count; k++) this.#addRow(j, k, right, predicted);
      for (let k = 0; k <= j; k++) this.#addBackground(j, empty[k] as number, all[k] as number);
    }
  }

  /** Counts a picture for one threshold, which its labels were made with; the truth is counted with the first of the grid. */
  async addAt(
    j: number,
    labels: ArrayLike<number>,
    truth: TruthMap,
    name: string,
    signal?: AbortSignal,
  ): Promise<void> {
    if (j === 0) await this.checkTruth(labels.length, truth, name, signal);
    const at = j * this.#classes;
    await inSlices(
      labels.length,
      grain,
      (begin, end) => {
        for (let i = begin; i < end; i++) {
          const wanted = this.#classOf(truth.data[i] as number);
          if (wanted < 0) continue;
          const guess = this.#guess(labels[i] as number);
          bump(this.#predicted, at + guess);
          if (guess === wanted) bump(this.#right, at + guess);
          if (j === 0) bump(this.#truth, wanted);
        }
      },
      signal,
    );
  }

  scores(): ThresholdScores[] {
    const total = sum(this.#truth);
    return this.grid.map((value, j) => {
      const row = (table: Float64Array): Float64Array => table.subarray(j * this.#classes, (j + 1) * this.#classes);
      const [right, predicted] = [row(this.#right), row(this.#predicted)];
      const iou = Array.from(right, (hit, c) => hit / ((predicted[c] as number) + (this.#truth[c] as number) - hit));
      const there = iou.filter((score) => !Number.isNaN(score));
      return {
        value,
        mIoU: sum(there) / there.length,
        pixelAccuracy: sum(right) / total,
        background: (predicted[this.#background] as number) / total,
      };
    });
  }

  async checkTruth(pixels: number, truth: TruthMap, name: string, signal?: AbortSignal): Promise<void> {
    if (truth.width * truth.height !== pixels || truth.data.length !== pixels)
      throw new WordmaskError(
        'E_USAGE',
        `the truth of ${name} has ${truth.width} x ${truth.height} pixels (${truth.data.length} values), the picture ${pixels} pixels: they must be of one size`,
        { details: { picture: name } },
      );
    const strange = new Map<number, number>();
    await inSlices(
      pixels,
      grain,
      (begin, end) => {
        for (let i = begin; i < end; i++) {
          const value = truth.data[i] as number;
          if (value !== this.ignore && (this.#classOf(value) < 0 || !Number.isInteger(value)))
            strange.set(value, (strange.get(value) ?? 0) + 1);
        }
      },
      signal,
    );
    if (strange.size === 0) return;
    const listed = [...strange].slice(0, 8).map(([value, count]) => `${show(value)} (${count} pixels)`);
    const last = this.#classes - 1;
    const meaning =
      this.marked < 0
        ? `0 for background, 1 to ${last} for the labels in order`
        : `0 to ${last} for the labels in order`;
    throw new WordmaskError(
      'E_USAGE',
      `the truth of ${name} has the values ${listed.join(', ')}: allowed are ${meaning}, and ${this.ignore} for what does not count`,
      { details: { picture: name, values: Object.fromEntries(strange) } },
    );
  }

  #table(rows: number): Float64Array {
    return new Float64Array(rows * this.#classes);
  }

  /** Class of a value of the truth; -1 does not count. Without a marked label 0 is background and labels begin at 1. */
  #classOf(value: number): number {
    if (value === this.ignore) return -1;
    if (this.marked >= 0) return value >= 0 && value < this.labels ? value : -1;
    return value === 0 ? this.labels : value >= 1 && value <= this.labels ? value - 1 : -1;
  }

  #guess(label: number): number {
    return label < this.labels ? label : this.#background;
  }

  #survived(score: number): number {
    let k = 0;
    while (k < this.#thresholds.length && score >= (this.#thresholds[k] as number)) k++;
    return k;
  }

  #addRow(j: number, k: number, right: Float64Array, predicted: Float64Array): void {
    const classes = this.#classes;
    for (let c = 0; c < classes; c++) {
      bump(this.#right, j * classes + c, right[k * classes + c]);
      bump(this.#predicted, j * classes + c, predicted[k * classes + c]);
    }
  }

  #addBackground(j: number, right: number, predicted: number): void {
    bump(this.#right, j * this.#classes + this.#background, right);
    bump(this.#predicted, j * this.#classes + this.#background, predicted);
  }
}

function bump(table: Float64Array, at: number, by = 1): void {
  table[at] = (table[at] as number) + by;
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
