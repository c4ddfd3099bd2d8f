/** `wordmask eval`, `eval merge` and `eval diff` as a user runs them. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { EvalReport } from 'wordmask/eval';
import { sceneFolder } from '../helpers/eval.js';
import { wordmask } from './command.js';

// On a busy machine every start of the command takes seconds.
t.setTimeout(300_000);

const cwd = await mkdtemp(join(tmpdir(), 'wordmask-eval-'));
t.teardown(() => rm(cwd, { recursive: true, force: true }));
await sceneFolder(cwd, 4);
const env = { WORDMASK_DEVICE: 'cpu' };
const folder = ['-d', 'folder', '--images', 'images', '--truth', 'truth', '--classes', 'classes.json'];
const run = (...args: string[]) => wordmask(['eval', ...args], { cwd, env });
const readJson = async (name: string) => JSON.parse(await readFile(join(cwd, name), 'utf8')) as EvalReport;
const plain = ({ run: _, ...found }: EvalReport) => found;

t.test('a folder of pictures and labels, shards, difference', async (t) => {
  const whole = await run(
    '-m',
    'tiny',
    ...folder,
    '-o',
    'out/whole.json',
    '--report',
    'out/page.html',
    '--save-predictions',
    'preds',
  );
  t.equal(whole.code, 0, whole.err);
  t.match(whole.out, /naclip on folder, protocol tcl|naclip on folder, protocol sclip/);
  t.match(whole.out, /mIoU +\d+\.\d\d/);
  t.same(await readdir(join(cwd, 'preds')), ['scene-00.png', 'scene-01.png', 'scene-02.png', 'scene-03.png']);
  t.match(await readFile(join(cwd, 'out/page.html'), 'utf8'), /data:image\/webp;base64/);
  t.notOk(existsSync(join(cwd, 'out/whole.json.journal')), 'the journal has done its work');
  for (const shard of ['1/2', '2/2']) {
    const part = await run(
      '-m',
      'tiny',
      ...folder,
      '--shard',
      shard,
      '-o',
      `part-${shard[0]}.json`,
      '-q',
      '--save-predictions',
      'preds',
    );
    t.equal(part.code, 0, part.err);
  }
  const merged = await run('merge', 'part-2.json', 'part-1.json', '-o', 'merged.json', '--report', 'merged.md');
  t.equal(merged.code, 0, merged.err);
  t.same(plain(await readJson('merged.json')), plain(await readJson('out/whole.json')));
  t.match(await readFile(join(cwd, 'merged.md'), 'utf8'), /^# folder: naclip/);
  const plainer = await run('-m', 'tiny', ...folder, '--refine', 'none', '--json', '-o', 'plain.json');
  t.match(JSON.parse(plainer.out), { protocol: { refine: 'none' } });
  const diff = await run('diff', 'out/whole.json', 'plain.json');
  t.match(diff.out, /refine +\{"dilations":\[8,16\],"name":"pamr","steps":10\} +"none"/);
  t.match(diff.out, /refine alone changed mIoU by/);
});

t.test('Ctrl-C keeps what is done, and --resume goes on', async (t) => {
  const args = ['-m', 'tiny', '-d', 'drawn-scenes', '--limit', '30', '-o', 'scenes.json'];
  const stopped = await wordmask(['eval', ...args], {
    ...{ cwd, env },
    onStart: (child) => {
      const timer = setInterval(() => {
        if (!existsSync(join(cwd, 'scenes.json.journal'))) return;
        clearInterval(timer);
        child.kill('SIGINT');
      }, 5);
      child.on('exit', () => clearInterval(timer));
    },
  });
  t.equal(stopped.code, 130, stopped.err);
  t.match(stopped.err, /to go on: wordmask eval .* --resume/);
  const resumed = await run(...args, '--resume');
  t.equal(resumed.code, 0, resumed.err);
  t.match((await readJson('scenes.json')).counts, { asked: 30, done: 30 });
});

t.test('a damaged picture is left out by name, not from the denominator', async (t) => {
  const file = join(cwd, 'images/scene-02.png');
  const bytes = await readFile(file);
  await truncate(file, bytes.length - 900);
  const skip = await run('-m', 'tiny', ...folder, '--on-error', 'skip', '--json');
  t.equal(skip.code, 1);
  t.match(JSON.parse(skip.out).counts, { asked: 4, done: 3, failed: 1, validPixels: 4 * 48 * 40 });
  t.match(skip.err, /scene-02/);
  await writeFile(file, bytes);
});

t.test('wrong usage is told before any work', async (t) => {
  const cases: [string[], number, RegExp][] = [
    [[], 2, /eval needs a data set/],
    [['marge', 'a.json'], 2, /did you mean eval merge/],
    [['-d', 'voc22'], 2, /did you mean "voc2[01]"/],
    [['-d', 'drawn-scenes', '--resume'], 2, /--resume goes on from the journal/],
    [['-d', 'drawn-scenes', '--protocol', '{"windows":1}', '--limit', '1'], 2, /did you mean 'window'/],
    [['-d', 'drawn-scenes', '--task', 'panoptic', '--limit', '1'], 2, /task must be semantic/],
    [['-d', 'voc21', '--root', 'nowhere'], 3, /nowhere/],
    [['merge', 'one.json'], 2, /at least two reports/],
  ];
  for (const [args, code, message] of cases) {
    const found = await run(...args, ...(args[0] === '-d' ? ['-m', 'tiny'] : []));
    t.equal(found.code, code, `${args.join(' ')}: ${found.err}`);
    t.match(found.err, message);
  }
});
