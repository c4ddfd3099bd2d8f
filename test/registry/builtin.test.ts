/** Models of the package: opened by name, plain CLIP folders whose hashes hold, small enough, with recipe and curve. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { open } from '#lib/entry/index.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { modelNames } from '#lib/registry/builtin.js';
import { verifyFolder } from '#lib/registry/folder.js';
import { checkRecipe } from '#lib/train/index.js';
import { assetPath } from '#lib/util/assets.js';

const names = [...modelNames].flatMap(([name, target]) => (target === null ? [name] : []));

for (const name of names) {
  const folder = assetPath(`models/${name}`);
  t.test(name, async (t) => {
    const checks = await verifyFolder(folder);
    t.same(
      checks.filter(({ status, file }) => status !== 'ok' && file !== 'wordmask.json'),
      [],
      'hashes of wordmask.json',
    );
    const recipe = JSON.parse(await readFile(join(folder, 'recipe.json'), 'utf8'));
    t.equal(checkRecipe(recipe).system, 'clip');
    const backbone = await loadBackbone(folder);
    t.equal(backbone.kind, 'clip');
    const { data } = await backbone.encodeText(['a red house', 'a red house', 'the sea']);
    const [a, b] = [data.subarray(0, 128), data.subarray(128, 256)];
    t.same(a, b);
    backbone.dispose();
    const model = await open(name);
    const vocab = await model.vocabulary(['sky', 'grass']);
    const size = 96;
    const blue = Uint8Array.from({ length: size * size * 3 }, (_, i) => (i % 3 === 2 ? 230 : 120));
    const result = await model.segment({ data: blue, width: size, height: size, channels: 3 }, vocab);
    t.equal(result.labels.length, size * size);
    t.match(model.info.system, /clip/);
    await model.dispose();
    const other = await open(`sclip:${name}`);
    t.equal(other.info.system, 'sclip');
    await other.dispose();
  });
}

t.test('at most 10 MB together', async (t) => {
  let bytes = 0;
  for (const name of names)
    for (const file of await readdir(assetPath(`models/${name}`)))
      bytes += (await stat(join(assetPath(`models/${name}`), file))).size;
  t.ok(bytes < 10e6, `${bytes} bytes`);
});
