/** Every program of examples/ runs as its first line says, with the small model. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { readLabels } from 'wordmask/formats';
import { miniFolder, miniScene, root } from '../helpers/fixture.js';

const run = promisify(execFile);
const model = `./${relative(root, miniFolder())}`;
const out = t.testdir();
const images = [miniScene, 'nothing.png', miniScene];

const programs: Record<string, { args: string[]; prints: RegExp[] }> = {
  'segment.mjs': {
    args: [model, miniScene, join(out, 'mask.png'), 'cat', 'dog', 'grass|sky'],
    prints: [/% of the picture, mean score 0\.\d/],
  },
  'many-words.mjs': {
    args: [`clip:${model}`, miniScene, 'cat,dog|puppy', 'sky'],
    prints: [/^cat,dog\|puppy: mostly (cat|dog)/m, /^sky: mostly sky/m],
  },
  'stream.mjs': {
    args: [model, join(out, 'coco'), ...images],
    prints: [/^wrote .*scene\.png\.json$/m, /^nothing\.png: E_/m],
  },
};

t.test('every example is run', async (t) =>
  // native-consumer needs building: test/entry/neighbours.test.ts does it.
  t.same(
    readdirSync(join(root, 'examples'))
      .filter((name) => name !== 'native-consumer')
      .sort(),
    Object.keys(programs).sort(),
  ),
);

for (const [file, { args, prints }] of Object.entries(programs)) {
  t.test(file, async (t) => {
    const { stdout } = await run(process.execPath, [join(root, 'examples', file), ...args], { cwd: root });
    for (const line of prints) t.match(stdout, line);
  });
}

t.test('what they wrote', async (t) => {
  const mask = await readLabels('voc', readFileSync(join(out, 'mask.png')));
  t.same([mask.width, mask.height], [48, 40]);
  const coco = JSON.parse(readFileSync(join(out, 'coco', 'scene.png.json'), 'utf8')) as { annotations: unknown[] };
  t.ok(coco.annotations.length > 0);
});
