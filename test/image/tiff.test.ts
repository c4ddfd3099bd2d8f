/** Label TIFFs: exact values from every layout that is read, typed errors for the rest. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import t from 'tap';
import { loadLabels, readLabels } from '#lib/formats/index.js';
import { readTiff } from '#lib/image/tiff.js';
import { data, loadAll, needsData } from '../helpers/data.js';

let state = 11;
const random = (n: number) => {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return (state >>> 8) % n;
};

/** Labels in patches, so that compression finds runs, with every value of the range somewhere. */
function labels(width: number, height: number, bits: 8 | 16): Uint8Array | Uint16Array {
  const out = bits === 8 ? new Uint8Array(width * height) : new Uint16Array(width * height);
  for (let i = 0; i < out.length; ) {
    const value = random(2 ** bits);
    for (const stop = Math.min(out.length, i + 1 + random(40)); i < stop; i++) out[i] = value;
  }
  return out;
}

t.test('reference files', needsData, async (t) => {
  const folder = data('systems/primitives/label-images');
  const expected = await loadAll(join(folder, 'expected.safetensors'));
  for (const name of ['tiff16-raw', 'tiff16-deflate', 'tiff16-lzw']) {
    const found = await readTiff(await readFile(join(folder, `${name}.tif`)));
    const want = expected.get(name);
    t.ok(want, `${name} has expected values`);
    t.same([found.height, found.width], want?.shape.slice(0, 2), name);
    t.same(Array.from(found.data), Array.from(want?.data ?? []), name);
    const map = await loadLabels(join(folder, `${name}.tif`));
    t.same(Array.from(map.labels), Array.from(want?.data ?? []), `${name} as a label map`);
  }
});

t.test("another writer's files", async (t) => {
  for (const [width, height] of [
    [1, 1],
    [37, 23],
    [301, 517],
  ] as const) {
    for (const bits of [8, 16] as const) {
      const values = labels(width, height, bits);
      const raw = sharp(values, { raw: { width, height, channels: 1 } }).toColourspace(bits === 8 ? 'b-w' : 'grey16');
      for (const compression of ['none', 'lzw', 'deflate', 'packbits'] as const) {
        for (const predictor of ['none', 'horizontal'] as const) {
          for (const tile of [false, true]) {
            const options = { compression, predictor, tile, tileWidth: 64, tileHeight: 32 } as const;
            const bytes = await raw.clone().tiff(options).toBuffer();
            const found = await readTiff(bytes);
            const name = `${width} x ${height}, ${bits} bits, ${compression}, ${predictor}, ${tile ? 'tiles' : 'strips'}`;
            t.same([found.width, found.height, found.bitDepth], [width, height, bits], name);
            t.ok(Buffer.from(found.data.buffer).equals(Buffer.from(values.buffer)), `${name}: values`);
          }
        }
      }
    }
  }
});

type Tags = Record<number, number | number[]>;

/** A file of these tags around one part. */
function tiff(tags: Tags, part: Uint8Array, big = false): Buffer {
  const all = { 273: 8, 279: part.length, ...tags };
  const entries = Object.entries(all);
  const bytes = Buffer.alloc(8 + part.length + 2 + entries.length * 12 + 4);
  const put16 = (value: number, at: number) => (big ? bytes.writeUInt16BE(value, at) : bytes.writeUInt16LE(value, at));
  const put32 = (value: number, at: number) => (big ? bytes.writeUInt32BE(value, at) : bytes.writeUInt32LE(value, at));
  bytes.write(big ? 'MM' : 'II', 'latin1');
  put16(42, 2);
  put32(8 + part.length, 4);
  bytes.set(part, 8);
  let at = 8 + part.length;
  put16(entries.length, at);
  at += 2;
  for (const [tag, value] of entries) {
    put16(Number(tag), at);
    put16(4, at + 2);
    put32(Array.isArray(value) ? (value[1] as number) : 1, at + 4);
    put32(Array.isArray(value) ? (value[0] as number) : value, at + 8);
    at += 12;
  }
  return bytes;
}

const plain: Tags = { 256: 3, 257: 2, 258: 16, 259: 1 };

t.test('big endian, and a label map of our own formats', async (t) => {
  const part = Buffer.from([0, 1, 1, 0, 255, 255, 0, 0, 0, 7, 255, 254]);
  const bytes = tiff(plain, part, true);
  const want = [1, 256, 65535, 0, 7, 65534];
  t.same(Array.from((await readTiff(bytes)).data), want);
  t.same(Array.from((await readLabels('png', bytes)).labels), want);
  const ade = tiff({ ...plain, 258: 8 }, Uint8Array.of(0, 1, 2, 150, 3, 0));
  t.same(Array.from((await readLabels('ade', ade)).labels), [255, 0, 1, 149, 2, 255]);
  const turned = tiff({ ...plain, 262: 0 }, part, true);
  t.same(Array.from((await readTiff(turned)).data), want, 'values as stored, white is zero or not');
});

