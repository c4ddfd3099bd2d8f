import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  formatNames,
  type LabelArray,
  type LabelResult,
  type LegendEntry,
  loadLabels,
  Mask,
  readLabels,
  readPng,
  saveLabels,
  WordmaskError,
  writeLabels,
  writePng,
} from '#lib/entry/formats.js';

const data = process.env.WORDMASK_TEST_DATA;
const readable = formatNames.filter((name) => name !== 'overlay');
const provenance = { package: '0.1.0', system: 'naclip', options: { refine: 'crf' } };

const colours = fc.tuple(
  fc.integer({ min: 0, max: 255 }),
  fc.integer({ min: 0, max: 255 }),
  fc.integer({ min: 0, max: 255 }),
);
const entries = fc.record({
  name: fc.string({ unit: 'binary', maxLength: 12 }),
  color: fc.option(colours, { nil: undefined }),
  group: fc.option(fc.constantFrom('animal', 'stuff & "more"'), { nil: undefined }),
  thing: fc.option(fc.boolean(), { nil: undefined }),
});
const results = fc
  .tuple(
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 1, max: 9 }),
    fc.array(entries, { minLength: 1, maxLength: 6 }),
  )
  .chain(([width, height, list]) =>
    fc
      .array(fc.integer({ min: -1, max: list.length - 1 }), { minLength: width * height, maxLength: width * height })
      .map(
        (values): LabelResult => ({
          width,
          height,
          legend: list.map((entry, index) => JSON.parse(JSON.stringify({ index, ...entry })) as LegendEntry),
          labels: Uint8Array.from(values, (value) => (value < 0 ? 255 : value)),
          provenance,
        }),
      ),
  );

function sameLabels(a: LabelArray, b: LabelArray): boolean {
  return (
    a.constructor === b.constructor &&
    Buffer.compare(
      Buffer.from(a.buffer, a.byteOffset, a.byteLength),
      Buffer.from(b.buffer, b.byteOffset, b.byteLength),
    ) === 0
  );
}

for (const format of readable) {
  t.test(`${format}: write and read is the identity`, async (t) => {
    await fc.assert(
      fc.asyncProperty(results, async (result) => {
        const files = await writeLabels(format, result);
        const options =
          format === 'npy'
            ? { legend: result.legend }
            : format === 'hf'
              ? { width: result.width, height: result.height, legend: result.legend }
              : {};
        const back = await readLabels(format, files.length === 1 ? (files[0]?.bytes as Uint8Array) : files, options);
        const empty = result.labels.every((value) => value === 255);
        t.same(back.legend, result.legend);
        if (format !== 'npy' && !(format === 'hf' && empty)) t.same(back.provenance, provenance);
        return (
          back.width === result.width &&
          back.height === result.height &&
          back.segments === undefined &&
          sameLabels(back.labels, result.labels)
        );
      }),
      { numRuns: 60 },
    );
  });
}

t.test('more than 255 labels go to 16 bits', async (t) => {
  const legend = Array.from({ length: 847 }, (_, index) => ({ index, name: `class ${index}` }));
  const labels = Uint16Array.from({ length: 900 }, (_, i) => (i < 847 ? i : 65_535));
  const result = { width: 30, height: 30, labels, legend };
  for (const format of readable.filter((name) => !['voc', 'npy', 'cvat'].includes(name))) {
    const files = await writeLabels(format, result);
    const back = await readLabels(format, files.length === 1 ? (files[0]?.bytes as Uint8Array) : files);
    t.ok(sameLabels(back.labels, labels), format);
    t.equal(back.legend.length, 847, format);
  }
  await t.rejects(writeLabels('voc', result), { code: 'E_OPTION' });
  const [png] = await writeLabels('png', result);
  t.equal((await readPng(png?.bytes as Uint8Array)).bitDepth, 16);
});

