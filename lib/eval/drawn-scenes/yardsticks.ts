/** Row 5: where the points are lost. */
import { sceneClasses } from '../../data/drawn-scenes/index.js';
import type { Model } from '../../pipelines/model.js';
import { gridOracle } from './grid.js';
import { probeLabels, trainProbe } from './probe.js';
import { gain } from './read-outs.js';
import type { RecordView } from './records.js';
import { asks, labelsOf, type Picture, sceneSet, score } from './scenes.js';
import { bestSetting, readAt, type Scale, type Setting, small } from './settings.js';
import {
  type Alias,
  aliases,
  type Expectation,
  markdown,
  percent,
  secondsSince,
  type Table,
  type TableRow,
  type TrainingRun,
} from './table.js';

const grids = [8, 12, 16] as const;
const oracleCase = (cells: number): string => `grid of ${cells} cells a short side: majority label`;
const probeCase = (alias: Alias, scale: number): string => `linear probe on hidden patches of ${alias}, ${scale}x`;
const bestCase = 'best read-out';
const restrictedCase = 'best read-out, classes that are present';
const twinCase = 'twin of the tower trained on masks';
const probeScales = [1, 1.5] as const;
/** Training scenes of a probe, and its steps. */
const probeScenes = 1500;
const probeSteps = 600;

async function measureOracles(table: Table): Promise<void> {
  const began = performance.now();
  const scenes = sceneSet('test', small, table.limit);
  const gridOf = (cells: number) =>
    [Math.round((cells * small.height) / small.height), Math.round((cells * small.width) / small.height)] as const;
  const found = await score(
    scenes,
    async ({ truth }: Picture) =>
      Object.fromEntries(grids.map((cells) => [oracleCase(cells), gridOracle(truth, small, gridOf(cells))])),
    table.watch(5, 'grid oracles'),
  );
  for (const [name, figures] of Object.entries(found))
    await table.put({ row: 5, case: name, scenes, figures, seconds: secondsSince(began) / grids.length });
}

async function measureBest(table: Table): Promise<void> {
  const setting = bestSetting(table.view);
  const model = await table.model('tiny', setting.system);
  if (!model) return;
  const began = performance.now();
  const scenes = sceneSet('test', small, table.limit);
  const vocab = await table.vocabulary(model);
  const options = readAt(model, setting.scale, setting.mode);
  const present = ({ truth }: Picture): string[] =>
    [...new Set(truth)].sort((a, b) => a - b).map((c) => sceneClasses[c] as string);
  const found = await score(
    scenes,
    async (picture) => ({
      [bestCase]: await labelsOf(model, picture, vocab, options),
      [restrictedCase]: await labelsOf(model, picture, vocab, { ...options, labels: present(picture) }),
    }),
    table.watch(5, bestCase),
  );
  const seconds = secondsSince(began) / 2;
  for (const [name, figures] of Object.entries(found))
    await table.put({ row: 5, case: name, model, name: 'tiny', scenes, options: { ...setting }, figures, seconds });
}

async function measureProbe(table: Table, alias: Alias): Promise<void> {
  const model = await table.model(alias, 'clip');
  if (!model) return;
  const began = performance.now();
  const { image } = model.info.sizes;
  const { signal } = table.options;
  const training = {
    ...sceneSet('train', { width: image, height: image }),
    count: Math.min(probeScenes, 25 * table.limit),
  };
  const probe = await trainProbe(model, training, { steps: probeSteps, seed: 1, signal });
  const scenes = sceneSet('test', small, table.limit);
  const found = await score(
    scenes,
    async (picture) => {
      const answers = await Promise.all(
        probeScales.map((scale) => probeLabels(model, probe, picture, sizeAt(model, scale))),
      );
      return Object.fromEntries(probeScales.map((scale, i) => [probeCase(alias, scale), answers[i] as Uint8Array]));
    },
    table.watch(5, probeCase(alias, 1)),
  );
  const seconds = secondsSince(began) / probeScales.length;
  const options = { trainingScenes: training.count, steps: probeSteps, seed: 1 };
  for (const [name, figures] of Object.entries(found))
    await table.put({ row: 5, case: name, model, name: alias, scenes, options, figures, seconds });
}

/** 85 k pictures with masks. */
export const twinRun: TrainingRun = { name: 'twin-masks', recipe: 'tiny-masks.json', set: { steps: 664 } };

