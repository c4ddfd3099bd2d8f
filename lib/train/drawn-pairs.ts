/**
 * Drawn scenes as a source of pairs. Drawing takes longer than a small model's step, so the scenes of an epoch come back for
 * `reuse` epochs, each time with another caption; then others are drawn. What a pair is depends on seed, epoch and index
 * alone: pictures that are kept only save time.
 */
import { caption, drawScenes, type SceneOptions, type SceneRecord } from '../data/drawn-scenes/index.js';
import type { PairRequest, PairSample, PairSource } from '../data/types.js';
import { Slices } from '../util/slices.js';
import type { DataRecipe } from './recipe.js';

type DrawnData = Extract<DataRecipe, { kind: 'drawn-scenes' }>;

/** Bytes of pictures that are kept. */
const keptBytes = 512 << 20;
/** Pictures drawn in one call. */
const drawnAtOnce = 256;
/** Scenes that one seed of a recipe can use before it meets those of the next. */
const seedRange = 2 ** 34;

export async function drawnScenePairs(data: DrawnData, seed: number): Promise<PairSource> {
  const { count, reuse, width, height } = data;
  const options: SceneOptions = { ...(data.options as SceneOptions), size: { width, height } };
  const first = (seed % 2 ** 16) * seedRange;
  const sceneOf = ({ index, epoch }: PairRequest): number =>
    first + ((Math.floor(epoch / reuse) * count + index) % seedRange);
  const kept = new KeptScenes(Math.min(count, Math.floor(keptBytes / (width * height * 4))));
  // Options are checked before the first step.
  await drawScenes([first], options);
  return {
    name: 'drawn scenes',
    count,
    read: async (requests, signal) => {
      // Taken before the first await: another read may put other scenes into the same places.
      const scenes = requests.map(sceneOf);
      const found = new Map<number, Kept>();
      requests.forEach(({ index }, i) => {
        const there = kept.get(index, scenes[i] as number);
        if (there) found.set(scenes[i] as number, there);
      });
      const missing = [...new Set(scenes)].filter((scene) => !found.has(scene));
      for (let at = 0; at < missing.length; at += drawnAtOnce) {
        signal?.throwIfAborted();
        await draw(missing.slice(at, at + drawnAtOnce), options, found);
      }
      const slices = new Slices(signal);
      const samples: PairSample[] = [];
      for (const [i, { index, epoch }] of requests.entries()) {
        if (slices.due) await slices.pause();
        const scene = found.get(scenes[i] as number) as Kept;
        kept.put(index, scene);
        const { text, nouns } = caption(scene.record, epoch);
        samples.push({
          key: `scene ${scene.record.seed}`,
          image: { data: scene.pixels, width, height },
          captions: [text],
          nouns: nouns.map(({ word }) => word),
          ...(data.labels && { labels: scene.labels }),
        });
      }
      return samples;
    },
    close: async () => kept.clear(),
  };
}

interface Kept {
  readonly record: SceneRecord;
  /** RGB u8 `[H, W, 3]`, never written again. */
  readonly pixels: Uint8Array;
  /** Class of each pixel, never written again. */
  readonly labels: Uint8Array;
}

async function draw(seeds: readonly number[], options: SceneOptions, into: Map<number, Kept>): Promise<void> {
  const { images, labels, scenes } = await drawScenes(seeds, options);
  const bytes = images.length / seeds.length;
  seeds.forEach((seed, i) => {
    into.set(seed, {
      record: scenes[i] as SceneRecord,
      pixels: images.slice(i * bytes, (i + 1) * bytes),
      labels: labels.slice((i * bytes) / 3, ((i + 1) * bytes) / 3),
    });
  });
}

/** Scenes by their place in the epoch, the first `slots` of them. */
class KeptScenes {
  readonly #scenes: (Kept | undefined)[] = [];

  constructor(private readonly slots: number) {}

  get(slot: number, seed: number): Kept | undefined {
    const scene = this.#scenes[slot];
    return scene?.record.seed === seed ? scene : undefined;
  }

  put(slot: number, scene: Kept): void {
    if (slot < this.slots) this.#scenes[slot] = scene;
  }

  clear(): void {
    this.#scenes.length = 0;
  }
}
