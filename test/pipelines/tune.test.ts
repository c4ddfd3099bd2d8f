/** Tuning on pictures: the curve of thresholds, the search over options, and what is written into a model folder. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { drawScenes, sceneClasses, splitSeeds } from '#lib/data/drawn-scenes/index.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import { searchOptions } from '#lib/pipelines/option-search.js';
import { saveTuning } from '#lib/pipelines/save-tuning.js';
import { ThresholdCurve, type ThresholdScores, type TruthMap } from '#lib/pipelines/threshold-curve.js';
import type { SearchGroup, SystemTuning } from '#lib/post/tuning.js';
import { verifyFolder } from '#lib/registry/folder.js';
import { assetPath } from '#lib/util/assets.js';
import { Random } from '#lib/util/random.js';
import { verifyCheckpoint, writeCheckpoint } from '#lib/weights/checkpoint.js';

t.setTimeout(300_000);

const temporary = async (t: Test): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-tune-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
};

/** Scores of one threshold, pixel by pixel, with classes counted by their value in the truth. */
function naive(
  labels: ArrayLike<number>,
  score: ArrayLike<number>,
  truth: ArrayLike<number>,
  value: number,
  marked: number,
) {
  const counts = new Map<number, [right: number, predicted: number, truth: number]>();
  const of = (c: number): [number, number, number] => {
    const found = counts.get(c) ?? [0, 0, 0];
    counts.set(c, found);
    return found;
  };
  const empty = Math.max(marked, 0);
  let [right, pixels, background] = [0, 0, 0];
  for (let i = 0; i < labels.length; i++) {
    if (truth[i] === 255) continue;
    const label = labels[i] as number;
    const kept = label < 3 && !((score[i] as number) < Math.fround(value));
    const guess = kept ? label + Number(marked < 0) : empty;
    pixels++;
    right += Number(guess === truth[i]);
    background += Number(guess === empty);
    of(guess)[1]++;
    of(truth[i] as number)[2]++;
    if (guess === truth[i]) of(guess)[0]++;
  }
  const iou = [...counts.values()].map(([i, a, g]) => i / (a + g - i));
  return {
    value,
    mIoU: iou.reduce((sum, x) => sum + x, 0) / iou.length,
    pixelAccuracy: right / pixels,
    background: background / pixels,
  };
}

t.test('one pass counts what every threshold would', async (t) => {
  const random = new Random(3);
  const grid = [0.1, 0.25, 0.5, 0.9];
  for (const marked of [-1, 0, 2]) {
    const values = marked < 0 ? 4 : 3;
    const curve = new ThresholdCurve(grid, 3, marked, 255);
    const slow = new ThresholdCurve(grid, 3, marked, 255);
    const all: [number[], number[], number[]] = [[], [], []];
    for (let picture = 0; picture < 3; picture++) {
      const labels = Uint8Array.from({ length: 70 }, () => (random.chance(0.1) ? 255 : random.int(3)));
      const score = Float32Array.from(labels, () =>
        random.chance(0.3) ? (random.pick(grid) as number) : random.uniform(),
      );
      const data = Uint8Array.from(labels, () => (random.chance(0.2) ? 255 : random.int(values)));
      const truth: TruthMap = { data, width: 10, height: 7 };
      await curve.add({ labels, score }, truth, 'a');
      for (const [j, value] of grid.entries()) {
        const cut = labels.map((label, i) => ((score[i] as number) < Math.fround(value) ? 255 : label));
        await slow.addAt(j, cut, truth, 'a');
      }
      [labels, score, data].forEach((list, i) => all[i]?.push(...list));
    }
    const expected = grid.map((value) => naive(...all, value, marked));
    t.same(round(curve.scores()), round(expected), `background label ${marked}`);
    t.same(curve.scores(), slow.scores());
  }
});

const round = (scores: readonly ThresholdScores[]): unknown =>
  JSON.parse(JSON.stringify(scores), (_, value) => (typeof value === 'number' ? Number(value.toPrecision(12)) : value));

