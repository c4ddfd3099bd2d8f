/** Whole calls on a device against the CPU: the built-in model through every read-out and refiner, company, memory, training. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memory, sync } from '#lib/engine/index.js';
import { type Model, type OpenOptions, open, type Segmentation } from '#lib/entry/index.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { readMetrics, train } from '#lib/train/index.js';
import { assetPath } from '#lib/util/assets.js';
import { agreement, differences, waves, words } from '../helpers/pictures.js';
import type { Counter, Unit } from './counter.js';

/** Threads of kernels are fibers on the emulated device: there a call takes as little as there is. */
interface Size {
  readonly width: number;
  readonly height: number;
  readonly options: { readonly size?: number };
  readonly labels: number;
  readonly calls: number;
  readonly steps: number;
  readonly model: Readonly<Record<string, unknown>>;
}

const whole: Size = { width: 144, height: 96, options: {}, labels: 5, calls: 20, steps: 4, model: { batch: 16 } };
const small: Size = {
  ...{ width: 40, height: 36, options: { size: 64 }, labels: 2, calls: 2, steps: 2 },
  model: {
    'model.vision': { image: 32, patch: 8, width: 32, layers: 2, heads: 1 },
    'model.text': { width: 32, layers: 1, heads: 1, context: 32, vocabulary: 512 },
    'model.projection': 32,
    'data.width': 32,
    'data.height': 32,
    batch: 4,
  },
};
const sizeFor = (device: string): Size => (device.startsWith('simt') ? small : whole);
const readOuts = ['clip', 'maskclip', 'clearclip', 'sclip', 'naclip'];

const opened = (id: string, device: string, more: OpenOptions = {}): Promise<Model> =>
  open(id, { device, dtype: 'fp32', onLog: () => undefined, ...more });
const vocabularyOf = (labels: number) =>
  Vocabulary.from(['disc', 'box', 'star', 'sky', 'grass'].slice(0, labels), { templates: 'none' });

async function agree(counter: Counter, device: string, id: string, refiners: readonly ('none' | 'pamr' | 'crf')[]) {
  const { width, height, options, labels } = sizeFor(device);
  const picture = waves(width, height);
  await using here = await opened(id, 'cpu');
  await using there = await opened(id, device);
  await using short = await opened(id, device, { dtype: 'bf16' });
  const vocab = vocabularyOf(labels);
  for (const refine of refiners) {
    const call = { ...options, refine };
    const wanted = await here.segment(picture, vocab, call);
    const [f32, bf16] = [await there.segment(picture, vocab, call), await short.segment(picture, vocab, call)];
    const [full, half] = [agreement(wanted, f32), agreement(wanted, bf16)];
    counter.ok(full >= 0.999, `${refine}, f32: ${full} of the labels are the CPU's, 0.999 asked for`);
    counter.ok(half >= 0.99, `${refine}, bf16: ${half} of the labels are the CPU's, 0.99 asked for`);
  }
}

/** A picture's bytes do not depend on what shares its batch, nor on the call. */
async function company(counter: Counter, device: string): Promise<void> {
  const { width, height, options, labels, calls } = sizeFor(device);
  await using model = await opened('naclip:tiny', device, { dtype: 'bf16' });
  const vocab = vocabularyOf(labels);
  const pictures = Array.from({ length: Math.min(calls, 6) }, (_, i) => waves(width + 8 * (i % 3), height, i + 1));
  const alone: Segmentation[] = [];
  for (const picture of pictures) alone.push(await model.segment(picture, vocab, options));
  const together = await Promise.all(pictures.map((picture) => model.segment(picture, vocab, options)));
  together.forEach((result, i) => {
    counter.same(differences(alone[i] as Segmentation, result), [], `picture ${i} in company`);
  });
}

