/** PnP-OVSS without weights: captions, class providers, Salience DropOut, maps, warnings, what is refused. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { gaussianBlur, Tensor } from '#lib/engine/index.js';
import { registerSystem } from '#lib/entry/index.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import { crfMarginals } from '#lib/post/refine-shares.js';
import { dropCount, highestCells } from '#lib/systems/pnp-ovss/drop.js';
import { applyThreshold, channelShares, classMaps, scaleChannels } from '#lib/systems/pnp-ovss/maps.js';
import { defaults } from '#lib/systems/pnp-ovss/options.js';
import { ToyMatching, toySystem } from '../helpers/toy-matching.js';

t.setTimeout(120_000);

const mini = join(import.meta.dirname, '..', '..', '..', '..', 'test', 'fixtures', 'clip-mini');
let systems = 0;

/** PnP-OVSS over a matching model of colours, with small settings. */
async function openToy(model = new ToyMatching(), encoders: Record<string, string> = {}, together = 1): Promise<Model> {
  const name = `pnp-toy-${systems++}`;
  registerSystem(toySystem(name, model, together));
  return open(`${name}:${mini}`, { device: 'cpu', encoders });
}
const small = { imageSize: 32, layer: 1, head: 0, passes: 1, drop: { kind: 'topk', n: 4 }, sigma: 0 } as const;

/** Left third red, middle green, right blue, with a grey border. */
function flag(width = 48, height = 32) {
  const bytes = new Uint8Array(width * height * 3).fill(128);
  for (let y = 8; y < height - 8; y++)
    for (let x = 8; x < width - 8; x++) {
      const colour = Math.floor((3 * x) / width);
      for (let c = 0; c < 3; c++) bytes[(y * width + x) * 3 + c] = c === colour ? 255 : 0;
    }
  return { data: bytes, width, height, channels: 3 as const };
}
const at = (labels: ArrayLike<number>, x: number, y: number, width = 48): number => labels[y * width + x] as number;

t.test('a picture of colours', async (t) => {
  const toy = new ToyMatching();
  await using model = await openToy(toy);
  t.match(model.info, { separable: false, dtype: 'fp32' });
  t.ok(model.info.traces.includes('cross_attention.1') && model.info.traces.includes('label_map'));
  const options = { ...small, crf: false };
  const words = ['red', 'green', 'blue'];
  const plain = await model.segment(flag(), words, { ...options, outputs: ['score', 'probabilities'] });
  t.same(
    [12, 24, 36].map((x) => at(plain.labels, x, 16)),
    [0, 1, 2],
  );
  t.equal(at(plain.labels, 0, 0), 255, 'the border is nothing');
  t.equal(plain.probabilities?.shape[0], 3);
  const crf = await model.segment(flag(), words, small);
  t.same(
    [12, 24, 36].map((x) => at(crf.labels, x, 16)),
    [0, 1, 2],
  );
  t.same(crf.labels, (await model.segment(flag(), words, { ...small, refine: 'crf' })).labels);
  const pamr = await model.segment(flag(), words, { ...small, refine: { name: 'pamr', steps: 2, dilations: [1] } });
  t.same(
    [12, 24, 36].map((x) => at(pamr.labels, x, 16)),
    [0, 1, 2],
  );
  t.match(crf.timings, { text: Number, preprocess: Number, encode: Number, match: Number, refine: Number });

  const three = await model.segment(flag(), words, { ...options, backgroundChannel: 'fewer-than-3' });
  t.not(at(three.labels, 0, 0), 255, 'with three classes there is no channel for background');
  const two = await model.segment(flag(), words, {
    ...options,
    labels: ['blue', 'red'],
    backgroundChannel: 'fewer-than-3',
  });
  t.same(
    [12, 24, 36].map((x) => at(two.labels, x, 16)),
    [0, 255, 2],
  );
  t.match(toy.asked.at(-1), /./);
  const order = await model.trace(flag(), words, ['class_maps', 'input_ids'], { ...options, labels: ['blue', 'red'] });
  t.same(order.class_maps?.shape, [2, 8, 8]);
  const ids = toy.tokenize('A picture of blue red').ids;
  t.same(Array.from(order.input_ids?.data ?? []), ids, 'captions keep the order of the call');

  const none = await model.segment(flag(), words, { ...options, background: 'none' });
  t.not(at(none.labels, 0, 0), 255);
  const marked = await model.segment(flag(), [{ name: 'rest', prompts: [], background: true }, ...words], options);
  t.same(
    [0, 12, 24, 36].map((x) => at(marked.labels, x, 16)),
    [0, 1, 2, 3],
  );
  const hidden = await model.segment(flag(), words.slice(0, 2), {
    ...options,
    background: { mode: 'prompts', prompts: ['blue'] },
  });
  t.same(
    [12, 24, 36].map((x) => at(hidden.labels, x, 16)),
    [0, 1, 255],
    'background words',
  );
  const several = await model.segment(flag(), ['red|blue', 'green'], options);
  t.same(
    [12, 24, 36].map((x) => at(several.labels, x, 16)),
    [0, 1, 0],
    'prompts of one label',
  );
});

