/** `wordmask tune`, `reproduce` and `eval robustness` as a user runs them. */
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { assetPath } from '#lib/util/assets.js';
import { sceneFolder } from '../helpers/eval.js';
import { wordmask } from './command.js';

// On a busy machine every start of the command takes seconds.
t.setTimeout(300_000);

const cwd = await mkdtemp(join(tmpdir(), 'wordmask-cli-'));
t.teardown(() => rm(cwd, { recursive: true, force: true }));
const paths = await sceneFolder(cwd, 3);
const env = { WORDMASK_DEVICE: 'cpu' };

t.test('tune', async (t) => {
  await cp(assetPath('models/tiny'), join(cwd, 'model'), { recursive: true });
  // Labels of scenes count from 0: the first is made background, and all are asked for.
  const names = JSON.parse(await readFile(paths.classes, 'utf8')) as string[];
  const words = names.slice(1).join(',');
  const args = [
    'tune',
    '-m',
    './model',
    '--images',
    'images',
    '--truth',
    'truth',
    '-l',
    words,
    '--thresholds',
    '0.1,0.3',
  ];
  const refused = await wordmask([...args, '-m', 'tiny', '--save'], { cwd, env });
  t.equal(refused.code, 2);
  t.match(refused.err, /E_OPTION.*'tiny' is built into the package/);
  const found = await wordmask([...args, '--save', '--json', '-o', 'tuning.json'], { cwd, env });
  t.equal(found.code, 0, found.err);
  const result = JSON.parse(found.out);
  t.match(result, { rule: 'labelled', curve: [{ value: 0.1 }, { value: 0.3 }], saved: 'model/wordmask.json' });
  t.same(JSON.parse(await readFile(join(cwd, 'tuning.json'), 'utf8')), result);
  t.same(JSON.parse(await readFile(join(cwd, 'model', 'wordmask.json'), 'utf8')).tuning, result.tuning);
  const shown = await wordmask([...args, '--limit', '2', '--seed', '1'], { cwd, env });
  t.match(shown.out, /threshold +mIoU +pixels right +background\n +0\.10 .*\n +0\.30 .*\nprobThreshold = /);
  t.match(shown.err, /2 of 3 pictures/);
  const missing = await wordmask(['tune', '--images', 'images', '--truth', '.', '-l', words], { cwd, env });
  t.equal(missing.code, 2);
  t.match(missing.err, /3 of 3 pictures have no labels.*scene-00\.png/);
});

t.test('eval robustness', async (t) => {
  const data = ['-d', 'folder', '--images', 'images', '--truth', 'truth', '--classes', 'classes.json'];
  const args = ['eval', 'robustness', '-m', 'tiny', ...data, '--limit', '2', '--tests', 'templates,synonyms'];
  const found = await wordmask([...args, '--template-sets', 'identity', '--report', 'robust.html', '-o', 'r.json'], {
    cwd,
    env,
  });
  t.equal(found.code, 0, found.err);
  t.match(found.out, /templates +templates identity +34/);
  t.match(found.err, /synonyms: no list of synonyms for folder/);
  const page = await readFile(join(cwd, 'robust.html'), 'utf8');
  t.match(page, /<section id="robustness"/);
  t.match(page, /data:image\/webp;base64/);
  t.match(JSON.parse(await readFile(join(cwd, 'r.json'), 'utf8')), { format: 'wordmask-robustness/1', pictures: 2 });
});

t.test('reproduce', async (t) => {
  const listed = await wordmask(['reproduce', '--rows', 'naclip', '--datasets', 'voc20'], { cwd, env });
  t.equal(listed.code, 0, listed.err);
  t.match(listed.out, /naclip-b16-pamr: NACLIP \+ PAMR.*arXiv 2404\.08181; weights openai\/clip-vit-base-patch16/);
  t.match(listed.out, /voc20 +mIoU +83\.03 +missing/);
  t.match(listed.out, /missing for 2 figures: weights:.*wordmask models pull openai\/clip-vit-base-patch16/);
  const wrong = await wordmask(['reproduce', '--rows', 'naclp', '--json'], { cwd, env });
  t.equal(wrong.code, 2);
  t.match(JSON.parse(wrong.err), { error: { code: 'E_OPTION' } });
});
