import fc from 'fast-check';
import t from 'tap';
import { type LabelResult, Mask, readLabels, worldFileTransform, writeLabels } from '#lib/entry/formats.js';
import { decodeBrush, encodeBrush } from '#lib/formats/brush.js';
import { readZip, writeZip } from '#lib/formats/zip.js';

/** A ring with a hole, and a single pixel touching it at a corner. */
const bits = [1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1];
const result: LabelResult = {
  width: 4,
  height: 4,
  labels: Uint8Array.from(bits, (bit) => (bit ? 0 : 255)),
  legend: [{ index: 0, name: '</title><script>alert("1" & \'2\')</script>\u0001\ufffe' }],
  provenance: { system: 'naclip' },
};

async function textOf(format: string, options = {}): Promise<string> {
  const [file] = await writeLabels(format, result, options);
  return Buffer.from(file?.bytes as Uint8Array).toString('utf8');
}

t.test('svg holds label text as text', async (t) => {
  const text = await textOf('svg');
  t.notMatch(text, /<script/);
  t.equal(text.match(/<title>/g)?.length, 1);
  t.match(text, /fill-rule="evenodd"/);
  t.notMatch(text, /[\u0000-\u0008\ufffe]/, 'no character that XML forbids');
  t.same((await readLabels('svg', Buffer.from(text))).legend, result.legend, 'and the name comes back exactly');
  await t.rejects(readLabels('svg', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')), { code: 'E_USAGE' });
});

t.test('geojson winds as RFC 7946 asks', async (t) => {
  const area = (ring: [number, number][]) =>
    ring
      .slice(1)
      .reduce(
        (sum, [x, y], i) => sum + (ring[i] as [number, number])[0] * y - x * (ring[i] as [number, number])[1],
        0,
      ) / 2;
  for (const transform of [undefined, [0.5, 0, 100, 0, -0.5, 200], [0.1, 0.02, -7, 0.03, -0.2, 45]] as const) {
    const json = JSON.parse(await textOf('geojson', { transform }));
    for (const [outer, ...holes] of json.features[0].geometry.coordinates) {
      t.ok(
        area(outer) > 0 && holes.every((hole: [number, number][]) => area(hole) < 0),
        `outer counterclockwise, holes clockwise ${transform ?? ''}`,
      );
      t.same(outer[0], outer.at(-1), 'closed');
    }
    const [file] = await writeLabels('geojson', result, transform ? { transform } : {});
    t.same((await readLabels('geojson', file?.bytes as Uint8Array)).labels, result.labels);
  }
  t.same(worldFileTransform('0.5\n0\n0\n-0.5\n100.25\n199.75\n'), [0.5, 0, 100, 0, -0.5, 200]);
  t.throws(() => worldFileTransform('1 2 3'), { code: 'E_USAGE' });
  await t.rejects(writeLabels('geojson', result, { transform: [1, 2, 0, 2, 4, 0] }), { code: 'E_OPTION' });
});

t.test('tolerance drops corners', async (t) => {
  const width = 120;
  const disc = Uint8Array.from({ length: width * width }, (_, i) =>
    Math.hypot((i % width) - 60, Math.floor(i / width) - 60) < 50 ? 0 : 255,
  );
  const map = { width, height: width, labels: disc, legend: [{ index: 0, name: 'disc' }] };
  for (const format of ['polygons', 'svg', 'geojson', 'labelstudio']) {
    const [exact] = await writeLabels(format, map, format === 'labelstudio' ? { tolerance: 0 } : {});
    const [smooth] = await writeLabels(format, map, { tolerance: 2 });
    t.ok((smooth?.bytes.length as number) < (exact?.bytes.length as number) / 3, format);
    const back = await readLabels(format, smooth?.bytes as Uint8Array);
    const truth = Mask.fromBitmap(
      disc.map((value) => (value === 0 ? 1 : 0)),
      width,
      width,
    );
    t.ok(
      truth.iou(
        Mask.fromBitmap(
          Uint8Array.from(back.labels, (value) => (value === 0 ? 1 : 0)),
          width,
          width,
        ),
      ) > 0.95,
      format,
    );
  }
  await t.rejects(writeLabels('polygons', map, { tolerance: -1 }), { code: 'E_OPTION' });
});

t.test('brush run lengths', async (t) => {
  // 2 pixels, the second set: count 8, word 8, widths 3 4 8 16, then two runs of 4 values in the shortest width.
  const stream = [8, 7, 2, 3, 7, 15];
  const expected = `${(8).toString(2).padStart(32, '0')}${[7].map((v) => v.toString(2).padStart(5, '0')).join('')}${stream
    .slice(2)
    .map((v) => v.toString(2).padStart(4, '0'))
    .join('')}1000110000000010001111111111`;
  const bytes = expected.match(/.{1,8}/g)?.map((byte) => Number.parseInt(byte.padEnd(8, '0'), 2));
  t.same(encodeBrush(Mask.fromBitmap([0, 1], 2, 1)), bytes);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 30 }),
      fc.array(fc.nat(1), { minLength: 1200, maxLength: 1200 }),
      fc.boolean(),
      (width, height, values, solid) => {
        const mask = Mask.fromBitmap(
          values.slice(0, width * height).map((value) => (solid ? 1 : value)),
          width,
          height,
        );
        return decodeBrush(encodeBrush(mask), width, height).equals(mask);
      },
    ),
    { numRuns: 200 },
  );
  const large = Mask.fromBitmap(new Uint8Array(300 * 300).fill(1), 300, 300);
  t.ok(decodeBrush(encodeBrush(large), 300, 300).equals(large), 'runs over 65,536 values');
  for (const bad of [
    [],
    [1, 2, 3],
    encodeBrush(large).slice(0, -1),
    encodeBrush(large).fill(255, 12),
    [0, 0, 0, 16, 'x'],
  ]) {
    t.throws(() => decodeBrush(bad as number[], 300, 300), { code: 'E_USAGE' });
  }
});

