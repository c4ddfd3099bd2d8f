/** Robustness to words, and published rows against what is on disk. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { drawScenes, splitSeeds } from '#lib/data/drawn-scenes/index.js';
import { evaluate } from '#lib/eval/evaluate.js';
import { semanticScores } from '#lib/eval/metrics/index.js';
import { robustnessMarkdown, robustnessSection } from '#lib/eval/report/index.js';
import { reproduce, verdictOf } from '#lib/eval/reproduce.js';
import { robustness } from '#lib/eval/robustness.js';
import { vocPalette } from '#lib/image/palette.js';
import { writePng } from '#lib/image/png.js';
import { open } from '#lib/pipelines/open.js';
import { classList } from '#lib/text/index.js';
import { WordmaskError } from '#lib/util/errors.js';
import { sceneSet } from '../helpers/eval.js';

t.setTimeout(300_000);

const model = await open('tiny', { device: 'cpu' });
t.teardown(() => model.dispose());

t.test('distractors are scored as no class, or as background', async (t) => {
  const dataset = sceneSet(3);
  const request = { model, tests: ['distractors'], distractorCounts: [5, 20], distractorList: 'ade150' } as const;
  const { robustness: found, report } = await robustness({ ...request, dataset });
  t.equal(found.base.mIoU, report.metrics.mIoU);
  t.same(
    found.conditions.map(({ name, labels }) => [name, labels]),
    [
      ['5 words of ade150', 39],
      ['20 words of ade150', 54],
    ],
  );
  const again = await robustness({ ...request, dataset });
  t.same(again.robustness, found, 'the same words every time');
  t.notSame((await robustness({ ...request, dataset, seed: 1 })).robustness.conditions, found.conditions);
  const plain = await evaluate({ model, dataset });
  t.equal(plain.protocolHash, found.base.protocolHash);
  t.same(
    found.conditions.map(({ difference }) => difference),
    found.conditions.map(({ mIoU }) => (mIoU as number) - (plain.metrics.mIoU as number)),
  );
  // By hand, with every word of a small list: once without, once with a background, which is not asked for.
  const own = new Set(
    dataset.classes.flatMap(({ name, prompts }) => [name, ...prompts]).map((name) => name.toLowerCase()),
  );
  const extra = classList('camvid').filter(({ name }) => !own.has(name.toLowerCase()));
  for (const background of [-1, 0]) {
    const classes = dataset.classes.map((entry, c) =>
      c === background ? { ...entry, prompts: [], background: true } : entry,
    );
    const all = await evaluate({ model, dataset: { ...dataset, classes: [...classes, ...extra] } });
    const [count, columns] = [classes.length, all.confusion.shape[1]];
    const folded = new Float64Array(count * (count + 1));
    all.confusion.cells.forEach((cell, i) => {
      const [row, column] = [Math.floor(cell / columns), cell % columns];
      const to = column < count ? column : background >= 0 && column < columns - 1 ? background : count;
      folded[row * (count + 1) + to] = (folded[row * (count + 1) + to] as number) + (all.confusion.counts[i] as number);
    });
    const { mIoU, pixelAccuracy } = semanticScores({ data: folded, shape: [count, count + 1] });
    const asked = { ...request, dataset: { ...dataset, classes }, distractorList: 'camvid', distractorCounts: [999] };
    const [condition] = (await robustness(asked)).robustness.conditions;
    t.match(condition, { mIoU, pixelAccuracy, labels: count + extra.length, name: `${extra.length} words of camvid` });
  }
});

t.test('synonyms, names, templates', async (t) => {
  const dataset = sceneSet(2);
  const { robustness: found } = await robustness({
    ...{ model, dataset, draws: 2, templates: ['identity', 'simple'] },
    tests: ['templates', 'synonyms', 'names'],
  });
  t.same(
    found.conditions.map(({ test }) => test),
    ['synonyms', 'synonyms', 'synonyms', 'templates', 'templates'],
  );
  t.same(found.left, [{ test: 'names', why: 'there is one list of names for drawn-scenes' }]);
  const hashes = [found.base, ...found.conditions].map(({ protocolHash }) => protocolHash);
  t.equal(new Set(hashes).size, hashes.length, 'every condition is a protocol of its own');
  const own = classList('drawn-scenes').map(({ prompts }) => prompts);
  const same = await robustness({ model, dataset, tests: ['synonyms'], synonyms: own, draws: 1 });
  t.equal(same.robustness.conditions[1]?.difference, 0, 'no other words, no difference');
  const section = robustnessSection({ ...found, conditions: [{ ...found.base, test: 'names', name: '<b>' }] });
  t.match(section.html, '&lt;b&gt;');
  t.match(robustnessMarkdown(found), /\| synonyms \| all words of each class/);
  for (const wrong of [
    { tests: ['all'] },
    { distractorCounts: [0] },
    { draws: 0 },
    { templates: ['x'] },
    { distractorList: 'ade' },
  ])
    await t.rejects(robustness({ model, dataset, ...wrong } as never), { code: 'E_OPTION' }, JSON.stringify(wrong));
  await t.rejects(robustness({ model, dataset, tests: ['synonyms'], synonyms: [['a']] }), { code: 'E_VOCAB' });
});

/** Two scenes in VOC's folders; the classes mean nothing. */
async function vocRoot(root: string): Promise<void> {
  const base = join(root, 'VOCdevkit', 'VOC2012');
  const size = { width: 48, height: 40 };
  for (const folder of ['JPEGImages', 'SegmentationClass', join('ImageSets', 'Segmentation')])
    await mkdir(join(base, folder), { recursive: true });
  const drawn = await drawScenes(splitSeeds('test', 2), { size });
  const pixels = size.width * size.height;
  for (const i of [0, 1]) {
    const image = drawn.images.subarray(3 * i * pixels, 3 * (i + 1) * pixels);
    const labels = drawn.labels.subarray(i * pixels, (i + 1) * pixels).map((label) => label % 21);
    await writeFile(join(base, 'JPEGImages', `2007_00${i}.jpg`), await writePng({ ...size, data: image, kind: 'rgb' }));
    const palette = vocPalette();
    const png = await writePng({ ...size, data: labels, kind: 'palette', palette });
    await writeFile(join(base, 'SegmentationClass', `2007_00${i}.png`), png);
  }
  await writeFile(join(base, 'ImageSets', 'Segmentation', 'val.txt'), '2007_000\n2007_001\n');
}

