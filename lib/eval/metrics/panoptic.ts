/** Panoptic quality as panopticapi counts it: evaluation.md section 7. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readPanopticIds } from '../../formats/coco-panoptic.js';
import { show, WordmaskError } from '../../util/errors.js';
import { type JsonInput, readJsonInput } from './json-input.js';

export interface PanopticCategory {
  id: number;
  isthing: number | boolean;
  name?: string;
}

export interface PanopticSegment {
  id: number;
  category_id: number;
  /** Taken from here for the truth; counted for predictions. */
  area?: number;
  iscrowd?: number | boolean;
}

/** Ids [H, W] and the segments that they belong to; id 0 is void. */
export interface PanopticMap {
  ids: ArrayLike<number>;
  segments: readonly PanopticSegment[];
}

export interface PanopticAverage {
  pq: number;
  sq: number;
  rq: number;
  /** Categories averaged over; the scores are 0 where there is none. */
  n: number;
}

export interface CategoryQuality {
  pq: number;
  sq: number;
  rq: number;
  tp: number;
  fp: number;
  fn: number;
  iouSum: number;
}

export interface PanopticScores {
  all: PanopticAverage;
  things: PanopticAverage;
  stuff: PanopticAverage;
  /** By category id; categories that occur nowhere are left out. */
  perCategory: Record<string, CategoryQuality>;
}

interface Tally {
  tp: number;
  fp: number;
  fn: number;
  iouSum: number;
}

const PAIR = 2 ** 24;

/** Sums over a data set; accumulators of shards merge. */
export class PanopticQuality {
  readonly #categories: ReadonlyMap<number, PanopticCategory>;
  readonly #tallies = new Map<number, Tally>();

  constructor(categories: readonly PanopticCategory[]) {
    this.#categories = new Map(categories.map((category) => [category.id, category]));
    for (const { id } of categories) this.#tallies.set(id, { tp: 0, fp: 0, fn: 0, iouSum: 0 });
  }

  /** Counts one picture. Throws E_USAGE when ids and segments do not agree; nothing is counted then. */
  add(gt: PanopticMap, pred: PanopticMap): this {
    if (gt.ids.length !== pred.ids.length)
      throw new WordmaskError(
        'E_USAGE',
        `truth and prediction must have one size, got ${gt.ids.length} and ${pred.ids.length} pixels`,
      );
    const { pairs, areas } = countPairs(gt.ids, pred.ids);
    const gtSegments = this.#segments(gt.segments, 'truth');
    const predSegments = this.#segments(pred.segments, 'prediction');
    for (const id of areas.keys())
      if (id !== 0 && !predSegments.has(id))
        throw new WordmaskError('E_USAGE', `prediction: the PNG holds id ${id}, which the JSON does not list`);
    for (const id of predSegments.keys())
      if (!areas.has(id))
        throw new WordmaskError('E_USAGE', `prediction: the JSON lists segment ${id}, which no pixel of the PNG has`);
    const overlap = (gtId: number, predId: number): number => pairs.get(gtId * PAIR + predId) ?? 0;
    const matched = this.#match(pairs, gtSegments, predSegments, areas);
    const crowds = new Map<number, number>();
    for (const [id, segment] of gtSegments) {
      if (matched.gt.has(id)) continue;
      if (segment.iscrowd) crowds.set(segment.category_id, id);
      else this.#tally(segment).fn++;
    }
    for (const [id, segment] of predSegments) {
      if (matched.pred.has(id)) continue;
      const crowd = crowds.get(segment.category_id);
      const free = overlap(0, id) + (crowd === undefined ? 0 : overlap(crowd, id));
      if (free / (areas.get(id) as number) <= 0.5) this.#tally(segment).fp++;
    }
    return this;
  }