t.test('truth that does not fit', async (t) => {
  const curve = new ThresholdCurve([0.5], 2, -1, 255);
  const found = { labels: new Uint8Array(4), score: new Float32Array(4) };
  const add = (data: number[], width = 2): Promise<void> => curve.add(found, { data, width, height: 2 }, 'a.png');
  await t.rejects(add([0, 1, 2, 1, 0, 0], 3), { code: 'E_USAGE', message: /truth of a\.png has 3 x 2 pixels/ });
  await t.rejects(add([0, 7, 7, 1]), { code: 'E_USAGE', message: /values 7 \(2 pixels\).*0 for background, 1 to 2/ });
  await t.rejects(add([0, Number.NaN, 0, 0.5]), { code: 'E_USAGE', message: /NaN \(1 pixels\), 0\.5/ });
  t.ok(Number.isNaN(curve.scores()[0]?.mIoU ?? 0), 'a refused picture leaves no count behind');
});

/** Scenes with the first classes as labels, everything else as background. */
async function scenes(count: number): Promise<{ images: never[]; truth: (i: number) => Promise<TruthMap> }> {
  const [width, height] = [48, 40];
  const drawn = await drawScenes(splitSeeds('val', count, 0), { size: { width, height } });
  const pixels = width * height;
  const images = Array.from({ length: count }, (_, i) => ({
    ...{ width, height, channels: 3 },
    data: drawn.images.slice(3 * i * pixels, 3 * (i + 1) * pixels),
  }));
  const truth = async (i: number): Promise<TruthMap> => ({
    ...{ width, height },
    data: drawn.labels.slice(i * pixels, (i + 1) * pixels).map((label) => (label < 6 ? label + 1 : 0)),
  });
  return { images: images as never[], truth };
}

const words = sceneClasses.slice(0, 6);

t.test('the labelled rule', async (t) => {
  await using model = await open('tiny', { device: 'cpu' });
  const { images, truth } = await scenes(5);
  const grid = [0.2, 0.3, 0.5];
  const seen: number[] = [];
  const result = await model.tune(images, words, { truth, grid, onProgress: (done) => seen.push(done) });
  t.same(seen, [1, 2, 3, 4, 5]);
  const curve = result.curve as ThresholdScores[];
  const slow = new ThresholdCurve(grid, words.length, -1, 255);
  for (const [i, image] of images.entries())
    for (const [j, threshold] of grid.entries())
      await slow.addAt(j, (await model.segment(image, words, { threshold })).labels, await truth(i), '');
  t.same(curve, slow.scores(), 'as segmenting with each threshold');
  const best = curve.reduce((a, b) => (b.mIoU > a.mIoU ? b : a));
  t.same(result.tuning, { probThreshold: best.value });
  t.match(result, {
    what: 'background',
    rule: 'labelled',
    system: 'naclip',
    pictures: { given: 5, used: 5, failed: [] },
  });
  // The CRF takes the threshold as a class: every value is a call of its own.
  const crf = { refine: { name: 'crf' as const, iterations: 1 } };
  const through = await model.tune(images.slice(0, 1), words, { truth, grid: [0.3], segment: crf });
  const one = new ThresholdCurve([0.3], words.length, -1, 255);
  const label = await model.segment(images[0] as never, words, { ...crf, threshold: 0.3 });
  await one.addAt(0, label.labels, await truth(0), '');
  t.same(through.curve, one.scores());
  const drawn = await model.tune(images, words, { truth, grid: [0.3], limit: 2, seed: 4 });
  t.equal(drawn.pictures.drawn?.length, 2);
  t.same((await model.tune(images, words, { truth, grid: [0.3], limit: 2, seed: 4 })).pictures, drawn.pictures);
});