t.test('published rows', async (t) => {
  const root = t.testdir();
  const missing = async (name: string): Promise<never> => {
    throw new WordmaskError('E_MODEL_NOT_FOUND', `there is no ${name}`);
  };
  const opened: string[] = [];
  const openTiny = async (name: string) => {
    opened.push(name);
    return open(`${name.split(':')[0]}:tiny`, { device: 'cpu' });
  };
  const nothing = await reproduce({ systems: ['naclip', 'mgca'], locate: missing, open: openTiny });
  t.ok(nothing.length >= 24);
  t.ok(nothing.every(({ status, verdict, measured }) => status === 'missing' && verdict === null && measured === null));
  const voc = nothing.find(({ id, dataset }) => id === 'naclip-b16-pamr' && dataset === 'voc21');
  t.equal(Math.round(10_000 * (voc?.published as number)), 6407);
  t.match(voc, { trust: 'read', protocol: 'published', paper: /2404\.08181/ });
  t.match(voc?.missing, [
    /wordmask models pull openai\/clip-vit-base-patch16/,
    /--root DIR.*JPEGImages.*1449 pictures/,
  ]);
  t.match(nothing.find(({ system }) => system === 'mgca')?.missing[0], /not published.*-m mgca:/);
  t.notOk(
    nothing.some(({ system }) => system === 'san'),
    'only systems that are here',
  );

  await vocRoot(root);
  const out = join(root, 'reports');
  const request = {
    ...{ systems: ['naclip', 'mgca'], locate: async () => undefined, open: openTiny, root, out, partial: true },
    ...{ models: { naclip: 'naclip:./tiny' }, rows: ['naclip'], datasets: ['voc20', 'pc59'] },
  };
  const ready = await reproduce({ ...request, dryRun: true });
  t.same(
    ready.map(({ dataset, status }) => [dataset, status]),
    [
      ['voc20', 'ready'],
      ['pc59', 'missing'],
      ['voc20', 'ready'],
      ['pc59', 'missing'],
    ],
  );
  t.same(ready[0]?.missing, []);
  t.match(ready[1]?.missing[0], /pc59 is not below .*; it needs VOCdevkit\/VOC2010/);
  t.same(opened, [], 'nothing was opened');
  const done = await reproduce(request);
  t.same(opened, ['naclip:./tiny'], 'opened once');
  const [first] = done;
  t.match(first, { status: 'measured', verdict: null });
  t.equal(first?.difference, (first?.measured as number) - 83.03 / 100);
  t.match(first?.caveats, [/other weights/, /2 of 1449 pictures/]);
  t.ok((await readdir(out)).includes('naclip-b16-pamr.voc20.json'));
  const seen: number[] = [];
  const again = await reproduce({ ...request, onProgress: ({ done: n }) => seen.push(n) });
  t.same(again, done);
  t.same(seen, [], 'what is in the folder is not measured again');
  const twice = await reproduce({
    ...{ ...request, systems: ['clearclip'], models: { clearclip: 'clearclip:./tiny' } },
    ...{ rows: ['clearclip-b16', 'clearclip-openai-b'], datasets: ['voc20'] },
  });
  t.equal(twice.length, 2);
  t.equal(twice[0]?.report, twice[1]?.report, 'rows with the same settings share a report');
  for (const { report = '' } of [...done, ...twice].filter(({ status }) => status === 'measured'))
    t.match(JSON.parse(await readFile(report, 'utf8')), { format: 'wordmask-eval/1' });
  await t.rejects(reproduce({ ...request, rows: ['naclp'] }), { code: 'E_OPTION', message: /did you mean "naclip"/ });
  await t.rejects(reproduce({ ...request, datasets: ['vox'] }), { code: 'E_OPTION' });
});

t.test('verdicts', async (t) => {
  const points = [0, 0.19, -0.19, 0.21, -0.99, 1.01, -30];
  const expected = ['reproduced', 'reproduced', 'reproduced', 'close', 'close', 'differs', 'differs'];
  t.same(
    points.map((p) => verdictOf(p / 100)),
    expected,
  );
});
