/** Headers of image files and the TIFF writer: as the full decoders say, from a few bytes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import t from 'tap';
import { readImageHeader } from '#lib/image/header.js';
import { vocPalette } from '#lib/image/palette.js';
import { writePng } from '#lib/image/png.js';
import { readTiff } from '#lib/image/tiff.js';
import { writeTiff } from '#lib/image/tiff-writer.js';

const folder = await mkdtemp(join(tmpdir(), 'wordmask-header-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const path = join(folder, 'x');

async function header(bytes: Uint8Array) {
  await writeFile(path, bytes);
  return readImageHeader(path);
}

const blank = () => sharp({ create: { width: 7, height: 5, channels: 3, background: 'red' } });

t.test('pictures', async (t) => {
  for (let orientation = 1; orientation <= 8; orientation++) {
    const turned = orientation >= 5 ? { width: 5, height: 7 } : { width: 7, height: 5 };
    const jpeg = await blank()
      .withMetadata({ orientation })
      .jpeg({ progressive: orientation % 2 === 0 })
      .toBuffer();
    t.match(
      await header(jpeg),
      { format: 'jpeg', ...turned, bitDepth: 8, channels: 3 },
      `JPEG, orientation ${orientation}`,
    );
    const png = await blank().withMetadata({ orientation }).png().toBuffer();
    t.match(await header(png), { format: 'png', ...turned }, `PNG, orientation ${orientation}`);
  }
  // A long profile before the frame.
  const plain = await blank().jpeg().toBuffer();
  const long = Buffer.concat([Buffer.from([0xff, 0xe2, 0xff, 0xff]), Buffer.alloc(65533)]);
  const stuffed = Buffer.concat([plain.subarray(0, 2), long, long, plain.subarray(2)]);
  t.match(await header(stuffed), { width: 7, height: 5 });
  t.match(await header(await blank().toColourspace('b-w').jpeg().toBuffer()), { channels: 1 });
});

t.test('label files', async (t) => {
  const data = new Uint8Array(35);
  const png = await writePng({ width: 7, height: 5, kind: 'palette', data, palette: vocPalette(21) });
  t.match(await header(png), {
    format: 'png',
    kind: 'palette',
    width: 7,
    height: 5,
    bitDepth: 8,
    channels: 1,
    palette: vocPalette(21),
  });
  for (const samples of [data, Uint16Array.from(data)]) {
    const tiff = await header(await writeTiff({ width: 7, height: 5, data: samples }));
    t.match(tiff, { format: 'tiff', width: 7, height: 5, channels: 1, bitDepth: 8 * samples.BYTES_PER_ELEMENT });
  }
});

t.test('what is not understood is undefined', async (t) => {
  const jpeg = await blank().jpeg().toBuffer();
  for (const [name, bytes] of [
    ['empty', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['half a PNG header', (await blank().png().toBuffer()).subarray(0, 20)],
    ['JPEG without frame', jpeg.subarray(0, 30)],
    ['TIFF without directory', Buffer.from([0x49, 0x49, 42, 0, 200, 0, 0, 0])],
    ['WebP', await blank().webp().toBuffer()],
  ] as const)
    t.equal(await header(bytes), undefined, name);
  await t.rejects(readImageHeader(join(folder, 'no')), { code: 'E_DISK' });
});

t.test('TIFF writer', async (t) => {
  for (const [width, height] of [
    [1, 1],
    [3, 5],
    [700, 450],
    [70_000, 3],
  ] as const) {
    for (const bits of [8, 16] as const) {
      const data = bits === 8 ? new Uint8Array(width * height) : new Uint16Array(width * height);
      for (let i = 0; i < data.length; i++) data[i] = Math.imul(i, 2_654_435_761) >>> 7;
      const bytes = await writeTiff({ width, height, data });
      t.ok(Buffer.from(bytes).equals(await writeTiff({ width, height, data })), 'the same bytes again');
      const back = await readTiff(bytes, { limits: { side: 100_000 } });
      t.same([back.width, back.height, back.bitDepth], [width, height, bits]);
      t.ok(
        back.data.every((value, k) => value === data[k]),
        `${width} x ${height}`,
      );
      if (width < 65_536) {
        const space = bits === 8 ? 'b-w' : 'grey16';
        const other = await sharp(Buffer.from(bytes))
          .toColourspace(space)
          .raw({ depth: bits === 8 ? 'uchar' : 'ushort' })
          .toBuffer();
        const samples = bits === 8 ? new Uint8Array(other) : new Uint16Array(new Uint8Array(other).buffer);
        t.equal(samples.length, data.length);
        t.ok(
          samples.every((value, k) => value === data[k]),
          'another decoder agrees',
        );
      }
    }
  }
  await t.rejects(writeTiff({ width: 2, height: 2, data: new Uint8Array(3) }), { code: 'E_USAGE' });
});
