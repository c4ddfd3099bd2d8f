/** Rows 6 and 8: models that are trained for the table. */
import { sceneClasses } from '../../data/drawn-scenes/index.js';
import type { SegmentOptions } from '../../pipelines/segment-options.js';
import { Vocabulary } from '../../pipelines/vocabulary.js';
import { gain } from './read-outs.js';
import type { TableRecord } from './records.js';
import { asks, sceneSet, score } from './scenes.js';
import { readAt, small } from './settings.js';
import {
  type Alias,
  type Expectation,
  markdown,
  percent,
  secondsSince,
  type Table,
  type TableRow,
  type TrainingRun,
} from './table.js';

/** Reads a trained folder, or the model it started from, and puts the record. */
async function measureFolder(
  table: Table,
  row: number,
  name: string,
  model: { readonly id: string; readonly called: string },
  options: SegmentOptions,
  trained: TableRecord['options'],
): Promise<void> {
  const began = performance.now();
  const opened = await table.open(model.id);
  const scenes = sceneSet('test', small, table.limit);
  const vocab = await table.vocabulary(opened, Vocabulary.from(sceneClasses));
  const { answer } = await score(scenes, asks(opened, vocab, options), table.watch(row, name));
  await table.put({
    ...{ row, case: name, model: opened, name: model.called, scenes },
    options: { ...trained, ...(options as Record<string, never>) },
    figures: answer,
    seconds: secondsSince(began),
  });
}

const mgcaSteps = 200;

/** Levels that are added one by one, and the other reading of the pixel loss. */
const levels: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  object: { 'losses.object': 1, 'losses.region': 0, 'losses.pixel': 0 },
  'object + region': { 'losses.object': 1, 'losses.region': 1, 'losses.pixel': 0 },
  'object + region + pixel': { 'losses.object': 1, 'losses.region': 1, 'losses.pixel': 1 },
  'object + region + pixel, cosine': {
    ...{ 'losses.object': 1, 'losses.region': 1, 'losses.pixel': 1 },
    'losses.pixelSim': 'cosine/tau',
  },
};
const allLevels = 'object + region + pixel';

export function mgcaRun(alias: Alias, base: string, level: string): TrainingRun {
  const name = `mgca-${alias}-${level.replaceAll(/[^a-z]+/g, '-')}`;
  return { name, recipe: 'mgca-drawn.json', set: { steps: mgcaSteps, base, ...levels[level] } };
}

const startCase = (alias: Alias): string => `${alias}, untrained start`;
const mgcaCase = (alias: Alias, level: string, units: number): string =>
  `${alias}, ${level}, ${units === 0 ? 'pixels' : `${units} units`}`;

async function measureMgca(table: Table, alias: Alias): Promise<void> {
  const base = await table.model(alias, 'maskclip');
  if (!base) return;
  // The same sentences around the names for all.
  const { templates, mean, std } = base.dense.options();
  const read = { ...readAt(base, 2, 'windows'), templates, mean, std };
  // Gates of zero: MaskCLIP's first form.
  const start = {
    ...{ attention: 'v', residual: true, ffn: true, positions: 'exact' },
    averaging: 'mean-normalise',
  };
  const called = { id: `maskclip:${table.options.models[alias]}`, called: alias };
  await measureFolder(table, 6, startCase(alias), called, { ...read, ...start }, {});
  for (const level of Object.keys(levels)) {
    const plan = mgcaRun(alias, table.options.models[alias], level);
    const folder = await table.options.run(plan, table.options.signal);
    if (folder === undefined) continue;
    for (const units of [0, 36])
      await measureFolder(
        table,
        6,
        mgcaCase(alias, level, units),
        { id: `mgca:${folder}`, called: plan.name },
        { ...read, units },
        { run: plan.name, recipe: plan.recipe, steps: mgcaSteps, ...(levels[level] as TableRecord['options']) },
      );
  }
}

