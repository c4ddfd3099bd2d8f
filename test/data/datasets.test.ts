/** Data sets from miniature trees: layouts, encodings, label rules (evaluation.md sections 1, 8, 11). */
import { rename } from 'node:fs/promises';
import t from 'tap';
import { datasetInfo, datasetNames, type LabelRule, openDataset } from '#lib/data/dataset.js';
import { readAssetJson } from '#lib/util/assets.js';
import { idsToRgb, map, Tree, values, vocTree } from './trees.js';

/** Labels of the first picture of a data set below the tree's root. */
async function firstLabel(tree: Tree, name: string, labels?: LabelRule): Promise<number[]> {
  const set = await openDataset(name, { root: tree.root, partial: true, ...(labels && { labels }) });
  const plane = await (set.items[0] as (typeof set.items)[0]).label();
  return values(plane).slice(0, 6);
}

t.test('every name, its class count and the published number of pictures', async (t) => {
  const expected = {
    ...{ voc21: [21, 1449], pas21: [21, 1449], voc20: [20, 1449], pas20: [20, 1449], pas20b: [21, 1449] },
    ...{ pc60: [60, 5104], pc59: [59, 5104], pc459: [459, 5104], 'coco-object': [81, 5000], 'coco-stuff': [171, 5000] },
    ...{ ade150: [150, 2000], ade847: [847, 2000], cityscapes: [19, 500] },
    ...{ 'coco-panoptic': [133, 5000], 'ade-panoptic': [150, 2000] },
    ...{ camvid: [11, undefined], loveda: [7, undefined], 'drawn-scenes': [34, undefined] },
  } as Record<string, [number, number | undefined]>;
  t.same(datasetNames().sort(), [...Object.keys(expected), 'folder'].sort());
  for (const [name, [classCount, published]] of Object.entries(expected))
    t.same([datasetInfo(name).classCount, datasetInfo(name).published.val], [classCount, published], name);
  t.throws(() => datasetInfo('voc22'), { code: 'E_OPTION', message: /did you mean "voc21"/ });
  const drawn = await openDataset('drawn-scenes');
  t.equal(drawn.classes.length, 34);
  t.equal(drawn.items.length, 1000);
});

t.test('id maps', async (t) => {
  const read = (name: string) => readAssetJson<Record<string, number>[]>(`classes/${name}.json`);
  const context = read('context59-ids');
  const sorted = [0, ...context.map(({ id459 }) => id459 as number)].sort((a, b) => a - b);
  for (const { id459, index60, index59 } of context)
    t.same(
      [index60, index59],
      [sorted.indexOf(id459 as number), sorted.indexOf(id459 as number) - 1],
      `Context ${id459}`,
    );
  const stuff = new Set(read('coco-stuff171-ids').map(({ pixel }) => pixel));
  const unused = Array.from({ length: 182 }, (_, pixel) => pixel).filter((pixel) => !stuff.has(pixel));
  t.same(unused, [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90]);
  const ade = read('ade847-ids');
  t.equal(new Set(ade.map(({ ade_id }) => ade_id)).size, 847);
  t.ok(ade.every(({ ade_id }) => (ade_id as number) < 256 * 26));
});

t.test('VOC', async (t) => {
  const tree = await vocTree(t);
  const set = await openDataset('voc21', { root: tree.root, partial: true });
  t.same(
    set.items.map(({ id }) => id),
    ['2007_000002', '2007_000001'],
    'pictures of the list, in its order',
  );
  t.match(set, {
    name: 'voc21',
    kind: 'semantic',
    ignore: 255,
    source: { labels: 'tcl', labelMap: 'none', published: 1449 },
  });
  t.equal(set.classes.length, 21);
  t.same(await firstLabel(tree, 'voc21'), [0, 1, 20, 255, 15, 0]);
  t.same(await firstLabel(tree, 'pas21'), [0, 1, 20, 255, 15, 0]);
  t.same(await firstLabel(tree, 'voc21', 'pnp-ovss'), [0, 1, 20, 0, 15, 0], 'the border is background');
  t.same(await firstLabel(tree, 'voc21', 'car'), [0, 1, 20, 255, 15, 0]);
  for (const name of ['voc20', 'pas20']) t.same(await firstLabel(tree, name), [255, 0, 19, 255, 14, 255], name);
  t.same(await firstLabel(tree, 'pas20b'), [20, 0, 19, 255, 14, 20], 'background behind the 20');
  for (const root of ['VOCdevkit', 'VOCdevkit/VOC2012'])
    t.equal((await openDataset('voc21', { root: tree.path(root), partial: true })).items.length, 2, root);
  await t.rejects(openDataset('voc20', { root: tree.root, labels: 'pnp-ovss' }), {
    code: 'E_OPTION',
    message: /tcl, d2, car/,
  });
});

