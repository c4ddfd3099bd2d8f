/** Training of MGCA: that the losses pull colours apart, runs from recipe to masks, what stays frozen, texts and crops. */
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import t from 'tap';
import {
  AdamW,
  add,
  argmax,
  assign,
  backward,
  findCheckpoint,
  gather,
  losses,
  matmul,
  noGrad,
  randomNormal,
  readMetrics,
  requireGrad,
  scope,
  Tensor,
  train,
} from '#lib/entry/train.js';
import type { Trainable } from '#lib/nn/trainable.js';
import { open } from '#lib/pipelines/open.js';
import { findTrainable } from '#lib/registry/trainable.js';
import { decode, initialDecoder } from '#lib/systems/mgca/decoder.js';
import { chooseText, cropBox } from '#lib/systems/mgca/train-batch.js';
import { Random } from '#lib/util/random.js';
import { miniFolder, miniScene } from '../helpers/fixture.js';

const values = async (x: Tensor | undefined) => Array.from(await (x as Tensor).data());

t.test('two-coloured pictures: the loss falls and masks separate', async (t) => {
  const [colours, d, side, batch] = [4, 16, 4, 16];
  // Frozen encoders that do not agree: a patch shows its colour's code through a random map, under noise.
  const codes = randomNormal([colours, d], { seed: 1 });
  const mixing = randomNormal([d, d], { seed: 2, deviation: 0.35 });
  const shown = matmul(codes, mixing);
  const random = new Random(5);
  const sample = (count: number, seed: number) => {
    const named: number[] = [];
    const at: number[] = [];
    for (let i = 0; i < count; i++) {
      const [left, right] = random.shuffle([...Array(colours).keys()]) as [number, number];
      named.push(random.chance(0.5) ? left : right);
      for (let p = 0; p < side * side; p++) at.push(p % side < side / 2 ? left : right);
    }
    const clean = gather(shown, Tensor.from(Int32Array.from(at), [count, side, side]));
    const noise = randomNormal([count, side, side, d], { seed, deviation: 0.2 });
    const features = add(clean, noise);
    return { features, text: gather(codes, Tensor.from(Int32Array.from(named))), at };
  };
  const parameters = initialDecoder(d, 3);
  for (const parameter of parameters.values()) requireGrad(parameter);
  const optimiser = new AdamW(parameters, { lr: 0.01 });
  const accuracy = () =>
    scope(() => {
      const { features, at } = sample(32, 999);
      const found = argmax(matmul(decode(features, parameters, 'f32'), codes, { transposeB: true }), 3).dataSync();
      const right = Array.from(found).filter((colour, i) => {
        const [x, y, n] = [i % (2 * side), Math.floor(i / (2 * side)) % (2 * side), Math.floor(i / (4 * side * side))];
        return colour === at[(n * side + (y >> 1)) * side + (x >> 1)];
      });
      return right.length / found.length;
    });
  const before = accuracy();
  const totals: number[] = [];
  for (let step = 0; step < 150; step++) {
    scope(() => {
      const { features, text } = sample(batch, step);
      const embeddings = decode(features, parameters, 'f32').reshape(batch, 4 * side * side, d);
      // Captions repeat in a batch of four colours: the sharp tau of the paper would punish that most.
      const { total } = losses.mgca(embeddings, text, { tau: 0.3 });
      const grads = backward(total);
      optimiser.step(new Map([...parameters].map(([name, p]) => [name, grads.get(p) as Tensor])));
      totals.push(total.dataSync()[0] as number);
    });
  }
  const mean = (list: number[]) => list.reduce((sum, x) => sum + x, 0) / list.length;
  const [first, last, after] = [mean(totals.slice(0, 20)), mean(totals.slice(-20)), accuracy()];
  t.ok(last < 0.85 * first, `the loss falls from ${first.toFixed(3)} to ${last.toFixed(3)}`);
  t.ok(after > 0.9 && after > before + 0.2, `right pixels: ${before.toFixed(3)} before, ${after.toFixed(3)} after`);
});

