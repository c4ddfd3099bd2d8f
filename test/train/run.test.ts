/** What a run does when things go wrong: losses that are no numbers, disks that are full, folders that are taken. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { findCheckpoint, readMetrics, registerTrainable, train } from '#lib/entry/train.js';
import { sha256 } from '#lib/util/files.js';
import { openSafetensors } from '#lib/weights/index.js';
import { tarFile } from '../data/tar.js';
import { toyRecipe, toySystem, writePairs } from './toy.js';

let badSteps: (step: number) => boolean = () => false;
let badSave: () => boolean = () => false;
let breakAfter = 0;
let size = 16;
registerTrainable(
  'toy',
  toySystem({
    badSteps: (step) => badSteps(step),
    badSave: () => badSave(),
    breakAfter: () => breakAfter,
    size: () => size,
  }),
);

t.test('eight pairs are learnt', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const result = await train(toyRecipe(join(folder, 'data'), { steps: 200, save: { every: 200 } }), {
    out: join(folder, 'run'),
  });
  t.ok((result.losses.total ?? 9) < 0.02, `the loss falls to ${result.losses.total}`);
});

t.test('frozen parameters keep their bytes', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const out = join(folder, 'run');
  const recipe = toyRecipe(join(folder, 'data'), { freeze: ['text.**'], save: { every: 1, keep: 200 }, ema: 0.5 });
  await train({ ...recipe, steps: 100 }, { out });
  const bytes = async (step: number, name: string): Promise<string> => {
    const file = await openSafetensors(join(out, `step-${step}`, 'model.safetensors'));
    return sha256(await file.read(name).finally(() => file.close()));
  };
  t.equal(await bytes(1, 'text.table'), await bytes(100, 'text.table'), 'after 100 steps');
  t.not(await bytes(1, 'image.fc2.weight'), await bytes(100, 'image.fc2.weight'), 'the others move');
  await t.rejects(train({ ...recipe, freeze: ['txt.**'] }, { out: join(folder, 'x') }), {
    code: 'E_OPTION',
    message: /txt/,
  });
});

t.test('losses that are not finite', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const recipe = toyRecipe(join(folder, 'data'), { steps: 40 });
  badSteps = (step) => step % 7 === 3;
  const result = await train(recipe, { out: join(folder, 'some') });
  t.equal(result.skipped, 6, 'steps are skipped and counted');
  t.ok((await readMetrics(join(folder, 'some', 'metrics.jsonl'))).at(-1)?.skipped === 6);
  badSteps = (step) => step >= 15;
  await t.rejects(train({ ...recipe, steps: 60 }, { out: join(folder, 'all') }), {
    code: 'E_NUMERIC',
    message: /20 steps in a row.*step 35/,
  });
  const kept = await findCheckpoint(join(folder, 'all'));
  t.ok((kept?.step ?? 0) >= 10, `the checkpoint of step ${kept?.step} is there`);
  badSteps = () => false;
  const again = await train({ ...recipe, steps: 60 }, { out: join(folder, 'all'), resume: true });
  t.equal(again.status, 'done', 'and the run can go on from it');
});

t.test('weights that are not finite', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const recipe = toyRecipe(join(folder, 'data'), { steps: 60, save: { every: 1, keep: 2 } });
  breakAfter = 14;
  const warnings: string[] = [];
  const onWarn = (message: string): void => void warnings.push(message);
  await t.rejects(train(recipe, { out: join(folder, 'run'), onWarn }), {
    code: 'E_NUMERIC',
    message: /20 steps in a row/,
  });
  t.match(warnings[0], /step 14 is not saved.*not finite.*step 13 is kept/);
  t.equal((await findCheckpoint(join(folder, 'run')))?.step, 13, 'they take no good checkpoint away');
  const short = toyRecipe(join(folder, 'data'), { steps: 14 });
  await t.rejects(train(short, { out: join(folder, 'short') }), { code: 'E_NUMERIC', message: /after step 14/ });
  breakAfter = 0;
});

t.test('a save that fails', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const recipe = toyRecipe(join(folder, 'data'), { steps: 40 });
  const [warnings, steps] = [[] as string[], [] as string[]];
  let tries = 0;
  // Saves at 10; at 20 two attempts fail and the third, two steps later, works.
  badSave = () => ++tries === 2 || tries === 3;
  await train(recipe, { out: join(folder, 'some'), onWarn: (message) => warnings.push(message) });
  t.equal(warnings.length, 2);
  t.match(warnings[0], /step 20 is not saved.*too long.*step 10 is kept.*tried again/s);
  t.match(warnings[1], /step 21 is not saved/);
  steps.push(...(await readdir(join(folder, 'some'))).filter((name) => name.startsWith('step-')).sort());
  t.same(steps, ['step-22', 'step-30', 'step-40']);
  tries = 0;
  badSave = () => ++tries >= 2;
  await t.rejects(train(recipe, { out: join(folder, 'all') }), { code: 'E_DISK' }, 'three failures end the run');
  t.equal(tries, 4);
  t.equal((await findCheckpoint(join(folder, 'all')))?.step, 10, 'the old checkpoint stays');
  t.notOk(
    (await readdir(join(folder, 'all'))).some((name) => name.endsWith('.tmp')),
    'nothing half-written is left',
  );
  badSave = () => false;
  t.match(await train(recipe, { out: join(folder, 'all'), resume: true }), { status: 'done' });
});

t.test('a disk that is full', { skip: process.platform === 'win32' ? 'needs ulimit' : false }, async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const out = join(folder, 'run');
  const script = fileURLToPath(new URL('./run-toy.js', import.meta.url));
  const recipe = JSON.stringify(toyRecipe(join(folder, 'data'), { steps: 30 }));
  const start = (limit: string) =>
    promisify(execFile)('sh', ['-c', `${limit} exec "$0" "$@"`, process.execPath, script, out, recipe]).then(
      ({ stderr }) => ({ failed: false, stderr }),
      ({ stderr }: { stderr: string }) => ({ failed: true, stderr }),
    );
  // Blocks of 512 bytes: enough for records, not for the moments.
  const limited = await start('trap "" XFSZ; ulimit -f 24;');
  t.equal(limited.failed, true);
  t.match(limited.stderr, /step 10 is not saved.*no checkpoint yet/);
  t.match(limited.stderr, /E_DISK/);
  t.equal((await start('')).failed, false, 'goes on once there is room');
});

t.test('folders that are taken', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const out = join(folder, 'run');
  const recipe = toyRecipe(join(folder, 'data'), { steps: 12 });
  await train(recipe, { out });
  await t.rejects(train(recipe, { out }), { code: 'E_USAGE', message: /holds a run already.*--resume.*--overwrite/ });
  await t.rejects(train(recipe, { out, resume: true, overwrite: true }), { code: 'E_USAGE' });
  await t.rejects(train({ ...recipe, seed: 9, batch: 4 }, { out, resume: true }), {
    code: 'E_CHECKPOINT',
    message: /checkpoint of another model: its batch is 8, the recipe's 4; its seed/,
  });
  size = 8;
  await t.rejects(train({ ...recipe, steps: 20 }, { out, resume: true }), {
    code: 'E_CHECKPOINT',
    message: /checkpoint of another model: image.fc1.weight is F32 \[16, 48\], the model's F32 \[8, 48\]/,
  });
  size = 16;
  t.match(
    await train({ ...recipe, steps: 20 }, { out, resume: true }),
    { status: 'done', step: 20 },
    'it may go on longer',
  );
  await t.rejects(train({ ...recipe, freeze: ['none'] }, { out, overwrite: true }), { code: 'E_OPTION' });
  t.equal((await findCheckpoint(out))?.step, 20, 'a recipe that cannot start deletes nothing');
  await writeFile(join(out, 'mine.txt'), 'kept');
  t.match(await train({ ...recipe, seed: 9 }, { out, overwrite: true }), { status: 'done', step: 12 });
  t.equal(await readFile(join(out, 'mine.txt'), 'utf8'), 'kept', 'files of others stay');
  await writeFile(join(folder, 'file'), '');
  await t.rejects(train(recipe, { out: join(folder, 'file') }), { code: 'E_USAGE' });
  await mkdir(join(folder, 'empty'));
  t.match(await train(recipe, { out: join(folder, 'empty'), resume: true }), { status: 'done' }, 'resume may start');
  await t.rejects(train({ ...recipe, system: 'toi' }, { out: join(folder, 'x') }), {
    code: 'E_OPTION',
    message: /did you mean 'toy'/,
  });
  await t.rejects(train(recipe, { out, resme: true } as never), { code: 'E_OPTION', message: /did you mean 'resume'/ });
});

t.test('threads that read', async (t) => {
  const folder = t.testdir();
  const data = join(folder, 'data');
  await writePairs(data, 30);
  const members: [string, Uint8Array | string][] = [];
  const lines = (await readFile(join(data, 'captions.jsonl'), 'utf8')).trim().split('\n');
  for (const [i, line] of lines.entries()) {
    // One picture in ten is damaged, one sample has no caption.
    const bytes = await readFile(join(data, `${i}.png`));
    members.push([`${i}.png`, i % 10 === 7 ? bytes.subarray(0, 50) : bytes]);
    if (i !== 4) members.push([`${i}.txt`, (JSON.parse(line) as { caption: string }).caption]);
  }
  for (const part of [0, 1]) {
    const bytes = tarFile(members.slice(part * 30, (part + 1) * 30));
    await writeFile(join(folder, `s-${part}.tar`), part === 0 ? bytes : bytes.fill(0xee, 0, 512));
  }
  const recipe = toyRecipe(data, { data: { kind: 'tar', path: join(folder, 's-{0..1}.tar') }, steps: 20 });
  const runs = [];
  for (const workers of [0, 1, 3]) {
    const warnings: string[] = [];
    const out = join(folder, `run-${workers}`);
    const { unusable } = await train(
      { ...recipe, loader: { workers, prefetch: 3 } },
      { out, onWarn: (message) => warnings.push(message) },
    );
    const losses = (await readMetrics(join(out, 'metrics.jsonl'))).map((record) => record.losses);
    // What the decoder says of a damaged file differs between threads.
    runs.push({ unusable: unusable.listed.map(({ key, code }) => `${key} ${code}`), losses, warnings });
  }
  t.same(runs[1], runs[0], 'one thread reads the same as none');
  t.same(runs[2], runs[0], 'three threads read the same');
  t.match(runs[0]?.unusable, [/E_IMAGE_CORRUPT/, /E_IMAGE_CORRUPT/], `${runs[0]?.unusable.join(', ')} are counted`);
  t.match(runs[0]?.warnings, [/s-1\.tar: 1024 bytes from byte 0 on are no tar member/], 'a broken shard is named once');
  await writePairs(join(folder, 'bad'), 4);
  for (const i of [0, 1, 2, 3]) await writeFile(join(folder, 'bad', `${i}.png`), 'x');
  for (const workers of [0, 1])
    await t.rejects(
      train(toyRecipe(join(folder, 'bad'), { loader: { workers } }), { out: join(folder, `bad-${workers}`) }),
      { code: 'E_IMAGE_CORRUPT', message: /could not be used.*check the data/ },
    );
});

t.test('an abort ends a run at once', async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const abort = new AbortController();
  const recipe = toyRecipe(join(folder, 'data'), { steps: 100_000, save: { every: 5 } });
  const running = train(recipe, {
    out: join(folder, 'run'),
    signal: abort.signal,
    onProgress: ({ step }) => step === 12 && abort.abort(new Error('enough')),
  });
  await t.rejects(running, { message: 'enough' });
  t.equal((await findCheckpoint(join(folder, 'run')))?.step, 10, 'the last checkpoint stays');
});