t.test('one class, one pass, no threshold, no CRF: the class wherever its map is not 0', async (t) => {
  await using model = await openToy();
  const names = ['resized', 'label_map'];
  const traced = await model.trace(flag(), ['green'], names, { ...small, threshold: 0, refine: 'none' });
  const resized = traced.resized?.data as Float32Array;
  t.same(
    Array.from(traced.label_map?.data ?? []),
    Array.from(resized, (x) => Number(x > 0)),
  );
  t.ok(resized.some((x) => x > 0) && resized.some((x) => x === 0));
});

t.test('Salience DropOut', async (t) => {
  const half = { kind: 'half' } as const;
  const taken = [0, 1, 2, 3].map((pass) => dropCount(half, pass, 16));
  t.same(taken, [8, 4, 2, 1]);
  t.same(highestCells(Float32Array.of(3, 1, 3, 2, 3), 3), [0, 2, 4], 'equals in the order of their index');
  t.same(highestCells(Float32Array.of(0, 0, 0), 2), [1, 2], 'the higher index wins');
  t.same(highestCells(Float32Array.of(1, 2), 0), []);
  await using model = await openToy();
  const names = ['dropped_patches', 'salience', 'salience_kept', 'patch_scores', 'normalised_input'];
  const options = { ...small, passes: 4 };
  const traced = await model.trace(flag(), ['red', 'blue'], names, options);
  const dropped = Array.from(traced.dropped_patches?.data ?? []);
  t.same(traced.dropped_patches?.shape, [4, 4]);
  t.equal(new Set(dropped).size, 16, 'no patch twice while others are seen');
  const scores = traced.patch_scores?.data as Float32Array;
  const kept = traced.salience_kept?.data as Float32Array;
  const rows = kept.length / 4 / 64;
  for (let pass = 1; pass < 4; pass++)
    for (const cell of dropped.slice(0, 4 * pass)) {
      t.equal(scores[64 * pass + cell], 0);
      for (let row = 0; row < rows; row++) t.equal(kept[(pass * rows + row) * 64 + cell], 0);
    }
  const pixels = traced.normalised_input?.data as Float32Array;
  const first = dropped[0] as number;
  const pixel = (pass: number) =>
    pixels[pass * 3 * 32 * 32 + Math.floor(first / 8) * 4 * 32 + (first % 8) * 4] as number;
  t.ok(pixel(0) !== 0 && pixel(1) === 0, 'blanked behind the normalisation');
  const black = await model.trace(flag(), ['red', 'blue'], ['normalised_input'], { ...options, blank: 'black' });
  const value = (black.normalised_input?.data ?? [])[3 * 32 * 32 + Math.floor(first / 8) * 4 * 32 + (first % 8) * 4];
  t.ok(Math.abs((value as number) + 0.48145466 / 0.26862954) < 1e-5, 'or in front of it');
  const raw = await model.trace(flag(), ['red'], ['normalised_input'], { ...options, adeNoNormalise: true, passes: 1 });
  t.ok(
    Array.from(raw.normalised_input?.data ?? []).every((x) => x >= 0 && x <= 1),
    'the quirk of ADE20K',
  );
});

