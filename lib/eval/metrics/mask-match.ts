/** Matching of predictions to ground truth in one picture and category, by COCO's greedy rule. */

interface Shape {
  readonly area: number;
  iou(other: Shape): number;
  and(other: Shape): Shape;
}

interface Truth {
  mask: Shape;
  area: number;
  crowd: boolean;
}

interface Guess {
  mask: Shape;
  score: number;
}

export interface MatchedPicture {
  /** Ground truth that counts: neither crowd nor outside the area range. */
  positives: number;
  /** Falling. */
  scores: number[];
  /** [threshold][prediction]. */
  matched: boolean[][];
  ignored: boolean[][];
}

/** [prediction][truth]; for a crowd the shared area over the predicted area. */
export function maskIous(guesses: readonly Guess[], truths: readonly Truth[]): number[][] {
  return guesses.map(({ mask }) =>
    truths.map(({ mask: truth, crowd }) =>
      crowd && mask.area > 0 ? mask.and(truth).area / mask.area : mask.iou(truth),
    ),
  );
}

/** `guesses` sorted by falling score. */
export function matchPicture(
  guesses: readonly Guess[],
  truths: readonly Truth[],
  ious: readonly (readonly number[])[],
  [least, most]: readonly [number, number],
  thresholds: readonly number[],
): MatchedPicture {
  const outside = (area: number): boolean => area < least || area > most;
  const ignoredTruth = truths.map(({ crowd, area }) => crowd || outside(area));
  // Truth that counts comes first; within each part the order stays.
  const order = truths.map((_, g) => g).sort((a, b) => Number(ignoredTruth[a]) - Number(ignoredTruth[b]) || a - b);
  const matched: boolean[][] = [];
  const ignored: boolean[][] = [];
  for (const threshold of thresholds) {
    const taken = truths.map(() => false);
    const hits: boolean[] = [];
    const skips: boolean[] = [];
    guesses.forEach(({ mask }, d) => {
      const best = bestTruth(
        ious[d] as readonly number[],
        Math.min(threshold, 1 - 1e-10),
        order,
        taken,
        ignoredTruth,
        truths,
      );
      if (best >= 0) taken[best] = true;
      hits.push(best >= 0);
      skips.push(best >= 0 ? (ignoredTruth[best] as boolean) : outside(mask.area));
    });
    matched.push(hits);
    ignored.push(skips);
  }
  return {
    positives: ignoredTruth.filter((skip) => !skip).length,
    scores: guesses.map(({ score }) => score),
    matched,
    ignored,
  };
}

/** The truth of greatest IoU that is still free (a crowd always is); one that counts is preferred to an ignored one. */
function bestTruth(
  ious: readonly number[],
  threshold: number,
  order: readonly number[],
  taken: readonly boolean[],
  ignoredTruth: readonly boolean[],
  truths: readonly Truth[],
): number {
  let best = -1;
  let least = threshold;
  for (const g of order) {
    if (taken[g] && !truths[g]?.crowd) continue;
    if (best >= 0 && !ignoredTruth[best] && ignoredTruth[g]) break;
    if ((ious[g] as number) < least) continue;
    least = ious[g] as number;
    best = g;
  }
  return best;
}
