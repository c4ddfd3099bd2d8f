/** `explain`: maps of words are the values that `segment` and `trace` compute, whatever the kind of system. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Explanation, open, registerSystem, Vocabulary } from '#lib/entry/index.js';
import { readPng } from '#lib/image/png.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { parseNpy } from '#lib/weights/npy.js';
import { openSafetensors } from '#lib/weights/safetensors.js';
import { miniFolder } from '../helpers/fixture.js';
import { waves } from '../helpers/pictures.js';
import { ToyMatching, toySystem } from '../helpers/toy-matching.js';
import { toyPredictor } from '../helpers/toy-predictor.js';

t.setTimeout(120_000);

const small = { shortSide: 64, crop: 32, stride: 16, refine: 'none' } as const;
const picture = waves(47, 60);
const labels = ['cat', 'dog', 'grass'];
const largest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] as number))), a.length - b.length);

t.test('a word alone: its similarity, and nothing else', async (t) => {
  await using model = await open(`naclip:${miniFolder()}`);
  const alone = await model.explain(picture, 'cat', small);
  t.match(alone, { label: 'cat', prompts: ['cat'], values: 'similarity', width: 47, height: 60, shape: [60, 47] });
  t.equal(alone.against, undefined);
  const traced = await model.trace(picture, ['cat'], ['logits_original_size'], small);
  t.same(alone.data, traced.logits_original_size?.data, 'the logits of the read-out, bit for bit');
  t.same([alone.low, alone.high], [Math.min(...alone.data), Math.max(...alone.data)]);
  t.equal(alone.data[alone.peak.y * 47 + alone.peak.x], alone.high);
  const [, second] = await model.explain(picture, ['dog', 'cat'], small);
  t.same(second?.data, alone.data, 'no word changes the map of another');
  t.equal(second?.provenance.vocabulary, alone.provenance.vocabulary);
  const both = await model.explain(picture, 'dog|cat', small);
  const dog = await model.explain(picture, 'dog', small);
  t.same(both.prompts, ['dog', 'cat']);
  t.ok(
    both.data.every((value, i) => value === Math.max(dog.data[i] as number, alone.data[i] as number)),
    'of several prompts the best',
  );
  t.same((await model.explain(picture, 'cat', { ...small, tile: 7 })).data, alone.data, 'bands change no bit');
  const refined = await model.explain(picture, 'cat', { ...small, refine: 'pamr' });
  t.not(largest(refined.data, alone.data), 0, 'a refiner that is named is applied');
  const { refine: _, ...unnamed } = small;
  t.same((await model.explain(picture, 'cat', unnamed)).data, alone.data, 'and none else, though the system has one');
  using features = await model.encode(picture, small);
  t.same((await model.explain(features, 'cat', small)).data, alone.data, 'of features as of the picture');
});

t.test('refinements between words leave a word alone as it is', async (t) => {
  await using model = await open(`maskclip:${miniFolder()}`);
  const smoothed = { ...small, keySmoothing: 0.5, promptDenoising: 0.1 };
  const map = await model.explain(picture, 'cat', smoothed);
  t.same(map.data, (await model.explain(picture, 'cat', small)).data, 'the same cosines');
  t.ok(map.low < map.high && map.warnings.length === 0);
});

t.test('a word among others: its probability', async (t) => {
  for (const system of ['naclip', 'maskclip', 'clip']) {
    await using model = await open(`${system}:${miniFolder()}`);
    const vocabulary = Vocabulary.from(['cat', 'dog|puppy', 'grass'], { background: { mode: 'prompts' } });
    const maps = await model.explain(picture, ['grass', 1, 'cat'], { ...small, vocabulary });
    t.same(
      maps.map(({ label, values, against }) => [label, values, against === vocabulary]),
      [
        ['grass', 'probability', true],
        ['dog', 'probability', true],
        ['cat', 'probability', true],
      ],
    );
    const result = await model.segment(picture, vocabulary, { ...small, outputs: ['score'] });
    const won = [...result.labels.entries()].filter(([, winner]) => winner < 3);
    const wrong = won.filter(([i, winner]) => maps[[2, 1, 0].indexOf(winner)]?.data[i] !== result.score?.data[i]);
    t.ok(won.length > 0 && wrong.length === 0, `${system}: the score of segment where the label wins`);
  }
});

t.test('CRF among others, refused alone', async (t) => {
  await using model = await open(`naclip:${miniFolder()}`);
  const crf: SegmentOptions = { ...small, refine: { name: 'crf', iterations: 2 } };
  const [cat, dog] = await model.explain(picture, ['cat', 'dog'], { ...crf, vocabulary: ['cat', 'dog'] });
  t.ok(cat?.data.every((value, i) => Math.abs(value + (dog?.data[i] as number) - 1) < 1e-5));
  await t.rejects(model.explain(picture, 'cat', crf), { code: 'E_OPTION' });
});

t.test('what cannot be asked', async (t) => {
  await using model = await open(`naclip:${miniFolder()}`);
  const ask = (label: unknown, options: object = {}) =>
    model.explain(picture, label as string, options as SegmentOptions);
  for (const [label, options, code] of [
    ['', {}, 'E_LABEL'],
    ['  ', {}, 'E_LABEL'],
    [[], {}, 'E_LABEL'],
    [3, {}, 'E_LABEL'],
    [null, {}, 'E_LABEL'],
    [['cat', 'cat'], { vocabulary: labels }, 'E_LABEL'],
    ['cow', { vocabulary: labels }, 'E_OPTION'],
    [7, { vocabulary: labels }, 'E_LABEL'],
    [{ name: 'cat' }, { vocabulary: labels }, 'E_LABEL'],
    [Vocabulary.from(labels), { vocabulary: labels }, 'E_USAGE'],
    ['cat', 'x', 'E_USAGE'],
    ['cat', { outputs: ['score'] }, 'E_OPTION'],
    ['cat', { threshold: 0.5 }, 'E_OPTION'],
    ['cat', { minArea: 3 }, 'E_OPTION'],
    ['cat', { labels: ['cat'] }, 'E_OPTION'],
    ['cat', { vocabular: labels }, 'E_OPTION'],
    ['cat', { timeoutMs: 0.001 }, 'E_TIMEOUT'],
  ] as const)
    await t.rejects(ask(label, options as object), { code }, `${JSON.stringify(label)} ${JSON.stringify(options)}`);
  const reason = new Error('enough');
  await t.rejects(ask('cat', { signal: AbortSignal.abort(reason) }), reason);
  t.equal((await ask('cat', small)).label, 'cat', 'the next call works');
  registerSystem(toyPredictor);
  await using mute = await open(`toy-predictor:${miniFolder()}`);
  await t.rejects(mute.explain(picture, 'red'), { code: 'E_OPTION', message: /cannot explain/ });
  await model.dispose();
  await t.rejects(ask('cat'), { code: 'E_DISPOSED' });
});

/** Left half red, right half green, with a blue stripe below. */
const halves = {
  data: Uint8Array.from({ length: 48 * 48 * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % 48, Math.floor(i / 144), i % 3];
    return c === (y >= 36 ? 2 : x < 24 ? 0 : 1) ? 250 : 5;
  }),
  width: 48,
  height: 48,
  channels: 3,
} as const;
const meanOver = (map: Explanation, inside: (x: number, y: number) => boolean): number => {
  const picked = Array.from(map.data).filter((_, i) => inside(i % 48, Math.floor(i / 48)));
  return picked.reduce((a, b) => a + b, 0) / picked.length;
};