t.test('segments with scores', async (t) => {
  const [a, b] = [Mask.fromBitmap([1, 1, 0, 0, 0, 0], 3, 2), Mask.fromBitmap([0, 1, 1, 0, 0, 0], 3, 2)];
  const legend = [
    { index: 0, name: 'cat', thing: true },
    { index: 1, name: 'dog', thing: true },
  ];
  const segments = [
    { id: 4, label: 0, score: 0.25, mask: a },
    { id: 9, label: 1, score: 0.75, mask: b },
  ];
  const result = { width: 3, height: 2, labels: Uint8Array.of(0, 1, 1, 255, 255, 255), legend, segments };
  for (const format of ['coco', 'hf']) {
    const [file] = await writeLabels(format, result);
    const back = await readLabels(format, file?.bytes as Uint8Array);
    t.same(
      back.segments?.map(({ id, label, score, mask, bbox, area }) => ({
        id,
        label,
        score,
        bbox,
        area,
        rle: mask.toRle(),
      })),
      [
        { id: 4, label: 0, score: 0.25, bbox: [0, 0, 2, 1], area: 2, rle: a.toRle() },
        { id: 9, label: 1, score: 0.75, bbox: [1, 0, 2, 1], area: 2, rle: b.toRle() },
      ],
      format,
    );
    t.ok(sameLabels(back.labels, result.labels), `${format}: the higher score lies on top`);
  }
  await t.rejects(writeLabels('coco-panoptic', result), { code: 'E_USAGE' }, 'panoptic segments may not overlap');
  const apart = { ...result, segments: [{ ...segments[0], mask: a.and(b.not()) }, segments[1]] } as LabelResult;
  const back = await readLabels('coco-panoptic', await writeLabels('coco-panoptic', apart));
  t.same(
    back.segments?.map(({ id, label, score }) => ({ id, label, score })),
    [
      { id: 4, label: 0, score: 0.25 },
      { id: 9, label: 1, score: 0.75 },
    ],
  );
});

t.test('planes in full precision', async (t) => {
  const score = { data: Float32Array.of(0.1, 0.2, Math.PI, 1e-30), shape: [2, 2] };
  const result: LabelResult = {
    width: 2,
    height: 2,
    labels: Uint8Array.of(0, 0, 255, 0),
    legend: [{ index: 0, name: 'x' }],
    score,
  };
  const [file] = await writeLabels('safetensors', result);
  t.same((await readLabels('safetensors', file?.bytes as Uint8Array)).score, score);
  t.equal((await writeLabels('npy', result, { plane: 'score' })).length, 1);
  await t.rejects(writeLabels('npy', result, { plane: 'margin' }), { code: 'E_OPTION' });
});

t.test('real label maps in every format', { skip: data ? false : 'WORDMASK_TEST_DATA is not set' }, async (t) => {
  const files = [
    ...readdirSync(join(data as string, 'voc/labels')).map((name) => join('voc/labels', name)),
    'voc/original/2007_000129.png',
    'camvid/test/labels/0001TP_008550.png',
    'simple/kitten-label.png',
    'simple/shape-0-label.png',
    'cityscapes/frankfurt_000000_000294_gtFine_labelTrainIds.png',
  ];
  for (const file of files) {
    const map = await readLabels('png', readFileSync(join(data as string, file)));
    const legend = Array.from({ length: 30 }, (_, index) => ({ index, name: `class ${index}` }));
    for (const format of readable) {
      const written = await writeLabels(format, { ...map, legend });
      const back = await readLabels(
        format,
        written.length === 1 ? (written[0]?.bytes as Uint8Array) : written,
        format === 'npy' ? { legend } : {},
      );
      t.ok(sameLabels(back.labels, map.labels), `${file} as ${format}`);
    }
    const [overlay] = await writeLabels('overlay', map);
    const drawn = await readPng(overlay?.bytes as Uint8Array);
    t.ok(drawn.height > map.height && drawn.width >= map.width, `${file} as overlay`);
  }
});

t.test('COCO panoptic files of others', { skip: data ? false : 'WORDMASK_TEST_DATA is not set' }, async (t) => {
  const folder = join(data as string, 'panoptic');
  const json = readFileSync(join(folder, 'panoptic_examples.json'));
  for (const id of [142238, 439180]) {
    const name = `${String(id).padStart(12, '0')}.png`;
    const result = await readLabels(
      'coco-panoptic',
      [
        { name: 'panoptic_examples.json', bytes: json },
        { name, bytes: readFileSync(join(folder, 'panoptic_examples', name)) },
      ],
      { imageId: id },
    );
    const truth = JSON.parse(json.toString()).annotations.find(
      (item: { image_id: number }) => item.image_id === id,
    ).segments_info;
    t.equal(result.segments?.length, truth.length);
    t.same(
      result.segments?.map(({ area }) => area),
      truth.map(({ area }: { area: number }) => area),
      'areas as listed',
    );
    const again = await readLabels('coco-panoptic', await writeLabels('coco-panoptic', result));
    t.ok(sameLabels(again.labels, result.labels));
    t.same(
      again.segments?.map(({ id, label }) => [id, label]),
      result.segments?.map(({ id, label }) => [id, label]),
    );
  }
  const detections = JSON.parse(readFileSync(join(folder, 'panoptic_coco_detection_format.json'), 'utf8'));
  const masks = detections.annotations.map(({ segmentation }: { segmentation: never }) => Mask.fromRle(segmentation));
  t.same(
    masks.map((mask: Mask) => mask.area),
    detections.annotations.map(({ area }: { area: number }) => area),
  );
  t.same(
    masks.map((mask: Mask) => mask.bbox),
    detections.annotations.map(({ bbox }: { bbox: number[] }) => bbox),
  );
  t.same(
    masks.map((mask: Mask) => mask.toRle().counts),
    detections.annotations.map(({ segmentation }: { segmentation: { counts: string } }) => segmentation.counts),
    'the same compressed text',
  );
});

