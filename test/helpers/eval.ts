/** Miniature data sets for tests of the evaluation: drawn scenes as files, and in memory. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EvalDataset, EvalItem } from '#lib/data/dataset.js';
import { drawScenes, splitSeeds } from '#lib/data/drawn-scenes/index.js';
import { writePng } from '#lib/image/png.js';
import { classList } from '#lib/text/index.js';

const size = { width: 48, height: 40 };

/** Scenes of the test split, drawn when asked for. */
export function sceneSet(count: number, changes: Partial<EvalDataset> = {}): EvalDataset {
  const items = splitSeeds('test', count).map((seed, i): EvalItem => {
    const drawn = () => drawScenes([seed], { size });
    return {
      id: `scene-${String(i).padStart(2, '0')}`,
      image: `scene-${i}`,
      picture: async () => ({ data: (await drawn()).images, ...size, channels: 3 }),
      label: async () => ({ data: (await drawn()).labels, ...size }),
    };
  });
  return {
    ...{ name: 'drawn-scenes', kind: 'semantic', classes: classList('drawn-scenes'), ignore: 255, items },
    source: {
      ...{ layout: 'made', split: 'test', images: '', truth: '', labels: 'tcl', labelMap: 'none' },
      ...{ reduceZeroLabel: false, missing: [], damaged: [] },
    },
    ...changes,
  };
}

/** The same scenes as files: images/ID.png and truth/ID.png, with a class list. */
export async function sceneFolder(
  folder: string,
  count: number,
): Promise<{ images: string; truth: string; classes: string }> {
  const paths = { images: join(folder, 'images'), truth: join(folder, 'truth'), classes: join(folder, 'classes.json') };
  for (const path of [paths.images, paths.truth]) await mkdir(path, { recursive: true });
  const pixels = size.width * size.height;
  const drawn = await drawScenes(splitSeeds('test', count), { size });
  for (let i = 0; i < count; i++) {
    const name = `scene-${String(i).padStart(2, '0')}.png`;
    const image = drawn.images.subarray(3 * i * pixels, 3 * (i + 1) * pixels);
    const label = drawn.labels.subarray(i * pixels, (i + 1) * pixels);
    await writeFile(join(paths.images, name), await writePng({ ...size, data: image, kind: 'rgb' }));
    await writeFile(join(paths.truth, name), await writePng({ ...size, data: label, kind: 'grey' }));
  }
  await writeFile(paths.classes, JSON.stringify(classList('drawn-scenes').map(({ name }) => name)));
  return paths;
}
