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
  return scoresOfAreas(classAreas({ data, shape }), absent);
}

/** Pixels of each class: predicted and true, true, predicted. */
export interface ClassAreas {
  readonly intersection: number[];
  readonly labelArea: number[];
  readonly predictionArea: number[];
}

/** One pass over a matrix [C, C] or [C, C + 1]. */
export function classAreas({ data, shape }: { data: ArrayLike<number>; shape: readonly number[] }): ClassAreas {
  const [rows, columns] = shape as readonly [number, number];
  const zeros = (): number[] => new Array<number>(rows).fill(0);
  const areas = { intersection: zeros(), labelArea: zeros(), predictionArea: zeros() };
  for (let row = 0; row < rows; row++) {
    let total = 0;
    for (let column = 0; column < columns; column++) {
      const count = data[row * columns + column] as number;
      if (count === 0) continue;
      total += count;
      if (column < rows) areas.predictionArea[column] = (areas.predictionArea[column] as number) + count;
    }
    areas.labelArea[row] = total;
    areas.intersection[row] = data[row * columns + row] as number;
  }
  return areas;
}

/** Scores of areas. */
export function scoresOfAreas(areas: ClassAreas, absent: 'zero' | 'skip'): SemanticScores {
  const { intersection, labelArea, predictionArea } = areas;
  const iou = intersection.map((i, c) => {
    const [g, a] = [labelArea[c] as number, predictionArea[c] as number];
    return absent === 'skip' && g === 0 ? Number.NaN : i / (a + g - i);
  });
  const accuracy = intersection.map((i, c) => i / (labelArea[c] as number));
  const validPixels = sum(labelArea);
  const correct = sum(intersection);
  const weighted = iou.map((value, c) => (labelArea[c] === 0 ? 0 : value * (labelArea[c] as number)));
  return {
    mIoU: meanOfNumbers(iou),
    fwIoU: sum(weighted) / validPixels,
    pixelAccuracy: correct / validPixels,
    meanAccuracy: meanOfNumbers(accuracy),
    iou,
    accuracy,
    ...areas,
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