t.test('coloured maps of other tools', { skip: data ? false : 'WORDMASK_TEST_DATA is not set' }, async (t) => {
  const { vocColour } = await import('#lib/entry/formats.js');
  const legend = Array.from({ length: 21 }, (_, index) => ({ index, name: `class ${index}`, color: vocColour(index) }));
  const map = await readLabels('rgb', readFileSync(join(data as string, 'voc/predictions/1_target.png')), { legend });
  t.same(
    [...new Set(map.labels)].sort((a, b) => a - b),
    [0, 1, 255],
  );
});

t.test('files on disk', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wordmask-formats-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const result: LabelResult = {
    width: 2,
    height: 1,
    labels: Uint8Array.of(0, 255),
    legend: [{ index: 0, name: 'cat' }],
    provenance,
  };
  for (const format of readable) {
    const path = join(folder, `${format}.out`);
    const paths = await saveLabels(path, result, { format });
    const back = await loadLabels(paths[0] as string, { format, legend: result.legend });
    t.ok(sameLabels(back.labels, result.labels), `${format}: ${paths.length} file(s)`);
  }
  t.same(await saveLabels(join(folder, 'a.png'), result), [join(folder, 'a.png')]);
  t.same(await saveLabels(join(folder, 'b.json'), result, { format: 'coco-panoptic' }), [
    join(folder, 'b.json'),
    join(folder, 'b.png'),
  ]);
  t.notOk(
    readdirSync(folder).some((name) => name.includes('tmp')),
    'no temporary files are left',
  );
  await t.rejects(saveLabels(join(folder, 'none/a.png'), result), { code: 'E_DISK' });
  await t.rejects(saveLabels(join(folder, 'a.xyz'), result), { code: 'E_OPTION' });
  await t.rejects(loadLabels(join(folder, 'absent.png')), { code: 'E_USAGE' });
});

t.test('wrong input has typed errors', async (t) => {
  const good: LabelResult = {
    width: 2,
    height: 1,
    labels: Uint8Array.of(0, 1),
    legend: [
      { index: 0, name: 'cat' },
      { index: 1, name: 'dog' },
    ],
  };
  await t.rejects(writeLabels('pngg', good), { code: 'E_OPTION', message: /did you mean png/ });
  await t.rejects(readLabels('overlay', new Uint8Array(3)), { code: 'E_OPTION' });
  for (const format of formatNames) {
    await t.rejects(writeLabels(format, { ...good, width: 3 }), { code: 'E_USAGE' }, `${format}: size`);
    await t.rejects(
      writeLabels(format, {
        ...good,
        legend: [
          { index: 0, name: 'a' },
          { index: 0, name: 'b' },
        ],
      }),
      { code: 'E_USAGE' },
      `${format}: index twice`,
    );
  }
  for (const format of ['png', 'voc', 'ade', 'rgb', 'coco', 'coco-panoptic', 'hf']) {
    await t.rejects(
      writeLabels(format, { ...good, labels: Uint8Array.of(0, 7) }),
      { code: 'E_USAGE' },
      `${format}: label outside the legend`,
    );
  }
  const rgbPng = await writePng({ width: 1, height: 1, kind: 'rgb', data: Uint8Array.of(1, 2, 3) });
  for (const format of ['png', 'voc', 'ade'])
    await t.rejects(readLabels(format, rgbPng), { code: 'E_IMAGE_FORMAT' }, format);
  await t.rejects(readLabels('rgb', rgbPng), { code: 'E_USAGE' }, 'no legend');
  const junk = [
    '{',
    '[]',
    '{}',
    'null',
    '{"images":[{}],"annotations":[],"categories":[]}',
    '{"images":[{"id":1,"width":2,"height":2}],"annotations":[{"id":1,"image_id":1,"category_id":5}],"categories":[]}',
    '{"images":[{"id":1,"width":2,"height":2}],"annotations":[{"id":1,"image_id":1,"category_id":1,"segmentation":{"size":[2,2],"counts":"zz"}}],"categories":[{"id":1,"name":"a"}]}',
    '{"__proto__":{"images":1}}',
    '[{"label":"a","mask":"AAAA"}]',
    '[{"label":1}]',
  ];
  for (const text of junk) {
    for (const format of ['coco', 'hf']) {
      const outcome = await readLabels(format, Buffer.from(text)).then(
        () => true,
        (error) => error instanceof WordmaskError,
      );
      t.ok(outcome, `${format}: ${text.slice(0, 40)}`);
    }
  }
});
