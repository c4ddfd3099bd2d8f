/** Pictures in, masks out, by the package's own name: every photograph of data/, label images, the input of CLIP. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import t from 'tap';
import { open } from 'wordmask';
import { loadBackbone, preprocess } from 'wordmask/backbones';
import { reduceZeroLabel } from 'wordmask/eval';
import { loadLabels, readLabels, readPng } from 'wordmask/formats';
import { parseNpy } from '#lib/weights/npy.js';
import { clipTinyFolder, data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { miniFolder, miniScene } from '../helpers/fixture.js';

/** A size at which a photograph takes milliseconds: two windows or so of the small models. */
const small = { size: 48, window: 32, stride: 32 };

t.test('photographs', needsData, async (t) => {
  const folders = [
    'photos',
    'voc/images',
    'voc/original',
    'panoptic/input_images',
    'simple',
    ...['train', 'val', 'test'].map((part) => `camvid/${part}/images`),
  ];
  const pictures = folders.flatMap((folder) =>
    readdirSync(data(folder))
      .filter((name) => !name.includes('label') && !(folder === 'voc/original' && name.endsWith('png')))
      .map((name) => data(folder, name)),
  );
  t.ok(pictures.length >= 60, `${pictures.length} pictures`);
  await using model = await open(`naclip:${await clipTinyFolder()}`, { threads: 2 });
  const vocabulary = await model.vocabulary(['dog', 'road', 'sky|clouds'], { templates: 'photo' });
  let index = 0;
  for await (const item of model.stream(pictures, vocabulary, small)) {
    const picture = pictures[index++] as string;
    if (!item.ok) t.fail(`${picture}: ${item.error.message}`);
    if (!item.ok) continue;
    const { width, height, orientation = 1 } = await sharp(picture).metadata();
    const turned = orientation > 4;
    const { value } = item;
    t.same(
      [value.width, value.height, value.labels.length],
      [turned ? height : width, turned ? width : height, width * height],
      picture,
    );
    t.equal(
      value.segments.reduce((sum, { area }) => sum + area, 0),
      width * height,
      'every pixel has a label',
    );
  }
  t.equal(index, pictures.length);
});

t.test('a turned picture gives the masks of the upright one', async (t) => {
  await using model = await open(`sclip:${miniFolder()}`);
  const vocabulary = await model.vocabulary(['cat', 'grass', 'sky'], { templates: 'photo' });
  const upright = await sharp(miniScene).raw().toBuffer();
  const want = await model.segment({ data: upright, width: 48, height: 40, channels: 3 }, vocabulary, small);
  t.ok(want.segments.length > 1, 'more than one label');
  // What a camera stores for each EXIF orientation; turning it back gives the upright picture.
  const stored: Record<number, (image: Sharp) => Sharp> = {
    2: (s) => s.flop(),
    3: (s) => s.rotate(180),
    4: (s) => s.flip(),
    6: (s) => s.rotate(270),
    8: (s) => s.rotate(90),
  };
  for (const [orientation, turn] of Object.entries(stored)) {
    const pixels = await turn(sharp(miniScene)).png().toBuffer();
    const bytes = await sharp(pixels)
      .withMetadata({ orientation: Number(orientation) })
      .png()
      .toBuffer();
    const found = await model.segment(bytes, vocabulary, small);
    t.same([found.width, found.height], [48, 40], `orientation ${orientation}`);
    t.same(found.labels, want.labels, `orientation ${orientation}: labels`);
  }
});

