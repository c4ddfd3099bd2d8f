import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import sharp from 'sharp';
import t from 'tap';
import { decodeImage, type ImageInput } from '#lib/image/decode.js';
import { readPng, writePng } from '#lib/image/png.js';
import { WordmaskError } from '#lib/util/errors.js';
import { longestTurn } from '../helpers/turns.js';

const data = process.env.WORDMASK_TEST_DATA;
const skip = data ? false : 'WORDMASK_TEST_DATA is not set';

/** 3 x 2 picture: red, green, blue over white, grey, black. */
const pixels = Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 128, 128, 128, 0, 0, 0);
const small = await writePng({ width: 3, height: 2, kind: 'rgb', data: pixels });

t.test('every way to hand in a picture', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wordmask-decode-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'a b#.png');
  writeFileSync(path, small);
  const arrayBuffer = small.buffer.slice(small.byteOffset, small.byteOffset + small.byteLength);
  const inputs: Record<string, ImageInput> = {
    path,
    'file URL': pathToFileURL(path),
    'file URL as text': pathToFileURL(path).href,
    Buffer: Buffer.from(small),
    Uint8Array: small,
    ArrayBuffer: arrayBuffer as ArrayBuffer,
    Blob: new Blob([Buffer.from(small)]),
    'Node stream': createReadStream(path),
    'web stream': new Blob([Buffer.from(small)]).stream(),
    iterable: Readable.from([small.subarray(0, 10), small.subarray(10)]) as AsyncIterable<Uint8Array>,
  };
  const hashes = new Set<string>();
  for (const [name, input] of Object.entries(inputs)) {
    const image = await decodeImage(input);
    t.match(image, { width: 3, height: 2, format: 'png' }, name);
    t.same([...image.data], [...pixels], name);
    hashes.add(image.hash);
  }
  t.equal(hashes.size, 1, 'one hash for the same bytes');
  const raw = await decodeImage({ data: pixels, width: 3, height: 2, channels: 3 });
  t.same([...raw.data], [...pixels]);
  t.not(raw.data, pixels, 'raw pixels are copied');
  t.same(
    [...(await decodeImage({ data: Uint8Array.of(0, 100, 255), width: 3, height: 1, channels: 1 })).data],
    [0, 0, 0, 100, 100, 100, 255, 255, 255],
  );
  t.same(
    [
      ...(await decodeImage({ data: Uint8Array.of(0, 0, 0, 0, 10, 20, 30, 255), width: 2, height: 1, channels: 4 }))
        .data,
    ],
    [255, 255, 255, 10, 20, 30],
    'alpha over white',
  );
  t.same(
    [
      ...(
        await decodeImage(
          { data: Uint8Array.of(0, 0, 0, 0, 10, 20, 30, 255), width: 2, height: 1, channels: 4 },
          { matte: [1, 2, 3] },
        )
      ).data,
    ],
    [1, 2, 3, 10, 20, 30],
    'alpha over the matte',
  );
});

t.test('kinds of pictures', async (t) => {
  const png = async (
    kind: 'grey' | 'rgb' | 'palette' | 'grey-alpha' | 'rgba',
    samples: Uint8Array | Uint16Array,
    palette?: Uint8Array,
  ) => [
    ...(await decodeImage(await writePng({ width: 2, height: 1, kind, data: samples, ...(palette && { palette }) })))
      .data,
  ];
  t.same(await png('grey', Uint8Array.of(7, 200)), [7, 7, 7, 200, 200, 200]);
  t.same(
    await png('grey', Uint16Array.of(0x1234, 0xffff)),
    [0x12, 0x12, 0x12, 255, 255, 255],
    '16-bit grey keeps the high byte',
  );
  t.same(
    await png('rgb', Uint16Array.of(0x1234, 0x5678, 0x9abc, 0, 0xff, 0xff00)),
    [0x12, 0x56, 0x9a, 0, 0, 255],
    '16-bit RGB keeps the high byte',
  );
  t.same(await png('palette', Uint8Array.of(1, 0), Uint8Array.of(9, 8, 7, 6, 5, 4)), [6, 5, 4, 9, 8, 7]);
  t.same(await png('grey-alpha', Uint8Array.of(7, 255, 7, 0)), [7, 7, 7, 255, 255, 255]);
  t.same(await png('rgba', Uint8Array.of(1, 2, 3, 255, 1, 2, 3, 0)), [1, 2, 3, 255, 255, 255]);
  const upright = await decodeImage(small);
  for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const turned = await sharp(small).withMetadata({ orientation }).png().toBuffer();
    const image = await decodeImage(turned);
    t.same([image.width, image.height], orientation > 4 ? [2, 3] : [3, 2], `EXIF orientation ${orientation}`);
    t.same(pixelSet(image.data), pixelSet(upright.data));
  }
  t.same(
    [...(await decodeImage(await sharp(small).withMetadata({ orientation: 6 }).png().toBuffer())).data.subarray(0, 6)],
    [255, 255, 255, 255, 0, 0],
    'a quarter turn clockwise: the lower left pixel comes first',
  );
  const cmyk = await sharp({ create: { width: 16, height: 16, channels: 3, background: { r: 200, g: 30, b: 40 } } })
    .toColourspace('cmyk')
    .jpeg({ quality: 100 })
    .toBuffer();
  const fromCmyk = (await decodeImage(cmyk)).data;
  t.ok(
    Math.abs((fromCmyk[0] as number) - 200) < 25 && (fromCmyk[1] as number) < 80,
    `CMYK becomes RGB (${fromCmyk.subarray(0, 3).join(', ')})`,
  );
  for (const format of ['jpeg', 'webp'] as const)
    t.match(await decodeImage(await sharp(small).toFormat(format).toBuffer()), { width: 3, height: 2, format });
  for (const format of ['tiff', 'avif'] as const) {
    const bytes = await sharp(small).toFormat(format).toBuffer();
    await t.rejects(decodeImage(bytes), { code: 'E_IMAGE_FORMAT' }, `${format} must be asked for`);
    t.match(await decodeImage(bytes, { formats: ['jpeg', format] }), { width: 3, height: 2, format });
  }
});

