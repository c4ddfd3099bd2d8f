import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import t from 'tap';
import { Mask } from '#lib/image/mask.js';
import { type PngKind, readPng, readPngHeader, writeMaskPng, writePng } from '#lib/image/png.js';
import { WordmaskError } from '#lib/util/errors.js';
import { longestTurn } from '../helpers/turns.js';

const data = process.env.WORDMASK_TEST_DATA;
const channels: Record<PngKind, number> = { grey: 1, palette: 1, 'grey-alpha': 2, rgb: 3, rgba: 4 };

function chunk(type: string, body: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + body.length);
  out.writeUInt32BE(body.length, 0);
  out.write(type, 4, 'latin1');
  out.set(body, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)), 8 + body.length);
  return out;
}

function png(
  width: number,
  height: number,
  bitDepth: number,
  colorType: number,
  rows: Uint8Array,
  extra: Buffer[] = [],
  interlace = 0,
): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([bitDepth, colorType, 0, 0, interlace], 8);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([
    signature,
    chunk('IHDR', head),
    ...extra,
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

t.test('every kind and depth survives writing and reading', async (t) => {
  const images = fc.record({
    width: fc.integer({ min: 1, max: 17 }),
    height: fc.integer({ min: 1, max: 9 }),
    kind: fc.constantFrom<PngKind>('grey', 'rgb', 'palette', 'grey-alpha', 'rgba'),
    wide: fc.boolean(),
    seed: fc.integer(),
    filter: fc.constantFrom('none' as const, 'up' as const, 'adaptive' as const),
    text: fc.string({ unit: 'grapheme' }),
  });
  await fc.assert(
    fc.asyncProperty(images, async ({ width, height, kind, wide, seed, filter, text }) => {
      let state = seed | 1;
      const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 16;
      const count = width * height * channels[kind];
      const samples =
        wide && kind !== 'palette'
          ? Uint16Array.from({ length: count }, next)
          : Uint8Array.from({ length: count }, next);
      const palette = kind === 'palette' ? Uint8Array.from({ length: 768 }, next) : undefined;
      const clean = text.replaceAll('\0', '');
      const bytes = await writePng(
        { width, height, kind, data: samples, ...(palette && { palette }) },
        { filter, text: [{ keyword: 'wordmask', text: clean }] },
      );
      const back = await readPng(bytes);
      return (
        back.width === width &&
        back.height === height &&
        back.kind === kind &&
        back.bitDepth === samples.BYTES_PER_ELEMENT * 8 &&
        Buffer.compare(Buffer.from(back.data.buffer), Buffer.from(samples.buffer)) === 0 &&
        (!palette || Buffer.compare(palette, back.palette as Uint8Array) === 0) &&
        back.text[0]?.text === clean
      );
    }),
    { numRuns: 150 },
  );
  t.pass();
});

t.test('long and foreign text', async (t) => {
  const text = JSON.stringify({ labels: Array.from({ length: 3000 }, (_, i) => `Straße ${i} 🐈`) });
  const bytes = await writePng(
    { width: 1, height: 1, kind: 'grey', data: Uint8Array.of(7) },
    {
      text: [
        { keyword: 'wordmask', text },
        { keyword: 'Comment', text: 'a' },
      ],
    },
  );
  t.same((await readPng(bytes)).text, [
    { keyword: 'wordmask', text },
    { keyword: 'Comment', text: 'a' },
  ]);
  await t.rejects(
    writePng({ width: 1, height: 1, kind: 'grey', data: Uint8Array.of(7) }, { text: [{ keyword: ' x', text: '' }] }),
    { code: 'E_OPTION' },
  );
  await t.rejects(
    writePng({ width: 1, height: 1, kind: 'grey', data: Uint8Array.of(7) }, { text: [{ keyword: 'x', text: 'a\0b' }] }),
    { code: 'E_OPTION' },
  );
});

t.test('reference label images', { skip: data ? false : 'WORDMASK_TEST_DATA is not set' }, async (t) => {
  const folder = join(data as string, 'systems/primitives/label-images');
  const file = readFileSync(join(folder, 'expected.safetensors'));
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + length));
  const names = readdirSync(folder).filter((name) => name.endsWith('.png'));
  t.equal(names.length, 13);
  for (const name of names) {
    const [begin, end] = header[name.slice(0, -4)].data_offsets;
    const expected = new Int32Array(
      file.buffer.slice(file.byteOffset + 8 + length + begin, file.byteOffset + 8 + length + end),
    );
    t.ok(same((await readPng(readFileSync(join(folder, name)))).data, expected), name);
  }
});

