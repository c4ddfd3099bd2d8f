/** Scores of predictions on drawn scenes: mean IoU of all classes, of stuff and of things; where the pixels of things go; boundary F. */
import { classIndex, sceneClasses, stuffNames, thingNames } from '../../data/drawn-scenes/index.js';
import { boundaryCounts } from '../../engine/ops/host/boundary.js';
import { countConfusion } from '../../engine/ops/host/confusion.js';
import { Confusion, semanticScores } from '../metrics/index.js';
import { meanOfNumbers } from '../metrics/semantic.js';

export const classCount = sceneClasses.length;
const stuff = stuffNames.map((name) => classIndex.get(name) as number);
const things = thingNames.map((name) => classIndex.get(name) as number);

/** Few scenes, and those of some splits, do not show every class. */
const absentOut = { absent: 'skip' } as const;

export interface LabelPair {
  /** [H, W]; values from 34 on (names that are no class of the scenes, nothing) count against the truth. */
  readonly pred: Uint8Array | Uint16Array;
  /** [H, W], index in `sceneClasses`. */
  readonly truth: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface SceneFigures {
  readonly [name: string]: number;
  readonly mIoU: number;
  readonly stuff: number;
  readonly things: number;
  readonly pixelAccuracy: number;
  /** Of the pixels of things: right, given to another thing, given to stuff; the rest went to names outside of the classes. */
  readonly thingsRight: number;
  readonly thingsOther: number;
  readonly thingsStuff: number;
}

/** Of each class: sum of F, and pictures that show it. */
interface EdgeSums {
  readonly fSum: Float64Array;
  readonly pictures: Float64Array;
}

/** Sums over pictures. */
export class SceneScores {
  readonly #counts = new Confusion({ numClasses: classCount, ignore: null });
  readonly #edges: EdgeSums | undefined;

  /** @param boundaries whether boundary F is wanted too */
  constructor(boundaries = false) {
    if (boundaries) this.#edges = { fSum: new Float64Array(classCount), pictures: new Float64Array(classCount) };
  }

  async add({ pred, truth, width, height }: LabelPair): Promise<void> {
    const options = { numClasses: classCount };
    const data = await countConfusion(pred, truth, options);
    this.#counts.merge({ data, shape: [classCount, classCount + 1] });
    if (!this.#edges) return;
    const radius = Math.ceil(0.0075 * Math.hypot(height, width));
    const edges = await boundaryCounts(pred, truth, { ...options, width, height, band: 1, radius });
    for (let c = 0; c < classCount; c++) {
      const row = data.subarray(c * (classCount + 1), (c + 1) * (classCount + 1));
      if (!row.some((count) => count > 0)) continue;
      const predicted = data.some((count, cell) => count > 0 && cell % (classCount + 1) === c);
      const f = boundaryF(edges.subarray(c * 6, (c + 1) * 6), predicted);
      this.#edges.fSum[c] = (this.#edges.fSum[c] as number) + f;
      this.#edges.pictures[c] = (this.#edges.pictures[c] as number) + 1;
    }
  }

  figures(): SceneFigures {
    const matrix = this.#counts.matrix();
    const { iou, mIoU, pixelAccuracy } = semanticScores(matrix, absentOut);
    const pick = (list: readonly number[]): number => meanOfNumbers(list.map((c) => iou[c] as number));
    return {
      mIoU,
      stuff: pick(stuff),
      things: pick(things),
      pixelAccuracy,
      ...thingShares(matrix.data),
      ...(this.#edges && {
        boundaryF: meanOfNumbers(things.concat(stuff).map((c) => this.#f(c))),
        boundaryFThings: meanOfNumbers(things.map((c) => this.#f(c))),
      }),
    };
  }

  /** IoU of each class. */
  perClass(): number[] {
    return semanticScores(this.#counts.matrix(), absentOut).iou;
  }

  #f(c: number): number {
    const edges = this.#edges as EdgeSums;
    return (edges.fSum[c] as number) / (edges.pictures[c] as number);
  }
}

/** F of one class in one picture that shows it, from the counts of its edges (evaluation.md section 7). */
export function boundaryF(counts: ArrayLike<number>, predicted: boolean): number {
  const [, , guessed = 0, guessedNear = 0, real = 0, realNear = 0] = Array.from(counts);
  // No edge on either side: the class fills the picture in the truth, and in the prediction it does or is not there.
  if (guessed === 0 && real === 0) return predicted ? 1 : 0;
  if (guessed === 0 || real === 0) return 0;
  const [precision, recall] = [guessedNear / guessed, realNear / real];
  return precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

/** Shares of the pixels of things, from a confusion matrix [C, C + 1]. */
export function thingShares(matrix: ArrayLike<number>): {
  thingsRight: number;
  thingsOther: number;
  thingsStuff: number;
} {
  let [all, right, other, toStuff] = [0, 0, 0, 0];
  for (const row of things) {
    for (let column = 0; column <= classCount; column++) {
      const count = matrix[row * (classCount + 1) + column] as number;
      all += count;
      if (column === row) right += count;
      else if (column < stuff.length) toStuff += count;
      else if (column < classCount) other += count;
    }
  }
  return { thingsRight: right / all, thingsOther: other / all, thingsStuff: toStuff / all };
}