const recipe = (changes: Record<string, unknown> = {}) => ({
  system: 'mgca',
  base: miniFolder(),
  model: { readOut: { defaults: { shortSide: 64, crop: 32, stride: 16, units: 16 } } },
  data: { kind: 'drawn-scenes' as const, count: 64, width: 48, height: 48 },
  batch: 8,
  steps: 5,
  schedule: { kind: 'constant' as const },
  optimiser: { kind: 'adamw' as const, rate: 1e-3, decay: 0.05, groups: [{ match: ['**'], ranks: [1], decay: 0 }] },
  ...changes,
});

const hash = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

t.test('from a recipe to masks; the encoder stays as it is', async (t) => {
  const out = join(t.testdir(), 'run');
  const weights = join(miniFolder(), 'model.safetensors');
  const before = await hash(weights);
  const result = await train(recipe(), { out });
  t.equal(result.status, 'done');
  for (const name of ['object', 'region', 'pixel', 'total']) t.ok(Number.isFinite(result.losses[name]), name);
  t.equal(await hash(weights), before, 'base file');
  const { folder } = (await findCheckpoint(out)) as { folder: string };
  t.same((await readdir(folder)).sort(), [
    'config.json',
    'manifest.json',
    'model.safetensors',
    'optimizer.safetensors',
    'state.json',
    'wordmask.json',
  ]);
  const manifest = JSON.parse(await readFile(join(folder, 'wordmask.json'), 'utf8'));
  t.same(manifest.base, { model: relative(folder, miniFolder()), sha256: before });
  t.match((await readMetrics(join(out, 'metrics.jsonl'))).at(-1)?.values, { gate1: Number, gate2: Number });
  const model = await open(out);
  t.equal(model.info.system, 'mgca');
  t.equal(model.dense.parts.system.check(model.dense.parts.fileOptions).units, 16);
  const masks = await model.segment(miniScene, ['cat', 'dog', 'grass']);
  t.ok(masks.segments.length > 0);
  await model.dispose();
  const longer = await train(recipe({ steps: 8 }), { out, resume: true });
  const whole = await train(recipe({ steps: 8 }), { out: join(t.testdir(), 'whole') });
  t.same(longer.losses, whole.losses, 'a resumed run is the same run');
});

t.test('run and base move together, apart, and come back', async (t) => {
  const root = t.testdir();
  await cp(miniFolder(), join(root, 'a', 'models', 'clip'), { recursive: true });
  const opens = async (model: string, options: Record<string, unknown> = {}) => (await open(model, options)).dispose();
  const from = (...path: string[]) => recipe({ base: join(root, ...path) });
  const out = join(root, 'a', 'run');
  await train(from('a', 'models', 'clip'), { out });
  const manifest = JSON.parse(await readFile(join(out, 'step-5', 'wordmask.json'), 'utf8'));
  t.equal(manifest.base.model, '../../models/clip');
  await rename(join(root, 'a'), join(root, 'b'));
  await opens(join(root, 'b', 'run'));
  await symlink(join(root, 'b', 'run'), join(root, 'link'));
  await opens(join(root, 'link'));
  const deep = join(root, 'b', 'kept', 'runs', '7');
  await mkdir(dirname(deep), { recursive: true });
  await rename(join(root, 'b', 'run'), deep);
  await opens(deep);
  await rename(join(root, 'b', 'models', 'clip'), join(root, 'other'));
  const gone = { code: 'E_MODEL_NOT_FOUND', message: /'..\/..\/models\/clip', weights with SHA-256 \w{64}.*--base/ };
  await t.rejects(opens(deep), gone);
  await opens(deep, { base: join(root, 'other') });
  await t.rejects(opens(deep, { base: 'tiny-cls' }), { code: 'E_HASH', message: /trained beside/ });
  await t.rejects(opens(join(root, 'other'), { base: 'tiny' }), { code: 'E_OPTION', message: /leave it out/ });

  const longer = await train({ ...from('other'), steps: 7 }, { out: deep, resume: true });
  t.equal(longer.step, 7, 'a run goes on beside its base at another place');
  const wrong = train({ ...recipe({ base: 'tiny-cls' }), steps: 8 }, { out: deep, resume: true });
  await t.rejects(wrong, { code: 'E_CHECKPOINT', message: /its base has weights with SHA-256/ });
});

