/** Row 10: pictures a second, pairs a second. */
import { loadavg } from 'node:os';
import type { Model } from '../../pipelines/model.js';
import type { Vocabulary } from '../../pipelines/vocabulary.js';
import { labelsOf, type Picture, pictures, sceneSet } from './scenes.js';
import { bestSetting, readAt, type Setting, small } from './settings.js';
import { markdown, secondsSince, type Table, type TableRow } from './table.js';

const most = 256;

export const row10: TableRow = {
  row: 10,
  title: 'Cost',
  about:
    'Pictures of 192 x 128 a second from pixels to labels with 34 classes, 16 in work at once, drawing left out; pairs a second that the ' +
    'training of `tiny` takes in. Other work on the machine slows both: the load at the time stands beside them.',
  async measure(table) {
    const best = bestSetting(table.view);
    const plainest: Setting = { system: 'maskclip', scale: 1, mode: 'whole' };
    for (const setting of [plainest, best])
      for (const dtype of ['fp32', 'bf16'] as const) await measureInference(table, setting, dtype);
    const began = performance.now();
    const speed = await table.options.trainingSpeed?.(table.options.signal);
    if (!speed) return;
    await table.put({
      row: 10,
      case: 'training of tiny, pairs a second',
      scenes: { split: 'train', first: 0, count: 0, width: 64, height: 64 },
      options: { load: load(), steps: speed.steps },
      figures: { perSecond: speed.pairsPerSecond },
      seconds: secondsSince(began),
    });
  },
  render: (view) =>
    markdown(
      ['what', 'a second', 'load'],
      view
        .row(10)
        .map(({ case: name, figures, options }) => [name, number(figures.perSecond), number(options.load as number)]),
    ),
  expectations: () => [],
};

async function measureInference(table: Table, setting: Setting, dtype: 'fp32' | 'bf16'): Promise<void> {
  const model = await table.model('tiny', setting.system, dtype === 'bf16' ? 'bf16' : undefined);
  if (!model) return;
  const began = performance.now();
  const scenes = sceneSet('test', small, Math.min(table.limit, most));
  const vocab = await table.vocabulary(model);
  const options = readAt(model, setting.scale, setting.mode);
  const groups: Picture[][] = [];
  for await (const group of pictures(scenes, table.options)) groups.push(group);
  const run = (group: readonly Picture[]): Promise<unknown> =>
    Promise.all(group.map((picture) => labelsOf(model, picture, vocab as Vocabulary, options)));
  await run(groups[0] as Picture[]);
  const started = performance.now();
  let done = 0;
  const name = `${setting.system} ${setting.scale}x ${setting.mode}, ${dtype}, pictures a second`;
  const { onPicture } = table.watch(10, name);
  for (const group of groups) {
    await run(group);
    done += group.length;
    onPicture?.(done, scenes.count);
  }
  const perSecond = scenes.count / secondsSince(started);
  await table.put({
    ...{ row: 10, case: name, model: model as Model, name: 'tiny', scenes },
    options: { ...setting, load: load() },
    figures: { perSecond },
    seconds: secondsSince(began),
  });
}

/** Mean number of processes that wanted a processor in the last minute. */
function load(): number {
  return Math.round((loadavg()[0] ?? 0) * 10) / 10;
}

function number(value: number | null | undefined): string {
  return value === null || value === undefined ? '–' : value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