t.test('hostile and damaged files', async (t) => {
  const good = png(3, 2, 8, 0, Uint8Array.of(0, 1, 2, 3, 0, 4, 5, 6));
  t.same([...(await readPng(good)).data], [1, 2, 3, 4, 5, 6]);
  const flipped = Buffer.from(good);
  flipped[45] = (flipped[45] as number) ^ 1;
  const cases: [string, Buffer, string][] = [
    ['empty', Buffer.alloc(0), 'E_IMAGE_CORRUPT'],
    ['not a PNG', Buffer.from('GIF89a not a png at all'), 'E_IMAGE_FORMAT'],
    ['cut in the middle', good.subarray(0, 50), 'E_IMAGE_CORRUPT'],
    ['without IEND', good.subarray(0, good.length - 12), 'E_IMAGE_CORRUPT'],
    ['wrong checksum', flipped, 'E_IMAGE_CORRUPT'],
    ['rows missing', png(3, 2, 8, 0, Uint8Array.of(0, 1, 2, 3)), 'E_IMAGE_CORRUPT'],
    ['rows left over', png(3, 1, 8, 0, Uint8Array.of(0, 1, 2, 3, 0, 0, 0)), 'E_IMAGE_CORRUPT'],
    ['unknown filter', png(1, 1, 8, 0, Uint8Array.of(9, 1)), 'E_IMAGE_CORRUPT'],
    ['3 bits', png(1, 1, 3, 0, Uint8Array.of(0, 1)), 'E_IMAGE_CORRUPT'],
    ['colour type 5', png(1, 1, 8, 5, Uint8Array.of(0, 1)), 'E_IMAGE_CORRUPT'],
    ['interlace 2', png(1, 1, 8, 0, Uint8Array.of(0, 1), [], 2), 'E_IMAGE_CORRUPT'],
    ['palette missing', png(1, 1, 8, 3, Uint8Array.of(0, 1)), 'E_IMAGE_CORRUPT'],
    ['palette of 4 bytes', png(1, 1, 8, 3, Uint8Array.of(0, 1), [chunk('PLTE', Buffer.alloc(4))]), 'E_IMAGE_CORRUPT'],
    [
      'unknown critical chunk',
      png(1, 1, 8, 0, Uint8Array.of(0, 1), [chunk('ABCD', Buffer.alloc(4))]),
      'E_IMAGE_CORRUPT',
    ],
    [
      'claims a large chunk',
      Buffer.concat([good.subarray(0, 33), Buffer.from([0x7f, 255, 255, 255]), good.subarray(37)]),
      'E_IMAGE_CORRUPT',
    ],
    ['256 megapixels', png(16000, 16000, 8, 0, Uint8Array.of(0)), 'E_IMAGE_SIZE'],
    ['side over the limit', png(65536, 1, 8, 0, Uint8Array.of(0)), 'E_IMAGE_SIZE'],
    ['no height', png(1, 0, 8, 0, Uint8Array.of(0)), 'E_IMAGE_SIZE'],
    ['claims what it cannot hold', png(8000, 8000, 16, 6, Uint8Array.of(0)), 'E_IMAGE_CORRUPT'],
    ['compression bomb', png(1, 1, 8, 0, new Uint8Array(50_000_000)), 'E_IMAGE_CORRUPT'],
  ];
  for (const [name, bytes, code] of cases) await t.rejects(readPng(bytes), { name: 'WordmaskError', code }, name);
  t.throws(() => readPngHeader(good.subarray(0, 20)), { code: 'E_IMAGE_CORRUPT' });
  t.match(readPngHeader(good), { width: 3, height: 2, kind: 'grey', bitDepth: 8, interlaced: false });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 8, max: good.length - 1 }),
      fc.integer({ min: 0, max: 255 }),
      async (at, value) => {
        const bytes = Buffer.from(good);
        bytes[at] = value;
        return readPng(bytes).then(
          () => true,
          (error) => error instanceof WordmaskError,
        );
      },
    ),
    { numRuns: 300 },
  );
});

