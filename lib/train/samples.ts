/** Pictures for the report: what the finished model finds in scenes it has not seen. */
import { resolve } from 'node:path';
import { drawScene, sceneClasses, splitSeeds } from '../data/drawn-scenes/index.js';
import { isProblem, type PairSource } from '../data/types.js';
import { type RgbImage, renderOverlay } from '../image/overlay.js';
import { type Colour, distinctPalette } from '../image/palette.js';
import { writePng } from '../image/png.js';
import { open } from '../pipelines/open.js';
import type { Recipe } from './recipe.js';

const most = 4;
/** Share of the picture below which a label is left out of the legend. */
const leastShare = 0.005;

export interface SamplePicture {
  readonly title: string;
  /** PNGs side by side: the picture, its true labels where they are known, the labels found. */
  readonly parts: readonly { readonly title: string; readonly bytes: Uint8Array }[];
  /** Labels found and true ones, largest area first. */
  readonly legend: readonly { readonly name: string; readonly colour: Colour }[];
  /** Share of pixels whose label is right, where the true ones are known. */
  readonly right?: number;
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
  for (const each of wanted) {
    const { labels } = await model.segment(each.image, [...each.words], { keepImage: false });
    pictures.push(await sample(each, labels));
  }
  return pictures;
}

type Labels = Uint8Array | Uint16Array | Uint32Array;

interface Wanted {
  readonly title: string;
  readonly image: RgbImage & { readonly channels: 3 };
  readonly words: readonly string[];
  /** True labels [H, W], indices into the words. */
  readonly truth?: Uint8Array;
}

async function sample({ title, image, words, truth }: Wanted, found: Labels): Promise<SamplePicture> {
  const colours = distinctPalette(words.length);
  const legend = words.map((name, index) => ({ index, name, color: colours[index] as Colour }));
  const overlay = async (labels: Labels): Promise<Uint8Array> =>
    png(await renderOverlay({ ...image, image: image.data, labels, legend }, { alpha: 0.65, legend: false }));
  const areas = new Array<number>(words.length).fill(0);
  for (const labels of truth ? [truth, found] : [found])
    for (const label of labels) if (label < words.length) areas[label] = (areas[label] as number) + 1;
  const order = legend
    .filter(({ index }) => (areas[index] as number) >= leastShare * found.length)
    .sort((a, b) => (areas[b.index] as number) - (areas[a.index] as number));
  return {
    title,
    parts: [
      { title: 'picture', bytes: await png(image) },
      ...(truth ? [{ title: 'true labels', bytes: await overlay(truth) }] : []),
      { title: 'labels found', bytes: await overlay(found) },
    ],
    legend: order.map(({ name, color }) => ({ name, colour: color })),
    ...(truth && { right: truth.reduce((sum, label, i) => sum + Number(label === found[i]), 0) / truth.length }),
  };
}

function png(image: RgbImage): Promise<Uint8Array> {
  return writePng({ data: image.data, width: image.width, height: image.height, kind: 'rgb' }, { level: 9 });
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
