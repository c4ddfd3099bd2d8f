/** Matching models from captions: batches, wrong pairs, gradients, learning, files, a model that PnP-OVSS takes, refusals. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { drawScenes } from '#lib/data/drawn-scenes/index.js';
import { assign, backward, noGrad, scope, Tensor } from '#lib/engine/index.js';
import { open } from '#lib/entry/index.js';
import { readMetrics, train } from '#lib/entry/train.js';
import { hardNegatives, matchLoss, negativeNoise } from '#lib/nn/losses/index.js';
import { AdamW } from '#lib/nn/optim/index.js';
import type { HostBatch, Trainable } from '#lib/nn/trainable.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { trainBlip } from '#lib/systems/blip/train.js';
import { learnWordPieces, loadTokenizer, wordPieceFiles, wordPieceTokenizer } from '#lib/text/index.js';
import { Random } from '#lib/util/random.js';
import { captionPair, stepContext, toyMatchRequest } from '../helpers/caption-pairs.js';
import { writeTrainStep } from '../helpers/train-step.js';

t.setTimeout(300_000);

const pairs = (count: number, side = 24) => Array.from({ length: count }, (_, i) => captionPair(i, side));

t.test('word pieces: frequent words whole, others by letters, the same ids from the files', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-pieces-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const pieces = await learnWordPieces(['A house, a house', 'a boat; Boat!', 'zebra'], 113);
  t.same(pieces.slice(0, 5), ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']);
  t.same(pieces.slice(-4), ['boat', 'house', '[DEC]', '[ENC]'], 'no room for the rare word');
  for (const [name, text] of Object.entries(wordPieceFiles(pieces, 16))) await writeFile(join(folder, name), text);
  const [learnt, read] = [wordPieceTokenizer(pieces), await loadTokenizer(folder)];
  for (const text of ['a boat', 'Zebras [ENC]', 'caf\u00e9 \u732b', ''])
    t.same(learnt.encode(text), read.encode(text), text);
  t.same(learnt.pieces(learnt.encode('boats')).join(' '), '[CLS] boat ##s [SEP]');
  t.notOk(learnt.encode('[ENC]').includes(learnt.specialId('[ENC]') as number), 'text never becomes a special token');
  await t.rejects(learnWordPieces(['a'], 100), { code: 'E_OPTION', message: /letters.*got 100/ });
});

t.test('wrong pairs: by probability, never the right ones', async (t) => {
  const size = 5;
  const same = (i: number, j: number) => i === j || i + j === 1;
  // Pictures and texts 2..4 are alike in pairs (2, 3); 4 is far from both.
  const rows = [1, 0, 1, 0, 0, 1, 0.2, 1, -1, -1];
  const [image, text] = [Tensor.from(rows, [size, 2]), Tensor.from(rows, [size, 2])];
  const logitScale = Tensor.scalar(Math.log(5));
  const counts = new Map<string, number>();
  for (let seed = 0; seed < 400; seed++) {
    const noise = Tensor.from(negativeNoise(size, new Random(seed), same), [2, size, size]);
    const found = hardNegatives(image, text, noise, { logitScale });
    for (const [side, drawn] of Object.entries(found))
      (await drawn.data()).forEach((j, i) => {
        const key = `${side} ${i} ${j}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      });
    for (const tensor of [noise, ...Object.values(found)]) tensor.dispose();
  }
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++)
      if (same(i, j)) t.notOk(counts.has(`texts ${i} ${j}`) || counts.has(`images ${j} ${i}`), `${i} ${j}`);
  const unit = (i: number) =>
    [0, 1].map((c) => (rows[2 * i + c] as number) / Math.hypot(rows[2 * i] as number, rows[2 * i + 1] as number));
  const weight = (i: number, j: number) => {
    const [a, b] = [unit(i), unit(j)] as [number[], number[]];
    return Math.exp(5 * ((a[0] as number) * (b[0] as number) + (a[1] as number) * (b[1] as number)));
  };
  const others = [0, 1, 2, 4];
  const total = others.reduce((sum, j) => sum + weight(3, j), 0);
  for (const j of others) {
    const want = (400 * weight(3, j)) / total;
    const seen = counts.get(`texts 3 ${j}`) ?? 0;
    t.ok(
      Math.abs(seen - want) < 5 * Math.sqrt(want + 1),
      `text ${j} for picture 3: ${seen}, expected ${want.toFixed(1)}`,
    );
  }
});

t.test('match loss: cross-entropy, right pairs first', async (t) => {
  const logits = Tensor.from([0, 2, 1, -1, 0, 0], [3, 2]);
  const want = (Math.log(1 + Math.exp(-2)) + Math.log(1 + Math.exp(-2)) + Math.log(2)) / 3;
  t.ok(Math.abs((await matchLoss(logits, 1).item()) - want) < 1e-6);
});

t.test('batches: the same for the same step; lists of nouns as single words', async (t) => {
  const model = await trainBlip({
    ...toyMatchRequest(),
    model: {
      ...toyMatchRequest().model,
      text: {
        ...toyMatchRequest().model.text,
        nounLists: { share: 1, synonyms: 0, nouns: [['red house', 'x'], ['car']] },
      },
    },
    captions: async () => ['a red house and a car'],
  });
  t.teardown(() => model.dispose());
  const text = (caption: string) => ({ ...captionPair(1, 24), key: caption, captions: [caption] });
  const samples = [text('a red house, a car'), text('nothing known')];
  const batch = (await model.prepare(samples, stepContext(3, 10))) as HostBatch;
  t.same(batch, await model.prepare(samples, stepContext(3, 10)));
  t.notSame(batch.noise, ((await model.prepare(samples, stepContext(4, 10))) as HostBatch).noise);
  t.equal(batch.lengths?.data[0], 7, '[CLS] a picture of redhouse car [SEP], with its letters');
  await t.rejects(Promise.resolve(model.prepare(samples.slice(1), stepContext(0, 10))), {
    code: 'E_OPTION',
    message: /batch must be 2 or more/,
  });
});

async function step(
  model: Trainable,
  count: number,
): Promise<{ losses: Record<string, number>; grads: Map<string, Float32Array> }> {
  const context = stepContext(0, 10);
  const batch = (await model.prepare(pairs(count), context)) as HostBatch;
  return scope(async () => {
    const losses = model.losses(batch, context);
    const found = backward(losses.total);
    const grads = new Map<string, Float32Array>();
    for (const [name, tensor] of model.parameters) grads.set(name, (await found.get(tensor)?.data()) as Float32Array);
    const values: Record<string, number> = {};
    for (const [name, loss] of Object.entries(losses)) values[name] = await loss.item();
    return { losses: values, grads };
  });
}

t.test('gradient of the loss along itself, every parameter has one; bf16 is near', async (t) => {
  const model = await trainBlip(toyMatchRequest());
  const narrow = await trainBlip(toyMatchRequest('bf16'));
  t.teardown(() => [model, narrow].forEach((one) => void one.dispose()));
  const { grads, losses } = await step(model, 6);
  t.same(Object.keys(losses).sort(), ['contrastive', 'matching', 'total']);
  t.ok(Math.abs(((await step(narrow, 6)).losses.total as number) / (losses.total as number) - 1) < 1e-2);
  let slope = 0;
  for (const [name, grad] of grads) {
    t.ok(grad?.every(Number.isFinite), name);
    slope += grad.reduce((sum, g) => sum + g * g, 0);
  }
  const move = async (h: number) => {
    for (const [name, tensor] of model.parameters) {
      const grad = grads.get(name) as Float32Array;
      const now = await tensor.data();
      const moved = Float32Array.from(grad, (g, i) => (now[i] as number) + h * g);
      noGrad(() => assign(tensor, Tensor.from(moved, tensor.shape)));
    }
    return (await step(model, 6)).losses.total as number;
  };
  const h = 1e-3 / Math.sqrt(slope);
  const [up, down] = [await move(h), await move(-2 * h)];
  const measured = (up - down) / (2 * h);
  t.ok(Math.abs(measured / slope - 1) < 1e-2, `${measured} against ${slope}`);
});

t.test('pairs seen again and again are learnt: what fits and what does not is told apart', async (t) => {
  const model = await trainBlip({ ...toyMatchRequest(), model: { ...toyMatchRequest().model, patches: 1 } });
  t.teardown(() => model.dispose());
  const optimiser = new AdamW(model.parameters, { lr: 3e-3 });
  t.teardown(() => optimiser.dispose());
  const found: Record<string, number>[] = [];
  for (let at = 0; at < 80; at++) {
    const context = stepContext(at, 100);
    const batch = (await model.prepare(pairs(6), context)) as HostBatch;
    await scope(async () => {
      const { total, ...losses } = model.losses(batch, context);
      optimiser.step(backward(total));
      const values: Record<string, number> = {};
      for (const [name, loss] of Object.entries(losses)) values[name] = await loss.item();
      found.push(values);
    });
  }
  const mean = (name: string) => found.slice(-10).reduce((sum, one) => sum + (one[name] as number), 0) / 10;
  t.ok(mean('contrastive') < 0.5 * (found[0]?.contrastive as number), `contrastive ${mean('contrastive')}`);
  // One of three pairs is right: 0.637 without looking at either side.
  t.ok(mean('matching') < 0.5, `matching ${mean('matching')}`);
});

t.test('what training reads equals the model opened from its files', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-train-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const request = toyMatchRequest();
  const model = await trainBlip({ ...request, model: { ...request.model, patches: 1 } });
  const samples = pairs(4);
  await writeTrainStep(folder, model, samples);
  const batch = (await model.prepare(samples, stepContext(0, 10))) as HostBatch;
  const losses = await scope(async () => (await model.losses(batch, stepContext(0, 10)).contrastive?.item()) as number);
  model.dispose();
  const backbone = await loadBackbone(folder);
  t.teardown(() => backbone.dispose());
  const mean = [0.48145466, 0.4578275, 0.40821073];
  const std = [0.26862954, 0.26130258, 0.27577711];
  const pixels = Float32Array.from({ length: 4 * 3 * 24 * 24 }, (_, i) => {
    const [b, c, at] = [Math.floor(i / 1728), Math.floor(i / 576) % 3, i % 576];
    return ((samples[b]?.image.data[3 * at + c] as number) / 255 - (mean[c] as number)) / (std[c] as number);
  });
  const { ids, lengths } = batch;
  const mask = Int32Array.from(ids?.data as Int32Array, (_, i) => {
    const length = ids?.shape[1] as number;
    return Number(i % length < (lengths?.data[Math.floor(i / length)] as number));
  });
  const { cosine_score: score } = await backbone.inspect(
    {
      pixel_values: { data: pixels, shape: [4, 3, 24, 24] },
      input_ids: { data: ids?.data as Int32Array, shape: ids?.shape as number[] },
      attention_mask: { data: mask, shape: ids?.shape as number[] },
    },
    ['cosine_score'],
  );
  const logits = (i: number, j: number) => (score?.data[4 * i + j] as number) / 0.07;
  const entropy = (rows: (i: number, j: number) => number) =>
    [0, 1, 2, 3].reduce(
      (sum, i) => sum + Math.log([0, 1, 2, 3].reduce((z, j) => z + Math.exp(rows(i, j) - rows(i, i)), 0)),
      0,
    ) / 4;
  const want = (entropy(logits) + entropy((i, j) => logits(j, i))) / 2;
  t.ok(Math.abs(losses - want) < 1e-4, `${losses} against ${want}`);
});

t.test('refusals name the key', async (t) => {
  const refused = async (change: object, text: RegExp) =>
    t.rejects(trainBlip({ ...toyMatchRequest(), ...change } as never), { code: 'E_OPTION', message: text });
  await refused({ model: { vison: {} } }, /blip: model\.vison.*did you mean "vision"/);
  await refused({ model: { text: { width: 33 } } }, /model\.text\.width.*4 heads/);
  await refused({ model: { text: { nounLists: { nouns: 'voc22' } } } }, /did you mean "voc2/);
  await refused({ losses: { contrastive: 0, matching: 0 } }, /nothing to learn/);
  await refused({ base: '/somewhere' }, /base cannot be given/);
});

const recipe = {
  system: 'blip',
  model: {
    vision: { image: 32, patch: 8, width: 64, layers: 2, heads: 2 },
    text: { width: 64, layers: 4, heads: 2, context: 48, vocabulary: 700 },
    projection: 32,
    readOut: { defaults: { imageSize: 32, layer: 1, head: 0, passes: 2, drop: { kind: 'topk', n: 1 } } },
  },
  data: { kind: 'drawn-scenes', count: 64, width: 32, height: 32 },
  batch: 16,
  steps: 30,
  optimiser: { kind: 'adamw', rate: 2e-3, betas: [0.9, 0.98] },
  schedule: { kind: 'constant', warmup: 5 },
  seed: 3,
  save: { every: 15, keep: 2 },
  eval: { every: 15, count: 16 },
  log: { every: 1 },
} as const;

t.test('a run: both losses fall, a stopped one goes on bit for bit, its folder segments', async (t) => {
  const folder = t.testdir();
  const [whole, parts] = [join(folder, 'whole'), join(folder, 'parts')];
  await train(recipe as never, { out: whole });
  const stop = new AbortController();
  await train(recipe as never, {
    out: parts,
    stop: stop.signal,
    onProgress: ({ step }) => step === 17 && stop.abort(),
  });
  await train(recipe as never, { out: parts, resume: true });
  const records = await Promise.all([whole, parts].map((out) => readMetrics(join(out, 'metrics.jsonl'))));
  const losses = records.map((list) => list.map(({ losses }) => losses));
  t.same(losses[0], losses[1], 'the same losses');
  const weights = await Promise.all([whole, parts].map((out) => readFile(join(out, 'step-30', 'model.safetensors'))));
  t.ok(weights[0]?.equals(weights[1] as Buffer), 'the same weights');
  for (const name of ['contrastive', 'matching']) {
    const mean = (from: number, to: number) =>
      (losses[0] ?? []).slice(from, to).reduce((sum, one) => sum + (one[name] as number), 0) / (to - from);
    t.ok(mean(25, 30) < mean(0, 5), `${name}: ${mean(0, 5)} to ${mean(25, 30)}`);
  }
  t.same(Object.keys(records[0]?.at(-1)?.eval ?? {}), ['retrieval', 'matching', 'matchingAny']);
  const model = await open(`pnp-ovss:${whole}`, { device: 'cpu' });
  t.teardown(() => model.dispose());
  const { images, scenes } = await drawScenes([5], { size: { width: 48, height: 40 } });
  const names = ['sky', 'brick wall', 'house', 'grass'];
  const { width, height, labels, segments } = await model.segment(
    { data: images, width: 48, height: 40, channels: 3 },
    names,
  );
  t.same([scenes.length, width, height, labels.length], [1, 48, 40, 48 * 40]);
  t.ok(segments.length > 0 && segments.every(({ area }) => area > 0));
});
