/** Sums of an evaluation and the scores made of them. Everything is a whole number until the end: shards add up exactly. */

import { type EdgeCounts, EdgeTotals } from './edges.js';
import {
  type ClassAreas,
  classAreas,
  harmonic,
  meanOfNumbers,
  type SemanticScores,
  scoresOfAreas,
} from './metrics/semantic.js';
import type { PictureRecord } from './picture.js';
import type { Protocol } from './protocol.js';
import type { EvalClass, EvalMetrics, SparseConfusion } from './report-types.js';
import { splitSides } from './splits.js';

export class Totals {
  readonly #table: Float64Array;
  /** Label pixels of failed pictures, by class. */
  readonly #missed: Float64Array;

  readonly #edges: EdgeTotals;
  #hasEdges = false;

  constructor(readonly numClasses: number) {
    this.#edges = new EdgeTotals(numClasses);
    this.#table = new Float64Array(numClasses * (numClasses + 1));
    this.#missed = new Float64Array(numClasses);
  }

  add({ cells, counts, edges, status }: Pick<PictureRecord, 'cells' | 'counts' | 'edges' | 'status'>): void {
    if (edges) this.#addEdges(edges);
    cells.forEach((cell, i) => {
      const count = counts[i] as number;
      this.#table[cell] = (this.#table[cell] as number) + count;
      if (status === 'failed') this.#miss(Math.floor(cell / (this.numClasses + 1)), count);
    });
  }

  /** What another report holds. */
  addReport(confusion: SparseConfusion, perClass: readonly EvalClass[], edges?: EdgeCounts): void {
    this.add({ cells: confusion.cells, counts: confusion.counts, status: 'done' });
    if (edges) this.#addEdges(edges);
    for (const { index, missedArea } of perClass) this.#miss(index, missedArea);
  }

  #addEdges(edges: EdgeCounts): void {
    this.#hasEdges = true;
    this.#edges.add(edges);
  }

  /** Of a run that was asked for boundary scores. */
  edges(): EdgeCounts | undefined {
    return this.#hasEdges ? this.#edges.counts() : undefined;
  }

  #miss(row: number, count: number): void {
    this.#missed[row] = (this.#missed[row] as number) + count;
  }

  get failures(): boolean {
    return this.#missed.some((count) => count > 0);
  }

  confusion(): SparseConfusion {
    const cells: number[] = [];
    const counts: number[] = [];
    this.#table.forEach((count, cell) => {
      if (count === 0) return;
      cells.push(cell);
      counts.push(count);
    });
    return { shape: [this.numClasses, this.numClasses + 1], cells, counts };
  }

  /** Scores under a protocol; `missed: false` leaves the failed pictures out. */
  metrics({ absent, split, dataset }: Protocol, missed = true): EvalMetrics {
    const areas = this.#areas(missed);
    const zero = scoresOfAreas(areas, 'zero');
    const skip = scoresOfAreas(areas, 'skip');
    const chosen = absent === 'zero' ? zero : skip;
    // Bands of failed pictures cannot be taken out again.
    const edges = this.#hasEdges && missed ? this.#edges.scores() : undefined;
    return {
      mIoU: orNull(chosen.mIoU),
      mIoUZero: orNull(zero.mIoU),
      mIoUSkip: orNull(skip.mIoU),
      fwIoU: orNull(chosen.fwIoU),
      pixelAccuracy: orNull(chosen.pixelAccuracy),
      meanAccuracy: orNull(chosen.meanAccuracy),
      ...(edges && { boundaryIoU: orNull(edges.boundaryIoU), boundaryF: orNull(edges.boundaryF) }),
      ...(split && splitScores(chosen, splitSides(split, dataset, this.numClasses))),
    };
  }

  perClass({ absent, split, dataset }: Protocol, names: readonly string[]): EvalClass[] {
    const { iou, accuracy, intersection, labelArea, predictionArea } = scoresOfAreas(this.#areas(true), absent);
    const edges = this.#hasEdges ? this.#edges.scores() : undefined;
    const sides = split ? splitSides(split, dataset, this.numClasses) : [];
    return names.map((name, index) => ({
      ...{ index, name, iou: orNull(iou[index]), accuracy: orNull(accuracy[index]) },
      intersection: intersection[index] as number,
      labelArea: labelArea[index] as number,
      predictionArea: predictionArea[index] as number,
      missedArea: this.#missed[index] as number,
      ...(edges && { boundaryIoU: orNull(edges.iou[index]), boundaryF: orNull(edges.f[index]) }),
      ...(sides[index] && { split: sides[index] }),
    }));
  }

  #areas(missed: boolean): ClassAreas {
    const areas = classAreas({ data: this.#table, shape: [this.numClasses, this.numClasses + 1] });
    if (missed) return areas;
    const labelArea = areas.labelArea.map((pixels, c) => pixels - (this.#missed[c] as number));
    return { ...areas, labelArea };
  }
}

/** Means over seen and over unseen classes, and their harmonic mean; a class without a score leaves its side without one. */
function splitScores(
  { iou }: SemanticScores,
  sides: readonly ('seen' | 'unseen' | undefined)[],
): Pick<EvalMetrics, 'seen' | 'unseen' | 'hIoU'> {
  const mean = (name: 'seen' | 'unseen'): number | null => {
    const list = iou.filter((_, c) => sides[c] === name);
    return list.length > 0 && list.every(Number.isFinite) ? meanOfNumbers(list) : null;
  };
  const [seen, unseen] = [mean('seen'), mean('unseen')];
  return { seen, unseen, hIoU: seen === null || unseen === null ? null : harmonic(seen, unseen) };
}

function orNull(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : value;
}