/** What is refused or at an edge leaves the device as it was. */
async function edges(counter: Counter, device: string): Promise<void> {
  const { options, labels } = sizeFor(device);
  await using here = await opened('naclip:tiny', 'cpu');
  await using there = await opened('naclip:tiny', device);
  const vocab = vocabularyOf(labels);
  const code = (work: Promise<unknown>) =>
    work.then(
      () => 'ok',
      (error: { code?: string }) => error.code,
    );
  const dot = waves(1, 1);
  counter.equal(
    agreement(await here.segment(dot, vocab, options), await there.segment(dot, vocab, options)),
    1,
    'one pixel',
  );
  counter.equal(await code(there.segment(waves(0, 4), vocab, options)), 'E_IMAGE_SIZE', 'no pixels');
  counter.equal(await code(opened('naclip:tiny', `${device.split(':')[0]}:99`)), 'E_DEVICE', 'no such device');
  if (!device.startsWith('simt')) {
    const many = Vocabulary.from(words(3000), { templates: 'none' });
    const [a, b] = [
      await here.segment(waves(96, 64), many, options),
      await there.segment(waves(96, 64), many, options),
    ];
    counter.ok(agreement(a, b) >= 0.999, `3000 labels: ${agreement(a, b)} agree`);
  }
  counter.equal(await code(there.segment(waves(9, 7), vocab, options)), 'ok', 'the next call');
}

async function flatMemory(counter: Counter, device: string): Promise<void> {
  const { width, height, options, labels, calls } = sizeFor(device);
  const picture = waves(width, height);
  await using model = await opened('naclip:tiny', device);
  const vocab = vocabularyOf(labels);
  for (let i = 0; i < Math.min(calls, 3); i++) await model.segment(picture, vocab, options);
  await sync();
  const before = memory()[device]?.liveBytes;
  for (let i = 0; i < calls; i++) await model.segment(picture, vocab, options);
  await sync();
  counter.equal(memory()[device]?.liveBytes, before, `live bytes after ${calls} more calls`);
}

/** The losses of a few steps of a recipe. */
async function losses(device: string, size: Size, precision: string): Promise<number[]> {
  const out = await mkdtemp(join(tmpdir(), 'wordmask-gpu-'));
  try {
    const set = {
      steps: size.steps,
      precision,
      'log.every': 1,
      'schedule.warmup': 1,
      'data.count': 64,
      ...size.model,
    };
    await train(assetPath(join('recipes', 'tiny.json')), { out, device, set });
    return (await readMetrics(join(out, 'metrics.jsonl'))).map((record) => record.losses.total as number);
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}

async function training(counter: Counter, device: string, precision: 'fp32' | 'bf16'): Promise<void> {
  const size = sizeFor(device);
  const [wanted, found] = [await losses('cpu', size, precision), await losses(device, size, precision)];
  counter.equal(found.length, wanted.length, 'steps');
  // A product of bf16 operands is off by up to 2^-8; each step starts from weights that differ by the steps before.
  const limit = precision === 'fp32' ? 1e-4 : 1e-2;
  found.forEach((loss, i) => {
    const error = Math.abs(loss / (wanted[i] as number) - 1);
    counter.ok(error <= limit * 4 ** i, `step ${i + 1}: loss ${loss}, on the CPU ${wanted[i]}`);
  });
}

export function systemUnits(device: string): Unit[] {
  return [
    ...readOuts.map((system) => ({
      id: `systems: ${system}:tiny`,
      run: (counter: Counter) =>
        agree(counter, device, `${system}:tiny`, system === 'naclip' ? ['none', 'pamr', 'crf'] : ['none']),
    })),
    { id: 'systems: pictures in company', run: (counter) => company(counter, device) },
    { id: 'systems: edges', run: (counter) => edges(counter, device) },
    { id: 'systems: memory', run: (counter) => flatMemory(counter, device) },
    { id: 'systems: training, fp32', run: (counter) => training(counter, device, 'fp32') },
    { id: 'systems: training, bf16', run: (counter) => training(counter, device, 'bf16') },
  ];
}
