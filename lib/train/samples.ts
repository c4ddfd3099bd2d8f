/** Pictures for the report: what the finished model finds in scenes it has not seen. */
import { resolve } from 'node:path';
import { drawScene, sceneClasses, splitSeeds } from '../data/drawn-scenes/index.js';
import { isProblem, type PairSource } from '../data/types.js';
import { type LabelPictures, labelPictures } from '../pipelines/label-pictures.js';
import { open } from '../pipelines/open.js';
import type { Recipe } from './recipe.js';

const most = 4;
export interface SamplePicture extends LabelPictures {
  readonly title: string;
}

/**
 * Segments a few pictures with a checkpoint: drawn ones of the validation split with all class names, others with the nouns
 * that the data set lists. Empty where the data name no nouns. @throws what opening and segmenting throw
 */
export async function samplePictures(
  folder: string,
  { recipe, source, device }: { recipe: Recipe; source: PairSource; device: string },
): Promise<SamplePicture[]> {
  const wanted = await picturesToSegment(recipe, source);
  if (wanted.length === 0) return [];
  await using model = await open(resolve(folder), { device });
  const pictures: SamplePicture[] = [];
  for (const each of wanted) {
    const { labels } = await model.segment(each.image, [...each.words], { keepImage: false });
    pictures.push({ title: each.title, ...(await labelPictures({ ...each, labels })) });
  }
  return pictures;
}

interface Wanted {
  readonly title: string;
  readonly image: { data: Uint8Array; width: number; height: number; channels: 3 };
  readonly words: readonly string[];
  /** True labels [H, W], indices into the words. */
  readonly truth?: Uint8Array;
}

async function picturesToSegment(recipe: Recipe, source: PairSource): Promise<Wanted[]> {
  if (recipe.data.kind === 'drawn-scenes') {
    const scenes = await Promise.all(
      splitSeeds('val', most).map((seed) => drawScene(seed, { size: { width: 192, height: 128 } })),
    );
    return scenes.map(({ image, labels }, i) => ({
      title: `scene ${i} of the validation split`,
      image: { ...image, channels: 3 },
      words: sceneClasses,
      truth: labels,
    }));
  }
  const count = Math.min(source.count, 4 * most);
  const samples = await source.read(Array.from({ length: count }, (_, index) => ({ index, epoch: 0 })));
  return samples
    .flatMap((pair): Wanted[] =>
      isProblem(pair) || pair.nouns === undefined
        ? []
        : [{ title: pair.key, image: { ...pair.image, channels: 3 }, words: [...new Set(pair.nouns)] }],
    )
    .slice(0, most);
}