t.test('pictures that fail, calls that are wrong', async (t) => {
  await using model = await open('tiny', { device: 'cpu' });
  const { images, truth } = await scenes(2);
  const mixed = ['/nonexistent.png', ...images] as never[];
  const shifted = (i: number): Promise<TruthMap> => truth(i - 1);
  await t.rejects(model.tune(mixed, words, { truth: shifted }), { code: 'E_USAGE' });
  const skipped = await model.tune(mixed, words, { truth: shifted, grid: [0.3], onError: 'skip' });
  t.match(skipped.pictures, { given: 3, used: 2, failed: [{ index: 0, code: 'E_USAGE' }] });
  await t.rejects(model.tune(mixed.slice(0, 1), words, { truth, onError: 'skip' }), {
    message: /none of the 1 pictures/,
  });
  await t.rejects(model.tune(images, words), { code: 'E_OPTION', message: /naclip defines no rule.*--truth/ });
  await t.rejects(model.tune(images, words, { what: 'search' }), { code: 'E_OPTION', message: /no search/ });
  await t.rejects(model.tune([], words), { code: 'E_USAGE' });
  for (const wrong of [
    { grid: [0.5, 0.2] },
    { limit: 0 },
    { what: 'all' },
    { thruth: 1 },
    { grid: [] },
    { parallel: 0 },
  ])
    await t.rejects(
      model.tune(images, words, { truth, ...wrong } as never),
      { code: 'E_OPTION' },
      JSON.stringify(wrong),
    );
  const stop = AbortSignal.abort(new Error('enough'));
  await t.rejects(model.tune(images, words, { truth, signal: stop }), { message: 'enough' });
});

/** A model whose system says how it is tuned. */
function withTuning(model: Model, tuning: SystemTuning): void {
  (model.dense.parts as { module: unknown }).module = { ...model.dense.parts.module, tuning };
}

t.test('rules that a system defines', async (t) => {
  await using model = await open('tiny', { device: 'cpu' });
  const { images } = await scenes(3);
  const asked: unknown[] = [];
  const groups: SearchGroup[] = [
    { name: 'low', grid: { sigma: [1, 2], logitScale: [10, 20] } },
    { name: 'high', grid: { sigma: [8] } },
  ];
  withTuning(model, {
    background: {
      source: 'a paper',
      choose: async (pictures, grid) => {
        for await (const { width, height, labels, score } of pictures)
          asked.push([width, height, labels.length, score.length]);
        return { value: grid[1] as number, curve: grid.map((value) => ({ value, merit: -value })) };
      },
    },
    search: {
      source: 'another',
      evaluations: 3,
      groups: () => groups,
      rewarder: async () => ({ reward: async ({ width }, options) => width * (options.sigma as number) }),
    },
  });
  const found = await model.tune(images, words, { grid: [0.1, 0.4] });
  t.match(found, { rule: 'unlabelled', source: 'a paper', tuning: { probThreshold: 0.4 } });
  t.same(
    asked,
    Array.from({ length: 3 }, () => [48, 40, 48 * 40, 48 * 40]),
  );
  const searched = await model.tune(images, words, { what: 'search' });
  t.same(await model.tune(images, words, { what: 'search', parallel: 2 }), searched);
  t.match(searched, { rule: 'reward', tuning: { sigma: 8 }, search: { best: { group: 'high', total: 3 * 48 * 8 } } });
});

