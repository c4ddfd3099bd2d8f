import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { renderOverlay } from '#lib/image/overlay.js';
import { distinctPalette, packColour, paletteFor, vocColour, vocPalette } from '#lib/image/palette.js';
import { capSide, keepRatioSize, paddedSize, resizedSize, shortSideSize } from '#lib/image/resize-spec.js';
import { slidingWindows } from '#lib/image/window-plan.js';

const data = process.env.WORDMASK_TEST_DATA;
const skip = data ? false : 'WORDMASK_TEST_DATA is not set';

t.test('windows and sizes of the reference cases', { skip }, async (t) => {
  const note = JSON.parse(readFileSync(join(data as string, 'systems/primitives/sliding-window/note.json'), 'utf8'));
  for (const {
    image: [height, width],
    crop,
    stride,
    boxes_y1x1y2x2: boxes,
  } of note.windows) {
    const { data: ours, shape } = slidingWindows(width, height, { crop, stride });
    t.same(shape, [boxes.length, 4]);
    t.same([...ours], boxes.flat(), `${width} x ${height}, ${crop} / ${stride}`);
  }
  for (const {
    size: [height, width],
    long,
    short,
    resized: [h, w],
  } of note.keep_ratio_resize)
    t.same(keepRatioSize(width, height, long, short), { width: w, height: h });
});

t.test('windows cover every pixel and lie inside', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 40 }),
      (width, height, crop, step) => {
        const stride = Math.min(step, crop);
        const {
          data: boxes,
          shape: [n],
        } = slidingWindows(width, height, { crop, stride });
        const seen = new Uint8Array(width * height);
        for (let k = 0; k < n; k++) {
          const [y1, x1, y2, x2] = boxes.subarray(4 * k, 4 * k + 4) as unknown as [number, number, number, number];
          if (
            y1 < 0 ||
            x1 < 0 ||
            y2 > height ||
            x2 > width ||
            y2 - y1 !== Math.min(crop, height) ||
            x2 - x1 !== Math.min(crop, width)
          )
            return false;
          for (let y = y1; y < y2; y++) seen.fill(1, y * width + x1, y * width + x2);
        }
        return seen.every(Boolean);
      },
    ),
  );
  t.same([...slidingWindows(50, 40, { crop: 0 }).data], [0, 0, 40, 50], 'no crop: the whole picture');
  for (const bad of [
    { crop: -1 },
    { crop: 5, stride: 0 },
    { crop: 5.5 },
    { crop: [1, 2, 3] as never },
    { crop: '5' as never },
  ])
    t.throws(() => slidingWindows(10, 10, bad), { code: 'E_OPTION' });
  t.throws(() => slidingWindows(60_000, 60_000, { crop: 1, stride: 1 }), { code: 'E_OPTION' }, 'too many windows');
  t.throws(() => slidingWindows(0, 10, { crop: 1 }), { code: 'E_OPTION' });
});

t.test('resize rules', async (t) => {
  t.same(keepRatioSize(500, 375, 2048, 448), { width: 597, height: 448 });
  t.same(keepRatioSize(65_535, 1, 2048, 448), { width: 2048, height: 1 }, 'never below one pixel');
  t.same(shortSideSize(640, 427, 640, 2560), { width: 959, height: 640 });
  t.same(shortSideSize(4000, 500, 640, 2560), { width: 2560, height: 320 });
  t.same(capSide(4000, 2000, 1000), { width: 1000, height: 500 });
  t.same(capSide(400, 200, 1000), { width: 400, height: 200 });
  t.same(paddedSize({ width: 959, height: 640 }, 32), { width: 960, height: 640 });
  t.same(resizedSize(500, 375, { mode: 'keep-ratio', shortSide: 448, longSide: 2048 }, 300), {
    width: 300,
    height: 225,
  });
  t.same(resizedSize(500, 375, { mode: 'none' }), { width: 500, height: 375 });
  t.same(resizedSize(500, 375, { mode: 'exact', width: 224, height: 224 }), { width: 224, height: 224 });
  t.throws(() => resizedSize(5, 5, { mode: 'short-side', shortSide: 0 }), { code: 'E_OPTION' });
});

t.test('palettes', async (t) => {
  t.same([0, 1, 2, 15, 20, 255].map(vocColour), [
    [0, 0, 0],
    [128, 0, 0],
    [0, 128, 0],
    [192, 128, 128],
    [0, 64, 128],
    [224, 224, 192],
  ]);
  t.equal(vocPalette().length, 768);
  const long = distinctPalette(10_000);
  t.equal(new Set(long.map(packColour)).size, 10_000, 'all different');
  t.same(distinctPalette(7), long.slice(0, 7), 'a longer palette begins with the shorter one');
  const colours = paletteFor([[1, 2, 3], undefined, [1, 2, 3]], { unique: true, reserved: [[0, 0, 0]] });
  t.equal(new Set(colours.map(packColour)).size, 3);
  t.same(colours[0], [1, 2, 3]);
  t.throws(() => paletteFor([[1, 2, 300]]), { code: 'E_OPTION' });
});

t.test('overlay', async (t) => {
  const input = {
    image: new Uint8Array(300).fill(100),
    width: 10,
    height: 10,
    labels: new Uint8Array(100).fill(255).fill(0, 0, 50),
    legend: [{ index: 0, name: 'Käse', color: [200, 0, 0] as const }],
  };
  const plain = await renderOverlay(input, { legend: false, contours: false });
  t.same([plain.width, plain.height], [10, 10]);
  t.same([...plain.data.subarray(0, 3)], [150, 50, 50], 'half and half');
  t.same([...plain.data.subarray(297)], [100, 100, 100], 'nothing stays as it was');
  const lined = await renderOverlay(input, { legend: false });
  t.same([...lined.data.subarray(120, 123)], [200, 0, 0], 'the outline has the full colour');
  const full = await renderOverlay(input);
  t.ok(full.height > 10 && full.width > 10, 'a strip with the names below');
  t.same(full.data, (await renderOverlay(input)).data, 'the same bytes every time');
  await t.rejects(renderOverlay(input, { alpha: 2 }), { code: 'E_OPTION' });
  await t.rejects(renderOverlay({ ...input, width: 11 }), { code: 'E_USAGE' });
});