t.test('profiles other than CMYK are ignored', async (t) => {
  const wide = await sharp(small).withIccProfile('p3').png().toBuffer();
  const plain = await sharp(wide, { ignoreIcc: true }).removeAlpha().raw().toBuffer();
  t.same([...(await decodeImage(wide)).data], [...plain]);
});

t.test('equal to the stored decode of a photograph', { skip }, async (t) => {
  const folder = join(data as string, 'preprocess');
  const [jpeg, png] = await Promise.all([
    decodeImage(join(folder, 'franz-kafka.jpg')),
    decodeImage(join(folder, 'franz-kafka.png')),
  ]);
  t.equal(Buffer.compare(jpeg.data, png.data), 0, 'the JPEG as libjpeg decodes it');
  const own = await readPng(readFileSync(join(folder, 'franz-kafka.png')));
  t.equal(Buffer.compare(own.data as Uint8Array, png.data), 0, 'and as our own PNG codec reads it');
});

t.test('bad pictures have typed errors, at once', async (t) => {
  const jpeg = await sharp({
    create: {
      width: 300,
      height: 200,
      channels: 3,
      background: '#456',
      noise: { type: 'gaussian', mean: 90, sigma: 30 },
    },
  })
    .jpeg()
    .toBuffer();
  const huge = Buffer.from(await writePng({ width: 1, height: 1, kind: 'grey', data: Uint8Array.of(0) }));
  const sized = (width: number, height: number): Buffer => {
    const bytes = Buffer.from(huge);
    bytes.writeUInt32BE(width, 16);
    bytes.writeUInt32BE(height, 20);
    bytes.writeUInt32BE(crc(bytes.subarray(12, 29)), 29);
    return bytes;
  };
  const cases: [string, ImageInput, string][] = [
    ['truncated JPEG', jpeg.subarray(0, jpeg.length >> 1), 'E_IMAGE_CORRUPT'],
    ['JPEG header alone', jpeg.subarray(0, 200), 'E_IMAGE_CORRUPT'],
    ['truncated PNG', small.subarray(0, small.length - 30), 'E_IMAGE_CORRUPT'],
    ['empty', new Uint8Array(0), 'E_IMAGE_CORRUPT'],
    ['256 megapixels', sized(16_000, 16_000), 'E_IMAGE_SIZE'],
    ['side of 65,536', sized(65_536, 1), 'E_IMAGE_SIZE'],
    ['4 billion wide', sized(2 ** 32 - 1, 2 ** 32 - 1), 'E_IMAGE'],
    [
      'SVG',
      Buffer.from('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
      'E_IMAGE_FORMAT',
    ],
    ['SVG with a comment', Buffer.from('  <!-- x --><svg width="9" height="9"/>'), 'E_IMAGE_FORMAT'],
    ['GIF', await sharp(small).gif().toBuffer(), 'E_IMAGE_FORMAT'],
    ['text', Buffer.from('hello'), 'E_IMAGE_FORMAT'],
    ['PDF', Buffer.from('%PDF-1.7'), 'E_IMAGE_FORMAT'],
    ['http URL', new URL('http://127.0.0.1/x.png'), 'E_URL_FORBIDDEN'],
    ['https URL as text', 'https://example.com/x.png', 'E_URL_FORBIDDEN'],
    ['data URL', 'data:image/png;base64,AAAA', 'E_URL_FORBIDDEN'],
    ['absent file', '/nowhere/at/all.png', 'E_USAGE'],
    ['folder', tmpdir(), 'E_USAGE'],
    ['empty path', '', 'E_USAGE'],
    ['number', 5 as never, 'E_USAGE'],
    ['null', null as never, 'E_USAGE'],
    ['raw, 2 channels', { data: new Uint8Array(8), width: 2, height: 2, channels: 2 }, 'E_USAGE'],
    ['raw, wrong length', { data: new Uint8Array(7), width: 2, height: 2, channels: 3 }, 'E_USAGE'],
    ['raw, floats', { data: new Float32Array(12) as never, width: 2, height: 2, channels: 3 }, 'E_USAGE'],
    ['raw, no width', { data: new Uint8Array(0), width: 0, height: 2, channels: 3 }, 'E_IMAGE_SIZE'],
    ['stream of text', Readable.from(['a', 'b']) as never, 'E_USAGE'],
    [
      'failing stream',
      new Readable({
        read() {
          this.destroy(new Error('gone'));
        },
      }),
      'E_DISK',
    ],
  ];
  for (const [name, input, code] of cases) {
    const started = performance.now();
    const error = await decodeImage(input).then(
      () => undefined,
      (caught: unknown) => caught,
    );
    t.ok(
      error instanceof WordmaskError && error.code.startsWith(code),
      `${name}: ${error instanceof WordmaskError ? error.message : String(error)}`,
    );
    t.comment(`${name}: ${(performance.now() - started).toFixed(0)} ms`);
  }
  t.match(await decodeImage(small), { width: 3 }, 'the next good call works');
  await t.rejects(decodeImage(small, { limits: { pixels: 5 } }), { code: 'E_IMAGE_SIZE' });
  await t.rejects(decodeImage(small, { limits: { fileBytes: 20 } }), { code: 'E_IMAGE_SIZE' });
  await t.rejects(decodeImage(Readable.from([small, small]) as never, { limits: { fileBytes: small.length + 5 } }), {
    code: 'E_IMAGE_SIZE',
  });
  await t.rejects(decodeImage(small, { limits: { pixels: Number.NaN } }), { code: 'E_OPTION' });
  await t.rejects(decodeImage(small, { matte: [1, 2, 300] }), { code: 'E_OPTION' });
  await t.rejects(decodeImage(small, { formats: ['svg' as never] }), { code: 'E_OPTION' });
  t.match(await decodeImage(await writePng({ width: 65_535, height: 1, kind: 'grey', data: new Uint8Array(65_535) })), {
    width: 65_535,
    height: 1,
  });
});

t.test('damaged bytes never give anything but a typed error', async (t) => {
  const webp = await sharp({
    create: {
      width: 40,
      height: 30,
      channels: 3,
      background: '#456',
      noise: { type: 'gaussian', mean: 90, sigma: 30 },
    },
  })
    .webp()
    .toBuffer();
  const jpeg = await sharp(webp).jpeg().toBuffer();
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(webp, jpeg, Buffer.from(small)),
      fc.nat(),
      fc.integer({ min: 0, max: 255 }),
      async (bytes, at, value) => {
        const copy = Buffer.from(bytes);
        copy[at % copy.length] = value;
        return decodeImage(copy).then(
          () => true,
          (error) => error instanceof WordmaskError && /^E_IMAGE/.test(error.code),
        );
      },
    ),
    { numRuns: 200 },
  );
  t.pass();
});

