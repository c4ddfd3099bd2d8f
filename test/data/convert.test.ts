/** Raw data sets to label files: pixels of the published preparation, resuming, damaged input (evaluation.md section 8). */
import { readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { crc32, deflateSync } from 'node:zlib';
import t from 'tap';
import { reducedSize, roundHalfEven } from '#lib/data/ade847/convert.js';
import { conversionKinds, convertDataset, openDataset } from '#lib/data/dataset.js';
import { Mask } from '#lib/image/mask.js';
import { readPng } from '#lib/image/png.js';
import { readTiff } from '#lib/image/tiff.js';
import { data, needsData } from '../helpers/data.js';
import { idsToRgb, map, Tree, values } from './trees.js';

const pixels = async (path: string): Promise<number[]> => values(await readPng(await readFile(path)));
const pixels16 = async (path: string): Promise<number[]> => values(await readTiff(await readFile(path)));

interface MatOptions {
  readonly big?: boolean;
  readonly packed?: boolean;
  readonly name?: string;
  /** Element type of the values and its width: uint16 (4), uint8 (2), double (9). */
  readonly type?: 2 | 4 | 9;
}

/** A MAT file of version 5 with one matrix; `values` row by row. */
function matFile(values: readonly number[], width: number, height: number, o: MatOptions = {}): Buffer {
  const { big = false, packed = false, name = 'LabelMap', type = 4 } = o;
  const u32 = (value: number): Buffer => {
    const out = Buffer.alloc(4);
    if (big) out.writeUInt32BE(value);
    else out.writeUInt32LE(value);
    return out;
  };
  const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]);
  const element = (kind: number, bytes: Buffer): Buffer => Buffer.concat([u32(kind), u32(bytes.length), padded(bytes)]);
  const size = { 2: 1, 4: 2, 9: 8 }[type];
  const body = Buffer.alloc(size * width * height);
  for (let x = 0; x < width; x++)
    for (let y = 0; y < height; y++) {
      const [value, at] = [values[y * width + x] as number, size * (x * height + y)];
      if (type === 2) body.writeUInt8(value, at);
      else if (type === 4) big ? body.writeUInt16BE(value, at) : body.writeUInt16LE(value, at);
      else big ? body.writeDoubleBE(value, at) : body.writeDoubleLE(value, at);
    }
  const matrix = element(
    14,
    Buffer.concat([
      element(6, Buffer.concat([u32({ 2: 9, 4: 11, 9: 6 }[type]), u32(0)])),
      element(5, Buffer.concat([u32(height), u32(width)])),
      element(1, Buffer.from(name)),
      element(type, body),
    ]),
  );
  const head = Buffer.alloc(128, ' ');
  head.write('MATLAB 5.0 MAT-file');
  head.write(big ? 'MI' : 'IM', 126);
  const whole = packed ? deflateSync(matrix) : matrix;
  return Buffer.concat([head, ...(packed ? [u32(15), u32(whole.length)] : []), whole]);
}

t.test('Context: MAT files to 459 classes', async (t) => {
  const tree = await Tree.make(t);
  const labels = [0, 1, 2, 459, 255, 256, 300, 0, 9, 10, 11, 12];
  const expected = labels.map((value) => (value === 0 ? 65535 : value - 1));
  const small = labels.map((value) => value & 255);
  await tree.write('in/plain.mat', matFile(labels, 4, 3));
  await tree.write('in/packed.mat', matFile(labels, 4, 3, { packed: true }));
  await tree.write('in/big.mat', matFile(labels, 4, 3, { big: true, packed: true }));
  await tree.write('in/double.mat', matFile(labels, 4, 3, { type: 9 }));
  await tree.write('in/narrow.mat', matFile(small, 4, 3, { type: 2 }));
  const result = await convertDataset('pc459', tree.path('in'), tree.path('out'));
  t.same(result, { written: 5, kept: 0, failed: [] });
  for (const stem of ['plain', 'packed', 'big', 'double'])
    t.same(await pixels16(tree.path(`out/${stem}.tif`)), expected, stem);
  t.same(
    await pixels16(tree.path('out/narrow.tif')),
    small.map((value) => (value === 0 ? 65535 : value - 1)),
  );
  await convertDataset('pc459', tree.path('in'), tree.path('png'), { type: 'png' });
  t.same(await pixels(tree.path('png/big.png')), expected);
  // What is written can be read as the data set.
  for (const stem of ['plain', 'packed']) await tree.picture(`images/${stem}.jpg`);
  const set = await openDataset('pc459', { images: tree.path('images'), truth: tree.path('out'), partial: true });
  t.same(values(await (set.items[0] as (typeof set.items)[0]).label()), expected);
});

