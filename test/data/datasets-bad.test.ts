/** What is wrong with a data set, and how it is said: everything at once, with file, value and count (evaluation.md sections 8, 12). */
import { rm, truncate } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { openDataset } from '#lib/data/dataset.js';
import type { DatasetOptions } from '#lib/data/types.js';
import type { WordmaskError } from '#lib/util/errors.js';
import { idsToRgb, map, packedPng, Tree } from './trees.js';

/** The error that opening ends with. */
async function failure(name: string, options: DatasetOptions): Promise<WordmaskError> {
  try {
    await openDataset(name, options);
  } catch (error) {
    return error as WordmaskError;
  }
  throw new Error(`${name} was opened`);
}

/** A LoveDA tree of these stems, values 1. */
async function loveda(t: Test, stems = ['a', 'b', 'c']): Promise<Tree> {
  const tree = await Tree.make(t);
  await tree.pairs(
    stems,
    (stem) => `loveDA/img_dir/val/${stem}.png`,
    (stem) => `loveDA/ann_dir/val/${stem}.png`,
    map(1, 2),
  );
  return tree;
}
const label = (stem: string): string => `loveDA/ann_dir/val/${stem}.png`;
const picture = (stem: string): string => `loveDA/img_dir/val/${stem}.png`;

t.test('missing folders: every path that was tried', async (t) => {
  const tree = await Tree.make(t);
  await tree.picture('VOCdevkit/VOC2012/JPEGImages/a.jpg');
  const error = await failure('voc20', { root: tree.root });
  t.equal(error.code, 'E_IMAGE_FORMAT');
  for (const part of [
    'VOCdevkit/VOC2012/SegmentationClass: no such folder',
    'VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt: no such file',
    'pascal_voc_d2/annotations_pascal20/validation: no such folder',
    'VOCdevkit/VOC2012/annotations_ovs/val: no such folder',
  ])
    t.ok(
      error.message.includes(tree.path(part.split(':')[0] as string)) &&
        error.message.includes(part.split(': ')[1] as string),
      part,
    );
  t.notMatch(error.message, 'VOCdevkit/VOC2012/JPEGImages: no such', 'what is there is not reported');
  await tree.write('coco_stuff164k/annotations/val2017/notes.txt', '');
  await tree.picture('coco_stuff164k/images/val2017/1.jpg');
  t.match(await failure('coco-stuff', { root: tree.root }), { message: /holds no \*_labelTrainIds\.png or \*\.png/ });
  t.match(await failure('voc21', {}), { code: 'E_USAGE', message: /root.*VOCdevkit\/VOC2012\/JPEGImages/ });
  t.match(await failure('voc21', { images: tree.root }), { code: 'E_USAGE', message: /only images is given/ });
  const lost = { images: tree.path('no'), truth: tree.path('nor'), list: tree.path('list') };
  t.match(await failure('voc21', lost), { code: 'E_IMAGE_FORMAT', details: { problems: { length: 3 } } });
  t.match(await failure('voc21', { root: tree.root, split: 'test' }), {
    code: 'E_OPTION',
    message: /val, train, trainval/,
  });
  const signal = AbortSignal.abort(new Error('enough'));
  t.match(await failure('voc21', { root: tree.root, signal }), { message: 'enough' });
});

t.test('everything at once', async (t) => {
  const tree = await loveda(t, ['a', 'b', 'c', 'd', 'e', 'f']);
  await rm(tree.path(label('a')));
  await rm(tree.path(picture('b')));
  await tree.picture('loveDA/img_dir/val/c.jpg');
  await tree.picture(picture('d'), { width: 5, height: 3 });
  await tree.label(label('e'), Uint16Array.from(map(1)));
  await tree.label(label('f'), idsToRgb([1]), 'rgb');
  const error = await failure('loveda', { root: tree.root });
  t.equal(error.code, 'E_IMAGE_FORMAT');
  t.equal((error.details.problems as string[]).length, 6);
  for (const part of [
    /1 of 6 pictures are not in .*: b\n/,
    /1 of 6 labels \(\*\.png\) are not in .*: a\n/,
    /id c has 2 pictures: .*c\.jpg, .*c\.png/,
    /label .*d\.png is 4 x 3, picture .*d\.png is 5 x 3/,
    /label .*e\.png has 16 bits a pixel where these labels have 8/,
    /label .*f\.png has 3 channels \(rgb\)/,
  ])
    t.match(error.message, part);
  t.match(error.message, /6 problems/);
  const partly = await failure('loveda', { root: tree.root, partial: true });
  t.equal((partly.details.problems as string[]).length, 4, 'partial forgives what is missing, nothing else');
});