t.test('maps', async (t) => {
  const spans = [
    { target: 0, begin: 3, end: 5 },
    { target: 1, begin: 5, end: 7 },
  ];
  const caption = { text: '', ids: [], pieces: [], spans };
  const rows = Float32Array.from({ length: 7 * 2 }, (_, i) => i);
  t.same([...classMaps([rows], [caption], 2, 2, defaults)], [7, 8, 11, 12]);
  t.same(
    [...classMaps([rows], [caption], 2, 2, { lastClassSum: true })],
    [7, 8, 22, 24],
    'the last class keeps its sum',
  );
  const joined = [spans[0], { target: 0, begin: 5, end: 7 }] as typeof spans;
  t.same([...classMaps([rows], [{ ...caption, spans: joined }], 1, 2, defaults)], [11, 12], 'best word');
  t.same([...classMaps([rows], [{ ...caption, spans: joined }], 1, 2, defaults, 'mean')], [9, 10], 'mean of words');
  const maps = Float32Array.of(1, 3, 2, 5, 5, 5);
  t.same([...applyThreshold(maps, 3, { threshold: 0.5, binarise: false })], [0, 1, 0.5, 0, 0, 0]);
  t.same([...maps], [0, 3, 2, 0, 0, 0], 'the threshold itself is kept; a constant map is empty');
  const ones = Float32Array.of(1, 3, 2);
  applyThreshold(ones, 3, { threshold: 0.5, binarise: true });
  t.same([...ones], [0, 1, 1]);
  const scaled = scaleChannels(Tensor.from(Float32Array.of(2, 4, 3, 1, 1, 1), [2, 1, 3]));
  t.same([...((await scaled.data()) as Float32Array)], [0, 1, 0.5, 0, 0, 0]);
  scaled.dispose();
  await using model = await openToy();
  // No pixel without a class: the published code divides 0 by 0 in the background channel.
  const full = {
    data: new Uint8Array(32 * 32 * 3).map((_, i) => (i % 3 === 0 ? 200 + (Math.floor(i / 3) % 32) : 0)),
    width: 32,
    height: 32,
    channels: 3 as const,
  };
  const options = { ...small, threshold: 0, crf: false };
  const usual = await model.segment(full, ['red', 'green'], options);
  const quirk = await model.segment(full, ['red', 'green'], { ...options, emptyChannelQuirk: true });
  t.ok(usual.labels.some((label) => label === 0));
  t.ok(
    quirk.labels.every((label) => label === 255),
    'everything is background',
  );
});