t.test('MAT files that are none', async (t) => {
  const tree = await Tree.make(t);
  const good = matFile([1, 2, 3, 4], 2, 2);
  const packed = matFile([1, 2, 3, 4], 2, 2, { packed: true });
  const cases: [string, Uint8Array, string, RegExp][] = [
    ['empty', Buffer.alloc(0), 'E_IMAGE_FORMAT', /not a MAT file/],
    ['text', Buffer.alloc(400, 'x'), 'E_IMAGE_FORMAT', /not a MAT file/],
    ['hdf5', Buffer.concat([Buffer.from('MATLAB 7.3 MAT-file'), good]), 'E_IMAGE_FORMAT', /7\.3 \(HDF5\)/],
    ['other', matFile([1], 1, 1, { name: 'Other' }), 'E_IMAGE_FORMAT', /no matrix "LabelMap", only Other/],
    ['cut', good.subarray(0, 170), 'E_IMAGE_CORRUPT', /cut\.mat.*claims/],
    ['cut-packed', packed.subarray(0, packed.length - 6), 'E_IMAGE_CORRUPT', /claims/],
    [
      'bad-packed',
      Buffer.concat([packed.subarray(0, 150), Buffer.alloc(packed.length - 150, 7)]),
      'E_IMAGE_CORRUPT',
      /inflated/,
    ],
    ['huge', matFile([], 60000, 60000 - 60000), 'E_IMAGE_SIZE', /LabelMap/],
    ['value', matFile([0, 460, 460, 1], 2, 2), 'E_IMAGE_FORMAT', /value\.mat.*460 \(2 pixels\)/],
    ['half', matFile([0, 1.5, 2, 1], 2, 2, { type: 9 }), 'E_IMAGE_FORMAT', /1\.5 \(1 pixels\)/],
  ];
  for (const [name, bytes] of cases) await tree.write(`in/${name}.mat`, bytes);
  await tree.write('in/good.mat', good);
  const { written, failed } = await convertDataset('pc459', tree.path('in'), tree.path('out'), { onError: 'skip' });
  t.equal(written, 1);
  for (const [name, , code, message] of cases)
    t.match(
      failed.find((one) => one.name === `${name}.mat`),
      { code, message },
      name,
    );
  await t.rejects(
    convertDataset('pc459', tree.path('in'), tree.path('out')),
    { code: /^E_IMAGE/ },
    'stops at the first one',
  );
});

t.test('Context: merged JSON to 60 classes', async (t) => {
  const tree = await Tree.make(t);
  const bits = (...set: number[]): Mask =>
    Mask.fromBitmap(
      Uint8Array.from({ length: 12 }, (_, i) => Number(set.includes(i))),
      4,
      3,
    );
  const one = (image_id: number, category_id: number, segmentation: unknown) => ({
    image_id,
    category_id,
    segmentation,
  });
  const json = {
    info: { text: 'a "quoted" \\ { [ text' },
    annos_boundary: [[{ '}': ']' }], 1.5e3, null, true],
    annos_segmentation: [
      one(1, 2, bits(0, 1, 2, 3).toRle()),
      // Later ones overwrite: category 9 is class 2; 1 is none of the 59.
      one(1, 9, { size: [3, 4], counts: [0, 3, 9] }),
      one(2, 458, bits(5).toRle()),
      one(1, 1, bits(3).toRle()),
      one(1, 454, [[2, 1, 4, 1, 4, 3, 2, 3]]),
    ],
    images: [
      { image_id: 1, file_name: '2008_000001.jpg', phase: 'val', width: 4, height: 3 },
      { image_id: 2, file_name: '2008_000002.jpg', phase: 'train', width: 4, height: 3 },
      { image_id: 3, file_name: '2008_000003.jpg', phase: 'val', width: 4, height: 3 },
    ],
  };
  const input = await tree.write('merged.json', JSON.stringify(json, null, 1));
  const base = 'VOCdevkit/VOC2010/SegmentationClassContext';
  t.same(await convertDataset('pc60', input, tree.path(base)), { written: 5, kept: 0, failed: [] });
  const [nine, wood, window] = [2, 59, 58];
  t.same(await pixels(tree.path(`${base}/2008_000001.png`)), [
    nine,
    1,
    1,
    0,
    nine,
    0,
    window,
    window,
    nine,
    0,
    window,
    window,
  ]);
  t.same(await pixels(tree.path(`${base}/2008_000002.png`)), values({ data: map(0, 0, 0, 0, 0, wood) }));
  t.same(await pixels(tree.path(`${base}/2008_000003.png`)), Array(12).fill(0));
  t.equal(await readFile(tree.path(`${base}/val.txt`), 'utf8'), '2008_000001\n2008_000003\n');
  for (const { file_name } of json.images) await tree.picture(`VOCdevkit/VOC2010/JPEGImages/${file_name}`);
  const set = await openDataset('pc60', { root: tree.root, partial: true });
  t.same(
    set.items.map(({ id }) => id),
    ['2008_000001', '2008_000003'],
    'the lists are found',
  );
  for (const [bad, message] of [
    [{ ...json, images: [] }, /lists no images/],
    [{ ...json, images: json.images.slice(1) }, /annotates 1 images/],
    [{ ...json, images: [...json.images, json.images[0]] }, /listed twice/],
    [{ ...json, images: [{ ...json.images[0], file_name: '../x.jpg' }] }, /file_name without folders/],
    [{ ...json, annos_segmentation: [one(1, 2, { size: [4, 3], counts: [12] })] }, /annotation 0.*size/],
  ] as const)
    await t.rejects(convertDataset('pc60', await tree.write('bad.json', JSON.stringify(bad)), tree.path('bad')), {
      code: 'E_IMAGE_FORMAT',
      message,
    });
});