t.test('a built-in base keeps its name, also from another installation', async (t) => {
  const root = t.testdir();
  await train(recipe({ base: 'tiny-cls', steps: 2 }), { out: join(root, 'run') });
  const folder = join(root, 'run', 'step-2');
  const manifest = JSON.parse(await readFile(join(folder, 'wordmask.json'), 'utf8'));
  t.equal(manifest.base.model, 'tiny-cls');
  await (await open(folder)).dispose();
  const moved = join(root, 'moved');
  await cp(folder, moved, { recursive: true });
  manifest.base.model = '/somewhere/else/wordmask/assets/models/tiny-cls';
  await writeFile(join(moved, 'wordmask.json'), JSON.stringify(manifest));
  await (await open(moved)).dispose();
});

async function trainable(model: Record<string, unknown> = {}, given: Record<string, unknown> = {}): Promise<Trainable> {
  const make = await findTrainable('mgca');
  return make({
    model,
    losses: {},
    base: miniFolder(),
    compute: 'f32',
    random: new Random(1),
    captions: async () => [],
    ...given,
  });
}

const pictures = Array.from({ length: 7 }, (_, i) => ({
  key: `picture ${i}`,
  image: { data: Uint8Array.from({ length: 40 * 36 * 3 }, (_, at) => (at * (i + 3) * 7) % 251), width: 40, height: 36 },
  captions: [`a photo of thing ${i}`, `thing number ${i}`],
  nouns: [`thing${i}`],
}));

t.test('parts of a batch, steps that repeat, bf16', async (t) => {
  const context = (compute: 'f32' | 'bf16' = 'f32') => ({
    step: 3,
    steps: 10,
    part: 0,
    random: new Random(9),
    compute,
  });
  const all: Record<string, number[]>[] = [];
  for (const [imagesAtOnce, compute] of [
    [32, 'f32'],
    [2, 'f32'],
    [32, 'bf16'],
  ] as const) {
    const model = await trainable({ imagesAtOnce }, { compute });
    // Open gates let gradients reach everything.
    const gates = [1, 2].map((i) => model.parameters.get(`decoder.block${i}.gate`) as Tensor);
    noGrad(() => gates.forEach((gate) => void assign(gate, Tensor.scalar(0.5))));
    const batch = await model.prepare(pictures, context(compute));
    t.same(await model.prepare(pictures, context(compute)), batch, 'the same pictures and texts again');
    const found = await scope(async () => {
      const { total, ...others } = model.losses(batch, context(compute));
      const grads = backward(total, { wrt: [...model.parameters.values()] });
      const list: Record<string, number[]> = { total: await values(total) };
      for (const [name, loss] of Object.entries(others)) list[name] = await values(loss);
      for (const [name, parameter] of model.parameters) list[name] = await values(grads.get(parameter));
      return list;
    });
    all.push(found);
    model.dispose();
  }
  const [whole, parts, narrow] = all as [Record<string, number[]>, Record<string, number[]>, Record<string, number[]>];
  for (const [name, list] of Object.entries(whole)) {
    const scale = Math.max(1e-3, ...list.map(Math.abs));
    const error = Math.max(...list.map((x, i) => Math.abs(x - (parts[name]?.[i] as number)))) / scale;
    t.ok(error < 1e-4, `${name}: in parts ${error.toExponential(1)}`);
  }
  t.ok(Math.abs((narrow.total?.[0] as number) - (whole.total?.[0] as number)) < 0.05, 'bf16 is near');
});

t.test('a hundred steps move the decoder alone', async (t) => {
  const model = await trainable();
  const context = { step: 0, steps: 1, part: 0, random: new Random(9), compute: 'f32' } as const;
  const batch = await model.prepare(pictures.slice(0, 3), context);
  const loss = () => scope(() => Number(model.losses(batch, context).total.dataSync()[0]));
  const start = new Map([...model.parameters].map(([name, p]) => [name, Float32Array.from(p.dataSync())]));
  const before = loss();
  const optimiser = new AdamW(model.parameters, { lr: 0.01 });
  for (let step = 0; step < 100; step++) {
    scope(() => {
      const grads = backward(model.losses(batch, context).total, { wrt: [...model.parameters.values()] });
      optimiser.step(new Map([...model.parameters].map(([name, p]) => [name, grads.get(p) as Tensor])));
    });
  }
  const after = loss();
  t.ok(after < 0.9 * before, `the loss falls from ${before} to ${after}`);
  for (const [name, p] of model.parameters)
    noGrad(() => assign(p, Tensor.from(start.get(name) as Float32Array, p.shape)));
  t.equal(loss(), before, 'with the first decoder every bit of the loss is back: the towers are what they were');
  model.dispose();
});

