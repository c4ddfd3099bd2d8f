/** Mask average precision by COCO's rules (evaluation.md section 7), the twelve figures of its evaluator. */
import { segmentationMask } from '../../formats/coco.js';
import { show, WordmaskError } from '../../util/errors.js';
import { Slices } from '../../util/slices.js';
import { type JsonInput, readJsonInput } from './json-input.js';
import { type MatchedPicture, maskIous, matchPicture } from './mask-match.js';
import { meanOfNumbers } from './semantic.js';

type Mask = ReturnType<typeof segmentationMask>;

export interface ApTruth {
  category: number;
  mask: Mask;
  /** Pixels, as the annotation says (of the mask). */
  area?: number;
  crowd?: boolean;
}

export interface ApPrediction {
  category: number;
  mask: Mask;
  score: number;
}

export interface MaskApScores {
  AP: number;
  AP50: number;
  AP75: number;
  AP_small: number;
  AP_medium: number;
  AP_large: number;
  AR_1: number;
  AR_10: number;
  AR_100: number;
  AR_small: number;
  AR_medium: number;
  AR_large: number;
  /** AP by category id; -1 where there is no ground truth. */
  perCategory: Record<string, number>;
}

/** IoU thresholds 0.50 to 0.95 and recall points 0 to 1, as COCO's evaluator makes them. */
const iouThresholds = Array.from({ length: 10 }, (_, i) => (i === 9 ? 0.95 : 0.5 + i * ((0.95 - 0.5) / 9)));
const recallPoints = Array.from({ length: 101 }, (_, i) => (i === 100 ? 1 : i * 0.01));
const areaRanges = { all: [0, 1e10], small: [0, 32 ** 2], medium: [32 ** 2, 96 ** 2], large: [96 ** 2, 1e10] } as const;
type AreaName = keyof typeof areaRanges;
const areaNames = Object.keys(areaRanges) as AreaName[];
const MAX_PREDICTIONS = 100;
const EPSILON = 2 ** -52;

/** Collects pictures; the result does not depend on the order in which shards are merged. */
export class MaskAp {
  /** category -> area range -> pictures in order of their number. */
  readonly #pictures = new Map<number, Map<AreaName, Map<number, MatchedPicture>>>();

  constructor(categories: readonly number[]) {
    for (const id of [...categories].sort((a, b) => a - b))
      this.#pictures.set(id, new Map(areaNames.map((name) => [name, new Map()])));
  }

  /** Counts one picture under its number; categories that are not evaluated are left out, as COCO does. */
  add(imageId: number, truths: readonly ApTruth[], predictions: readonly ApPrediction[]): this {
    for (const [category, areas] of this.#pictures) {
      const gts = truths
        .filter((truth) => truth.category === category)
        .map(({ mask, area, crowd }) => ({ mask, area: area ?? mask.area, crowd: crowd ?? false }));
      const dts = predictions
        .filter((guess) => guess.category === category)
        .map((guess, order) => ({ ...guess, order }));
      if (gts.length === 0 && dts.length === 0) continue;
      dts.sort((a, b) => b.score - a.score || a.order - b.order);
      const kept = dts.slice(0, MAX_PREDICTIONS);
      const ious = maskIous(kept, gts);
      for (const name of areaNames)
        areas.get(name)?.set(imageId, matchPicture(kept, gts, ious, areaRanges[name], iouThresholds));
    }
    return this;
  }

  merge(other: MaskAp): this {
    for (const [category, areas] of other.#pictures) {
      for (const [name, pictures] of areas) {
        const mine = this.#pictures.get(category)?.get(name);
        if (!mine)
          throw new WordmaskError(
            'E_USAGE',
            `only counts of the same categories can be merged; category ${category} is unknown here`,
          );
        for (const [imageId, picture] of pictures) mine.set(imageId, picture);
      }
    }
    return this;
  }

  result(): MaskApScores {
    const curves = (area: AreaName, most: number): Curves[] =>
      [...this.#pictures.values()]
        .map((areas) => curvesOf(inOrder(areas.get(area)), most))
        .filter((entry): entry is Curves => entry !== undefined);
    const precision = (area: AreaName, threshold?: number): number =>
      orMinusOne(
        curves(area, 100).flatMap(({ precisions }) =>
          precisions.filter((_, i) => threshold === undefined || i === threshold).flat(),
        ),
      );
    const recall = (area: AreaName, most: number): number =>
      orMinusOne(curves(area, most).flatMap(({ recalls }) => recalls));
    const perCategory = Object.fromEntries(
      [...this.#pictures].map(([id, areas]) => [
        id,
        orMinusOne(curvesOf(inOrder(areas.get('all')), 100)?.precisions.flat() ?? []),
      ]),
    );
    return {
      AP: precision('all'),
      AP50: precision('all', 0),
      AP75: precision('all', 5),
      AP_small: precision('small'),
      AP_medium: precision('medium'),
      AP_large: precision('large'),
      AR_1: recall('all', 1),
      AR_10: recall('all', 10),
      AR_100: recall('all', 100),
      AR_small: recall('small', 100),
      AR_medium: recall('medium', 100),
      AR_large: recall('large', 100),
      perCategory,
    };
  }
}

