/** Runs that stop, die or meet a damaged checkpoint, and go on as if nothing had happened. */
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { findCheckpoint, readMetrics, registerTrainable, train } from '#lib/entry/train.js';
import { Random } from '#lib/util/random.js';
import { killAndResume } from './kills.js';
import { toyRecipe, toySystem, writePairs } from './toy.js';

registerTrainable('toy', toySystem());

const losses = async (out: string) =>
  (await readMetrics(join(out, 'metrics.jsonl'))).map(({ step, losses }) => ({ step, losses }));
const weights = async (out: string, step: number) => ({
  model: await readFile(join(out, `step-${step}`, 'model.safetensors')),
  optimiser: await readFile(join(out, `step-${step}`, 'optimizer.safetensors')),
});

t.test('a stopped run that goes on gives the same losses and weights', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 24);
  for (const extra of [{}, { accumulation: 2 }, { ema: 0.9 }]) {
    const name = JSON.stringify(extra);
    const recipe = toyRecipe(join(folder, 'data'), { ...extra, batch: 4 });
    const whole = join(folder, `whole${name}`);
    const parts = join(folder, `parts${name}`);
    const result = await train(recipe, { out: whole });
    t.equal(result.status, 'done');
    for (const at of [7, 23, 41]) {
      const stop = new AbortController();
      const part = await train(recipe, {
        out: parts,
        resume: true,
        stop: stop.signal,
        onProgress: ({ step }) => step === at && stop.abort(),
      });
      t.match(part, { status: 'stopped', step: at });
    }
    await train(recipe, { out: parts, resume: true });
    t.same(await losses(parts), await losses(whole), `${name}: the same losses, bit for bit`);
    t.same(await weights(parts, 60), await weights(whole, 60), `${name}: the same weights and moments`);
  }
});

t.test('a run that is killed at random moments ends with the same result', async (t) => {
  const report = await killAndResume(t.testdir(), 5, 80);
  t.ok(report.kills >= 2, `${report.kills} kills, at steps ${report.steps.join(', ')}`);
  t.equal(report.sameLosses, true, 'the same losses, bit for bit');
  t.equal(report.sameWeights, true, 'the same weights and moments');
});

t.test('a flipped byte anywhere in a checkpoint is noticed', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const out = join(folder, 'run');
  const recipe = toyRecipe(join(folder, 'data'), { steps: 20, batch: 4 });
  await train(recipe, { out });
  const newest = join(out, 'step-20');
  const files = await readdir(newest);
  const sizes = await Promise.all(files.map(async (name) => (await stat(join(newest, name))).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const random = new Random(5);
  const unnoticed: string[] = [];
  for (let i = 0; i < 200; i++) {
    // Every file gets its share and the small ones some more.
    let at = i < 20 * files.length ? random.int(sizes[i % files.length] as number) : random.int(total);
    let file = i % files.length;
    if (i >= 20 * files.length) for (file = 0; at >= (sizes[file] as number); file++) at -= sizes[file] as number;
    const path = join(newest, files[file] as string);
    const bytes = await readFile(path);
    const bit = 1 << random.int(8);
    bytes[at] = (bytes[at] as number) ^ bit;
    await writeFile(path, bytes);
    const warnings: string[] = [];
    const found = await findCheckpoint(out, { onWarn: (message) => warnings.push(message) });
    const named = warnings.length === 1 && warnings[0]?.includes('step-20') && warnings[0].includes('step-10 is used');
    if (found?.step !== 10 || !named) unnoticed.push(`${files[file]} byte ${at} bit ${bit}: ${warnings.join()}`);
    bytes[at] = (bytes[at] as number) ^ bit;
    await writeFile(path, bytes);
  }
  t.same(unnoticed, [], '200 places');
  t.equal((await findCheckpoint(out))?.step, 20, 'undone, it is whole again');

  await writeFile(join(newest, 'model.safetensors'), 'short');
  const warnings: string[] = [];
  const result = await train(
    { ...recipe, steps: 22 },
    { out, resume: true, onWarn: (message) => warnings.push(message) },
  );
  t.match(result, { status: 'done', step: 22 }, 'a run goes on from the one before');
  t.match(warnings[0], /step-20.*model\.safetensors has 5 bytes.*step-10 is used instead/);
  t.ok(
    (await readdir(out)).some((name) => name.startsWith('damaged-step-20-')),
    'the damaged one is set aside',
  );
  for (const name of (await readdir(out)).filter((name) => name.startsWith('step-')))
    await rm(join(out, name, 'manifest.json'));
  await t.rejects(train(recipe, { out, resume: true }), { code: 'E_CHECKPOINT', message: /no whole checkpoint/ });
});

t.test('so does a CLIP on drawn scenes, in bf16 with Muon, with pictures read by threads', async (t) => {
  const folder = t.testdir();
  const recipe = {
    system: 'clip',
    model: {
      vision: { image: 16, patch: 8, width: 32, layers: 2, heads: 2 },
      text: { width: 32, layers: 1, heads: 2, context: 16, vocabulary: 520 },
      projection: 16,
    },
    losses: { valuePath: 0.25 },
    data: { kind: 'drawn-scenes' as const, count: 40, reuse: 2000, width: 16, height: 16 },
    batch: 8,
    steps: 14,
    precision: 'bf16' as const,
    optimiser: { kind: 'muon' as const, rate: 0.004, match: ['**.encoder.layers.**'], rest: { rate: 0.002 } },
    log: { every: 1 },
    loader: { workers: 1 },
  };
  const [whole, parts] = [join(folder, 'whole'), join(folder, 'parts')];
  await train(recipe, { out: whole });
  const stop = new AbortController();
  const onProgress = ({ step }: { step: number }) => step === 6 && stop.abort();
  await train({ ...recipe, loader: { workers: 0 } }, { out: parts, stop: stop.signal, onProgress });
  t.equal((await train(recipe, { out: parts, resume: true })).status, 'done');
  t.same(await losses(parts), await losses(whole), 'the same losses, bit for bit');
  t.same(await weights(parts, 14), await weights(whole, 14), 'the same weights and moments');
});