export const row6: TableRow = {
  row: 6,
  title: 'MGCA: levels and units',
  about:
    `A decoder trained on captions beside the frozen model, ${mgcaSteps} steps of recipe mgca-drawn: object level, + region, + pixel; read ` +
    'pixel by pixel and by 36 units, short side twice the training size in windows. On `tiny`, whose patches are aligned already, no ' +
    'gain is expected.',
  async measure(table) {
    for (const alias of ['tiny-cls', 'tiny'] as const) await measureMgca(table, alias);
  },
  render: (view) => trainedTable('levels', view.row(6)),
  expectations(view) {
    const at = (level: string, units: number): number | undefined =>
      view.figure(6, mgcaCase('tiny-cls', level, units), 'mIoU');
    const start = view.figure(6, startCase('tiny-cls'), 'mIoU');
    return [
      gain('`tiny-cls`: object level above the untrained start', start, at('object', 0), 1e-9),
      gain('`tiny-cls`: + region improves', at('object', 0), at('object + region', 0), 1e-9),
      gain('`tiny-cls`: + pixel improves', at('object + region', 0), at(allLevels, 0), 1e-9),
      gain('`tiny-cls`: 36 units improve on pixels', at(allLevels, 0), at(allLevels, 36), 1e-9),
      gain('`tiny-cls`: the full form beats its untrained start by at least 5 points', start, at(allLevels, 36), 0.05),
    ];
  },
};

function trainedTable(head: string, records: readonly TableRecord[]): string[] {
  return markdown(
    [head, 'all', 'stuff', 'things'],
    records.map(({ case: name, figures: f }) => [name, percent(f.mIoU), percent(f.stuff), percent(f.things)]),
  );
}

/** 150 k pairs in batches of 128. */
const ablationSteps = 1172;
const adamw = {
  kind: 'adamw',
  rate: 0.002,
  betas: [0.9, 0.98],
  decay: 0.05,
  groups: [{ match: ['**'], ranks: [0, 1], decay: 0 }],
};
const ablations: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'all of it': {},
  'without NN': { losses: { valuePath: 0.25 } },
  'without VP and NN': { losses: {} },
  'AdamW instead of Muon': { optimiser: adamw },
  'no close-ups': { 'data.options.closeUps': 0 },
  'no typical colours': { 'data.options.typicalColour': 0 },
};
const full = 'all of it';
const aligned = 'without VP and NN';

export function ablationRun(name: string): TrainingRun {
  const slug = name.toLowerCase().replaceAll(/[^a-z]+/g, '-');
  return { name: `ablation-${slug}`, recipe: 'tiny.json', set: { steps: ablationSteps, ...ablations[name] } };
}

export const row8: TableRow = {
  row: 8,
  title: 'Ablations of the training, 150,000 pairs each',
  about:
    'Recipe tiny with one thing changed, 1,172 steps of 128 pairs and the schedule ending there; MaskCLIP read-out at 1.5 times the ' +
    'training size in windows. NN: nouns against patches; VP: captions against the mean of the patches.',
  async measure(table) {
    for (const name of Object.keys(ablations)) {
      const plan = ablationRun(name);
      const folder = await table.options.run(plan, table.options.signal);
      if (folder === undefined) continue;
      const id = `maskclip:${folder}`;
      const model = await table.open(id);
      await measureFolder(table, 8, name, { id, called: plan.name }, readAt(model, 1.5, 'windows'), {
        run: plan.name,
        recipe: plan.recipe,
        ...(plan.set as TableRecord['options']),
      });
    }
  },
  render: (view) => trainedTable('training', view.row(8)),
  expectations(view): Expectation[] {
    const at = (name: string): number | undefined => view.figure(8, name, 'mIoU');
    const least = at(aligned);
    return [
      ...Object.keys(ablations)
        .filter((name) => name !== full)
        .map((name) => gain(`${name}: loses against all of it`, at(full), at(name), -1, -1e-9)),
      gain('VP + NN at least double the mIoU of CLS alone', least, at(full), least ?? 0),
    ];
  },
};