t.test('VOC in the trees of detectron2', async (t) => {
  const tree = await Tree.make(t);
  const image = (stem: string): string => `pascal_voc_d2/images/validation/${stem}.jpg`;
  await tree.pairs(
    ['b', 'a'],
    image,
    (stem) => `pascal_voc_d2/annotations_pascal20/validation/${stem}.png`,
    map(255, 0, 19),
  );
  await tree.pairs(
    ['b', 'a'],
    image,
    (stem) => `pascal_voc_d2/annotations_pascal21/validation/${stem}.png`,
    map(0, 1, 20),
  );
  t.same(await firstLabel(tree, 'pas20'), [255, 0, 19, 0, 0, 0], 'already reduced');
  t.same(await firstLabel(tree, 'pas21'), [0, 1, 20, 0, 0, 0]);
  const set = await openDataset('pas20', { root: tree.root, partial: true });
  t.same(
    set.items.map(({ id }) => id),
    ['a', 'b'],
    'sorted',
  );
  t.equal(set.source.reduceZeroLabel, false);
  // MAFT: pictures of the whole devkit, labels of the split alone.
  const maft = await Tree.make(t);
  for (const stem of ['x', 'y', 'z']) await maft.picture(`VOCdevkit/VOC2012/JPEGImages/${stem}.jpg`);
  await maft.label('VOCdevkit/VOC2012/annotations_ovs/val/y.png', map(19, 255));
  const ovs = await openDataset('pas20', { root: maft.root, partial: true });
  t.same([ovs.items.map(({ id }) => id), ovs.source.missing], [['y'], []]);
});

t.test('Context', async (t) => {
  const tree = await Tree.make(t);
  const base = 'VOCdevkit/VOC2010';
  const image = (stem: string): string => `${base}/JPEGImages/${stem}.jpg`;
  await tree.pairs(['a'], image, (stem) => `${base}/SegmentationClassContext/${stem}.png`, map(0, 1, 59));
  await tree.write(`${base}/ImageSets/SegmentationContext/val.txt`, 'a\n');
  t.same(await firstLabel(tree, 'pc60'), [0, 1, 59, 0, 0, 0]);
  t.same(await firstLabel(tree, 'pc60', 'pnp-ovss'), [0, 1, 59, 0, 0, 0]);
  t.same(await firstLabel(tree, 'pc59'), [255, 0, 58, 255, 255, 255]);
  const wide = Uint16Array.from(map()).fill(458);
  wide.set([65535, 0, 255, 256]);
  await tree.label(`${base}/annotations_detectron2_ovs/pc459_val/a.tif`, wide, 'tif');
  t.same(await firstLabel(tree, 'pc459'), [65535, 0, 255, 256, 458, 458]);
  await tree.label('pascal_ctx_d2/annotations_ctx459/validation/a.png', wide);
  await tree.label('pascal_ctx_d2/annotations_ctx59/validation/a.png', map(255, 58));
  await tree.picture('pascal_ctx_d2/images/validation/a.jpg');
  t.same(await firstLabel(tree, 'pc459'), [65535, 0, 255, 256, 458, 458], '16-bit PNG');
  t.same(await firstLabel(tree, 'pc59', 'd2'), [255, 58, 0, 0, 0, 0], 'already reduced');
  const set = await openDataset('pc459', { root: tree.root, partial: true });
  t.match(set, { ignore: 65535, source: { labels: 'd2' } });
});

t.test('COCO maps', async (t) => {
  const tree = await Tree.make(t);
  const [images, labels] = ['coco_stuff164k/images/val2017', 'coco_stuff164k/annotations/val2017'];
  const image = (stem: string): string => `${images}/${stem}.jpg`;
  const raw = map(0, 89, 91, 181, 255, 90 + 2);
  await tree.pairs(['000000000139'], image, (stem) => `${labels}/${stem}.png`, raw);
  t.same(await firstLabel(tree, 'coco-stuff'), [0, 79, 80, 170, 255, 81], 'from the raw map');
  t.same(await firstLabel(tree, 'coco-object'), [1, 80, 0, 0, 0, 0], 'nothing is ignored');
  t.same(await firstLabel(tree, 'coco-object', 'car'), [1, 80, 0, 0, 0, 0]);
  t.same(await firstLabel(tree, 'coco-stuff', 'pnp-ovss'), [1, 90, 92, 182, 0, 93], 'raw ids');
  const rawSet = await openDataset('coco-stuff', { root: tree.root, partial: true, labels: 'pnp-ovss' });
  t.equal(rawSet.classes.length, 183);
  t.same([rawSet.classes[0]?.prompts, rawSet.classes[12]?.prompts, rawSet.classes[1]?.name], [[], [], 'person']);
  // Prepared files beside the raw ones win.
  await tree.label(`${labels}/000000000139_labelTrainIds.png`, map(170, 255));
  await tree.label(`${labels}/000000000139_instanceTrainIds.png`, map(80, 255));
  t.same(await firstLabel(tree, 'coco-stuff'), [170, 255, 0, 0, 0, 0]);
  t.same(await firstLabel(tree, 'coco-object'), [80, 0, 0, 0, 0, 0]);
  t.same(await firstLabel(tree, 'coco-stuff', 'pnp-ovss'), [1, 90, 92, 182, 0, 93], 'still the raw map');
  const maft = await Tree.make(t);
  await maft.pairs(
    ['1'],
    (s) => `coco/val2017/${s}.jpg`,
    (s) => `coco/stuffthingmaps_detectron2/val2017/${s}.png`,
    map(3, 255),
  );
  t.same(await firstLabel(maft, 'coco-stuff', 'd2'), [3, 255, 0, 0, 0, 0]);
});