t.test('PnP-OVSS: the blurred map of the word', async (t) => {
  const matching = new ToyMatching();
  registerSystem(toySystem('pnp-explain', matching));
  await using model = await open(`pnp-explain:${miniFolder()}`);
  const options = { imageSize: 32, layer: 1, head: 0, passes: 2 };
  const red = await model.explain(halves, 'red', options);
  t.match(red, { label: 'red', values: 'salience', low: 0, high: 1 });
  t.ok(meanOver(red, (x, y) => x < 20 && y < 32) > 2 * meanOver(red, (x, y) => x > 28 && y < 32), 'red is left');
  t.ok(
    matching.asked.every((caption) => !/green|blue/.test(caption)),
    'alone in its caption',
  );
  const traced = await model.trace(halves, ['red'], ['blurred'], { ...options, background: 'none' });
  t.same(red.data, traced.blurred?.data, 'what trace calls blurred');
  const [blue, again] = await model.explain(halves, ['blue', 'red'], options);
  t.same(again?.data, red.data);
  t.ok((blue?.peak.y ?? 0) > 24, 'blue is below');
  const listed = await model.explain(halves, 'red', {
    ...options,
    classProvider: 'json',
    classes: ['green'],
    vocabulary: ['red', 'green', 'blue'],
  });
  t.match(listed, { label: 'red', values: 'salience' }, 'looked for though the list does not name it');
  const refined = await model.explain(halves, 'red', { ...options, refine: { name: 'crf', iterations: 1 } });
  t.match(refined, { values: 'probability' });
  t.ok(refined.data.every((value) => value >= 0 && value <= 1));
});