t.test('broken outline files', async (t) => {
  for (const format of ['polygons', 'geojson', 'labelstudio']) {
    const text = await textOf(format);
    for (const broken of [
      '{}',
      '[]',
      'null',
      text.slice(0, -5),
      text.replace('"legend"', '"lager"'),
      text.replace(/\[0,0/g, '["a",0'),
      text.replace(/\[\[0,0\]/g, '[[0]'),
    ]) {
      const outcome = await readLabels(format, Buffer.from(broken)).then(
        () => 'read',
        (error) => error.code,
      );
      t.ok(outcome === 'E_USAGE' || outcome === 'read', `${format}: ${outcome}`);
    }
  }
});

t.test('cvat archives', async (t) => {
  const [file] = await writeLabels('cvat', result, { stem: 'photo' });
  const files = await readZip(file?.bytes as Uint8Array, () => true);
  t.same(
    files.map(({ name }) => name),
    [
      'labelmap.txt',
      'ImageSets/Segmentation/default.txt',
      'SegmentationClass/photo.png',
      'SegmentationObject/photo.png',
      'annotations.xml',
    ],
  );
  const xml = Buffer.from(files.at(-1)?.bytes as Uint8Array).toString();
  t.match(xml, /rle="0, 3, 1, 1, 1, 1, 1, 3, 4, 1" left="0" top="0" width="4" height="4"/);
  t.notMatch(xml, /<script/);
  // As CVAT's own "segmentation mask" export: no XML, class colours alone.
  const [plain] = await writeLabels('cvat', { ...result, legend: [{ index: 0, name: 'cat' }] });
  const kept = await readZip(plain?.bytes as Uint8Array, (name) => name !== 'annotations.xml');
  const back = await readLabels('cvat', writeZip(kept));
  t.same([back.labels, back.legend], [result.labels, [{ index: 0, name: 'cat' }]]);
  const bytes = file?.bytes as Uint8Array;
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(255), async (at, value) => {
      const copy = Uint8Array.from(bytes);
      copy[at] = value;
      return readLabels('cvat', copy).then(
        () => true,
        (error) => /^E_(USAGE|IMAGE|OPTION)/.test(error.code),
      );
    }),
    { numRuns: 200 },
  );
  await t.rejects(readLabels('cvat', bytes.subarray(0, 100)), { code: 'E_USAGE' });
});
