/** Test scenes in batches, and a model's answers to them. */
import {
  drawScenes,
  type SceneOptions,
  type SceneRecord,
  type SceneSize,
  type SplitName,
  splitSeeds,
  splits,
} from '../../data/drawn-scenes/index.js';
import type { Model } from '../../pipelines/model.js';
import type { SegmentOptions } from '../../pipelines/segment-options.js';
import type { Vocabulary } from '../../pipelines/vocabulary.js';
import { type SceneFigures, SceneScores } from './scores.js';

export interface SceneSet extends SceneSize {
  readonly split: SplitName;
  /** Number of the first scene in its split. */
  readonly first: number;
  readonly count: number;
}

export interface Picture {
  readonly record: SceneRecord;
  /** RGB [H, W, 3]. */
  readonly image: SceneSize & { readonly data: Uint8Array; readonly channels: 3 };
  /** [H, W], index in `sceneClasses`. */
  readonly truth: Uint8Array;
}

/** Pictures drawn at once, and in work at once: they share groups of windows. */
const batch = 16;

/** A test set as the table uses it: as many scenes as the split has, at most `limit`. */
export function sceneSet(split: SplitName, size: SceneSize, limit = Infinity): SceneSet {
  return { split, first: 0, count: Math.min(limit, splits[split].count, 1e6), ...size };
}

export function seedsOf({ split, count, first }: SceneSet): number[] {
  return splitSeeds(split, count, first);
}

export async function* pictures(
  set: SceneSet,
  { signal, scene }: { signal?: AbortSignal; scene?: SceneOptions } = {},
): AsyncGenerator<Picture[]> {
  const { width, height } = set;
  const seeds = seedsOf(set);
  const pixels = width * height;
  for (let at = 0; at < seeds.length; at += batch) {
    signal?.throwIfAborted();
    const drawn = await drawScenes(seeds.slice(at, at + batch), { ...scene, size: { width, height } });
    yield drawn.scenes.map((record, b) => ({
      record,
      image: { data: drawn.images.subarray(3 * b * pixels, 3 * (b + 1) * pixels), width, height, channels: 3 as const },
      truth: drawn.labels.subarray(b * pixels, (b + 1) * pixels),
    }));
  }
}

export interface Watch {
  readonly signal?: AbortSignal;
  /** Pictures that are done, of how many. */
  readonly onPicture?: (done: number, total: number) => void;
}

export type Labels = Uint8Array | Uint16Array;
/** Label maps of a picture, by the names of what is compared. */
export type Answers<K extends string> = (picture: Picture) => Promise<Readonly<Record<K, Labels>>>;

/** Draws, asks, counts. Deterministic: counts are exact and added in the order of the scenes. */
export async function score<K extends string>(
  set: SceneSet,
  answers: Answers<K>,
  watch: Watch = {},
  boundaries = false,
): Promise<Record<K, SceneFigures>> {
  const totals = new Map<K, SceneScores>();
  const { width, height } = set;
  let done = 0;
  for await (const group of pictures(set, watch)) {
    const predictions = await Promise.all(group.map(answers));
    for (const [b, picture] of group.entries())
      for (const [name, pred] of Object.entries(predictions[b] as Record<K, Labels>) as [K, Labels][]) {
        const scores = totals.get(name) ?? new SceneScores(boundaries);
        totals.set(name, scores);
        await scores.add({ pred, truth: picture.truth, width, height });
      }
    done += group.length;
    watch.onPicture?.(done, set.count);
  }
  return Object.fromEntries([...totals].map(([name, scores]) => [name, scores.figures()])) as Record<K, SceneFigures>;
}

/** What every call here shares: no refiner, every pixel gets a label. */
const plainCall: SegmentOptions = { refine: 'none', background: { mode: 'none' }, keepImage: false };

/** A model's labels: classes where the vocabulary begins with the 34 names. */
export async function labelsOf(
  model: Model,
  { image }: Picture,
  vocab: Vocabulary,
  options: SegmentOptions,
): Promise<Labels> {
  return (await model.segment(image, vocab, { ...plainCall, ...options })).labels as Labels;
}

/** The answer of a model to one vocabulary. */
export function asks(model: Model, vocab: Vocabulary, options: SegmentOptions): Answers<'answer'> {
  return async (picture) => ({ answer: await labelsOf(model, picture, vocab, options) });
}

/** The answers of a model to several vocabularies; a picture is encoded once. */
export function asksAll<K extends string>(
  model: Model,
  vocabs: Readonly<Record<K, Vocabulary>>,
  options: SegmentOptions,
): Answers<K> {
  const call = { ...plainCall, ...options };
  return async ({ image }) => {
    using features = await model.encode(image, call);
    const answers: [string, Labels][] = [];
    for (const [name, vocab] of Object.entries(vocabs) as [K, Vocabulary][])
      answers.push([name, (await model.segment(features, vocab, call)).labels as Labels]);
    return Object.fromEntries(answers) as Record<K, Labels>;
  };
}