t.test('COCO raw maps', async (t) => {
  const tree = await Tree.make(t);
  await tree.label('annotations/val2017/1.png', map(0, 89, 91, 181, 255));
  const folder = tree.path('annotations');
  t.equal((await convertDataset('coco-stuff', folder, folder)).written, 1);
  t.equal((await convertDataset('coco-object', folder, folder)).written, 1);
  t.same((await pixels(tree.path('annotations/val2017/1_labelTrainIds.png'))).slice(0, 6), [0, 79, 80, 170, 255, 0]);
  t.same((await pixels(tree.path('annotations/val2017/1_instanceTrainIds.png'))).slice(0, 6), [1, 80, 0, 0, 0, 1]);
  t.equal((await convertDataset('coco-stuff', folder, folder)).kept, 1, 'its own outputs are no input');
  await tree.label('annotations/val2017/2.png', map(11, 11));
  await t.rejects(convertDataset('coco-stuff', folder, folder), {
    code: 'E_IMAGE_FORMAT',
    message: /2\.png.*11 \(2 pixels\)/,
  });
});

t.test('Cityscapes and panoptic data', needsData, async (t) => {
  const tree = await Tree.make(t);
  await convertDataset('cityscapes', data('cityscapes'), tree.path('city'));
  const name = 'frankfurt_000000_000294_gtFine_labelTrainIds.png';
  const ids = await pixels(tree.path(`city/${name}`));
  t.equal(crc32(Uint8Array.from(ids)), 888049051);
  await convertDataset('coco-panoptic', data('panoptic/panoptic_examples.json'), tree.path('panoptic'));
  for (const [stem, crc] of [
    ['000000142238', 1908100327],
    ['000000439180', 3161044608],
  ] as const)
    t.equal(crc32(Uint8Array.from(await pixels(tree.path(`panoptic/${stem}.png`)))), crc, stem);
});

t.test('panoptic conversion needs no pictures', async (t) => {
  const tree = await Tree.make(t);
  await tree.label('panoptic_val2017/1.png', idsToRgb([5, 6]), 'rgb');
  const segments_info = [
    { id: 5, category_id: 200, area: 1, iscrowd: 0 },
    { id: 6, category_id: 1, area: 1, iscrowd: 1 },
  ];
  const images = [{ id: 1, file_name: '1.jpg', width: 4, height: 3 }];
  const json = await tree.write(
    'annotations/panoptic_val2017.json',
    JSON.stringify({ images, annotations: [{ image_id: 1, file_name: '1.png', segments_info }] }),
  );
  await convertDataset('coco-panoptic', json, tree.path('out'));
  t.same((await pixels(tree.path('out/1.png'))).slice(0, 3), [132, 0, 255]);
});

