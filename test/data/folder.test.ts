/** Data sets of a user's own: folders, endings, orders, 16 bits, class names of a file. */
import t from 'tap';
import { openDataset } from '#lib/data/dataset.js';
import { map, packedPng, Tree, values, vocTree } from './trees.js';

t.test('any folder', async (t) => {
  const tree = await Tree.make(t);
  const size = { width: 4, height: 3 };
  const classes = await tree.write(
    'classes.json',
    JSON.stringify(['sky', { name: 'dog', prompts: ['dog', 'puppy'] }, 'cat|kitten', 'sea']),
  );
  for (const [stem, bytes] of [
    ['one', packedPng([1, 0, 1, 0, 0, 1], size, 1)],
    ['two', packedPng([3, 2, 1, 0, 1, 2], size, 2)],
    ['four', packedPng([3, 2, 15 & 3, 0, 1, 2], size, 4)],
    ['palette', packedPng([2, 3, 1, 0, 1, 2], size, 2, Uint8Array.of(9, 9, 9, 200, 1, 1, 5, 5, 5, 7, 7, 7))],
  ] as const) {
    await tree.picture(`pictures/${stem}.jpg`);
    await tree.write(`truth/${stem}.png`, bytes);
  }
  const options = { images: tree.path('pictures'), truth: tree.path('truth'), classes };
  const set = await openDataset('folder', options);
  const byId = new Map(set.items.map((item) => [item.id, item]));
  t.same(
    set.classes.map(({ name, prompts }) => [name, prompts]),
    [
      ['sky', ['sky']],
      ['dog', ['dog', 'puppy']],
      ['cat', ['cat', 'kitten']],
      ['sea', ['sea']],
    ],
  );
  const head = async (id: string): Promise<number[]> =>
    values((await byId.get(id)?.label()) as { data: Uint8Array }).slice(0, 6);
  t.same(await head('one'), [1, 0, 1, 0, 0, 1]);
  t.same(await head('two'), [3, 2, 1, 0, 1, 2]);
  t.same(await head('four'), [3, 2, 3, 0, 1, 2]);
  t.same(await head('palette'), [2, 3, 1, 0, 1, 2], 'indices, not colours');
  const reduced = await openDataset('folder', { ...options, reduceZeroLabel: true, ignore: 3 });
  const two = reduced.items.find(({ id }) => id === 'two') as (typeof set.items)[0];
  t.same(values(await two.label()).slice(0, 6), [3, 1, 0, 3, 0, 1], 'ignored stays, 0 joins it, the rest moves down');
  await t.rejects(openDataset('folder', { ...options, classes: undefined }), {
    code: 'E_USAGE',
    message: /class names/,
  });
});

t.test('any folder with 16 bits', async (t) => {
  const tree = await Tree.make(t);
  const names = Array.from({ length: 300 }, (_, i) => `class ${i}`);
  await tree.picture('images/a.jpg');
  await tree.label('labels/a.png', Uint16Array.from(map()).fill(299).fill(255, 0, 2).fill(65535, 2, 4));
  const classes = await tree.write('many.json', JSON.stringify(names));
  const set = await openDataset('folder', { root: tree.root, classes });
  t.equal(set.ignore, 65535, '255 is a class');
  t.same(values(await (set.items[0] as (typeof set.items)[0]).label()).slice(0, 6), [255, 255, 65535, 65535, 299, 299]);
  const few = await tree.write('few.json', JSON.stringify(names.slice(0, 3)));
  await tree.label('labels/a.png', Uint16Array.from(map(2, 255, 1)));
  const small = await openDataset('folder', { root: tree.root, classes: few });
  const plane = await (small.items[0] as (typeof set.items)[0]).label();
  t.same([small.ignore, plane.data.constructor.name, values(plane).slice(0, 3)], [255, 'Uint8Array', [2, 255, 1]]);
  const strict = await openDataset('folder', { root: tree.root, classes: few, ignore: 0 });
  await t.rejects((strict.items[0] as (typeof set.items)[0]).label(), { message: /255 \(1 pixel\)/ });
});

t.test('orders and endings of given folders', async (t) => {
  const tree = await vocTree(t);
  const base = 'VOCdevkit/VOC2012';
  const given = { images: tree.path(`${base}/JPEGImages`), truth: tree.path(`${base}/SegmentationClass`) };
  const all = await openDataset('voc21', given);
  t.same(
    all.items.map(({ id }) => id),
    ['2007_000001', '2007_000002', '2007_000009'],
    'sorted without a list',
  );
  t.equal(all.source.layout, 'explicit');
  const list = await tree.write('list.txt', '2007_000009 extra\n2007_000002\n');
  t.same(
    (await openDataset('voc21', { ...given, list })).items.map(({ id }) => id),
    ['2007_000009', '2007_000002'],
  );
  // Both in one folder, told apart by their endings.
  await tree.picture('both/a-image.png');
  await tree.label('both/a-label.png', map(3));
  const both = {
    images: tree.path('both'),
    truth: tree.path('both'),
    imageSuffix: '-image.png',
    truthSuffix: '-label.png',
  };
  t.match(await openDataset('loveda', both), { items: [{ id: 'a' }] });
  // A folder of prepared labels is known by its name.
  await tree.label('annotations_pascal20/validation/2007_000001.png', map(19, 255));
  const prepared = { ...given, truth: tree.path('annotations_pascal20/validation'), partial: true };
  const set = await openDataset('pas20', prepared);
  t.same(values(await (set.items[0] as (typeof set.items)[0]).label()).slice(0, 2), [19, 255]);
});

t.test('class names of a file', async (t) => {
  const tree = await vocTree(t);
  const names = Array.from({ length: 21 }, (_, i) => `class ${i}`);
  const classes = await tree.write('names.json', JSON.stringify(names));
  const set = await openDataset('voc21', { root: tree.root, partial: true, classes });
  t.same(
    set.classes.map(({ name }) => name),
    names,
  );
  const short = await tree.write('short.json', JSON.stringify(names.slice(1)));
  await t.rejects(openDataset('voc21', { root: tree.root, partial: true, classes: short }), {
    code: 'E_VOCAB',
    message: /20 entries.*21 classes/,
  });
  for (const bad of ['{}', '[]', '[1]', '["a", ""]', '[{"name": "a", "prompts": [2]}]', 'no json'])
    await t.rejects(
      openDataset('voc21', { root: tree.root, partial: true, classes: await tree.write('bad.json', bad) }),
      { code: 'E_VOCAB' },
      bad,
    );
});