t.test('kinds of input', async (t) => {
  await using model = await open(miniFolder());
  const vocabulary = await model.vocabulary(['cat', 'grass'], { templates: 'none' });
  const bytes = readFileSync(miniScene);
  const { labels } = await model.segment(miniScene, vocabulary, small);
  const inputs = {
    bytes,
    url: new URL(`file://${miniScene}`),
    stream: new Blob([bytes]).stream(),
    blob: new Blob([bytes]),
    slices: (async function* () {
      yield bytes.subarray(0, 99);
      yield bytes.subarray(99);
    })(),
  };
  for (const [kind, input] of Object.entries(inputs))
    t.same((await model.segment(input, vocabulary, small)).labels, labels, kind);
  const grey = await model.segment(
    { data: new Uint8Array(35).fill(9), width: 7, height: 5, channels: 1 },
    vocabulary,
    small,
  );
  t.same([grey.width, grey.height], [7, 5]);
  await t.rejects(model.segment('https://example.org/a.png', vocabulary), { code: 'E_URL_FORBIDDEN' });
  await t.rejects(model.segment(Buffer.from('no picture'), vocabulary), { code: 'E_IMAGE_FORMAT' });
  await t.rejects(model.segment(bytes.subarray(0, 200), vocabulary), { code: 'E_IMAGE_CORRUPT' });
});

t.test('the exact input of CLIP', needsData, async (t) => {
  const { data: want, shape } = parseNpy(readFileSync(data('preprocess/franz-kafka-clip224.npy')));
  const found = await preprocess(data('preprocess/franz-kafka.png'), 224);
  t.same(found.shape, shape);
  const error = maxError(found.data, want as ArrayLike<number>);
  t.ok(error < 1e-6, `error ${error.toExponential(1)}`);
  const backbone = await loadBackbone(await clipTinyFolder());
  const pixels = await preprocess(data('preprocess/franz-kafka.png'), 32);
  t.same(
    (await backbone.inspect({ pixel_values: pixels }, ['image_embeds'])).image_embeds?.data,
    (await backbone.encodeImage(pixels)).data,
  );
  backbone.dispose();
});

t.test('label images', needsData, async (t) => {
  const folder = data('systems/primitives/label-images');
  const expected = await loadAll(join(folder, 'expected.safetensors'));
  const { files } = JSON.parse(readFileSync(join(folder, 'note.json'), 'utf8')) as {
    files: Record<
      string,
      { bits?: number; interlaced?: boolean; palette_entries?: number | null; values?: number[] | null }
    >;
  };
  const pngs = Object.entries(files).filter(([name]) => name.endsWith('.png'));
  t.ok(pngs.length >= 13);
  for (const [file, about] of pngs) {
    const name = file.replace('.png', '');
    const want = expected.get(name) as Loaded;
    const png = await readPng(readFileSync(join(folder, file)));
    t.same([png.height, png.width, png.bitDepth], [want.shape[0], want.shape[1], about.bits], file);
    t.equal(maxError(png.data, want.data), 0, `${file}: values`);
    if (about.interlaced !== undefined) t.equal(png.interlaced, about.interlaced, `${file}: interlaced`);
    if (about.palette_entries) t.equal(png.palette?.length, 3 * about.palette_entries, `${file}: palette`);
    if (name === 'panoptic-rgb') {
      const ids = Int32Array.from(
        { length: png.width * png.height },
        (_, i) =>
          (png.data[3 * i] as number) + 256 * (png.data[3 * i + 1] as number) + 65536 * (png.data[3 * i + 2] as number),
      );
      t.equal(maxError(ids, (expected.get('panoptic-rgb.id') as Loaded).data), 0);
      continue;
    }
    for (const format of ['png', 'voc']) {
      if (format === 'voc' && !about.palette_entries) continue;
      const read = await loadLabels(join(folder, file), { format });
      t.equal(maxError(read.labels, want.data), 0, `${file}: labels as ${format}`);
    }
  }
  const all = expected.get('all-values') as Loaded;
  t.equal(
    maxError(reduceZeroLabel(Uint8Array.from(all.data)), (expected.get('all-values.reduce_zero_label') as Loaded).data),
    0,
    'zero label reduced',
  );
  const ids = await readLabels('png', readFileSync(join(folder, 'grey16.png')));
  t.ok(ids.labels instanceof Uint16Array && ids.labels.includes(65535));
});
