/** Opening and asking a model by the package's own name: the systems' reference steps (data/systems), and the whole face with the small model. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Mask, type Model, open, plan, Segmentation, Vocabulary, WordmaskError } from 'wordmask';
import { formatNames, loadLabels } from 'wordmask/formats';
import { setThreads } from 'wordmask/train';
import { clipTinyFolder, data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { miniFolder, miniScene } from '../helpers/fixture.js';
import { compare, labelsOf, optionsOf } from '../helpers/system-cases.js';

const systems = ['clip', 'maskclip', 'sclip', 'clearclip', 'naclip'];
const words = ['cat', 'dog', 'grass', 'the sky|sky'];
const small = { size: 64, window: 32, stride: 16 };

for (const system of ['naclip', 'sclip']) {
  t.test(`${system}: every published step`, needsData, async (t) => {
    const folder = data('systems', system, 'clip-tiny-slide');
    const note = JSON.parse(await readFile(join(folder, 'note.json'), 'utf8'));
    const expected = await loadAll(join(folder, 'expected.safetensors'));
    await using model = await open(`${system}:${await clipTinyFolder()}`, { device: 'cpu', dtype: 'fp32' });
    const vocabulary = await model.vocabulary(labelsOf(note.classes), { templates: 'clip80' });
    const options = optionsOf(note);
    const found = await model.trace(join(folder, 'image.png'), vocabulary, [...expected.keys()], options);
    for (const [name, want] of expected) compare(t, name, found[name], want, name.startsWith('label_map') ? 0 : 1e-4);
    const result = await model.segment(join(folder, 'image.png'), vocabulary, options);
    const map = expected.get('label_map') as Loaded | undefined;
    // The method's own map says 0 for background; labels index the vocabulary, where class 0 is not marked as background.
    const nothing = Array.from(result.labels, (label) => (label === 255 ? 0 : label));
    if (map) t.equal(maxError(nothing, map.data), 0, 'segment gives the traced labels');
  });
}

function checkResult(t: Test, result: Segmentation): void {
  t.same([result.width, result.height, result.labels.length], [48, 40, 48 * 40]);
  t.ok(result.labels.every((label) => label < words.length || label === 255));
  t.ok(result.segments.length > 0);
  for (const { id, label, area, mask, score } of result.segments) {
    t.same([id, mask instanceof Mask, mask.area], [label + 1, true, area]);
    t.equal(Array.from(result.labels).filter((x) => x === label).length, area);
    t.ok((score as number) > 0 && (score as number) <= 1);
  }
}

for (const system of systems) {
  t.test(`${system}: a picture, the same on every road`, async (t) => {
    await using model = await open(`${system}:${miniFolder()}`);
    t.same(
      [model.info.system, model.info.device, model.info.dtype, model.info.separable],
      [system, 'cpu', 'fp32', true],
    );
    const vocabulary = await model.vocabulary(words, { templates: 'photo' });
    const result = await model.segment(miniScene, vocabulary, { ...small, outputs: ['score'] });
    checkResult(t, result);
    using features = await model.encode(miniScene, small);
    const kept = await model.segment(features, vocabulary, { ...small, outputs: ['score'] });
    t.same([kept.labels, kept.score?.data], [result.labels, result.score?.data], 'from kept features');
    for await (const item of model.stream([miniScene], vocabulary, small))
      t.same(item.ok && item.value.labels, result.labels, 'from a stream');
    setThreads(1);
    t.same((await model.segment(miniScene, vocabulary, small)).labels, result.labels, 'with one thread');
    setThreads(2);
    const larger = await model.vocabulary([...words, 'photo'], { templates: 'photo' });
    const subset = await model.segment(features, larger.subset(['cat', 'dog', 'grass', 'the sky']), small);
    t.same(subset.labels, result.labels, 'from a part of a larger vocabulary');
  });
}

t.test('half precision stays close', async (t) => {
  const certain = async (dtype: string) => {
    await using model = await open(miniFolder(), { dtype });
    return (await model.segment(miniScene, words, { ...small, outputs: ['score'] })).score?.data as Float32Array;
  };
  const [full, half] = [await certain('fp32'), await certain('bf16')];
  const mean = full.reduce((sum, x, i) => sum + Math.abs(x - (half[i] as number)), 0) / full.length;
  t.ok(mean < 0.05, `mean difference of scores ${mean.toExponential(1)}`);
});

t.test('outputs, refiners, formats', async (t) => {
  await using model = await open(miniFolder());
  const vocabulary = await model.vocabulary(words);
  const all = await model.segment(miniScene, vocabulary, {
    ...small,
    outputs: ['score', 'margin', 'entropy', 'topk'],
    k: 2,
  });
  t.same(
    [all.score?.shape, all.margin?.shape, all.entropy?.shape, all.topk?.shape],
    [
      [40, 48],
      [40, 48],
      [40, 48],
      [2, 40, 48],
    ],
  );
  const value = (plane: { data: ArrayLike<number> } | undefined, i: number) => plane?.data[i] as number;
  for (const pixel of [0, 777, 48 * 40 - 1]) {
    t.equal(value(all.topk, pixel), all.labels[pixel]);
    t.ok(Math.abs(value(all.topkScores, pixel) - value(all.score, pixel)) < 1e-6);
    t.ok(
      Math.abs(value(all.score, pixel) - value(all.topkScores, 48 * 40 + pixel) - value(all.margin, pixel)) < 1e-6,
      'lead over the second',
    );
    t.ok(value(all.entropy, pixel) >= 0 && value(all.entropy, pixel) <= Math.log(5) + 1e-6, 'over five prompts');
  }
  for (const refine of ['pamr', 'crf'] as const)
    checkResult(t, await model.segment(miniScene, vocabulary, { ...small, refine, outputs: ['score'] }));
  const folder = t.testdir();
  for (const format of ['png', 'voc', 'ade', 'npy']) {
    const [file] = await all.save(join(folder, `mask-${format}.${format === 'npy' ? 'npy' : 'png'}`), { format });
    t.same(
      Array.from((await loadLabels(file as string, { format })).labels),
      Array.from(all.labels),
      `${format}: read back`,
    );
  }
  for (const format of formatNames) t.ok((await all.encode(format)).length > 0, `${format}: written`);
  t.equal(JSON.parse(JSON.stringify(all)).segments.length, all.segments.length);
});

t.test('plans, vocabularies, errors', async (t) => {
  const model: Model = await open(`sclip:${miniFolder()}`, { memory: '1GiB' });
  const vocabulary = await model.vocabulary(words, {
    templates: 'clip7',
    background: { mode: 'threshold', value: 0.3 },
  });
  const planned = model.plan(48, 40, vocabulary, small);
  t.same(plan(model, 48, 40, vocabulary, small), planned);
  t.ok(planned.fits && planned.tiles > 1 && planned.deviceBytes > 0 && planned.hostBytes > 48 * 40);
  const file = join(t.testdir(), 'words.json');
  await vocabulary.save(file);
  const loaded = await Vocabulary.load(file);
  t.equal(loaded.hash, vocabulary.hash);
  t.same(
    (await model.segment(miniScene, loaded, small)).labels,
    (await model.segment(miniScene, vocabulary, small)).labels,
    'a vocabulary from a file',
  );
  t.ok(
    (await model.segment(miniScene, vocabulary, { ...small, threshold: 1 })).labels.every((label) => label === 255),
    'nothing is certain',
  );
  const failures: [string, () => Promise<unknown>][] = [
    ['E_OPTION', () => open(miniFolder(), { devise: 'cpu' } as never)],
    ['E_DEVICE', () => open(miniFolder(), { device: 'cuda' })],
    ['E_MODEL_NOT_FOUND', () => open('./nowhere')],
    ['E_MODEL_ID', () => open('nosystem:./nowhere')],
    ['E_OPTION', () => model.segment(miniScene, vocabulary, { refin: 'crf' })],
    ['E_OPTION', () => model.trace(miniScene, vocabulary, ['nothing'])],
    ['E_LABEL', () => model.vocabulary(['cat', ''])],
    ['E_VOCAB', () => model.vocabulary([])],
    ['E_VOCAB', () => Vocabulary.load(miniScene)],
  ];
  for (const [code, fail] of failures) {
    const error = await fail().then(
      () => undefined,
      (cause: unknown) => cause,
    );
    t.ok(error instanceof WordmaskError, `${code}: a WordmaskError`);
    t.equal((error as WordmaskError).code, code, (error as WordmaskError).message);
  }
  const reason = new Error('changed my mind');
  await t.rejects(model.segment(miniScene, vocabulary, { signal: AbortSignal.abort(reason) }), reason);
  const running = model.segment(miniScene, vocabulary, small);
  await model.dispose();
  t.ok((await running) instanceof Segmentation, 'dispose waits for running calls');
  await t.rejects(model.segment(miniScene, vocabulary), { code: 'E_DISPOSED' });
});