t.test('wrong calls', async (t) => {
  await t.rejects(writePng({ width: 2, height: 2, kind: 'grey', data: new Uint8Array(3) }), { code: 'E_USAGE' });
  await t.rejects(writePng({ width: 1, height: 1, kind: 'palette', data: new Uint8Array(1) }), { code: 'E_USAGE' });
  await t.rejects(
    writePng({ width: 1, height: 1, kind: 'palette', data: new Uint16Array(1), palette: new Uint8Array(3) }),
    { code: 'E_USAGE' },
  );
  await t.rejects(writePng({ width: 1, height: 1, kind: 'colour' as never, data: new Uint8Array(1) }), {
    code: 'E_USAGE',
  });
  await t.rejects(writePng({ width: 1, height: 1, kind: 'grey', data: [1] as never }), { code: 'E_USAGE' });
  await t.rejects(writePng({ width: 1, height: 1, kind: 'grey', data: new Uint8Array(1) }, { level: 12 }), {
    code: 'E_OPTION',
  });
});

t.test('24 megapixels leave the event loop free, and an abort ends the work', async (t) => {
  const [width, height] = [6000, 4000];
  const labels = new Uint16Array(width * height);
  for (let y = 0; y < height; y++) labels.fill(y >> 4, y * width, (y + 1) * width);
  const { value, longest } = await longestTurn(async () => {
    const bytes = await writePng({ width, height, kind: 'grey', data: labels }, { level: 1 });
    return { bytes, back: await readPng(bytes) };
  });
  const { bytes, back } = value;
  t.ok(Buffer.compare(Buffer.from(back.data.buffer), Buffer.from(labels.buffer)) === 0);
  t.comment(`longest turn ${longest.toFixed(1)} ms`);
  const controller = new AbortController();
  const reason = new Error('enough');
  const work = readPng(bytes, { signal: controller.signal });
  setTimeout(() => controller.abort(reason), 3);
  await t.rejects(work, reason);
});

function same(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  return a.length === b.length && Array.from(a).every((value, i) => value === b[i]);
}

let seed = 5;
const random = () => {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return seed / 2 ** 32;
};

t.test('masks straight from their runs', async (t) => {
  const shapes: [number, number][] = [
    [1, 1],
    [1, 700],
    [700, 1],
    [257, 3],
    [258, 2],
    [259, 5],
    [33, 129],
    [3000, 700],
  ];
  for (const [width, height] of shapes) {
    for (const run of [0, 1, 2, 4, 30, 261, 600, 5000, 1e9]) {
      const bitmap = new Uint8Array(width * height);
      // Runs of lengths around `run`, so that every symbol of a length has its turn; 0: nothing set, 1e9: all set.
      for (let i = 0, value = 255; i < bitmap.length && run > 0; value = 255 - value) {
        const end = run === 1e9 ? bitmap.length : i + 1 + Math.floor(run * random());
        bitmap.fill(value, i, end);
        i = end;
      }
      const mask = Mask.fromBitmap(bitmap, width, height);
      const bytes = await writeMaskPng(mask, { text: [{ keyword: 'k', text: 'v' }] });
      const name = `${width} x ${height}, runs of ${run}`;
      const back = await readPng(bytes);
      t.same(
        [back.width, back.height, back.kind, back.bitDepth, back.text.length],
        [width, height, 'grey', 8, 1],
        name,
      );
      t.ok(Buffer.compare(back.data as Uint8Array, bitmap) === 0, `${name}: values`);
      const other = await sharp(bytes).toColourspace('b-w').raw().toBuffer();
      t.ok(Buffer.compare(other, bitmap) === 0, `${name}: values, by another reader`);
      // Two bits a byte at worst.
      t.ok(bytes.length < 300 + (bitmap.length + height) / 4, `${name}: ${bytes.length} bytes`);
    }
  }
  const touching = new Mask(5, 2, Uint32Array.of(0, 2, 2, 4, 4, 4, 9, 10));
  t.same([...(await readPng(await writeMaskPng(touching))).data], [255, 255, 255, 255, 0, 0, 0, 0, 0, 255]);
  for (const toggles of [[1], [3, 2], [0, 11], [4, 6, 5, 7]])
    await t.rejects(writeMaskPng(new Mask(5, 2, Uint32Array.from(toggles))), { code: 'E_OPTION', message: /toggle/ });
  await t.rejects(writeMaskPng({ width: 0, height: 4, toggles: new Uint32Array(0) }), { code: 'E_OPTION' });
});
