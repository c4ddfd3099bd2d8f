/** Real labelled pictures, index by index: numbers counted once with PIL, checksums of the decoded bytes. */
import { crc32 } from 'node:zlib';
import t, { type Test } from 'tap';
import { type DatasetOptions, openDataset } from '#lib/data/dataset.js';
import { data, needsData } from '../helpers/data.js';
import { Tree } from './trees.js';

interface Expected {
  readonly count: number;
  /** Pixels of each value over all maps. */
  readonly pixels: Readonly<Record<number, number>>;
  /** CRC-32 of all maps in order of id. */
  readonly crc?: number;
}

async function check(t: Test, name: string, options: DatasetOptions, expected: Expected): Promise<void> {
  const set = await openDataset(name, options);
  t.equal(set.items.length, expected.count, `${name}: pictures`);
  const pixels: Record<number, number> = {};
  let crc = 0;
  for (const item of set.items) {
    const { data: plane } = await item.label();
    for (const value of plane) pixels[value] = (pixels[value] ?? 0) + 1;
    crc = crc32(new Uint8Array(plane.buffer, plane.byteOffset, plane.byteLength), crc);
  }
  t.same(pixels, expected.pixels, `${name}: pixels of each class`);
  if (expected.crc !== undefined) t.equal(crc, expected.crc, `${name}: every pixel`);
}

t.test('CamVid', needsData, async (t) => {
  const images = data('more-camvid/images');
  const truth = data('more-camvid/labels');
  const pixels = {
    0: 348668,
    1: 356394,
    2: 20781,
    3: 413432,
    4: 158491,
    5: 245152,
    6: 16992,
    7: 9457,
    8: 64461,
    9: 15267,
    10: 8909,
    11: 69996,
  };
  await check(t, 'camvid', { images, truth }, { count: 10, pixels, crc: 2125639905 });
  const val = await openDataset('camvid', { root: data(), split: 'val' });
  const first = val.items[0] as (typeof val.items)[0];
  t.equal(first.id, '0016E5_07959');
  t.equal(crc32((await first.label()).data as Uint8Array), 810674145);
  for (const [split, count] of Object.entries({ train: 20, val: 6, test: 10 }))
    t.equal((await openDataset('camvid', { root: data('camvid'), split })).items.length, count, split);
});

t.test('VOC', needsData, async (t) => {
  const given = { images: data('voc/images'), truth: data('voc/labels') };
  const pixels = { 0: 586137, 1: 30937, 2: 34183, 11: 35496, 13: 22974, 15: 181773 };
  await check(t, 'voc21', given, { count: 5, pixels, crc: 332764389 });
  const more = { images: data('more-voc/images'), truth: data('more-voc/labels') };
  await check(t, 'voc21', more, { count: 2, pixels: { 0: 273724, 1: 18538, 5: 14663, 15: 51575 }, crc: 4265336873 });
  // The original label with its void border: 255.
  const original = { images: data('voc/original'), truth: data('voc/original') };
  await check(t, 'voc21', original, {
    count: 1,
    pixels: { 0: 54389, 2: 34183, 15: 61143, 255: 17285 },
    crc: 3235196529,
  });
  await check(t, 'voc20', original, { count: 1, pixels: { 1: 34183, 14: 61143, 255: 54389 + 17285 } });
  await check(
    t,
    'voc21',
    { ...original, labels: 'pnp-ovss' },
    { count: 1, pixels: { 0: 54389 + 17285, 2: 34183, 15: 61143 } },
  );
  await t.rejects(
    openDataset('voc21', {
      images: data('voc/predictions'),
      truth: data('voc/predictions'),
      imageSuffix: '_image.png',
      truthSuffix: '_target.png',
    }),
    {
      code: 'E_IMAGE_FORMAT',
      message: /1_target\.png has 3 channels \(rgb\)/,
    },
  );
});

t.test('Cityscapes', needsData, async (t) => {
  const folder = { images: data('cityscapes'), truth: data('cityscapes') };
  const pixels = { 0: 9737, 1: 2634, 2: 12748, 4: 43, 5: 400, 7: 190, 8: 663, 10: 579, 11: 106, 13: 1799, 255: 3869 };
  await check(t, 'cityscapes', folder, { count: 1, pixels, crc: 3771893358 });
  // The reduced label ids are another reduction of the frame than the reduced train ids.
  const ids = { 0: 9740, 1: 2628, 2: 12744, 4: 44, 5: 396, 7: 188, 8: 664, 10: 581, 11: 107, 13: 1802, 255: 3874 };
  await check(t, 'cityscapes', { ...folder, truthSuffix: '_gtFine_labelIds.png' }, { count: 1, pixels: ids });
  await t.rejects(openDataset('cityscapes', { ...folder, truthSuffix: '_gtFine_instanceIds.png' }), {
    message: /16 bits/,
  });
});

t.test('aerial pictures', needsData, async (t) => {
  const folder = {
    images: data('more-aerial'),
    truth: data('more-aerial'),
    imageSuffix: '-image.png',
    truthSuffix: '-label.png',
  };
  await check(t, 'loveda', folder, { count: 1, pixels: { 0: 8244, 3: 29109, 5: 914057, 6: 97166 } });
  const tree = await Tree.make(t);
  const classes = await tree.write(
    'classes.json',
    JSON.stringify(['surface', 'building', 'low', 'tree', 'car', 'clutter']),
  );
  const potsdam = {
    images: data('aerial'),
    truth: data('aerial'),
    imageSuffix: 'potsdam-image.png',
    truthSuffix: 'potsdam-label.png',
  };
  await t.rejects(
    openDataset('folder', { ...potsdam, classes }),
    { code: 'E_IMAGE_FORMAT' },
    'nothing stands before the ending',
  );
  const all = { ...potsdam, imageSuffix: '-image.png', truthSuffix: '-label.png' };
  const set = await openDataset('folder', { ...all, classes });
  const plane = await (set.items.find(({ id }) => id === 'potsdam') as (typeof set.items)[0]).label();
  t.equal(crc32(plane.data as Uint8Array), 1532983555);
});

t.test('palette PNGs of 4 bits', needsData, async (t) => {
  const tree = await Tree.make(t);
  const classes = await tree.write('classes.json', JSON.stringify(['nothing', 'a', 'b', 'c']));
  const folder = { images: data('simple'), truth: data('simple'), truthSuffix: '-label.png', classes, partial: true };
  const set = await openDataset('folder', folder);
  t.same(
    set.items.map(({ id }) => id),
    ['kitten', 'shape-0', 'shape-1', 'shape-2', 'shape-3', 'shape-4'],
  );
  t.same(set.source.missing, ['kitten-gray'], 'a picture without label is named');
  const [kitten, , , , shape] = set.items;
  t.equal(crc32((await (kitten as (typeof set.items)[0]).label()).data as Uint8Array), 135696054);
  t.equal(crc32((await (shape as (typeof set.items)[0]).label()).data as Uint8Array), 1857574464);
});

t.test('COCO panoptic', needsData, async (t) => {
  const given = { images: data('panoptic/input_images'), truth: data('panoptic/panoptic_examples.json') };
  const pixels = { 0: 85111, 7: 7471, 17: 31728, 32: 175, 90: 11074, 116: 221807, 119: 21116, 125: 115297, 255: 9901 };
  await check(t, 'coco-panoptic', given, { count: 2, pixels });
  const set = await openDataset('coco-panoptic', given);
  const truth = await set.items[0]?.panoptic?.();
  t.equal(truth?.segments.length, new Set(truth?.ids).size - 1, 'every id but void has a segment');
});
