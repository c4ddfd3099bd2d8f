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

/** Labels of a picture from its answer; for steps that need more than one call. */
export type Answer = (picture: Picture) => Promise<Uint8Array | Uint16Array>;

/** Draws, asks, counts. Deterministic: counts are exact and added in the order of the scenes. */
export async function score(
  set: SceneSet,
  answers: Readonly<Record<string, Answer>>,
  watch: Watch = {},
  boundaries = false,
): Promise<Record<string, SceneFigures>> {
  const names = Object.keys(answers);
  const totals = names.map(() => new SceneScores(boundaries));
  const { width, height } = set;
  let done = 0;
  for await (const group of pictures(set, watch)) {
    const predictions = await Promise.all(
      group.map((picture) => Promise.all(names.map((name) => (answers[name] as Answer)(picture)))),
    );
    for (const [b, picture] of group.entries())
      for (const [n, pred] of (predictions[b] as (Uint8Array | Uint16Array)[]).entries())
        await (totals[n] as SceneScores).add({ pred, truth: picture.truth, width, height });
    done += group.length;
    watch.onPicture?.(done, set.count);
  }
  return Object.fromEntries(names.map((name, n) => [name, (totals[n] as SceneScores).figures()]));
}

/** The answer of a model: label indices, which are classes where the vocabulary begins with the 34 names. */
export function asks(model: Model, vocab: Vocabulary, options: SegmentOptions): Answer {
  const call: SegmentOptions = { refine: 'none', background: { mode: 'none' }, ...options, keepImage: false };
  return async ({ image }) => {
    const { labels } = await model.segment(image, vocab, call);
    return labels as Uint8Array | Uint16Array;
  };
}