t.test('ADE20K: reduced to a short side of 512', async (t) => {
  t.same([0.5, 1.5, 2.5, 2.49, 2.51].map(roundHalfEven), [0, 2, 2, 2, 3], "Python's round");
  t.same(
    [
      [512, 2000],
      [513, 513],
      [900, 600],
      [600, 900],
      [1025, 1024],
      [400, 300],
      [1537, 1024],
    ].map(([w, h]) => {
      const size = reducedSize(w as number, h as number);
      return size && [size.width, size.height];
    }),
    [undefined, [512, 512], [768, 512], [512, 768], [512, 512], undefined, [768, 512]],
    'half pixels go to the even side',
  );
  const tree = await Tree.make(t);
  const size = { width: 640, height: 600 };
  // Wall is 2978 = 256 * 11 + 162, building 312 = 256 + 56; 5 is none of the 847.
  const rgb = new Uint8Array(3 * 640 * 600);
  for (let y = 0; y < 600; y++)
    for (let x = 0; x < 640; x++)
      rgb.set(x < 320 ? [119, 162, 7] : y < 300 ? [10, 56, 9] : [0, 5, 0], 3 * (y * 640 + x));
  await tree.picture('in/validation/room/ADE_val_00000001.jpg', size);
  await tree.label('in/validation/room/ADE_val_00000001_seg.png', rgb, 'rgb', size);
  await tree.picture('in/training/ADE_train_00000002.jpg');
  await tree.label('in/training/ADE_train_00000002_seg.png', idsToRgb([]), 'rgb');
  const root = 'ade/ADE20K_2021_17_01';
  t.equal((await convertDataset('ade847', tree.path('in'), tree.path(root))).written, 4);
  const map16 = await readTiff(
    await readFile(tree.path(`${root}/annotations_detectron2/validation/ADE_val_00000001.tif`)),
  );
  t.same([map16.width, map16.height], [546, 512]);
  t.same(
    [0, 272, 273, 546 * 511 - 1, 546 * 512 - 1, 545].map((i) => map16.data[i]),
    [0, 0, 1, 65535, 65535, 1],
  );
  const set = await openDataset('ade847', { root: tree.root, partial: true });
  t.match(set, { items: [{ id: 'ADE_val_00000001' }], ignore: 65535 });
  await rm(tree.path('in/training/ADE_train_00000002.jpg'));
  await t.rejects(convertDataset('ade847', tree.path('in'), tree.path(root)), {
    code: 'E_IMAGE_FORMAT',
    message: /no picture/,
  });
});

t.test('goes on where it ended', async (t) => {
  const tree = await Tree.make(t);
  const [input, output] = [tree.path('in'), tree.path('out')];
  for (let i = 0; i < 12; i++) await tree.write(`in/${i}.mat`, matFile([i, 1, 2, 3], 2, 2));
  const controller = new AbortController();
  const names: string[] = [];
  const stopped = convertDataset('pc459', input, output, {
    signal: controller.signal,
    onProgress: (done, total, name) => {
      names.push(name);
      t.equal(total, 12);
      if (done === 3) controller.abort(new Error('enough'));
    },
  });
  await t.rejects(stopped, { message: 'enough' });
  const files = (await readdir(output)).filter((name) => name.endsWith('.tif'));
  t.ok(files.length >= 3 && files.length < 12, `${files.length} files after the abort`);
  t.notOk(
    (await readdir(output)).some((name) => name.startsWith('.wordmask')),
    'nothing half written',
  );
  const before = await Promise.all(files.map(async (name) => (await stat(tree.path(`out/${name}`))).mtimeMs));
  const rest = await convertDataset('pc459', input, output);
  t.same([rest.written + rest.kept, rest.kept >= 3], [12, true]);
  t.same(
    await Promise.all(files.map(async (name) => (await stat(tree.path(`out/${name}`))).mtimeMs)),
    before,
    'right ones are kept',
  );
  // Damaged, deleted and outdated outputs are made again.
  await truncate(tree.path('out/1.tif'), 20);
  await rm(tree.path('out/2.tif'));
  await tree.write('in/3.mat', matFile([7, 7, 7, 7], 2, 2));
  t.same(await convertDataset('pc459', input, output), { written: 3, kept: 9, failed: [] });
  t.same(await pixels16(tree.path('out/3.tif')), [6, 6, 6, 6]);
  // Without the manifest, equal files are kept and others are not replaced unasked.
  await rm(tree.path('out/convert-pc459.jsonl'));
  await writeFile(tree.path('out/5.tif'), 'my own');
  await t.rejects(convertDataset('pc459', input, output), { code: 'E_USAGE', message: /5\.tif exists/ });
  t.same(await convertDataset('pc459', input, output, { overwrite: true }), { written: 1, kept: 11, failed: [] });
});

t.test('wrong calls', async (t) => {
  const tree = await Tree.make(t);
  t.same(
    conversionKinds()
      .map(({ kind }) => kind)
      .sort(),
    ['ade847', 'cityscapes', 'coco-object', 'coco-panoptic', 'coco-stuff', 'pc459', 'pc60'],
  );
  await t.rejects(convertDataset('cityscape', 'a', 'b'), { code: 'E_OPTION', message: /did you mean "cityscapes"/ });
  await t.rejects(convertDataset('pc459', tree.path('no'), tree.path('out')), {
    code: 'E_USAGE',
    message: /made from a folder/,
  });
  await t.rejects(convertDataset('pc60', tree.root, tree.path('out')), {
    code: 'E_USAGE',
    message: /made from a file/,
  });
  await tree.write('in/x.txt', '');
  await t.rejects(convertDataset('cityscapes', tree.path('in'), tree.path('out')), {
    code: 'E_USAGE',
    message: /nothing to convert/,
  });
});
