/** Drawn scenes as a data set: from a folder that `wordmask data draw` wrote, or drawn when their turn comes. */
import { classList } from '../../text/lists.js';
import { WordmaskError } from '../../util/errors.js';
import { type DatasetSpec, pictureSuffixes } from '../types/spec.js';
import type { EvalItem } from '../types.js';
import { drawScene, type Scene } from './draw.js';
import { splitNames, splitOf, splitSeeds } from './splits.js';

/** A scene is asked for twice, as picture and as labels: the drawing is shared for as long as somebody holds it. */
class SceneItem {
  #running: Promise<Scene> | undefined;
  #drawn: WeakRef<Scene> | undefined;

  constructor(private readonly seed: number) {}

  async scene(signal?: AbortSignal): Promise<Scene> {
    signal?.throwIfAborted();
    const drawn = this.#drawn?.deref();
    if (drawn) return drawn;
    this.#running ??= drawScene(this.seed)
      .then((scene) => {
        this.#drawn = new WeakRef(scene);
        return scene;
      })
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }
}

function make(split: string): readonly EvalItem[] {
  const { name, count } = splitOf(split);
  if (!Number.isFinite(count))
    throw new WordmaskError(
      'E_OPTION',
      `split ${name} of drawn-scenes has no end: draw as many as you want with wordmask data draw and pass the folder as root`,
    );
  return splitSeeds(name, count).map((seed, i) => {
    const id = `${name}-${String(i).padStart(6, '0')}`;
    const item = new SceneItem(seed);
    return {
      id,
      image: `drawn-scenes:${id}`,
      picture: async (signal) => ({ ...(await item.scene(signal)).image, channels: 3 }),
      label: async (signal) => {
        const { labels, image } = await item.scene(signal);
        return { width: image.width, height: image.height, data: labels.slice() };
      },
    };
  });
}

export const drawnScenes: DatasetSpec = {
  name: 'drawn-scenes',
  kind: 'semantic',
  splits: ['test', ...splitNames.filter((name) => name !== 'test')],
  rules: ['tcl', 'd2', 'car'],
  layouts: () => [
    {
      name: 'drawn-scenes',
      base: '',
      images: ['images'],
      imageSuffixes: pictureSuffixes,
      truth: 'labels',
      truthFiles: [{ suffix: '.png', stored: 'indices' }],
      members: 'both',
    },
  ],
  stored: () => ({ bits: 8, ignore: 255, labelMap: 'none', palette: 'voc' }),
  classes: () => classList('drawn-scenes'),
  make,
};
