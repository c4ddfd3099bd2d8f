/** `wordmask demo [words...]`: draws a scene, segments it with the built-in model, says what it found and where it is. */
import { join, resolve } from 'node:path';
import type { Scene } from '../../data/drawn-scenes/index.js';
import type { Segmentation } from '../../pipelines/segmentation.js';
import { defaultModel } from '../../registry/builtin.js';
import { guardDisk, makeFolder, writeFileAtomic } from '../../util/files.js';
import { exit } from '../exit-codes.js';
import { table } from '../output.js';
import type { Context } from '../run.js';
import { openModel } from '../setup.js';
import { labelShares, percent } from './segment-report.js';

const folder = 'demo-output';
const size = { width: 256, height: 192 };

export async function demo({ args, options, output, interrupt }: Context): Promise<number> {
  const { drawScene, splitSeeds } = await import('../../data/drawn-scenes/index.js');
  const { classList } = await import('../../text/index.js');
  const { writePng } = await import('../../image/png.js');
  const began = performance.now();
  const given = args.flatMap((arg) => arg.split(',')).map((word) => word.trim());
  const words = given.filter((word) => word !== '');
  const names = classList('drawn-scenes').map(({ name }) => name);
  const [seed = 0] = splitSeeds('test', 1, demoScene);
  const scene = await drawScene(seed, { size });
  await using model = await openModel(defaultModel, options, output, interrupt.signal);
  const vocab = await model.vocabulary(words.length > 0 ? words : names);
  const started = performance.now();
  const result = await model.segment({ ...scene.image, channels: 3 }, vocab, { signal: interrupt.signal });
  const milliseconds = performance.now() - started;
  await guardDisk('create', folder, () => makeFolder(folder));
  const picture = join(folder, 'scene.png');
  await writeFileAtomic(picture, await writePng({ ...scene.image, kind: 'rgb' }));
  const files = [
    picture,
    ...(await result.save(join(folder, 'overlay.png'), { format: 'overlay' })),
    ...(await result.save(join(folder, 'labels.png'), { format: 'voc' })),
  ].map((file) => resolve(file));
  const right = words.length > 0 ? undefined : shareRight(result, scene);
  const labels = labelShares(result);
  if (output.json) {
    output.value({ model: defaultModel, ...size, labels, files, right, milliseconds, timings: result.timings });
    return exit.done;
  }
  const { system } = model.info;
  output.line(output.style('bold', `a drawn scene, ${size.width} x ${size.height}, read by ${system}:${defaultModel}`));
  const rows = table(
    labels.map(({ name, area, share }) => [name, percent(share), `${area} pixels`]),
    [1, 2],
  );
  rows.forEach((row, i) => output.line(`  ${output.swatch(labels[i]?.color)}${row}`));
  if (right !== undefined) output.line(`  ${percent(right)} of the pixels as drawn, among ${names.length} names`);
  output.line(
    `  segmented in ${Math.round(milliseconds)} ms, all in ${((performance.now() - began) / 1000).toFixed(1)} s`,
  );
  for (const file of files) output.line(`  ${output.style('cyan', file)}`);
  output.note('other words: wordmask demo sky,grass,tree,house');
  return exit.done;
}

/** Which scene of the test split is shown. */
const demoScene = 7;

/** Share of the pixels whose label is the drawn one, where the words are the scenes' own names in their order. */
function shareRight(result: Segmentation, scene: Scene): number {
  let right = 0;
  for (let i = 0; i < scene.labels.length; i++) if (result.labels[i] === scene.labels[i]) right++;
  return right / scene.labels.length;
}