interface Curves {
  /** [threshold][recall point]. */
  precisions: number[][];
  recalls: number[];
}

function inOrder(pictures: ReadonlyMap<number, MatchedPicture> | undefined): MatchedPicture[] {
  return [...(pictures ?? [])].sort(([a], [b]) => a - b).map(([, picture]) => picture);
}

/** Precision at the recall points and final recall for each threshold; undefined without ground truth. */
function curvesOf(pictures: readonly MatchedPicture[], most: number): Curves | undefined {
  const positives = pictures.reduce((total, picture) => total + picture.positives, 0);
  if (positives === 0) return undefined;
  const guesses = pictures.flatMap((picture) =>
    picture.scores.slice(0, most).map((score, place) => ({ score, place, picture })),
  );
  guesses.sort((a, b) => b.score - a.score);
  const curves: Curves = { precisions: [], recalls: [] };
  for (let t = 0; t < iouThresholds.length; t++) {
    let [hits, misses] = [0, 0];
    const recalls: number[] = [];
    const precisions: number[] = [];
    for (const { picture, place } of guesses) {
      if (!picture.ignored[t]?.[place]) {
        if (picture.matched[t]?.[place]) hits++;
        else misses++;
      }
      recalls.push(hits / positives);
      precisions.push(hits / (misses + hits + EPSILON));
    }
    for (let i = precisions.length - 1; i > 0; i--)
      precisions[i - 1] = Math.max(precisions[i - 1] as number, precisions[i] as number);
    let at = 0;
    curves.precisions.push(
      recallPoints.map((point) => {
        while (at < recalls.length && (recalls[at] as number) < point) at++;
        return precisions[at] ?? 0;
      }),
    );
    curves.recalls.push(recalls[recalls.length - 1] ?? 0);
  }
  return curves;
}

function orMinusOne(values: readonly number[]): number {
  return values.length === 0 ? -1 : meanOfNumbers(values);
}

interface CocoAnnotation {
  image_id: number;
  category_id: number;
  segmentation: unknown;
  area?: number;
  iscrowd?: number;
  score?: number;
}

/** Scores a list of COCO results against COCO annotations; both as path or parsed content. */
export async function maskAp(input: {
  gtJson: JsonInput;
  predJson: JsonInput;
  signal?: AbortSignal;
}): Promise<MaskApScores> {
  const [gt, pred] = await Promise.all([
    readJsonInput(input.gtJson, 'gtJson'),
    readJsonInput(input.predJson, 'predJson'),
  ]);
  const { images, annotations, categories } = gt as {
    images: { id: number; width: number; height: number }[];
    annotations: CocoAnnotation[];
    categories: { id: number }[];
  };
  if (![images, annotations, categories].every(Array.isArray))
    throw new WordmaskError('E_USAGE', 'gtJson needs the lists "images", "annotations" and "categories"');
  const guesses = (Array.isArray(pred) ? pred : (pred as { annotations?: unknown }).annotations) as CocoAnnotation[];
  if (!Array.isArray(guesses))
    throw new WordmaskError('E_USAGE', `predJson must be a list of results, got ${show(pred)}`);
  const sizes = new Map(images.map((image) => [image.id, image]));
  const ap = new MaskAp(categories.map(({ id }) => id));
  const truthsOf = groupByImage(annotations, sizes, 'gtJson');
  const guessesOf = groupByImage(guesses, sizes, 'predJson');
  const slices = new Slices(input.signal);
  for (const { id, width, height } of images) {
    const truths = (truthsOf.get(id) ?? []).map(({ category_id, segmentation, area, iscrowd }) => ({
      category: category_id,
      mask: segmentationMask(segmentation, width, height),
      crowd: iscrowd === 1,
      ...(typeof area === 'number' && { area }),
    }));
    const predictions = (guessesOf.get(id) ?? []).map(({ category_id, segmentation, score }) => {
      if (typeof score !== 'number' || Number.isNaN(score))
        throw new WordmaskError('E_USAGE', `predJson: a result of image ${id} has score ${show(score)}`);
      return { category: category_id, score, mask: segmentationMask(segmentation, width, height) };
    });
    ap.add(id, truths, predictions);
    if (slices.due) await slices.pause();
  }
  return ap.result();
}

function groupByImage(
  items: readonly CocoAnnotation[],
  known: ReadonlyMap<number, unknown>,
  what: string,
): Map<number, CocoAnnotation[]> {
  const groups = new Map<number, CocoAnnotation[]>();
  for (const item of items) {
    if (!known.has(item?.image_id))
      throw new WordmaskError('E_USAGE', `${what} speaks of image ${show(item?.image_id)}, which gtJson does not list`);
    const group = groups.get(item.image_id);
    if (group) group.push(item);
    else groups.set(item.image_id, [item]);
  }
  return groups;
}
