/** The table of drawn scenes: what is counted, by hand; records and page; a limited table from the command line's side. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  type Caption,
  frames,
  type SceneRecord,
  sceneClasses,
  scenePhrases,
  synonyms,
} from '#lib/data/drawn-scenes/index.js';
import { Tensor } from '#lib/engine/index.js';
import { gridOracle, majority } from '#lib/eval/drawn-scenes/grid.js';
import { drawnScenesTable, tableRows } from '#lib/eval/drawn-scenes/index.js';
import { isTrue, judgeChance } from '#lib/eval/drawn-scenes/judge.js';
import { expectationLine, renderPage } from '#lib/eval/drawn-scenes/page.js';
import { regress } from '#lib/eval/drawn-scenes/probe.js';
import { RecordView, readRecords, type TableRecord, withRecord } from '#lib/eval/drawn-scenes/records.js';
import { candidates, colourFigures, rightShare } from '#lib/eval/drawn-scenes/retrieval.js';
import { SceneScores, thingShares } from '#lib/eval/drawn-scenes/scores.js';
import { swapColour } from '#lib/eval/drawn-scenes/swap.js';
import { ablationRun, mgcaRun } from '#lib/eval/drawn-scenes/training-rows.js';
import { distractors, unseenAdjectives } from '#lib/eval/drawn-scenes/words.js';
import { largestLoss } from '#lib/eval/drawn-scenes/yardsticks.js';
import { Boundary } from '#lib/eval/metrics/index.js';
import { labelsOfPatches, patchLabelLoss } from '#lib/systems/clip/train-labels.js';
import { parseTrainLosses } from '#lib/systems/clip/train-options.js';
import { miniFolder } from '../helpers/fixture.js';

t.setTimeout(300_000);

const thing = (name: string, colour: string, more: Partial<SceneRecord['things'][number]> = {}) => ({
  ...{ instance: 1, name, class: sceneClasses.indexOf(name as 'car'), colour, pattern: 'plain', group: 0 },
  ...{ area: 0.1, box: [0.1, 0.1, 0.3, 0.3] as const, extent: 0.4, region: 0 },
  ...more,
});
const scene = (kind: string, things: unknown[], stuff: string[], night = false): SceneRecord =>
  ({
    ...{ seed: 0, kind, night, closeUp: false, things },
    stuff: stuff.map((name) => ({ name, class: sceneClasses.indexOf(name as 'sky'), area: 0.4 })),
  }) as unknown as SceneRecord;
const noun = (name: string, more: Partial<Caption['nouns'][number]> = {}) => ({
  class: sceneClasses.indexOf(name as 'car'),
  word: name,
  ...more,
});

t.test('the judge checks what a caption says', async (t) => {
  const street = scene('street', [thing('car', 'red'), thing('tree', 'green', { group: 1 })], ['sky', 'road']);
  const says = (text: string, ...nouns: Caption['nouns'][number][]): boolean => isTrue({ text, nouns }, street);
  t.ok(says('a red car', noun('car', { colour: 'red', count: 1 })));
  t.ok(says('the sky', noun('sky')));
  t.notOk(says('a blue car', noun('car', { colour: 'blue', count: 1 })), 'colour');
  t.notOk(says('two red cars', noun('car', { colour: 'red', count: 2 })), 'count');
  t.notOk(says('a striped car', noun('car', { pattern: 'striped' })), 'pattern');
  t.ok(says('a plain car', noun('car', { pattern: 'plain' })));
  t.notOk(says('a huge car', noun('car', { size: 'huge' })), 'size');
  t.notOk(says('a boat', noun('boat')), 'what is not there');
  t.notOk(says('the sea', noun('sea')), 'stuff that is not there');
  t.ok(says('a red car downtown', noun('car')));
  t.notOk(says('a red car at the pier', noun('car')), 'another kind of scene');
  t.notOk(says('a red car at midnight', noun('car')), 'day');
  const night = scene('street', [thing('car', 'red')], ['sky'], true);
  t.ok(isTrue({ text: 'a car at midnight', nouns: [noun('car')] }, night), 'night in a street');
  const hidden = scene('street', [thing('car', 'red', { area: 0.001 })], ['sky']);
  t.notOk(isTrue({ text: 'a car', nouns: [noun('car')] }, hidden), 'too little of it is visible');
  const right: Caption = { text: 'a red car', nouns: [noun('car', { colour: 'red' })] };
  const alsoTrue: Caption = { text: 'a tree', nouns: [noun('tree')] };
  const wrong: Caption = { text: 'a boat', nouns: [noun('boat')] };
  t.equal(judgeChance([right, wrong], street), 1);
  t.equal(judgeChance([right, alsoTrue, wrong], street), 0.5);
});

t.test('retrieval', async (t) => {
  const rows = [Float32Array.of(1, 0), Float32Array.of(0, 1), Float32Array.of(0.6, 0.8)];
  const lists = [
    [0, 1, 2],
    [1, 0, 2],
    [2, 0, 1],
  ];
  t.equal(rightShare(rows, rows, lists), 1);
  t.equal(rightShare(rows, [rows[0]!, rows[0]!, rows[2]!], lists), 1 / 3, 'a tie is not right');
  const drawn = candidates(50, 10);
  t.same(drawn, candidates(50, 10), 'the same for every model');
  for (const [i, list] of drawn.entries()) {
    t.equal(list[0], i);
    t.equal(new Set(list).size, 10);
  }
  t.same(
    candidates(3, 100).map((list) => list.toSorted()),
    [
      [0, 1, 2],
      [0, 1, 2],
      [0, 1, 2],
    ],
    'fewer scenes than candidates',
  );
  // Right colour 0 beats both; right colour 1 beats one of two.
  const figures = colourFigures(
    [
      [0.9, 0.1, 0.2],
      [0.5, 0.4, 0.1],
    ],
    [0, 1],
  );
  t.same(figures, { pair: 3 / 4, best: 1 / 2 });
});

t.test('another colour in a caption', async (t) => {
  const said: Caption = {
    text: 'a picture of a red striped car left of an orange house and the sky',
    nouns: [noun('car', { colour: 'red' }), noun('house', { colour: 'orange' }), noun('sky')],
  };
  t.equal(swapColour(said, 0, 'orange'), 'a picture of an orange striped car left of an orange house and the sky');
  t.equal(swapColour(said, 0, 'red'), said.text);
  t.equal(swapColour(said, 1, 'black'), 'a picture of a red striped car left of a black house and the sky');
  t.equal(swapColour(said, 2, 'black'), undefined, 'no colour to replace');
  const two: Caption = { text: 'two white cars', nouns: [noun('car', { colour: 'white', word: 'cars' })] };
  t.equal(swapColour(two, 0, 'orange'), 'two orange cars');
});

t.test('figures of predictions', async (t) => {
  const [sky, road, car, tree] = [0, 4, 11, 12];
  const truth = Uint8Array.of(sky, sky, sky, road, car, car, car, car, tree, tree);
  const pred = Uint8Array.of(sky, sky, car, road, car, tree, sky, 40, tree, tree);
  const scores = new SceneScores();
  await scores.add({ pred, truth, width: 5, height: 2 });
  const figures = scores.figures();
  // sky 2/4, road 1/1, car 1/5, tree 2/3.
  t.ok(Math.abs(figures.stuff - (0.5 + 1) / 2) < 1e-12);
  t.ok(Math.abs(figures.things - (1 / 5 + 2 / 3) / 2) < 1e-12);
  t.ok(Math.abs(figures.mIoU - (0.5 + 1 + 1 / 5 + 2 / 3) / 4) < 1e-12);
  t.equal(figures.pixelAccuracy, 6 / 10);
  t.equal(figures.thingsRight, 3 / 6);
  t.equal(figures.thingsOther, 1 / 6);
  t.equal(figures.thingsStuff, 1 / 6);
  const matrix = new Float64Array(34 * 35);
  matrix[car * 35 + 34] = 2;
  t.same(thingShares(matrix), { thingsRight: 0, thingsOther: 0, thingsStuff: 0 }, 'names outside of the classes');
});

t.test('boundary F is that of the metrics', async (t) => {
  const [width, height] = [24, 16];
  const at = (i: number, x0: number, x1: number, value: number, other: number): number =>
    i % width >= x0 && i % width < x1 && i > 60 && i < 300 ? value : other;
  const truth = Uint8Array.from({ length: width * height }, (_, i) => at(i, 4, 12, 11, 0));
  const pred = Uint8Array.from({ length: width * height }, (_, i) => at(i, 6, 15, 11, i % 7 === 0 ? 3 : 0));
  const scores = new SceneScores(true);
  await scores.add({ pred, truth, width, height });
  await scores.add({ pred: truth, truth, width, height });
  const shape = [height, width];
  const metric = new Boundary({ numClasses: 34, ignore: null })
    .add({ data: pred, shape }, { data: truth, shape })
    .add({ data: truth, shape }, { data: truth, shape });
  const found = scores.figures().boundaryF as number;
  t.ok(Math.abs(found - metric.result().boundaryF) < 1e-12, `${found}`);
});

t.test('grid oracle', async (t) => {
  // 4 x 2 pixels in 2 x 1 cells: of the left one three are 7, of the right one two and two.
  const labels = Uint8Array.of(7, 7, 3, 5, 7, 1, 5, 3);
  t.same([...majority(labels, { width: 4, height: 2 }, [1, 2])], [7, 3], 'the lower one among equals');
  t.same([...gridOracle(labels, { width: 4, height: 2 }, [1, 2])], [7, 7, 3, 3, 7, 7, 3, 3]);
});

t.test('a linear probe learns what a line separates', async (t) => {
  const rows = Float32Array.from({ length: 3 * 60 * 2 }, (_, i) => {
    const corner = Math.floor(i / 2) % 3;
    const noise = ((i * 37) % 11) / 40;
    return (i % 2 === 0 ? [0, 2, 0] : [0, 0, 2])[corner]! + noise;
  });
  const targets = Int32Array.from({ length: 180 }, (_, i) => [4, 11, 33][i % 3]!);
  const options = { steps: 150, seed: 1 };
  const { weight, bias } = await regress(rows, targets, 2, options);
  const right = [...targets].filter((target, i) => {
    const logits = Array.from(
      bias,
      (b, c) => b + weight[2 * c]! * rows[2 * i]! + weight[2 * c + 1]! * rows[2 * i + 1]!,
    );
    return logits.indexOf(Math.max(...logits)) === target;
  });
  t.equal(right.length, targets.length);
  t.same((await regress(rows, targets, 2, options)).weight, weight, 'the same again');
});

t.test('names that no scene has', async (t) => {
  const said = new Set(
    [frames, Object.values(synonyms), Object.values(scenePhrases)]
      .flat(2)
      .join(' ')
      .split(/[^a-z]+/),
  );
  t.same(
    distractors.filter((name) => said.has(name)),
    [],
  );
  t.same(
    unseenAdjectives.filter((name) => said.has(name)),
    [],
  );
  t.equal(new Set(distractors).size, distractors.length);
  t.ok(distractors.length >= 136 - 34);
});

t.test('masks as targets of patches', async (t) => {
  // 4 x 4 pixels in patches of 2: classes 1 1 | 5 5 / 1 2 | 7 7 above, below 9s, of which there are but 9 classes.
  const labels = Uint8Array.of(1, 1, 5, 5, 1, 2, 7, 7, 9, 9, 9, 9, 9, 9, 9, 4);
  const sample = { key: 'a', image: { data: new Uint8Array(48), width: 4, height: 4 }, captions: ['x'], labels };
  const plan = { image: 4, patch: 2 };
  const found = labelsOfPatches([sample, sample], plan, Int32Array.of(0, 1, 2, 3, 3, 0, 1, 2), 9);
  t.same([...found.data], [1, 5, -100, 4, 4, 1, 5, -100]);
  const bare = { ...sample, labels: undefined };
  t.throws(() => labelsOfPatches([bare], plan, Int32Array.of(0), 9), { code: 'E_USAGE', message: /data.labels/ });
  const loss = (words: number[]): number =>
    patchLabelLoss(
      Tensor.from(Float32Array.of(1, 0, 0, 1), [1, 2, 2]),
      Tensor.from(Float32Array.from(words), [2, 2]),
      Tensor.from(Int32Array.of(0, 1)),
      Tensor.from(Float32Array.of(Math.log(10)), [1]),
    ).dataSync()[0] as number;
  t.ok(Math.abs(loss([3, 0, 0, 2]) - Math.log(1 + Math.exp(-10))) < 1e-6, 'right, whatever the lengths');
  t.ok(Math.abs(loss([0, 1, 1, 0]) - Math.log(1 + Math.exp(10))) < 1e-5, 'the wrong way round');
  t.throws(() => parseTrainLosses({ contrastive: 0 }), { code: 'E_OPTION', message: /nothing to learn/ });
});

t.test('runs that rows need', async (t) => {
  const run = ablationRun('without VP and NN');
  t.match(run, { name: 'ablation-without-vp-and-nn', recipe: 'tiny.json', set: { steps: 1172, losses: {} } });
  const levels = mgcaRun('tiny-cls', './base', 'object + region');
  t.equal(levels.name, 'mgca-tiny-cls-object-region');
  t.match(levels.set, { base: './base', 'losses.region': 1, 'losses.pixel': 0 });
});

t.test('the largest loss is named', async (t) => {
  const row = (name: string, mIoU: number, options = {}): TableRecord =>
    record({ row: 5, case: name, figures: { mIoU }, options });
  const view = new RecordView([
    row('grid of 8 cells a short side: majority label', 0.68),
    row('linear probe on hidden patches of tiny, 1x', 0.5),
    row('best read-out', 0.3, { scale: 1 }),
  ]);
  t.match(largestLoss(view), /^one label a patch \(grid\), 32\.0 points/);
  t.equal(largestLoss(new RecordView([])), undefined);
});

const record = (more: Partial<TableRecord>): TableRecord => ({
  ...{ format: 'wordmask-drawn-scenes/1', row: 1, case: 'tiny', options: { captions: 100 }, commit: 'abc', seconds: 1 },
  scenes: { split: 'test', first: 0, count: 1000, width: 64, height: 64 },
  ...{ figures: { right: 0.86, judge: 0.9 }, command: 'wordmask eval', wordmask: '0.1.0', machine: 'm' },
  ...more,
});

t.test('records and page', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-table-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const replaced = withRecord([record({ row: 3, case: 'x' }), record({})], record({ figures: { right: 0.5 } }));
  t.same(
    replaced.map(({ row, figures }) => [row, figures.right]),
    [
      [1, 0.5],
      [3, 0.86],
    ],
  );
  const page = (records: TableRecord[]): string => renderPage(tableRows, new RecordView(records), { command: 'cmd' });
  t.match(page([]), 'Not measured yet: `cmd --rows 1`');
  t.match(page([record({})]), /\| tiny \| 86\.0 \| 90\.0 \|/);
  t.match(page([record({})]), '- met: `tiny` finds the right caption in at least 85% (86.0)');
  t.match(page([record({ figures: { right: 0.5, judge: 0.9 } })]), '- **not met**: `tiny` finds');
  t.equal(expectationLine({ text: 'x' }), '- not measured yet: x');
  t.same(await readRecords(join(folder, 'none.jsonl')), []);
  const file = join(folder, 'bad.jsonl');
  await writeFile(file, `${JSON.stringify(record({}))}\n{"row":1}\n`);
  await t.rejects(readRecords(file), { code: 'E_USAGE', message: /line 2 is no record/ });
});

t.test('a limited table, end to end', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-table-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const mini = miniFolder();
  const request = {
    ...{
      rows: [1, 2, 3, 6, 7, 8, 9],
      limit: 2,
      command: 'cmd',
      commit: null,
      models: { tiny: mini, 'tiny-cls': mini },
    },
    ...{ records: join(folder, 'r.jsonl'), page: join(folder, 'page.md'), commandOf: (row: number) => `cmd ${row}` },
    picture: { file: join(folder, 'page.png'), name: 'page.png' },
    run: async () => undefined,
  };
  const { records, expectations } = await drawnScenesTable(request);
  t.equal(records.filter(({ row }) => row === 1).length, 2);
  t.equal(records.filter(({ row }) => row === 3).length, 20);
  t.ok(expectations.some(({ row, met }) => row === 3 && met !== undefined));
  t.equal(records.filter(({ row }) => row === 6).length, 2, 'untrained starts alone: there are no runs');
  t.equal(records.filter(({ row }) => row === 8).length, 0);
  t.ok(expectations.some(({ row, found }) => row === 4 && found === undefined));
  const text = await readFile(request.page, 'utf8');
  t.match(text, '![scenes](page.png)');
  const before = await readFile(request.records, 'utf8');
  await drawnScenesTable({ ...request, rows: [1] });
  const untimed = (lines: string): string => lines.replaceAll(/"seconds":[\d.]+/g, '');
  t.equal(untimed(await readFile(request.records, 'utf8')), untimed(before), 'the same figures again');
  await t.rejects(drawnScenesTable({ ...request, rows: [12] }), { code: 'E_OPTION' });
  const lost = { tiny: join(folder, 'nothing'), 'tiny-cls': mini };
  await t.rejects(drawnScenesTable({ ...request, rows: [1], models: lost }), { code: 'E_MODEL_NOT_FOUND' });
  const stopped = AbortSignal.abort(new Error('enough'));
  await t.rejects(drawnScenesTable({ ...request, rows: [1], signal: stopped }), { message: 'enough' });
});