t.test('class providers', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-pnp-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await using model = await openToy(new ToyMatching(), { clip: mini });
  const words = ['red', 'green', 'blue'];
  const options = { ...small, crf: false } as const;
  const found = async (more: object): Promise<number[]> => {
    const result = await model.segment(flag(), words, { ...options, ...more });
    return [12, 24, 36].map((x) => at(result.labels, x, 16));
  };
  const json = (classes: unknown, more: object = {}) =>
    found({ classProvider: 'json', classes, imageId: 'a', ...more });
  t.same(await json({ a: [0, 2], b: [1] }), [0, 255, 2]);
  t.same(await json({ a: ['Blue'] }), [255, 255, 2], 'names');
  t.same(await json({ a: [] }), [255, 255, 255], 'no class present: all background');
  t.same(await json({ a: '[1: red, 3: blue], [90, 70]' }), [0, 255, 255], 'an answer, 70 is not above 70');
  t.same(await json({ a: '[2: green, 3: blue]' }), [255, 1, 2], 'without percentages');
  t.same(await json({ a: '["3: blue", "2: GREEN"], [71%, 99%]' }), [255, 1, 2]);
  t.same(await json({ a: '' }), [0, 255, 255], 'an empty answer is the first class');
  t.same(await json({ a: '[2: green], [10]' }), [0, 255, 255], 'as is an unsure one');
  t.same(await json([1]), [255, 1, 255], 'for every picture');
  t.same(await json({ 12: [1] }, { imageId: '000012' }), [255, 1, 255], 'zeros in front');
  t.same(await json({ a: [0, 1] }, { labels: ['green', 'blue'] }), [255, 1, 255], 'and what the call allows');
  const file = join(folder, 'classes.json');
  await writeFile(file, JSON.stringify({ a: [2] }));
  t.same(await json(file), [255, 255, 2], 'from a file');
  t.same(
    await found({ classProvider: 'oracle', classes: ['green'], caption: 'all' }),
    [255, 1, 255],
    'maps of the true classes alone',
  );
  t.same(await found({ classProvider: 'all' }), [0, 1, 2]);
  const chosen = await found({ classProvider: 'clip' });
  t.ok(
    chosen.some((label) => label !== 255),
    'at least the best class of a CLIP',
  );
  await t.rejects(json({ a: [3] }), { code: 'E_OPTION', message: /number 3.*0 to 2/ });
  await t.rejects(json({ a: ['gren'] }), { code: 'E_OPTION', message: /did you mean "green"/ });
  await t.rejects(json({ b: [1] }), { code: 'E_OPTION', message: /no entry for the picture "a"/ });
  await t.rejects(json({ a: [1] }, { imageId: null }), { code: 'E_OPTION', message: /imageId/ });
  await t.rejects(json(join(folder, 'nowhere.json')), { code: 'E_OPTION' });
  await writeFile(file.replace('classes', 'bad'), '{"a": {"b": 1}}');
  await t.rejects(json(file.replace('classes', 'bad')), { code: 'E_OPTION', message: /list of labels/ });
  await t.rejects(found({ classProvider: 'json' }), { code: 'E_OPTION', message: /needs the option classes/ });
  await using bare = await openToy();
  await t.rejects(bare.segment(flag(), words, { ...options, classProvider: 'clip' }), {
    code: 'E_OPTION',
    message: /encoders/,
  });
});

t.test('pictures together', async (t) => {
  const toy = new ToyMatching();
  await using model = await openToy(toy, {}, 4);
  await using alone = await openToy();
  const options = { ...small, passes: 2, crf: false } as const;
  const words = ['red', 'green', 'blue'];
  const pictures = [48, 60, 36, 48, 90, 51].map((width) => flag(width));
  const results = await Promise.all(pictures.map((picture) => model.segment(picture, words, options)));
  for (const [i, picture] of pictures.entries())
    t.same(results[i]?.labels, (await alone.segment(picture, words, options)).labels, `picture ${i}`);
  t.equal(toy.groups[0], 4, 'at most four');
  t.equal(
    toy.groups.reduce((a, b) => a + b, 0),
    12,
  );
  t.ok(toy.groups.length < 8, `groups of ${toy.groups.join(', ')}`);
  const mixed = [words, ['red'], words, ['green', 'blue'], ['blue']];
  const various = await Promise.all(mixed.map((labels) => model.segment(flag(), words, { ...options, labels })));
  for (const [i, labels] of mixed.entries())
    t.same(
      various[i]?.labels,
      (await alone.segment(flag(), words, { ...options, labels })).labels,
      'captions of other lengths',
    );
  const stop = new AbortController();
  const calls = pictures
    .slice(0, 4)
    .map((picture, i) => model.segment(picture, words, i === 1 ? { ...options, signal: stop.signal } : options));
  stop.abort(new Error('not needed'));
  const ends = await Promise.allSettled(calls);
  t.same(
    ends.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    'one leaves, the others go on',
  );
  const streamed: number[] = [];
  for await (const result of model.stream(pictures, words, options)) streamed.push(result.ok ? result.value.width : -1);
  t.same(streamed, [48, 60, 36, 48, 90, 51]);
  const failing = new ToyMatching();
  failing.crossAttentions = () => {
    throw new Error('broken');
  };
  await using broken = await openToy(failing, {}, 4);
  const failed = await Promise.allSettled(pictures.map((picture) => broken.segment(picture, words, options)));
  t.ok(failed.every(({ status }) => status === 'rejected'));
});