t.test('COCO instances as labels', async (t) => {
  const tree = await Tree.make(t);
  for (const stem of ['a', 'b']) await tree.picture(`coco/val2017/${stem}.jpg`);
  const [width, height] = [4, 3];
  const images = ['b', 'a'].map((stem, id) => ({ id, file_name: `${stem}.jpg`, width, height }));
  const box = [[0, 0, 2, 0, 2, 2, 0, 2]];
  const annotations = [
    { id: 1, image_id: 1, category_id: 90, segmentation: box, iscrowd: 0 },
    { id: 2, image_id: 1, category_id: 1, segmentation: { size: [3, 4], counts: [0, 9, 3] }, iscrowd: 1 },
    { id: 3, image_id: 1, category_id: 5, segmentation: { size: [3, 4], counts: '93' }, iscrowd: 0 },
  ];
  await tree.write('coco/annotations/instances_val2017.json', JSON.stringify({ annotations, images, categories: [] }));
  const set = await openDataset('coco-object', { root: tree.root, labels: 'pnp-ovss', partial: true });
  t.equal(set.classes.length, 91);
  t.same(values(await (set.items[0] as (typeof set.items)[0]).label()), [90, 90, 1, 5, 90, 90, 1, 5, 1, 1, 1, 5]);
  t.same(values(await (set.items[1] as (typeof set.items)[0]).label()), Array(12).fill(0), 'a picture without objects');
});

t.test('ADE20K', async (t) => {
  const tree = await Tree.make(t);
  const base = 'ade/ADEChallengeData2016';
  const image = (stem: string): string => `${base}/images/validation/${stem}.jpg`;
  await tree.pairs(['ADE_val_1'], image, (stem) => `${base}/annotations/validation/${stem}.png`, map(0, 1, 150));
  t.same(await firstLabel(tree, 'ade150'), [255, 0, 149, 255, 255, 255]);
  t.same(await firstLabel(tree, 'ade150', 'd2'), [255, 0, 149, 255, 255, 255]);
  t.same(await firstLabel(tree, 'ade150', 'pnp-ovss'), [0, 1, 150, 0, 0, 0]);
  const counted = await openDataset('ade150', { root: tree.root, labels: 'pnp-ovss', partial: true });
  t.same([counted.classes.length, counted.classes[0]?.prompts, counted.classes[1]?.name], [151, [], 'wall']);
  // A stored 255 stays ignored by mmsegmentation's rule and is 254 by plain 8-bit arithmetic.
  await tree.label(`${base}/annotations/validation/ADE_val_1.png`, map(0, 1, 150, 255));
  t.same(await firstLabel(tree, 'ade150'), [255, 0, 149, 255, 255, 255]);
  await t.rejects(firstLabel(tree, 'ade150', 'd2'), { code: 'E_IMAGE_FORMAT', message: /255 \(1 pixel\)/ });
  const full = 'ade/ADE20K_2021_17_01';
  const wide = Uint16Array.from(map()).fill(846);
  wide[0] = 65535;
  await tree.pairs(
    ['x'],
    (s) => `${full}/images_detectron2/validation/${s}.jpg`,
    (s) => `${full}/annotations_detectron2/validation/${s}.tif`,
    wide,
    'tif',
  );
  t.same(await firstLabel(tree, 'ade847'), [65535, 846, 846, 846, 846, 846]);
  await rename(tree.path(full), tree.path('ADE20K_2021_17_01'));
  t.same(await firstLabel(tree, 'ade847'), [65535, 846, 846, 846, 846, 846], "FC-CLIP's tree");
});