t.test('texts: captions and prompts, all alike probable', (t) => {
  const random = new Random(3);
  const plan = { prompts: 3, promptTemplates: ['a photo of {}.', 'my {}'] };
  const counts: Record<string, number> = {};
  for (let i = 0; i < 4000; i++) {
    const text = chooseText({ captions: ['a caption'], nouns: ['cat', 'dog'] }, plan, random);
    const kind = text === 'a caption' ? 'caption' : text.includes('cat') ? 'cat' : 'dog';
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  // Of four places the caption has one of its own and that of the third noun, which is not there.
  for (const [kind, share] of [
    ['caption', 0.5],
    ['cat', 0.25],
    ['dog', 0.25],
  ] as const)
    t.ok(Math.abs((counts[kind] as number) / 4000 - share) < 0.03, `${kind}: ${counts[kind]}`);
  t.equal(chooseText({ captions: ['x'], nouns: ['cat'] }, { ...plan, prompts: 0 }, random), 'x');
  t.equal(chooseText({ captions: ['x'] }, plan, random), 'x', 'no nouns at all');
  t.end();
});

t.test('augmented batches repeat', async (t) => {
  const context = { step: 3, steps: 10, part: 0, random: new Random(9), compute: 'f32' as const };
  const pixels = async (augment: Record<string, number>): Promise<string> => {
    const model = await trainable({ augment });
    const { pixels } = await model.prepare(pictures, context);
    model.dispose();
    return createHash('sha256')
      .update((pixels as { data: Uint8Array }).data)
      .digest('hex');
  };
  const tcl = { operations: 2, erase: 0.25 };
  t.equal(await pixels(tcl), await pixels(tcl));
  t.not(await pixels(tcl), await pixels({}));
});

t.test('crops stay inside', (t) => {
  const random = new Random(4);
  for (const [width, height] of [
    [1, 1],
    [3, 200],
    [640, 480],
    [37, 36],
  ] as const) {
    for (let i = 0; i < 200; i++) {
      const box = cropBox({ width, height, data: new Uint8Array() }, [0.08, 1], random);
      const inside = box.top >= 0 && box.left >= 0 && box.top + box.height <= height && box.left + box.width <= width;
      if (!inside || box.width < 1 || box.height < 1) t.fail(`${width} x ${height}: ${JSON.stringify(box)}`);
    }
  }
  t.pass('all of them');
  t.end();
});

t.test('recipes that cannot be', async (t) => {
  const refused = (given: Record<string, unknown>, code: string, message: RegExp) =>
    t.rejects(trainable({}, given), { code, message });
  await refused({ base: undefined }, 'E_OPTION', /base is missing/);
  await refused({ base: './nowhere' }, 'E_MODEL_NOT_FOUND', /nowhere/);
  await refused({ losses: { alpah: 1 } }, 'E_OPTION', /did you mean 'alpha'/);
  await refused({ model: { prompt: 1 } }, 'E_OPTION', /did you mean "prompts"/);
  await refused({ model: { image: 33 } }, 'E_OPTION', /multiple of the patch size/);
  await refused({ model: { crop: [0.5, 0.2] } }, 'E_OPTION', /crop/);
  await refused({ model: { augment: { erase: 2 } } }, 'E_OPTION', /model\.augment\.erase/);
  await refused({ model: { readOut: { defaults: { unit: 4 } } } }, 'E_OPTION', /did you mean 'units'/);
  await refused({ model: { nouns: 'no-such-list' } }, 'E_OPTION', /no-such-list/);
});

t.test('the recipes of the package', async (t) => {
  const folder = join(import.meta.dirname, '..', '..', '..', '..', 'assets', 'recipes');
  for (const name of ['mgca.json', 'mgca-drawn.json']) {
    const text = JSON.parse(await readFile(join(folder, name), 'utf8'));
    const model = await trainable({ ...text.model, ...(text.model.image && { image: 32 }) }, { losses: text.losses });
    t.equal(model.parameters.size, 10, name);
    model.dispose();
  }
});
