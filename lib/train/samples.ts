/** Pictures for the report: what the finished model finds in scenes it has not seen. */
import { resolve } from 'node:path';
import { drawScene, sceneClasses, splitSeeds } from '../data/drawn-scenes/index.js';
import { isProblem, type PairSource } from '../data/types.js';
import { open } from '../pipelines/open.js';
import type { Recipe } from './recipe.js';

const most = 4;

export interface SamplePicture {
  readonly title: string;
  /** PNG. */
  readonly bytes: Uint8Array;
}

/**
 * Segments a few pictures with a checkpoint: drawn ones of the validation split with all class names, others with the nouns
 * that the data set lists. Empty where the data name no nouns. @throws what opening and segmenting throw
 */
export async function samplePictures(folder: string, recipe: Recipe, source: PairSource): Promise<SamplePicture[]> {
  const wanted = await picturesToSegment(recipe, source);
  if (wanted.length === 0) return [];
  await using model = await open(resolve(folder), {});
  const pictures: SamplePicture[] = [];
  for (const { title, image, words } of wanted) {
    const result = await model.segment(image, [...words]);
    const [file] = await result.encode('overlay');
    if (file) pictures.push({ title, bytes: file.bytes });
  }
  return pictures;
}

interface Wanted {
  readonly title: string;
  readonly image: { data: Uint8Array; width: number; height: number; channels: number };
  readonly words: readonly string[];
}

async function picturesToSegment(recipe: Recipe, source: PairSource): Promise<Wanted[]> {
  if (recipe.data.kind === 'drawn-scenes') {
    const scenes = await Promise.all(
      splitSeeds('val', most).map((seed) => drawScene(seed, { size: { width: 192, height: 128 } })),
    );
    return scenes.map(({ seed, image }) => ({
      title: `scene ${seed}`,
      image: { ...image, channels: 3 },
      words: sceneClasses,
    }));
  }
  const count = Math.min(source.count, 4 * most);
  const samples = await source.read(Array.from({ length: count }, (_, index) => ({ index, epoch: 0 })));
  return samples
    .flatMap((sample) =>
      isProblem(sample) || sample.nouns === undefined
        ? []
        : [{ title: sample.key, image: { ...sample.image, channels: 3 }, words: [...new Set(sample.nouns)] }],
    )
    .slice(0, most);
}