t.test('abort and a free event loop', async (t) => {
  const noise = await sharp({
    create: {
      width: 3000,
      height: 2600,
      channels: 3,
      background: '#456',
      noise: { type: 'gaussian', mean: 90, sigma: 30 },
    },
  })
    .jpeg({ quality: 95 })
    .toBuffer();
  const { longest } = await longestTurn(() => decodeImage(noise));
  t.comment(`${noise.length} bytes of JPEG, longest turn ${longest.toFixed(1)} ms`);
  const reason = new Error('enough');
  for (const delay of [0, 5, 20]) {
    const controller = new AbortController();
    const work = decodeImage(noise, { signal: controller.signal });
    const waited = new Promise<number>((resolve) =>
      setTimeout(() => {
        const at = performance.now();
        work.catch(() => resolve(performance.now() - at));
        controller.abort(reason);
      }, delay),
    );
    await t.rejects(work, reason);
    t.comment(`abort at ${delay} ms settled after ${(await waited).toFixed(1)} ms`);
  }
  await t.rejects(decodeImage(noise, { signal: AbortSignal.abort(reason) }), reason);
});

function crc(bytes: Uint8Array): number {
  let value = ~0;
  for (const byte of bytes) {
    value ^= byte;
    for (let k = 0; k < 8; k++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}

function pixelSet(rgb: Uint8Array): string[] {
  return Array.from({ length: rgb.length / 3 }, (_, i) => rgb.subarray(3 * i, 3 * i + 3).join()).sort();
}