t.test('half-present splits', async (t) => {
  const tree = await Tree.make(t);
  const base = 'VOCdevkit/VOC2012';
  await tree.pairs(
    ['a', 'b', 'c'],
    (s) => `${base}/JPEGImages/${s}.jpg`,
    (s) => `${base}/SegmentationClass/${s}.png`,
    map(1),
    'voc',
  );
  await tree.write(`${base}/ImageSets/Segmentation/val.txt`, 'a\nb\nx\na\n');
  const error = await failure('voc21', { root: tree.root });
  t.match(error.message, /list .*val\.txt names 1 ids more than once: a/);
  t.match(error.message, /names 3 pictures, the published figures of voc21 val rest on 1449/);
  t.match(error.message, /1 of 3 pictures are not in .*JPEGImages.*: x/);
  await tree.write(`${base}/ImageSets/Segmentation/val.txt`, 'b\nx\na\n');
  const set = await openDataset('voc21', { root: tree.root, partial: true });
  t.same([set.items.map(({ id }) => id), set.source.missing], [['b', 'a'], ['x']]);
  await tree.write(`${base}/ImageSets/Segmentation/val.txt`, 'x\ny\n');
  t.match(await failure('voc21', { root: tree.root, partial: true }), {
    code: 'E_IMAGE_FORMAT',
    message: /of 2 pictures none/,
  });
  await tree.write(`${base}/ImageSets/Segmentation/val.txt`, '\n');
  t.match(await failure('voc21', { root: tree.root, partial: true }), { message: /no pictures/ });
});

t.test('orientation: applied to pictures, not to labels', async (t) => {
  const tree = await Tree.make(t);
  const base = 'ade/ADEChallengeData2016';
  await tree.label(`${base}/annotations/validation/a.png`, map(1), 'grey', { width: 3, height: 4 });
  await tree.picture(`${base}/images/validation/a.jpg`, { width: 4, height: 3 }, 6);
  t.equal((await openDataset('ade150', { root: tree.root, partial: true })).items.length, 1);
  await tree.picture(`${base}/images/validation/a.jpg`, { width: 4, height: 3 }, 3);
  t.match(await failure('ade150', { root: tree.root, partial: true }), { message: /3 x 4, picture .* is 4 x 3 after/ });
});

