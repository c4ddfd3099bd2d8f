import t from 'tap';
import { gaussianBlur, scope, setThreads, Tensor } from '#lib/engine/index.js';
import { type PamrOptions, pamr } from '#lib/post/pamr.js';
import { seeded } from '../helpers/samples.js';

const random = seeded('pamr');
const noise = (n: number) => Float32Array.from({ length: n }, () => random() - 0.5);

function refine(
  guide: Float32Array,
  masks: Float32Array,
  height: number,
  width: number,
  options: PamrOptions,
): Promise<Float32Array> {
  return scope(
    async () =>
      (await pamr(
        Tensor.from(guide, [3, height, width]),
        Tensor.from(masks, [masks.length / height / width, height, width]),
        options,
      ).data()) as Float32Array,
  );
}

t.test('a constant mask stays constant, a flat guide averages', async (t) => {
  const guide = noise(3 * 30 * 41);
  const constant = new Float32Array(2 * 30 * 41).fill(0.75);
  t.ok((await refine(guide, constant, 30, 41, {})).every((x) => Math.abs(x - 0.75) < 1e-5));
  const masks = noise(9);
  const mean = await refine(new Float32Array(27).fill(2), masks, 3, 3, { dilations: [1], iterations: 1 });
  const neighbours = masks.filter((_, i) => i !== 4).reduce((a, x) => a + x, 0) / 8;
  t.ok(Math.abs((mean[4] as number) - neighbours) < 1e-6, 'the centre is not part of the mean');
});

t.test('a mask does not leak over a strong edge', async (t) => {
  const [height, width] = [24, 32];
  const left = (i: number) => i % width < 16;
  const guide = Float32Array.from({ length: 3 * height * width }, (_, i) => (left(i) ? 0 : 4));
  const mask = Float32Array.from({ length: height * width }, (_, i) => (left(i) ? 1 : 0));
  const out = await refine(guide, mask, height, width, { dilations: [1, 2], iterations: 10 });
  t.ok(out.every((x, i) => Math.abs(x - (mask[i] as number)) < 0.02));
});

t.test('tiles and threads do not change a byte', async (t) => {
  // 3 million pixels at 16 neighbours are over the limit of one tile; a strip of it, further from its ends than five
  // iterations reach, must come out the same alone.
  const [height, width] = [2000, 1500];
  const guide = noise(3 * height * width);
  const masks = noise(height * width);
  setThreads(2);
  const whole = await refine(guide, masks, height, width, { dilations: [4, 9], iterations: 5 });
  setThreads(1);
  const rows = 500;
  const first = 900;
  const cut = (a: Float32Array, planes: number) =>
    Float32Array.from(
      { length: planes * rows * width },
      (_, i) => a[Math.floor(i / (rows * width)) * height * width + first * width + (i % (rows * width))] as number,
    );
  const strip = await refine(cut(guide, 3), cut(masks, 1), rows, width, { dilations: [4, 9], iterations: 5 });
  setThreads(2);
  const margin = 45 * width;
  let different = 0;
  for (let i = margin; i < strip.length - margin; i++) if (!Object.is(strip[i], whole[first * width + i])) different++;
  t.equal(different, 0);
});

t.test('options', async (t) => {
  const bad: [unknown, RegExp][] = [
    [{ dilations: [] }, /1 to 8 whole numbers/],
    [{ dilations: [0] }, /from 1 to 512/],
    [{ dilations: [1.5] }, /whole numbers/],
    [{ iterations: -1 }, /iterations must be/],
    [{ dilation: [1] }, /did you mean 'dilations'/],
  ];
  for (const [options, message] of bad)
    await t.rejects(async () => refine(noise(27), noise(9), 3, 3, options as PamrOptions), {
      code: 'E_OPTION',
      message,
    });
  const masks = noise(18);
  t.same(await refine(noise(27), masks, 3, 3, { iterations: 0 }), masks);
});

t.test('gaussian blur keeps constants and refuses bad options', async (t) => {
  await scope(async () => {
    const flat = Tensor.from(new Float32Array(2 * 7 * 9).fill(3), [2, 7, 9]);
    for (const mode of ['reflect', 'mirror'] as const) {
      const out = (await gaussianBlur(flat, { sigma: 5, mode }).data()) as Float32Array;
      t.ok(out.every((x) => Math.abs(x - 3) < 1e-5));
    }
    t.throws(() => gaussianBlur(flat, { sigma: 0 }), { code: 'E_OPTION', message: /sigma must be above 0/ });
    t.throws(() => gaussianBlur(flat, { sigma: 1, mode: 'wrap' as 'mirror' }), { code: 'E_OPTION' });
  });
});