async function measureTwin(table: Table): Promise<void> {
  const folder = await table.options.run(twinRun, table.options.signal);
  if (folder === undefined) return;
  const began = performance.now();
  const model = await table.open(`maskclip:${folder}`);
  const vocab = await table.vocabulary(model);
  const scenes = sceneSet('test', small, table.limit);
  const options = readAt(model, 1.5, 'windows');
  const { answer } = await score(scenes, asks(model, vocab, options), table.watch(5, twinCase));
  await table.put({
    ...{ row: 5, case: twinCase, model, name: twinRun.name, scenes },
    options: { recipe: twinRun.recipe, ...twinRun.set, ...(options as Record<string, never>) },
    figures: answer,
    seconds: secondsSince(began),
  });
}

/** The test picture with its short side at a multiple of the training size. */
function sizeAt(model: Model, scale: Scale): { width: number; height: number } {
  const height = Math.round(model.info.sizes.image * scale);
  return { height, width: Math.round((height * small.width) / small.height) };
}

export const row5: TableRow = {
  row: 5,
  title: 'Yardsticks',
  about:
    'What stands between the best read-out of row 4 and 100: one label a cell of the grid; a linear probe on the hidden patches, trained ' +
    'on masks of training scenes; the same read-out when it may choose among the classes of the picture alone; the same tower trained ' +
    'on masks (recipe tiny-masks, 85 k pictures; MaskCLIP read-out at 1.5x in windows). Shares of the pixels of things: given right, given to another thing, given to stuff.',
  async measure(table) {
    await measureOracles(table);
    await measureBest(table);
    for (const alias of aliases) await measureProbe(table, alias);
    await measureTwin(table);
  },
  render(view) {
    const rows = view
      .row(5)
      .map(({ case: name, figures: f }) => [
        name,
        ...[f.mIoU, f.stuff, f.things, f.thingsRight, f.thingsOther, f.thingsStuff].map((value) => percent(value)),
      ]);
    const twin = view.find(5, twinCase) ? [] : ['', `Not measured yet: ${twinCase}.`];
    const loss = largestLoss(view);
    return [
      ...markdown(['yardstick', 'all', 'stuff', 'things', 'things right', 'other thing', 'stuff'], rows),
      ...twin,
      ...(loss ? ['', `Largest loss: ${loss}.`] : []),
    ];
  },
  expectations: (view): Expectation[] => [
    gain(
      'restricted to the classes that are present: +7 to +9',
      view.figure(5, bestCase, 'mIoU'),
      view.figure(5, restrictedCase, 'mIoU'),
      0.07,
      0.09,
    ),
    ...grids.map((cells, i): Expectation => {
      const value = view.figure(5, oracleCase(cells), 'mIoU');
      const guide = [0.68, 0.76, 0.8][i] as number;
      const text = `majority label on ${cells} cells a short side: about ${percent(guide, 0)}`;
      return value === undefined ? { text } : { text, found: percent(value), met: Math.abs(value - guide) <= 0.04 };
    }),
  ],
};

/** The largest of the steps from a perfect map to the best read-out, by name. */
export function largestLoss(view: RecordView): string | undefined {
  const scale = bestScale(view);
  const steps = [
    { what: 'one label a patch (grid)', value: 1 },
    {
      what: 'what a linear map cannot read from the patches (features)',
      value: view.figure(5, oracleCase(8 * scale), 'mIoU'),
    },
    {
      what: 'what words do not find though a linear map does (alignment)',
      value: view.figure(5, probeCase('tiny', Math.min(scale, 1.5)), 'mIoU'),
    },
    { what: '', value: view.figure(5, bestCase, 'mIoU') },
  ];
  if (steps.some(({ value }) => value === undefined)) return undefined;
  const losses = steps.slice(0, -1).map(({ what, value }, i) => ({
    what,
    points: (value as number) - (steps[i + 1]?.value as number),
  }));
  const most = losses.reduce((a, b) => (b.points > a.points ? b : a));
  const all = losses.map(({ what, points }) => `${what} ${percent(points)}`).join(', ');
  return `${most.what}, ${percent(most.points)} points (${all})`;
}

function bestScale(view: RecordView): Setting['scale'] {
  const scale = view.find(5, bestCase)?.options.scale;
  return scale === 1 || scale === 2 ? scale : 1.5;
}