t.test('depth and palette', async (t) => {
  const size = { width: 4, height: 3 };
  const tree = await loveda(t, ['a']);
  const ramp = Uint8Array.from({ length: 24 }, (_, i) => Math.floor(i / 3));
  const odd = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9);
  await tree.label(label('a'), map(1), { palette: ramp });
  await openDataset('loveda', { root: tree.root });
  await tree.label(label('a'), map(1), 'voc');
  await openDataset('loveda', { root: tree.root });
  for (const [bytes, message] of [
    [packedPng([1, 0, 2], size, 4), /has 4 bits a pixel where these labels have 8/],
    [packedPng([1, 0, 2], size, 2, odd), /has a palette that is neither VOC's, nor grey steps/],
    [Buffer.from('not an image at all, but long enough for a header'), undefined],
  ] as const) {
    await tree.write(label('a'), bytes);
    if (message) t.match(await failure('loveda', { root: tree.root }), { code: 'E_IMAGE_FORMAT', message });
    else {
      const set = await openDataset('loveda', { root: tree.root });
      t.same(set.source.damaged, [tree.path(label('a'))], 'a damaged header is left to the run');
      await t.rejects((set.items[0] as (typeof set.items)[0]).label(), { code: 'E_IMAGE_FORMAT', message: /a\.png/ });
    }
  }
  const voc = await Tree.make(t);
  const given = { images: voc.path('images'), truth: voc.path('truth') };
  await voc.picture('images/a.jpg');
  for (const palette of [ramp, odd]) {
    await voc.label('truth/a.png', map(1), { palette });
    t.match(await failure('voc21', given), { message: /another palette than VOC's \(index [01]/ });
  }
  await voc.write('truth/a.png', packedPng([1, 0, 2], size, 2, Uint8Array.of(0, 0, 0, 128, 0, 0, 0, 128, 0)));
  await openDataset('voc21', given);
  t.pass('a short palette of two bits with the right colours');
  // The values of a 16-bit set in 8 bits.
  const context = await Tree.make(t);
  const base = 'pascal_ctx_d2';
  await context.pairs(
    ['a'],
    (s) => `${base}/images/validation/${s}.jpg`,
    (s) => `${base}/annotations_ctx459/validation/${s}.tif`,
    map(1),
    'tif',
  );
  t.match(await failure('pc459', { root: context.root, partial: true }), {
    message: /has 8 bits a pixel where these labels have 16/,
  });
});

t.test('values out of range: file, value, count', async (t) => {
  const tree = await loveda(t, ['a']);
  await tree.label(label('a'), map(1, 8, 8, 9, 255, 8));
  const set = await openDataset('loveda', { root: tree.root });
  const item = set.items[0] as (typeof set.items)[0];
  await t.rejects(item.label(), {
    code: 'E_IMAGE_FORMAT',
    message: /a\.png holds values.*: 8 \(3 pixels\), 9 \(1 pixel\)$/,
    details: {
      path: tree.path(label('a')),
      pixels: 4,
      values: [
        { value: 8, count: 3 },
        { value: 9, count: 1 },
      ],
    },
  });
  const coco = await Tree.make(t);
  await coco.pairs(
    ['1'],
    (s) => `coco_stuff164k/images/val2017/${s}.jpg`,
    (s) => `coco_stuff164k/annotations/val2017/${s}.png`,
    map(11, 182),
  );
  const stuff = await openDataset('coco-stuff', { root: coco.root, partial: true });
  await t.rejects(
    (stuff.items[0] as (typeof set.items)[0]).label(),
    { message: /11 \(1 pixel\), 182 \(1 pixel\)/ },
    'unused ids',
  );
});

t.test('damaged files fail in their turn', async (t) => {
  const tree = await loveda(t, ['a', 'b', 'c']);
  await truncate(tree.path(label('b')), 40);
  await truncate(tree.path(picture('c')), 0);
  const set = await openDataset('loveda', { root: tree.root });
  t.same(set.source.damaged, [tree.path(picture('c'))]);
  t.equal(set.items.length, 3, 'never left out');
  await t.rejects((set.items[1] as (typeof set.items)[0]).label(), {
    code: 'E_IMAGE_CORRUPT',
    message: /b\.png.*truncated/,
  });
  const controller = new AbortController();
  controller.abort(new Error('enough'));
  await t.rejects((set.items[0] as (typeof set.items)[0]).label(controller.signal), { message: 'enough' });
  await rm(tree.path(label('a')));
  await t.rejects((set.items[0] as (typeof set.items)[0]).label(), {
    code: 'E_DISK',
    message: /a\.png does not exist/,
  });
});

interface Panoptic {
  images: object[];
  annotations: { image_id: number; file_name: string; segments_info: object[] }[];
  categories: object[];
}

async function panopticTree(
  t: Test,
): Promise<{ tree: Tree; json: () => Panoptic; save: (json: Panoptic) => Promise<string> }> {
  const tree = await Tree.make(t);
  for (const stem of ['1', '2']) {
    await tree.picture(`coco/val2017/${stem}.jpg`);
    await tree.label(`coco/panoptic_val2017/${stem}.png`, idsToRgb([5, 5, 6]), 'rgb');
  }
  const info = (id: number, category_id: number) => ({ id, category_id, area: 1, iscrowd: 0 });
  const json = (): Panoptic => ({
    images: [1, 2].map((id) => ({ id, file_name: `${id}.jpg`, width: 4, height: 3 })),
    annotations: [1, 2].map((id) => ({
      image_id: id,
      file_name: `${id}.png`,
      segments_info: [info(5, 1), info(6, 2)],
    })),
    categories: [{ id: 1 }, { id: 2 }],
  });
  const save = (value: Panoptic): Promise<string> =>
    tree.write('coco/annotations/panoptic_val2017.json', JSON.stringify(value));
  return { tree, json, save };
}

t.test('panoptic JSON against its PNGs', async (t) => {
  const { tree, json, save } = await panopticTree(t);
  const open = (partial = true) => failure('coco-panoptic', { root: tree.root, partial });
  const first = (value: Panoptic) => value.annotations[0] as Panoptic['annotations'][0];
  for (const [change, message] of [
    [(j: Panoptic) => j.images.push(j.images[0] as object), /lists 1 images more than once/],
    [(j: Panoptic) => j.annotations.push(first(j)), /1 images or PNGs with two annotations: 1 \(1\.png\)/],
    [(j: Panoptic) => Object.assign(first(j), { image_id: 9 }), /annotates 1 images that it does not list/],
    [(j: Panoptic) => Object.assign(j.images[0] as object, { height: 4 }), /is 4 x 3, its JSON says 4 x 4/],
    [(j: Panoptic) => Object.assign(j.images[0] as object, { file_name: '../1.jpg' }), /file_name without folders/],
    [
      (j: Panoptic) => Object.assign(first(j).segments_info[0] as object, { category_id: 12 }),
      /1\.png: segment 5 has category 12/,
    ],
    [(j: Panoptic) => Object.assign(first(j).segments_info[0] as object, { id: 6 }), /segment 6 is listed twice/],
    [
      (j: Panoptic) => Object.assign(first(j).segments_info[0] as object, { id: 2 ** 24 }),
      /not a whole number from 1 to 16777215/,
    ],
    [(j: Panoptic) => Object.assign(first(j).segments_info[0] as object, { area: 'x' }), /segment 5 has area/],
    [(j: Panoptic) => j.categories.push({ id: 300 }), /1 categories that this data set does not have: 300/],
  ] as const) {
    const value = json();
    change(value);
    await save(value);
    t.match(await open(), { code: 'E_IMAGE_FORMAT', message });
  }
  await tree.label('coco/panoptic_val2017/3.png', idsToRgb([5]), 'rgb');
  await save(json());
  t.match(await open(false), { message: /1 PNGs in .* are in no annotation.*: 3\.png/ });
  t.match(await open(false), { message: /names 2 pictures, the published figures .* rest on 5000/ });
  for (const text of ['[]', '{"images": [', '{"images": 3}', '{"images": [], "images": []}', '']) {
    await tree.write('coco/annotations/panoptic_val2017.json', text);
    t.match(await open(), { code: 'E_IMAGE_FORMAT' }, text);
  }
});

t.test('panoptic ids against segments_info', async (t) => {
  const { tree, json, save } = await panopticTree(t);
  await save(json());
  await tree.label('coco/panoptic_val2017/2.png', idsToRgb([5, 5, 7, 7]), 'rgb');
  const set = await openDataset('coco-panoptic', { root: tree.root, partial: true });
  await (set.items[0] as (typeof set.items)[0]).label();
  await t.rejects((set.items[1] as (typeof set.items)[0]).label(), {
    code: 'E_IMAGE_FORMAT',
    message: /2\.png holds ids that its JSON does not list: 7 \(2 pixels\); it lacks ids that its JSON lists: 6/,
  });
  await rm(tree.path('coco/panoptic_val2017/2.png'));
  t.match(await failure('coco-panoptic', { root: tree.root }), { message: /1 of 2 pictures have no PNG .*: 2/ });
  const half = await openDataset('coco-panoptic', { root: tree.root, partial: true });
  t.same(half.source.missing, ['2']);
  await tree.label('coco/panoptic_val2017/1.png', map(1));
  t.match(await failure('coco-panoptic', { root: tree.root, partial: true }), {
    message: /1\.png is grey with 8 bits: a panoptic map/,
  });
});