t.test('the CRF and the blur as the method uses them', async (t) => {
  const values = Float32Array.from({ length: 3 * 12 * 10 }, (_, i) => Math.abs(Math.sin(i * 1.7)));
  const channels = scaleChannels(Tensor.from(values, [3, 10, 12]));
  const shares = channelShares(channels, true, defaults);
  const picture = Tensor.from(
    Uint8Array.from({ length: 360 }, (_, i) => (i * 37) % 256),
    [10, 12, 3],
    'u8',
  );
  const crf = { iterations: 10, gaussian: { sxy: 3, compat: 0 }, bilateral: { sxy: 50, srgb: 5, compat: 0 } };
  const marginals = crfMarginals(picture, shares, crf);
  const best = async (x: Tensor): Promise<number[]> => {
    const data = (await x.data()) as Float32Array;
    return Array.from({ length: 120 }, (_, i) =>
      [0, 1, 2].reduce((a, b) => ((data[120 * b + i] as number) > (data[120 * a + i] as number) ? b : a), 0),
    );
  };
  t.same(await best(marginals), await best(shares), 'without weights the unary decides');
  const even = Tensor.from(new Float32Array(360).fill(1 / 3), [3, 10, 12]);
  const same = (await crfMarginals(picture, even, { ...crf, gaussian: { sxy: 3, compat: 7 } }).data()) as Float32Array;
  t.ok(
    same.every((x) => Math.abs(x - 1 / 3) < 1e-6),
    'equal channels stay equal',
  );
  // One cell in the middle of a map whose cells are pixels: the blur's own shape, before it is scaled.
  const delta = new Float32Array(61 * 61);
  delta[30 * 61 + 30] = 1;
  const blurred = gaussianBlur(Tensor.from(delta, [61, 61]), { sigma: 0.05 * 61, truncate: 4 });
  const mass = (await blurred.data()) as Float32Array;
  const second = mass.reduce((sum, x, i) => sum + x * ((i % 61) - 30) ** 2, 0);
  t.ok(Math.abs(mass.reduce((a, b) => a + b, 0) - 1) < 1e-5, 'mass 1');
  t.ok(Math.abs(Math.sqrt(second) - 0.05 * 61) < 0.01, 'sigma as asked');
});

t.test('wrong options', async (t) => {
  await using model = await openToy();
  const wrong = (options: object) => model.segment(flag(), ['red'], { ...small, ...options });
  await t.rejects(wrong({ layer: 3 }), { code: 'E_OPTION', message: /one of 0, 1, 2.*got 3/ });
  await t.rejects(wrong({ head: 2 }), { code: 'E_OPTION', message: /from 0 to 1/ });
  await t.rejects(wrong({ imageSize: 30 }), { code: 'E_OPTION', message: /multiple of the patch, 4/ });
  await t.rejects(wrong({ drop: { kind: 'third' } }), { code: 'E_OPTION', message: /topk/ });
  await t.rejects(wrong({ pases: 3 }), { code: 'E_OPTION', message: /did you mean 'passes'/ });
  await t.rejects(wrong({ crf: { iteration: 3 } }), { code: 'E_OPTION', message: /crf/ });
  await t.rejects(wrong({ preset: 'v4-voc20' }), { code: 'E_OPTION', message: /v4-voc21/ });
  await t.rejects(wrong({ window: 224 }), { code: 'E_OPTION' });
  t.same((await wrong({ size: 64, layer: 0 })).provenance.options, {
    ...((await wrong({ imageSize: 64, layer: 0 })).provenance.options as object),
  });
  for (const preset of model.info.presets)
    t.ok(model.plan(100, 80, ['red'], { preset, imageSize: 32, layer: 0, head: 0 }).fits, preset);
  const plan = model.plan(500, 375, ['red', 'green'], small);
  t.match(plan, { tiles: 1, route: 'gradcam-crf', fits: true });
  await t.rejects(open(`pnp-ovss:${mini}`), { code: 'E_MODEL_FORMAT', message: /clip.*blip/ });
});
