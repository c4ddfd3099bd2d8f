/** 8-bit resizing against stored results of Pillow and OpenCV, known values of the floating modes, refusals. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { getThreads, normaliseImage, type ResizeMode, resize, scope, setThreads, Tensor } from '#lib/engine/index.js';

interface Golden {
  mode: ResizeMode;
  seed: number;
  from: [number, number];
  to: [number, number];
  crc32: number;
}
const golden = (
  JSON.parse(readFileSync(join(import.meta.dirname, '../../../../test/golden/resize.json'), 'utf8')) as {
    cases: Golden[];
  }
).cases;

/** As in test/parity/resize_golden.py. */
function picture(height: number, width: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: height * width * 3 }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(i / 24) % 3 ? state >>> 24 : (state >>> 31) * 255;
  });
}

t.test('8-bit modes give the bytes of the library they are named after', async (t) => {
  for (const {
    mode,
    seed,
    from: [h, w],
    to: [height, width],
    crc32: expected,
  } of golden) {
    await scope(async () => {
      const image = Tensor.from(picture(h, w, seed), [h, w, 3]);
      const out = await resize(image, { height, width, mode }).data();
      t.equal(crc32(out as Uint8Array), expected, `${mode} ${h}x${w} -> ${height}x${width}`);
    });
  }
});

t.test('bytes do not depend on the number of threads', async (t) => {
  const image = Tensor.from(picture(123, 77, 5), [123, 77, 3]);
  const before = getThreads();
  for (const mode of ['pil_bicubic', 'opencv_linear', 'opencv_area'] as const) {
    setThreads(1);
    const one = await resize(image, { height: 200, width: 61, mode }).data();
    setThreads(3);
    t.same(await resize(image, { height: 200, width: 61, mode }).data(), one, mode);
  }
  setThreads(before);
});

t.test('torch modes on a ramp', async (t) => {
  const ramp = Tensor.from(Float32Array.of(0, 1, 2, 3), [1, 4]);
  const row = async (mode: ResizeMode, width: number, alignCorners = false): Promise<number[]> => [
    ...((await resize(ramp, { height: 1, width, mode, alignCorners }).data()) as Float32Array),
  ];
  t.same(await row('torch_bilinear', 8), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]);
  t.same(await row('torch_bilinear', 7, true), [0, 0.5, 1, 1.5, 2, 2.5, 3]);
  t.same(await row('torch_nearest', 6), [0, 0, 1, 2, 2, 3]);
  t.same(await row('torch_nearest_exact', 6), [0, 1, 1, 2, 3, 3]);
  const cubic = await row('torch_bicubic', 8);
  // Weights at t = 0.25 for a = -0.75: -0.10546875, 0.87890625, 0.26171875, -0.03515625.
  t.ok(Math.abs((cubic[3] as number) - 1.296875) < 1e-6, `bicubic gives ${cubic}`);
});

t.test('a position table of the same grid is unchanged', async (t) => {
  const values = Float32Array.from({ length: 14 * 14 }, (_, i) => Math.sin(i));
  const table = Tensor.from(values, [1, 14, 14]);
  const same = await resize(table, { height: 14, width: 14, mode: 'torch_bicubic' }).data();
  t.same(same, values);
  const scaled = (await resize(table, {
    height: 14,
    width: 14,
    mode: 'torch_bicubic',
    scale: 14.1 / 14,
  }).data()) as Float32Array;
  t.ok(
    scaled.some((v, i) => Math.abs(v - (values[i] as number)) > 1e-3),
    'the +0.1 rule moves coordinates',
  );
});

t.test('refusals name the argument', (t) => {
  const image = Tensor.from(new Uint8Array(12), [2, 2, 3]);
  const map = Tensor.from(new Float32Array(4), [2, 2]);
  t.throws(() => resize(map, { height: 2, width: 2, mode: 'torch_bilinaer' as ResizeMode }), {
    code: 'E_OPTION',
    message: /did you mean 'torch_bilinear'/,
  });
  t.throws(() => resize(image, { height: 2, width: 2, mode: 'torch_bilinear' }), { code: 'E_OPTION' });
  t.throws(() => resize(map, { height: 2, width: 2, mode: 'pil_bicubic' }), { code: 'E_OPTION' });
  t.throws(() => resize(map, { height: 0, width: 2, mode: 'torch_bilinear' }), { code: 'E_OPTION', message: /height/ });
  t.throws(() => normaliseImage(image, map, map), { code: 'E_OPTION' });
  t.end();
});
