/** The command line with the small model of test/fixtures: what a bare clone can show. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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

t.test('explain', async (t) => {
  const model = ['-m', miniFolder(), '-q'];
  const maps = ['explain', miniScene, '-l', 'cat,dog|puppy,../x', '-f', 'overlay,map,npy', '-o', 'maps', '--json'];
  const result = await wordmask([...maps, ...model], { cwd });
  t.equal(result.code, 0, result.err);
  const { images, done, failed } = JSON.parse(result.out);
  t.same([done, failed, images.length], [1, 0, 1]);
  const found = images[0].maps as { label: string; values: string; outputs: { file: string }[] }[];
  t.same(
    found.map(({ label, values, outputs }) => [label, values, ...outputs.map(({ file }) => file)]),
    ['cat', 'dog', '../x'].map((label) => {
      const stem = `maps/scene.${label.replace('../', '')}`;
      return [label, 'similarity', `${stem}.png`, `${stem}.map.png`, `${stem}.npy`];
    }),
  );
  for (const { outputs } of found) for (const { file } of outputs) t.ok(readFileSync(join(cwd, file)).length > 0);
  const among = ['explain', miniScene, '-l', 'cat', '--from', 'voc20', '-o', '-', '-f', 'map'];
  const piped = await wordmask([...among, ...model], { cwd });
  t.equal(piped.code, 0, piped.err);
  t.equal(piped.stdout.subarray(1, 4).toString(), 'PNG');
  writeFileSync(join(cwd, 'bad.png'), 'no picture');
  const some = ['explain', 'bad.png', miniScene, '-l', 'cat', '-o', 'some', '--on-error', 'skip'];
  const skipped = await wordmask([...some, ...model], { cwd });
  t.equal(skipped.code, 1);
  t.match(skipped.err, 'E_IMAGE_FORMAT');
  t.ok(readFileSync(join(cwd, 'some/scene.cat.png')).length > 0);
  const wrong = await wordmask(['explain', 'bad.png', '-l', 'cat', '-o', 'bad.png', ...model], { cwd });
  t.equal(wrong.code, 2);
  t.match(wrong.err, 'would replace');
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