t.test('damaged and other files', async (t) => {
  const part = new Uint8Array(12);
  const good = tiff(plain, part);
  const cases: [string, Uint8Array, string, RegExp][] = [
    ['no TIFF', Buffer.from('II+\0 a BigTIFF'), 'E_IMAGE_FORMAT', /signature/],
    ['nothing', new Uint8Array(0), 'E_IMAGE_CORRUPT', /empty/],
    ['a header alone', good.subarray(0, 8), 'E_IMAGE_CORRUPT', /truncated/],
    ['cut in the tags', good.subarray(0, good.length - 20), 'E_IMAGE_CORRUPT', /./],
    ['three channels', tiff({ ...plain, 277: 3 }, part), 'E_IMAGE_FORMAT', /3 channels/],
    ['floats', tiff({ ...plain, 339: 3 }, part), 'E_IMAGE_FORMAT', /unsigned/],
    ['32 bits', tiff({ ...plain, 258: 32 }, part), 'E_IMAGE_FORMAT', /32 bits/],
    ['JPEG inside', tiff({ ...plain, 259: 7 }, part), 'E_IMAGE_FORMAT', /method 7/],
    ['a predictor of floats', tiff({ ...plain, 317: 3 }, part), 'E_IMAGE_FORMAT', /predictor 3/],
    ['reversed bits', tiff({ ...plain, 266: 2 }, part), 'E_IMAGE_FORMAT', /reverse/],
    ['no width', tiff({ 257: 2, 258: 16 }, part), 'E_IMAGE_CORRUPT', /tag 256/],
    ['no pixels', tiff({ ...plain, 256: 0 }, part), 'E_IMAGE_SIZE', /./],
    ['4 gigapixels', tiff({ ...plain, 256: 65000, 257: 65000 }, part), 'E_IMAGE_SIZE', /megapixels/],
    ['a huge tile', tiff({ ...plain, 322: 65000, 323: 65000, 324: 8, 325: 12 }, part), 'E_IMAGE_SIZE', /tile/],
    ['tiles of a pixel', tiff({ ...plain, 256: 8000, 257: 8000, 322: 1, 323: 1 }, part), 'E_IMAGE_FORMAT', /parts/],
    ['a strip too few', tiff({ ...plain, 278: 1 }, part), 'E_IMAGE_CORRUPT', /2 parts/],
    ['a strip beyond the end', tiff({ ...plain, 273: 100 }, part), 'E_IMAGE_CORRUPT', /part 0/],
    ['a strip too short', tiff(plain, part.subarray(1)), 'E_IMAGE_CORRUPT', /11 of 12/],
    ['four milliard offsets', tiff({ ...plain, 273: [8, 2 ** 32 - 1] }, part), 'E_IMAGE_CORRUPT', /values/],
    ['no Deflate', tiff({ ...plain, 259: 8 }, part), 'E_IMAGE_CORRUPT', /inflated/],
    ['too much Deflate', tiff({ ...plain, 259: 8 }, deflateSync(new Uint8Array(1e6))), 'E_IMAGE_CORRUPT', /inflated/],
    ['LZW without a beginning', tiff({ ...plain, 259: 5 }, Buffer.from('ffffffffff', 'hex')), 'E_IMAGE_CORRUPT', /LZW/],
    ['LZW that ends early', tiff({ ...plain, 259: 5 }, Buffer.from('80000f', 'hex')), 'E_IMAGE_CORRUPT', /of 12/],
    ['PackBits that ends early', tiff({ ...plain, 259: 32773 }, Uint8Array.of(3, 1)), 'E_IMAGE_CORRUPT', /of 12/],
  ];
  for (const [name, bytes, code, message] of cases) await t.rejects(readTiff(bytes), { code, message }, name);
  await t.rejects(readTiff(good, { signal: AbortSignal.abort(new RangeError('mine')) }), RangeError);
});

t.test('random damage gives values or a typed error', async (t) => {
  const values = labels(60, 50, 16);
  const raw = sharp(values, { raw: { width: 60, height: 50, channels: 1 } }).toColourspace('grey16');
  for (const compression of ['lzw', 'deflate', 'packbits'] as const) {
    const bytes = await raw.clone().tiff({ compression, predictor: 'horizontal' }).toBuffer();
    for (let round = 0; round < 300; round++) {
      const damaged = Buffer.from(bytes.subarray(0, round % 5 === 0 ? random(bytes.length) : bytes.length));
      for (let i = 0; i < 1 + random(4) && damaged.length > 0; i++) damaged[random(damaged.length)] = random(256);
      const outcome = await readTiff(damaged).catch((error) => error);
      if (
        !(outcome.data instanceof Uint16Array || outcome.data instanceof Uint8Array) &&
        !/^E_IMAGE_/.test(outcome.code)
      )
        t.fail(`${compression}, round ${round}: ${outcome.stack}`);
    }
  }
  t.pass('no other error');
});