t.test('Cityscapes, LoveDA, CamVid', async (t) => {
  const tree = await Tree.make(t);
  const stems = ['ulm/ulm_000001', 'aachen/aachen_000000'];
  const image = (stem: string): string => `cityscapes/leftImg8bit/val/${stem}_leftImg8bit.png`;
  await tree.pairs(stems, image, (stem) => `cityscapes/gtFine/val/${stem}_gtFine_labelIds.png`, map(0, 7, 33, 3, 255));
  t.same(await firstLabel(tree, 'cityscapes'), [255, 0, 18, 255, 255, 255], 'from label ids');
  await tree.pairs(stems, image, (stem) => `cityscapes/gtFine/val/${stem}_gtFine_labelTrainIds.png`, map(18, 255));
  const set = await openDataset('cityscapes', { root: tree.root, partial: true });
  t.same(
    set.items.map(({ id }) => id),
    [...stems].sort(),
  );
  t.same(await firstLabel(tree, 'cityscapes'), [18, 255, 0, 0, 0, 0]);
  await tree.pairs(
    ['1'],
    (s) => `loveDA/img_dir/val/${s}.png`,
    (s) => `loveDA/ann_dir/val/${s}.png`,
    map(0, 1, 7),
  );
  t.same(await firstLabel(tree, 'loveda'), [255, 0, 6, 255, 255, 255]);
  await tree.pairs(
    ['1'],
    (s) => `CamVid/test/${s}.png`,
    (s) => `CamVid/testannot/${s}.png`,
    map(0, 10, 11),
  );
  await tree.pairs(
    ['1'],
    (s) => `CamVid/val/images/${s}.png`,
    (s) => `CamVid/val/labels/${s}.png`,
    map(11, 3),
  );
  t.same(await firstLabel(tree, 'camvid'), [0, 10, 11, 0, 0, 0]);
  const val = await openDataset('camvid', { root: tree.root, split: 'val' });
  t.same([val.ignore, val.items.length, val.source.split], [11, 1, 'val']);
});

t.test('panoptic data', async (t) => {
  const tree = await Tree.make(t);
  await tree.picture('coco/val2017/7.jpg');
  await tree.label('coco/panoptic_val2017/7.png', idsToRgb([0, 255, 256, 65535, 65536, 2 ** 24 - 1]), 'rgb');
  const info = (id: number, category_id: number) => ({ id, category_id, area: 1, iscrowd: 0, bbox: [0, 0, 1, 1] });
  const segments_info = [info(255, 1), info(256, 200), info(65535, 90), info(65536, 1), info(2 ** 24 - 1, 92)];
  const images = [{ id: 7, file_name: '7.jpg', width: 4, height: 3 }];
  const annotations = [{ image_id: 7, file_name: '7.png', segments_info }];
  const categories = [{ id: 1 }, { id: 200 }];
  await tree.write('coco/annotations/panoptic_val2017.json', JSON.stringify({ images, annotations, categories }));
  const set = await openDataset('coco-panoptic', { root: tree.root, partial: true });
  const item = set.items[0] as (typeof set.items)[0];
  t.same(values(await item.label()).slice(0, 6), [255, 0, 132, 79, 0, 80], 'category to contiguous index, void 255');
  const truth = await item.panoptic?.();
  t.same([...(truth?.ids ?? [])].slice(0, 6), [0, 255, 256, 65535, 65536, 2 ** 24 - 1], 'id = R + 256 G + 65536 B');
  t.equal(set.kind, 'panoptic');
  t.same(set.panoptic, {
    json: tree.path('coco/annotations/panoptic_val2017.json'),
    folder: tree.path('coco/panoptic_val2017'),
    categoryIds: set.panoptic?.categoryIds,
  });
  t.same(set.panoptic?.categoryIds.slice(-2), [199, 200]);
  const given = { images: tree.path('coco/val2017'), truth: tree.path('coco/panoptic_val2017'), partial: true };
  t.equal((await openDataset('coco-panoptic', given)).items.length, 1, 'the JSON that goes with a folder of PNGs');
});

t.test('drawn scenes', async (t) => {
  const set = await openDataset('drawn-scenes', { split: 'val' });
  t.equal(set.items.length, 500);
  const item = set.items[3] as (typeof set.items)[0];
  const [picture, label, again] = [await item.picture?.(), await item.label(), await item.label()];
  t.same([picture?.width, picture?.height, picture?.channels], [label.width, label.height, 3]);
  t.same(again.data, label.data);
  t.not(again.data.buffer, label.data.buffer, 'each call has pixels of its own');
  t.ok(label.data.every((value) => value < 34));
  await t.rejects(openDataset('drawn-scenes', { split: 'train' }), { code: 'E_OPTION', message: /data draw/ });
});
