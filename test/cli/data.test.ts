/** `wordmask data draw` as a user runs it. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { writePng } from '#lib/image/png.js';
import { wordmask } from './command.js';

// On a busy machine every start of the command takes seconds.
t.setTimeout(300_000);

t.test('data draw', async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), 'wordmask-cli-'));
  t.teardown(() => rm(cwd, { recursive: true, force: true }));
  const args = ['data', 'draw', '--out', 'scenes', '--count', '2', '--split', 'val', '--seed', '5', '--size', '64x48'];
  const made = await wordmask([...args, '--json'], { cwd });
  t.equal(made.code, 0, made.err);
  t.match(JSON.parse(made.out), { folder: 'scenes', split: 'val', count: 2, first: 5, captions: 'captions.jsonl' });
  t.same(await readdir(join(cwd, 'scenes', 'images')), ['000000.png', '000001.png']);
  const again = await wordmask(args, { cwd });
  t.equal(again.code, 2);
  t.match(again.err, /E_USAGE.*not empty/);
  for (const [wrong, message] of [
    [['--split', 'tset'], /E_OPTION.*split must be one of train, val/],
    [['--count', '0'], /E_OPTION.*count/],
    [['--size', 'big'], /E_OPTION.*WIDTHxHEIGHT/],
    [['--split', 'test', '--seed', '995', '--count', '10'], /E_OPTION.*1000 scenes/],
  ] as const) {
    const result = await wordmask(['data', 'draw', '--out', 'other', ...wrong], { cwd });
    t.equal(result.code, 2, wrong.join(' '));
    t.match(result.err, message);
  }
  const nowhere = await wordmask(['data', 'draw'], { cwd });
  t.equal(nowhere.code, 2);
  t.match(nowhere.err, /E_USAGE.*--out DIR/);
  const help = await wordmask(['data', 'draw', '--help'], { cwd });
  t.match(help.out, /Examples:\n {2}\$ wordmask data draw/);
});

t.test('data convert', async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), 'wordmask-cli-'));
  t.teardown(() => rm(cwd, { recursive: true, force: true }));
  await mkdir(join(cwd, 'in'));
  const label = await writePng({ width: 2, height: 1, kind: 'grey', data: Uint8Array.of(7, 33) });
  await writeFile(join(cwd, 'in', 'a_gtFine_labelIds.png'), label);
  await writeFile(join(cwd, 'in', 'b_gtFine_labelIds.png'), label.subarray(0, 40));
  const args = ['data', 'convert', 'cityscapes', 'in', 'out'];
  const stopped = await wordmask(args, { cwd });
  t.equal(stopped.code, 3, stopped.err);
  t.match(stopped.err, /E_IMAGE_CORRUPT.*b_gtFine_labelIds\.png/);
  const skipped = await wordmask([...args, '--on-error', 'skip', '--json'], { cwd });
  t.equal(skipped.code, 1, skipped.err);
  t.match(JSON.parse(skipped.out), {
    kind: 'cityscapes',
    failed: [{ name: 'b_gtFine_labelIds.png', code: 'E_IMAGE_CORRUPT' }],
  });
  t.same((await readdir(join(cwd, 'out'))).sort(), ['a_gtFine_labelTrainIds.png', 'convert-cityscapes.jsonl']);
  const unknown = await wordmask(['data', 'convert', 'kitti', 'in', 'out'], { cwd });
  t.equal(unknown.code, 2);
  t.match(unknown.err, /E_OPTION.*pc459, pc60/);
});
