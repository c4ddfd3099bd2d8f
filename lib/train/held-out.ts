/** Pairs for the system's own test during a run: the validation split of drawn scenes, or the data that the recipe names for it. */
import {
  caption,
  drawScenes,
  type SceneOptions,
  sceneClasses,
  splitSeeds,
  splits,
} from '../data/drawn-scenes/index.js';
import { isProblem } from '../data/types.js';
import type { HeldOut } from '../nn/trainable.js';
import type { Recipe } from './recipe.js';
import { openSource, type SourceOptions } from './sources.js';

/**
 * What `eval` of the recipe asks for; undefined where it asks for nothing, or the data have no part that is kept out.
 * @returns a function that reads the samples, once
 */
export function heldOut(recipe: Recipe, options: SourceOptions): (() => Promise<HeldOut>) | undefined {
  const { every, count, data } = recipe.eval;
  if (every === 0) return undefined;
  let found: Promise<HeldOut> | undefined;
  if (data) {
    return () => {
      found ??= readSource({ ...recipe, data }, count, options);
      return found;
    };
  }
  const { data: own } = recipe;
  if (own.kind !== 'drawn-scenes') return undefined;
  return () => {
    found ??= validationScenes(own, Math.min(count, splits.val.count));
    return found;
  };
}

async function readSource({ data }: Recipe, count: number, options: SourceOptions): Promise<HeldOut> {
  const source = await openSource(data, options);
  try {
    const wanted = Array.from({ length: Math.min(count, source.count) }, (_, index) => ({ index, epoch: 0 }));
    const samples = (await source.read(wanted, options.signal)).flatMap((sample) =>
      isProblem(sample) ? [] : [sample],
    );
    return { samples, ...(data.kind === 'drawn-scenes' && { classes: sceneClasses }) };
  } finally {
    await source.close();
  }
}

/** Complete captions: ordinary ones are too often true of other scenes as well. */
async function validationScenes(
  { width, height, options }: Extract<Recipe['data'], { kind: 'drawn-scenes' }>,
  count: number,
): Promise<HeldOut> {
  const drawn = await drawScenes(splitSeeds('val', count), {
    ...(options as SceneOptions),
    size: { width, height },
  });
  const pixels = width * height;
  return {
    classes: sceneClasses,
    samples: drawn.scenes.map((record, i) => {
      const { text, nouns } = caption(record, 0, { mode: 'complete' });
      return {
        key: `scene ${record.seed}`,
        image: { data: drawn.images.slice(3 * i * pixels, 3 * (i + 1) * pixels), width, height },
        captions: [text],
        nouns: nouns.map(({ word }) => word),
        labels: drawn.labels.slice(i * pixels, (i + 1) * pixels),
      };
    }),
  };
}
