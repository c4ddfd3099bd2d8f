/** Whole calls on a device against the CPU: the built-in model through every read-out and refiner, and training. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memory, sync } from '#lib/engine/index.js';
import { open } from '#lib/pipelines/open.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { readMetrics, train } from '#lib/train/index.js';
import { assetPath } from '#lib/util/assets.js';
import { agreement, waves } from '../helpers/pictures.js';
import type { Counter } from './counter.js';

const names = ['disc', 'box', 'star', 'sky', 'grass'];
const readOuts = ['clip', 'maskclip', 'clearclip', 'sclip', 'naclip'];
const quiet = () => undefined;

async function labels(counter: Counter, device: string, system: string): Promise<void> {
  const picture = waves(144, 96);
  const id = `${system}:tiny`;
  await using here = await open(id, { device: 'cpu', dtype: 'fp32', onLog: quiet });
  await using there = await open(id, { device, dtype: 'fp32', onLog: quiet });
  await using short = await open(id, { device, dtype: 'bf16', onLog: quiet });
  const vocab = Vocabulary.from(names, { templates: 'none' });
  for (const refine of system === 'naclip' ? (['none', 'pamr', 'crf'] as const) : (['none'] as const)) {
    const wanted = await here.segment(picture, vocab, { refine });
    const [f32, bf16] = [
      await there.segment(picture, vocab, { refine }),
      await short.segment(picture, vocab, { refine }),
    ];
    const [full, half] = [agreement(wanted, f32), agreement(wanted, bf16)];
    counter.ok(full >= 0.999, `${refine}, f32: ${full} of the labels are the CPU's, 0.999 asked for`);
    counter.ok(half >= 0.99, `${refine}, bf16: ${half} of the labels are the CPU's, 0.99 asked for`);
  }
}

async function flatMemory(counter: Counter, device: string): Promise<void> {
  const picture = waves(144, 96);
  await using model = await open('naclip:tiny', { device, onLog: quiet });
  const vocab = Vocabulary.from(names, { templates: 'none' });
  for (let i = 0; i < 3; i++) await model.segment(picture, vocab);
  await sync();
  const before = memory()[device]?.liveBytes;
  for (let i = 0; i < 20; i++) await model.segment(picture, vocab);
  await sync();
  counter.equal(memory()[device]?.liveBytes, before, 'live bytes after 20 more calls');
}

/** The losses of a few steps of a recipe. */
async function losses(device: string): Promise<number[]> {
  const out = await mkdtemp(join(tmpdir(), 'wordmask-gpu-'));
  try {
    const set = {
      steps: 4,
      batch: 16,
      precision: 'fp32',
      'log.every': 1,
      'schedule.warmup': 1,
      'data.count': 64,
    };
    await train(assetPath(join('recipes', 'tiny.json')), { out, device, set });
    return (await readMetrics(join(out, 'metrics.jsonl'))).map((record) => record.losses.total as number);
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}

async function training(counter: Counter, device: string): Promise<void> {
  const [wanted, found] = [await losses('cpu'), await losses(device)];
  counter.equal(found.length, wanted.length, 'steps');
  found.forEach((loss, i) => {
    const error = Math.abs(loss / (wanted[i] as number) - 1);
    // Each step starts from weights that differ by the rounding of the steps before.
    counter.ok(error <= 1e-4 * 4 ** i, `step ${i + 1}: loss ${loss}, on the CPU ${wanted[i]}`);
  });
}

export async function checkSystems(counter: Counter, device: string): Promise<void> {
  for (const system of readOuts) await counter.part(`${system}:tiny`, () => labels(counter, device, system));
  await counter.part('memory', () => flatMemory(counter, device));
  await counter.part('training', () => training(counter, device));
}