t.test('CLIP as RNN: the proposal of the last round', async (t) => {
  await using model = await open(`clip-as-rnn:${miniFolder()}`);
  const options = { visualPromptType: ['circle'] };
  const cat = await model.explain(halves, 'cat', options);
  t.match(cat, { label: 'cat', values: 'salience', shape: [48, 48] });
  const { high, warnings } = cat;
  t.ok(high > 0 && warnings.length === 0, 'a word alone stays in the loop');
  const traced = await model.trace(halves, ['cat'], ['round1.proposals'], options);
  t.same(cat.data, traced['round1.proposals']?.data);
  const refined = await model.explain(halves, 'cat', { ...options, refine: 'crf' });
  t.match(refined, { values: 'probability' });
});

t.test('files', async (t) => {
  const folder = t.testdir();
  await using model = await open(`naclip:${miniFolder()}`);
  const map = await model.explain(picture, 'cat', small);
  const save = (name: string, options = {}) => map.save(join(folder, name), options);
  const read = (path: string) => readPng(readFileSync(path));
  const overlay = await read(await save('a.png'));
  t.ok(overlay.width >= 47 && overlay.height > 60 && overlay.kind === 'rgb', 'a strip below the picture');
  const plain = await read(await save('b', { format: 'overlay', legend: false, alpha: 0 }));
  t.same(Buffer.from(plain.data.buffer, 0, plain.data.length), Buffer.from(picture.data), 'without weight the picture');
  const eight = await read(await save('c.png', { format: 'map' }));
  t.match(eight, { kind: 'grey', bitDepth: 8, width: 47, height: 60 });
  t.same([Math.min(...eight.data), Math.max(...eight.data)], [0, 255]);
  const provenance = JSON.parse(eight.text.find(({ keyword }) => keyword === 'wordmask')?.text ?? '{}');
  t.match(provenance, { system: 'naclip', explain: { label: 'cat', low: map.low, high: map.high } });
  const sixteen = await read(await save('d.png', { format: 'map', bits: 16, range: [-1, 1] }));
  t.equal(sixteen.bitDepth, 16);
  t.ok(map.data.every((value, i) => Math.abs((sixteen.data[i] as number) / 32767.5 - 1 - value) < 1e-4));
  const npy = parseNpy(readFileSync(await save('e.npy')), 'e');
  t.same([npy.shape, npy.data], [[60, 47], map.data]);
  const file = await openSafetensors(await save('f.safetensors'));
  t.same((await file.readArray('map')).data, map.data);
  await file.close();
  t.notOk('data' in map.toJSON());
  for (const [name, options] of [
    ['g.jpg', {}],
    ['g.png', { format: 'maps' }],
    ['g.png', { alpha: 2 }],
    ['g.png', { format: 'map', bits: 12 }],
    ['g.png', { range: [1, 1] }],
  ] as const)
    await t.rejects(save(name, options), { code: 'E_OPTION' }, JSON.stringify(options));
  await t.rejects(map.save(''), { code: 'E_USAGE' });
});
