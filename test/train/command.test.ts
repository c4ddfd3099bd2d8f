/** `wordmask train` as a user's shell sees it, with a small CLIP on drawn scenes; the run folder is then a model. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { open } from '#lib/entry/index.js';
import { readMetrics } from '#lib/entry/train.js';
import { wordmask } from '../cli/command.js';
import { writePairs } from './toy.js';

const recipe = {
  system: 'clip',
  model: {
    vision: { image: 16, patch: 8, width: 32, layers: 2, heads: 2 },
    text: { width: 32, layers: 1, heads: 2, context: 16, vocabulary: 520 },
    projection: 16,
  },
  data: { kind: 'drawn-scenes', count: 64, reuse: 2000, width: 16, height: 16 },
  batch: 8,
  steps: 12,
  optimiser: { kind: 'adamw', rate: 0.002 },
  log: { every: 1 },
  save: { every: 5, keep: 2 },
};

t.test('a run from recipe to model', async (t) => {
  const cwd = t.testdir({ 'recipe.json': JSON.stringify(recipe) });
  const run = await wordmask(['train', 'recipe.json', '--out', 'run'], { cwd });
  t.equal(run.code, 0, run.err);
  t.match(run.out, /done: step 12 of 12, loss \d.*model: run\/step-12/s);
  t.same((await readdir(join(cwd, 'run'))).sort(), ['metrics.jsonl', 'report.html', 'run.json', 'step-10', 'step-12']);
  t.match(
    await readMetrics(join(cwd, 'run', 'metrics.jsonl')),
    Array.from({ length: 12 }, (_, i) => ({ step: i + 1 })),
  );
  const report = await readFile(join(cwd, 'run', 'report.html'), 'utf8');
  t.match(report, /<svg.*data:image\/png.*Recipe.*Environment/s, 'curves, pictures, recipe, environment');
  t.notMatch(report, cwd, 'no path of the machine');
  t.notMatch(report, /<script|https?:\/\/(?!www\.w3\.org)/, 'nothing from outside');

  const again = await wordmask(['train', 'recipe.json', '--out', 'run'], { cwd });
  t.equal(again.code, 2);
  t.match(again.err, /E_USAGE.*--resume.*--overwrite/s);
  const longer = await wordmask(['train', 'recipe.json', '--out', 'run', '--resume', '--steps', '14', '--json'], {
    cwd,
  });
  t.equal(longer.code, 0, longer.err);
  t.match(JSON.parse(longer.out), { status: 'done', step: 14, skipped: 0, unusable: { count: 0 } });

  const model = await open(join(cwd, 'run'), { system: 'maskclip' });
  const image = { data: new Uint8Array(16 * 16 * 3), width: 16, height: 16, channels: 3 };
  t.equal((await model.segment(image, ['sky', 'sea'])).labels.length, 256, 'the run folder is a model');
  await model.dispose();
  await writeFile(join(cwd, 'run', 'step-14', 'model.safetensors'), 'damaged');
  const warnings: string[] = [];
  const older = await open(join(cwd, 'run'), {
    system: 'maskclip',
    onLog: (text, level) => level === 'warning' && warnings.push(text),
  });
  await older.dispose();
  t.match(
    warnings,
    [/step-14.*model\.safetensors.*step-12 is used instead/],
    'a damaged checkpoint is passed over and named',
  );
});

t.test('interrupted and resumed', { skip: process.platform === 'win32' ? 'needs signals' : false }, async (t) => {
  const cwd = t.testdir({ 'recipe.json': JSON.stringify({ ...recipe, steps: 100_000, save: { every: 90_000 } }) });
  let asked = false;
  const watch = setInterval(async () => {
    const lines = await readFile(join(cwd, 'run', 'metrics.jsonl'), 'utf8').catch(() => '');
    if (!asked && lines.split('\n').length > 5) asked = child?.kill('SIGINT') ?? false;
  }, 50);
  let child: { kill(signal: 'SIGINT'): boolean } | undefined;
  const run = await wordmask(['train', 'recipe.json', '--out', 'run'], {
    cwd,
    onStart: (process) => (child = process),
  });
  clearInterval(watch);
  t.equal(run.code, 130, run.err);
  t.match(run.err, /stopping after this step.*go on with: wordmask train recipe.json --out run --resume/s);
  t.match(run.out, /stopped: step \d+ of 100000/);
  const [step] = (await readdir(join(cwd, 'run'))).filter((name) => name.startsWith('step-'));
  t.ok(step, `saved as ${step}`);
  const steps = Number(step?.slice(5)) + 2;
  const rest = await wordmask(['train', 'recipe.json', '--out', 'run', '--resume', '--steps', String(steps)], { cwd });
  t.equal(rest.code, 0, rest.err);
});

t.test('bad recipes and bad data', async (t) => {
  const cwd = t.testdir({
    'bad.json': JSON.stringify({ ...recipe, bacth: 1, model: {} }),
    'inner.json': JSON.stringify({ ...recipe, model: { vison: {} } }),
    'folder.json': JSON.stringify({ ...recipe, data: { kind: 'folder', path: 'data' } }),
    'none.json': JSON.stringify({ ...recipe, data: { kind: 'tar', path: 'none.tar' } }),
  });
  const cases: [string[], number, RegExp][] = [
    [['train'], 2, /recipe/],
    [['train', 'missing.json', '--out', 'x'], 2, /does not exist/],
    [['train', 'bad.json', '--out', 'x'], 2, /E_OPTION.*"bacth", did you mean 'batch'/s],
    [['train', 'inner.json', '--out', 'x'], 2, /E_OPTION.*vision/s],
    [['train', 'none.json', '--out', 'y'], 2, /none\.tar/],
    [['train', 'inner.json', '--out', 'x', '--resume', '--overwrite'], 2, /resume/],
    [['train', 'inner.json', '--out', '/proc/none/at/all'], 6, /E_DISK/],
    [['train', 'inner.json', '--out', 'z', '--set', 'optimiser.rte=1'], 2, /did you mean 'rate'/],
  ];
  for (const [args, code, message] of cases) {
    const run = await wordmask(args, { cwd });
    t.equal(run.code, code, `${args.join(' ')}: ${run.err}`);
    t.match(run.err, message);
  }
  await writePairs(join(cwd, 'data'), 16);
  for (const [name, text] of [
    ['3.png', 'no picture'],
    ['5.png', ''],
  ] as const)
    await writeFile(join(cwd, 'data', name), text);
  const run = await wordmask(['train', 'folder.json', '--out', 'run'], { cwd });
  t.equal(run.code, 1, run.err);
  t.match(run.err, /3\.png.*5\.png.*2 samples could not be used; others took their places/s);
});