t.test('search', async (t) => {
  const folder = await temporary(t);
  const journal = join(folder, 'search.jsonl');
  const groups = [
    { name: 'a', grid: { layer: [1, 2, 3], head: [0, 1] } },
    { name: 'b', grid: { layer: [4, 5, 6], head: [0, 1] } },
  ];
  let calls = 0;
  const total = async ({ layer, head }: Readonly<Record<string, unknown>>): Promise<number> => {
    calls++;
    return (layer as number) === 2 || (layer as number) === 5 ? 10 : (head as number);
  };
  const request = { groups, evaluations: 6, seed: 1, key: 'k' };
  const all = await searchOptions(request, total);
  t.equal(new Set(all.evaluations.map(({ options }) => JSON.stringify(options))).size, 12, 'without replacement');
  t.match(all.best, { group: 'a', options: { layer: 2 }, total: 10 }, 'the first group wins among equals');
  const first = all.evaluations.find(({ options }) => options.layer === 2);
  t.same(all.best, first, 'the first sample wins among equals');
  t.same(await searchOptions({ ...request, parallel: 2 }, total), all);
  t.notSame((await searchOptions({ ...request, seed: 2 }, total)).evaluations, all.evaluations);
  let left = 5;
  const dying = async (options: Readonly<Record<string, unknown>>): Promise<number> => {
    if (left-- === 0) throw new Error('killed');
    return total(options);
  };
  await t.rejects(searchOptions({ ...request, journal }, dying), { message: 'killed' });
  await writeFile(journal, `${await readFile(journal, 'utf8')}{"group":"a","opt`);
  calls = 0;
  t.same(await searchOptions({ ...request, journal }, total), all, 'resumed');
  t.equal(calls, 7, 'what was measured is not measured again');
  await t.rejects(searchOptions({ ...request, key: 'other', journal }, total), {
    code: 'E_USAGE',
    message: /another search/,
  });
  await t.rejects(searchOptions({ ...request, groups: [] }, total), { code: 'E_OPTION' });
  await t.rejects(searchOptions({ ...request, groups: [{ name: 'x', grid: { a: [] } }] }, total), { code: 'E_OPTION' });
  await t.rejects(
    searchOptions(request, async () => Number.NaN),
    { code: 'E_NUMERIC' },
  );
});

t.test('what was found stays with the model', async (t) => {
  const folder = join(await temporary(t), 'copy');
  await cp(assetPath('models/tiny'), folder, { recursive: true });
  const result = { system: 'naclip', tuning: { probThreshold: 0.35 } };
  const file = await saveTuning(folder, result);
  t.equal(file, join(folder, 'wordmask.json'));
  t.same(JSON.parse(await readFile(file, 'utf8')).tuning, { probThreshold: 0.35 });
  t.ok(
    (await verifyFolder(folder)).every(({ status }) => status === 'ok'),
    'the listed hashes still hold',
  );
  await saveTuning(folder, { system: 'naclip', tuning: { sigma: 3 } });
  {
    await using model = await open(folder, { device: 'cpu' });
    t.match(model.dense.options(), { probThreshold: 0.35, sigma: 3, shortSide: 96 }, 'what was tuned before stays');
    await using other = await open(`maskclip:${folder}`, { device: 'cpu' });
    t.equal(other.dense.options().probThreshold, 0, 'a setting of one system is none of another');
  }
  await t.rejects(saveTuning(`maskclip:${folder}`, { ...result, system: 'maskclip' }), {
    code: 'E_OPTION',
    message: /is one of naclip/,
  });
  await t.rejects(saveTuning('tiny', result), { code: 'E_OPTION', message: /built into.*--set probThreshold=0\.35/ });
  await rm(file);
  await saveTuning(folder, result);
  t.same(JSON.parse(await readFile(file, 'utf8')), { format: 1, ...result }, 'made where there was none');
});

t.test('a checkpoint stays whole', async (t) => {
  const run = await temporary(t);
  const tiny = (name: string): Promise<Buffer> => readFile(assetPath(`models/tiny/${name}`));
  const names = ['config.json', 'model.safetensors', 'wordmask.json', 'vocab.json', 'merges.txt', 'tokenizer.json'];
  const files = await Promise.all(names.map(async (name) => [name, await tiny(name)] as const));
  const { folder } = await writeCheckpoint(run, 7, Object.fromEntries(files));
  await saveTuning(run, { system: 'naclip', tuning: { probThreshold: 0.2 } });
  const after = await verifyCheckpoint(folder);
  t.same(Object.keys(after.files).sort(), [...names].sort());
  await using model = await open(run, { device: 'cpu' });
  t.equal(model.dense.options().probThreshold, 0.2);
});
