/**
 * Boundary scores of a data set (evaluation.md section 7) from whole numbers a picture: bands are summed before dividing, F is a
 * mean over the pictures whose label holds the class. F of a picture is kept in 2^-40, so that sums do not depend on their order.
 */
import { boundaryCounts } from '../engine/ops/host/boundary.js';
import type { LabelArray } from '../formats/format.js';
import { roundHalfEven } from './metrics/boundary.js';
import { meanOfNumbers } from './metrics/semantic.js';

const unit = 2 ** 40;
const columns = 6;

/** Of one picture or of several: by class band intersection and union, F in `unit`s, and pictures that F is a mean over. */
export interface EdgeCounts {
  readonly classes: readonly number[];
  readonly shared: readonly number[];
  readonly joint: readonly number[];
  readonly f: readonly number[];
  readonly pictures: readonly number[];
}

export interface EdgeScores {
  readonly boundaryIoU: number;
  readonly boundaryF: number;
  /** Per class; NaN where there is nothing to score. */
  readonly iou: readonly number[];
  readonly f: readonly number[];
}

/**
 * @param pred classes of the prediction; values from `numClasses` on are none
 * @param inLabel classes with pixels in the label that count, `inPrediction` those of the prediction there
 */
export async function pictureEdges(
  pred: LabelArray,
  label: LabelArray,
  { width, height, numClasses, ignore }: { width: number; height: number; numClasses: number; ignore: number | null },
  inLabel: ReadonlySet<number>,
  inPrediction: ReadonlySet<number>,
): Promise<EdgeCounts> {
  const diagonal = Math.hypot(height, width);
  const table = await boundaryCounts(pred, label, {
    ...{ width, height, numClasses },
    ...(ignore !== null && { ignore }),
    band: Math.max(1, roundHalfEven(0.02 * diagonal)),
    radius: Math.ceil(0.0075 * diagonal),
  });
  const found: Record<keyof EdgeCounts, number[]> = { classes: [], shared: [], joint: [], f: [], pictures: [] };
  for (let c = 0; c < numClasses; c++) {
    const [shared = 0, joint = 0, guessed = 0, right = 0, there = 0, hit = 0] = table.subarray(
      columns * c,
      columns * c + columns,
    );
    if (joint === 0 && !inLabel.has(c)) continue;
    found.classes.push(c);
    found.shared.push(shared);
    found.joint.push(joint);
    found.pictures.push(Number(inLabel.has(c)));
    // No edge on either side: the class fills the picture in the label, and in the prediction it does or is not there.
    const f =
      guessed + there === 0 ? Number(inPrediction.has(c)) : harmonicOf(share(right, guessed), share(hit, there));
    found.f.push(inLabel.has(c) ? Math.round(f * unit) : 0);
  }
  return found;
}

/** Sums over pictures; parts add up to exactly what one pass gives. */
export class EdgeTotals {
  readonly #sums: Record<'shared' | 'joint' | 'f' | 'pictures', Float64Array>;

  constructor(readonly numClasses: number) {
    const zeros = (): Float64Array => new Float64Array(numClasses);
    this.#sums = { shared: zeros(), joint: zeros(), f: zeros(), pictures: zeros() };
  }

  add(counts: EdgeCounts): void {
    counts.classes.forEach((c, i) => {
      for (const [name, sums] of Object.entries(this.#sums))
        sums[c] = (sums[c] as number) + (counts[name as keyof EdgeCounts][i] as number);
    });
  }

  /** Classes with anything to score. */
  counts(): EdgeCounts {
    const { shared, joint, f, pictures } = this.#sums;
    const classes = Array.from(joint.keys()).filter((c) => joint[c] !== 0 || pictures[c] !== 0);
    const of = (sums: Float64Array): number[] => classes.map((c) => sums[c] as number);
    return { classes, shared: of(shared), joint: of(joint), f: of(f), pictures: of(pictures) };
  }

  scores(): EdgeScores {
    const { shared, joint, f, pictures } = this.#sums;
    const iou = Array.from(shared, (both, c) => both / (joint[c] as number));
    const means = Array.from(f, (sum, c) => sum / unit / (pictures[c] as number));
    return { boundaryIoU: meanOfNumbers(iou), boundaryF: meanOfNumbers(means), iou, f: means };
  }
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

function harmonicOf(a: number, b: number): number {
  return a + b === 0 ? 0 : (2 * a * b) / (a + b);
}
