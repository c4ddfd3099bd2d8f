/** Scores from a confusion matrix: evaluation.md section 6. All are fractions from 0 to 1; NaN where there is nothing to score. */
import { show, WordmaskError } from '../../util/errors.js';
import type { ConfusionMatrix } from './confusion.js';

export interface SemanticOptions {
  /**
   * A class that is predicted but occurs in no label: `zero` scores it 0 (mmsegmentation, older detectron2), `skip`
   * leaves it out (newer detectron2).
   */
  absent?: 'zero' | 'skip';
}

export interface SemanticScores {
  mIoU: number;
  fwIoU: number;
  pixelAccuracy: number;
  meanAccuracy: number;
  /** Per class; NaN for a class that is left out. */
  iou: number[];
  accuracy: number[];
  intersection: number[];
  labelArea: number[];
  predictionArea: number[];
  validPixels: number;
  correct: number;
}

/** Throws E_USAGE unless the matrix is [C, C] or [C, C + 1]. */
export function semanticScores(
  { data, shape }: { data: ArrayLike<number>; shape: readonly number[] } | ConfusionMatrix,
  { absent = 'zero' }: SemanticOptions = {},
): SemanticScores {
  const [rows, columns] = shape as readonly [number, number];
  if (shape.length !== 2 || (columns !== rows && columns !== rows + 1) || data.length !== rows * columns) {
    throw new WordmaskError(
      'E_USAGE',
      `a confusion matrix has shape [C, C + 1] or [C, C], got ${show(shape)} with ${data.length} values`,
    );
  }
  if (absent !== 'zero' && absent !== 'skip')
    throw new WordmaskError('E_OPTION', `absent must be 'zero' or 'skip', got ${show(absent)}`);
  const cell = (row: number, column: number): number => data[row * columns + column] as number;
  const classes = Array.from({ length: rows }, (_, c) => c);
  const intersection = classes.map((c) => cell(c, c));
  const labelArea = classes.map((c) => sum(Array.from({ length: columns }, (_, k) => cell(c, k))));
  const predictionArea = classes.map((c) => sum(classes.map((row) => cell(row, c))));
  const iou = classes.map((c) => {
    const [i, g, a] = [intersection[c] as number, labelArea[c] as number, predictionArea[c] as number];
    return absent === 'skip' && g === 0 ? Number.NaN : i / (a + g - i);
  });
  const accuracy = classes.map((c) => (intersection[c] as number) / (labelArea[c] as number));
  const validPixels = sum(labelArea);
  const correct = sum(intersection);
  return {
    mIoU: meanOfNumbers(iou),
    fwIoU:
      sum(classes.map((c) => (labelArea[c] === 0 ? 0 : (iou[c] as number) * (labelArea[c] as number)))) / validPixels,
    pixelAccuracy: correct / validPixels,
    meanAccuracy: meanOfNumbers(accuracy),
    iou,
    accuracy,
    intersection,
    labelArea,
    predictionArea,
    validPixels,
    correct,
  };
}

/**
 * Harmonic mean 2su / (s + u) of seen and unseen scores; lists of per-class IoU are averaged first. A NaN class would
 * poison the mean unseen, so it is an error: E_NUMERIC.
 */
export function harmonic(seen: number | readonly number[], unseen: number | readonly number[]): number {
  const [s, u] = [seen, unseen].map((value, side) => {
    const list = typeof value === 'number' ? [value] : value;
    const bad = list.findIndex((score) => !Number.isFinite(score));
    if (list.length === 0 || bad >= 0)
      throw new WordmaskError(
        'E_NUMERIC',
        `${side === 0 ? 'seen' : 'unseen'} scores must be finite numbers, got ${show(list.length === 0 ? list : list[bad])} (class ${bad}): a class without labels has no IoU`,
      );
    return sum(list) / list.length;
  }) as [number, number];
  return s + u === 0 ? 0 : (2 * s * u) / (s + u);
}

/** Mean of what is a number; NaN if nothing is. */
export function meanOfNumbers(values: readonly number[]): number {
  const there = values.filter((value) => !Number.isNaN(value));
  return sum(there) / there.length;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
