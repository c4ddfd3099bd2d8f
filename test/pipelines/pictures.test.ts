/** Pictures of every kind through `segment`: sizes, colour models, orientation, damage. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import t from 'tap';
import type { ImageInput } from '#lib/image/decode.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { clipTinyFolder, data, needsData } from '../helpers/data.js';
import { differences, waves } from '../helpers/pictures.js';

t.setTimeout(300_000);

const small: SegmentOptions = { shortSide: 64, crop: 32, stride: 16, refine: 'none' };
const labels = ['cat', 'dog', 'sky', 'tree'];
let model: Model;
if (!needsData.skip) model = await open(`naclip:${await clipTinyFolder()}`);
t.teardown(() => model?.dispose());

const raw = (width: number, height: number, seed = 1) => {
  const picture = waves(width, height, seed);
  return sharp(picture.data, { raw: { width, height, channels: 3 } });
};

t.test('sizes at the limits', needsData, async (t) => {
  const systems: Model[] = [model];
  for (const system of ['clip', 'sclip', 'clearclip', 'maskclip'])
    systems.push(await open(`${system}:${await clipTinyFolder()}`));
  for (const [width, height] of [
    [1, 1],
    [2, 1],
    [1, 7],
    [8, 8],
    [9, 7],
    [3, 2000],
    [2000, 3],
  ] as const) {
    for (const each of systems) {
      for (const options of [
        ...(each === model ? [{}] : []),
        small,
        { ...small, crop: 0 },
        { ...small, refine: { name: 'pamr', steps: 2, dilations: [1, 8] } },
        { ...small, refine: { name: 'crf', iterations: 2 } },
      ] as SegmentOptions[]) {
        const result = await each.segment(waves(width, height), labels, options);
        const fine =
          result.labels.length === width * height &&
          result.segments.reduce((n, { area }) => n + area, 0) === width * height;
        if (!fine) t.fail(`${each.info.system} ${width} x ${height} ${JSON.stringify(options)}`);
      }
    }
    t.pass(`${width} x ${height}`);
  }
  for (const [width, height] of [
    [65535, 1],
    [1, 65535],
  ] as const) {
    const result = await model.segment(
      { data: new Uint8Array(65535 * 3).map((_, i) => i % 251), width, height, channels: 3 },
      labels,
      small,
    );
    t.same([result.width, result.height, result.labels.length], [width, height, 65535]);
    t.same((await result.encode('png')).length > 0, true);
  }
  for (const each of systems.slice(1)) await each.dispose();
});

t.test('colour models', needsData, async (t) => {
  const expected = await model.segment(await raw(60, 40).png().toBuffer(), labels, small);
  const grey = Buffer.from(Uint8Array.from({ length: 60 * 40 }, (_, i) => (i * 7) % 256));
  const wide = new Uint16Array(60 * 40 * 3).map((_, i) => ((waves(60, 40).data[i] as number) << 8) | (i % 256));
  const same: [string, ImageInput, ImageInput][] = [
    [
      '16 bits are cut to 8',
      await sharp(wide, { raw: { width: 60, height: 40, channels: 3 } } as never)
        .toColourspace('rgb16')
        .png()
        .toBuffer(),
      await raw(60, 40).png().toBuffer(),
    ],
    [
      'grey is grey',
      await sharp(grey, { raw: { width: 60, height: 40, channels: 1 } })
        .toColourspace('b-w')
        .png()
        .toBuffer(),
      { data: grey, width: 60, height: 40, channels: 1 },
    ],
    ['alpha 255 changes nothing', await raw(60, 40).ensureAlpha(1).png().toBuffer(), waves(60, 40)],
    [
      'palette',
      await sharp(grey, { raw: { width: 60, height: 40, channels: 1 } })
        .png({ palette: true, dither: 0 })
        .toBuffer(),
      { data: grey, width: 60, height: 40, channels: 1 },
    ],
  ];
  for (const [name, a, b] of same) {
    const [left, right] = [await model.segment(a, labels, small), await model.segment(b, labels, small)];
    const differ = left.labels.filter((label, i) => label !== right.labels[i]).length;
    t.ok(differ <= 24, `${name}: ${differ} pixels differ`);
  }
  const clear = await raw(60, 40).ensureAlpha(0).png().toBuffer();
  const white = await model.segment(
    { data: new Uint8Array(60 * 40 * 3).fill(255), width: 60, height: 40, channels: 3 },
    labels,
    small,
  );
  t.same((await model.segment(clear, labels, small)).labels, white.labels, 'under transparency lies white');
  const black = await model.segment(
    { data: new Uint8Array(60 * 40 * 3), width: 60, height: 40, channels: 3 },
    labels,
    small,
  );
  t.same((await model.segment(clear, labels, { ...small, matte: [0, 0, 0] })).labels, black.labels, 'or the matte');
  const cmyk = await raw(60, 40).toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer();
  t.equal((await sharp(cmyk).metadata()).space, 'cmyk');
  t.equal((await model.segment(cmyk, labels, small)).labels.length, 2400, 'CMYK');
  for (const [name, bytes] of [['webp', await raw(60, 40).webp({ lossless: true }).toBuffer()]] as const) {
    t.same((await model.segment(bytes, labels, small)).labels, expected.labels, name);
  }
});

t.test('masks have the size and orientation of the upright picture', needsData, async (t) => {
  const jpeg = (orientation: number) =>
    raw(70, 40).withMetadata({ orientation }).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer();
  const upright = await model.segment(await jpeg(1), labels, small);
  t.same([upright.width, upright.height], [70, 40]);
  for (const orientation of [2, 3, 4, 5, 6, 7, 8]) {
    const bytes = await jpeg(orientation);
    const result = await model.segment(bytes, labels, small);
    const turned = await model.segment(await sharp(bytes).autoOrient().png().toBuffer(), labels, small);
    t.same([result.width, result.height], orientation >= 5 ? [40, 70] : [70, 40]);
    t.same(differences(result, turned), [], `orientation ${orientation}`);
  }
});

t.test('ways to hand a picture in', needsData, async (t) => {
  const bytes = await raw(60, 40).png().toBuffer();
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-pictures-'));
  const path = join(folder, 'a picture ü.png');
  await writeFile(path, bytes);
  const expected = await model.segment(waves(60, 40), labels, small);
  const inputs: [string, ImageInput][] = [
    ['path', path],
    ['URL', pathToFileURL(path)],
    ['Buffer', bytes],
    [
      'Uint8Array in a larger buffer',
      new Uint8Array(Buffer.concat([Buffer.alloc(5), bytes, Buffer.alloc(9)])).subarray(5, 5 + bytes.length),
    ],
    ['ArrayBuffer', bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer],
    ['Blob', new Blob([new Uint8Array(bytes)])],
    ['stream', Readable.from([bytes.subarray(0, 100), bytes.subarray(100)])],
    ['web stream', Readable.toWeb(Readable.from([bytes])) as never],
  ];
  for (const [name, input] of inputs) t.same((await model.segment(input, labels, small)).labels, expected.labels, name);

  const mine = new Uint8Array(waves(60, 40).data);
  const call = model.segment({ data: mine, width: 60, height: 40, channels: 3 }, labels, small);
  mine.fill(0);
  structuredClone(mine.buffer, { transfer: [mine.buffer] });
  const outcome = await call.then(
    (result) => differences(result, expected).filter((name) => name === 'labels'),
    ({ code }) => code,
  );
  t.ok(outcome === 'E_USAGE' || Array.isArray(outcome), 'pixels changed or transferred meanwhile do no harm');
});

t.test('what is no picture', needsData, async (t) => {
  const png = await raw(60, 40).png().toBuffer();
  const jpeg = await raw(60, 40).jpeg().toBuffer();
  const wrong: [string, unknown, string, RegExp][] = [
    ['empty', new Uint8Array(0), 'E_IMAGE_CORRUPT', /0 bytes/],
    ['text', Buffer.from('hello, world, this is text'), 'E_IMAGE_FORMAT', /accepted are/],
    ['SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), 'E_IMAGE_FORMAT', /./],
    ['GIF', await raw(9, 9).gif().toBuffer(), 'E_IMAGE_FORMAT', /./],
    ['TIFF unless asked for', await raw(9, 9).tiff().toBuffer(), 'E_IMAGE_FORMAT', /formats/],
    ['half a JPEG', jpeg.subarray(0, jpeg.length >> 1), 'E_IMAGE_CORRUPT', /JPEG/],
    ['half a PNG', png.subarray(0, png.length >> 1), 'E_IMAGE_CORRUPT', /PNG/],
    ['a PNG of 256 megapixels', pngHeader(16000, 16000), 'E_IMAGE_SIZE', /16000/],
    ['no such file', '/nowhere/x.png', 'E_USAGE', /does not exist/],
    ['a folder', tmpdir(), 'E_USAGE', /folder/],
    ['http', 'https://example.com/x.png', 'E_URL_FORBIDDEN', /fetch it yourself/],
    ['nothing', undefined, 'E_USAGE', /./],
    ['a number', 7, 'E_USAGE', /7/],
    ['wrong channels', { data: new Uint8Array(8), width: 2, height: 2, channels: 2 }, 'E_USAGE', /channels/],
    ['too few samples', { data: new Uint8Array(11), width: 2, height: 2, channels: 3 }, 'E_USAGE', /12 bytes, got 11/],
    ['no pixels', { data: new Uint8Array(0), width: 0, height: 2, channels: 3 }, 'E_IMAGE_SIZE', /0/],
    ['half a pixel', { data: new Uint8Array(3), width: 0.5, height: 2, channels: 3 }, 'E_IMAGE_SIZE', /0\.5/],
    [
      'a side of 70,000',
      { data: new Uint8Array(210_000), width: 70_000, height: 1, channels: 3 },
      'E_IMAGE_SIZE',
      /65535|65,535/,
    ],
  ];
  for (const [name, input, code, message] of wrong) {
    await t.rejects(model.segment(input as ImageInput, labels, small), { code, message }, name);
  }
  t.equal(
    (await model.segment(await raw(9, 9).tiff().toBuffer(), labels, { ...small, formats: ['tiff'] })).labels.length,
    81,
  );
  t.equal((await model.segment(png, labels, small)).labels.length, 2400, 'a good call works after all of them');
});

/** A PNG that claims a size and holds nothing. */
function pngHeader(width: number, height: number): Buffer {
  const chunk = (type: string, body: Buffer) => {
    const content = Buffer.concat([Buffer.from(type), body]);
    const out = Buffer.alloc(content.length + 8);
    out.writeUInt32BE(body.length, 0);
    content.copy(out, 4);
    out.writeUInt32BE(crc(content), content.length + 4);
    return out;
  };
  const ihdr = Buffer.alloc(13);
  ihdr.writeUInt32BE(width, 0);
  ihdr.writeUInt32BE(height, 4);
  ihdr.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', ihdr),
    chunk('IDAT', deflateSync(Buffer.alloc(100))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function crc(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let k = 0; k < 8; k++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return (value ^ 0xffffffff) >>> 0;
}

t.test('photographs end to end', needsData, async (t) => {
  for (const name of ['photos/dog.jpg', 'photos/chelsea.png', 'simple/kitten-gray.jpg']) {
    const result = await model.segment(data(name), ['dog', 'cat', 'grass', 'wall'], { refine: 'none' });
    const { width, height } = await sharp(data(name))
      .autoOrient()
      .toBuffer({ resolveWithObject: true })
      .then(({ info }) => info);
    t.same([result.width, result.height], [width, height], name);
  }
});
