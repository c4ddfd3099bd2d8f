/** The command line with the small model of test/fixtures: what a bare clone can show. */
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadLabels } from '#lib/entry/formats.js';
import { miniFolder, miniScene } from '../helpers/fixture.js';
import { wordmask } from './command.js';

// On a busy machine every start of the command takes seconds.
t.setTimeout(300_000);
const cwd = t.testdir();

t.test('segment', async (t) => {
  mkdirSync(join(cwd, 'in'));
  for (const name of ['a.png', 'b.png']) copyFileSync(miniScene, join(cwd, 'in', name));
  const args = [
    'segment',
    'in',
    '-l',
    'cat,dog|puppy,grass',
    '-m',
    miniFolder(),
    '--size',
    '64',
    '-f',
    'voc,coco',
    '-o',
    'out',
  ];
  const result = await wordmask(args, { cwd });
  t.equal(result.code, 0, result.err);
  const lines = readFileSync(join(cwd, 'out/manifest.jsonl'), 'utf8').trim().split('\n');
  t.equal(lines.length, 2);
  for (const line of lines) {
    const { outputs, width, height, status } = JSON.parse(line);
    t.same([width, height, status, outputs.length], [48, 40, 'done', 2]);
    const file = (outputs as { format: string; file: string }[]).find(({ format }) => format === 'voc')?.file as string;
    const { labels } = await loadLabels(join(cwd, 'out', file), { format: 'voc' });
    t.ok([...labels].every((label) => label < 3));
  }
  const again = await wordmask([...args, '--resume'], { cwd });
  t.equal(again.code, 0, again.err);
  const wrong = await wordmask(['segment', 'nothing.png', '-l', 'cat', '-m', miniFolder(), '-o', 'none'], { cwd });
  t.not(wrong.code, 0);
});

t.test('vocabulary and model', async (t) => {
  const built = await wordmask(['vocab', 'build', '-l', 'cat,dog', '-m', miniFolder(), '-o', 'words.json'], { cwd });
  t.equal(built.code, 0, built.err);
  const used = await wordmask(['segment', miniScene, '-V', 'words.json', '-m', miniFolder(), '-o', 'out2'], { cwd });
  t.equal(used.code, 0, used.err);
  const info = await wordmask(['models', 'info', miniFolder(), '--json'], { cwd });
  t.equal(info.code, 0, info.err);
  t.match(JSON.parse(info.out), Object);
});