  #match(
    pairs: ReadonlyMap<number, number>,
    gtSegments: ReadonlyMap<number, PanopticSegment>,
    predSegments: ReadonlyMap<number, PanopticSegment>,
    areas: ReadonlyMap<number, number>,
  ) {
    const matched = { gt: new Set<number>(), pred: new Set<number>() };
    for (const [pair, shared] of pairs) {
      const [gtId, predId] = [Math.floor(pair / PAIR), pair % PAIR];
      const [g, p] = [gtSegments.get(gtId), predSegments.get(predId)];
      if (!g || !p || g.iscrowd || g.category_id !== p.category_id) continue;
      const union = (areas.get(predId) as number) + (g.area as number) - shared - (pairs.get(predId) ?? 0);
      const iou = shared / union;
      if (iou <= 0.5) continue;
      const tally = this.#tally(g);
      tally.tp++;
      tally.iouSum += iou;
      matched.gt.add(gtId);
      matched.pred.add(predId);
    }
    return matched;
  }

  merge(other: PanopticQuality): this {
    for (const [id, { tp, fp, fn, iouSum }] of other.#tallies) {
      const mine = this.#tallies.get(id);
      if (!mine)
        throw new WordmaskError(
          'E_USAGE',
          `only counts of the same categories can be merged; category ${id} is unknown here`,
        );
      mine.tp += tp;
      mine.fp += fp;
      mine.fn += fn;
      mine.iouSum += iouSum;
    }
    return this;
  }

  result(): PanopticScores {
    const perCategory: Record<string, CategoryQuality> = {};
    for (const [id, { tp, fp, fn, iouSum }] of this.#tallies) {
      const weight = tp + fp / 2 + fn / 2;
      if (weight > 0)
        perCategory[id] = { pq: iouSum / weight, sq: tp === 0 ? 0 : iouSum / tp, rq: tp / weight, tp, fp, fn, iouSum };
    }
    const isThing = (id: number): boolean => Boolean(this.#categories.get(id)?.isthing);
    return {
      all: this.average(() => true),
      things: this.average(isThing),
      stuff: this.average((id) => !isThing(id)),
      perCategory,
    };
  }

  /** Mean over the chosen categories that occur, e.g. the novel ones. */
  average(choose: (categoryId: number) => boolean): PanopticAverage {
    const sums = { pq: 0, sq: 0, rq: 0, n: 0 };
    for (const [id, { tp, fp, fn, iouSum }] of this.#tallies) {
      const weight = tp + fp / 2 + fn / 2;
      if (weight === 0 || !choose(id)) continue;
      sums.pq += iouSum / weight;
      sums.sq += tp === 0 ? 0 : iouSum / tp;
      sums.rq += tp / weight;
      sums.n++;
    }
    const n = Math.max(1, sums.n);
    return { pq: sums.pq / n, sq: sums.sq / n, rq: sums.rq / n, n: sums.n };
  }

  #tally({ category_id }: PanopticSegment): Tally {
    return this.#tallies.get(category_id) as Tally;
  }

  #segments(list: readonly PanopticSegment[], what: string): Map<number, PanopticSegment> {
    const segments = new Map<number, PanopticSegment>();
    for (const segment of list) {
      const { id, category_id } = segment;
      if (!Number.isInteger(id) || id < 1 || id >= PAIR || segments.has(id))
        throw new WordmaskError(
          'E_USAGE',
          `${what}: segment ids must be different whole numbers from 1 to 2^24 - 1, got ${show(id)}`,
        );
      if (!this.#categories.has(category_id))
        throw new WordmaskError(
          'E_USAGE',
          `${what}: segment ${id} has category ${show(category_id)}, which the truth does not list`,
        );
      if (what === 'truth' && typeof segment.area !== 'number')
        throw new WordmaskError('E_USAGE', `truth: segment ${id} has no area`);
      segments.set(id, segment);
    }
    return segments;
  }
}

/** Pixels of each pair gt * 2^24 + pred (exact in a double) and of each predicted id. */
function countPairs(
  gt: ArrayLike<number>,
  pred: ArrayLike<number>,
): { pairs: Map<number, number>; areas: Map<number, number> } {
  const pairs = new Map<number, number>();
  const areas = new Map<number, number>();
  for (let i = 0; i < gt.length; ) {
    const [g, p, begin] = [gt[i] as number, pred[i] as number, i];
    while (i < gt.length && gt[i] === g && pred[i] === p) i++;
    const pair = g * PAIR + p;
    pairs.set(pair, (pairs.get(pair) ?? 0) + i - begin);
    areas.set(p, (areas.get(p) ?? 0) + i - begin);
  }
  return { pairs, areas };
}

export interface PanopticFiles {
  /** Path of a COCO panoptic JSON, or its parsed content. */
  gtJson: JsonInput;
  gtFolder: string;
  predJson: JsonInput;
  predFolder: string;
  signal?: AbortSignal;
}

interface Annotation {
  image_id: unknown;
  file_name: string;
  segments_info: PanopticSegment[];
}

/** Scores a folder of panoptic PNGs against another; every picture of the truth needs a prediction. */
export async function panopticQuality(files: PanopticFiles): Promise<PanopticScores> {
  const [gt, pred] = await Promise.all([
    readJsonInput(files.gtJson, 'gtJson'),
    readJsonInput(files.predJson, 'predJson'),
  ]);
  const quality = new PanopticQuality(listOf<PanopticCategory>(gt, 'categories', 'gtJson'));
  const predictions = new Map(listOf<Annotation>(pred, 'annotations', 'predJson').map((item) => [item.image_id, item]));
  for (const truth of listOf<Annotation>(gt, 'annotations', 'gtJson')) {
    const guess = predictions.get(truth.image_id);
    if (!guess) throw new WordmaskError('E_USAGE', `predJson has no prediction for image ${show(truth.image_id)}`);
    const [gtIds, predIds] = await Promise.all([
      readIds(files.gtFolder, truth, files.signal),
      readIds(files.predFolder, guess, files.signal),
    ]);
    quality.add({ ids: gtIds, segments: truth.segments_info }, { ids: predIds, segments: guess.segments_info });
  }
  return quality.result();
}

async function readIds(folder: string, { file_name: name }: Annotation, signal?: AbortSignal): Promise<Uint32Array> {
  if (typeof name !== 'string')
    throw new WordmaskError('E_USAGE', `a panoptic annotation needs a file_name, got ${show(name)}`);
  const path = join(folder, name);
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new WordmaskError('E_USAGE', `panoptic PNG ${show(path)} cannot be read`, { cause });
  });
  return (await readPanopticIds(bytes, signal)).ids;
}

function listOf<T>(root: unknown, key: string, what: string): T[] {
  const list = (root as Record<string, unknown> | null)?.[key];
  if (!Array.isArray(list) || !list.every((item) => typeof item === 'object' && item !== null))
    throw new WordmaskError('E_USAGE', `${what} needs ${JSON.stringify(key)} as a list of objects, got ${show(list)}`);
  return list as T[];
}
