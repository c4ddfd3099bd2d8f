/** Schedules and initial values. */
import t from 'tap';
import type { Tensor } from '#lib/engine/index.js';
import * as init from '#lib/nn/init.js';
import { constantRate, cosineRate, polyRate } from '#lib/nn/schedule.js';
import { Random } from '#lib/util/random.js';

t.test('cosine', (t) => {
  const options = { lr: 2, steps: 110, warmup: 9, floor: 0.5 };
  t.equal(cosineRate(0, options), 0.2, 'the first step of the warm-up is not lost');
  t.equal(cosineRate(8, options), 1.8);
  t.equal(cosineRate(9, options), 2, 'the top');
  t.equal(cosineRate(110, options), 0.5, 'the floor');
  t.equal(cosineRate(1000, options), 0.5, 'behind the end');
  const rates = Array.from({ length: 101 }, (_, i) => cosineRate(9 + i, options));
  t.ok(
    rates.every((rate, i) => i === 0 || rate < (rates[i - 1] as number)),
    'falls',
  );
  const middle = cosineRate(50, { lr: 1, steps: 100 });
  t.ok(Math.abs(middle - 0.5) < 1e-15);
  t.end();
});

t.test('poly and constant', (t) => {
  t.equal(polyRate(0, { lr: 1, steps: 100 }), 1);
  t.ok(Math.abs(polyRate(75, { lr: 1, steps: 100, power: 2 }) - 0.0625) < 1e-15);
  t.ok(Math.abs(polyRate(50, { lr: 1, steps: 100, floor: 0.2 }) - (0.2 + 0.8 * 0.5 ** 0.9)) < 1e-15);
  t.equal(polyRate(100, { lr: 1, steps: 100 }), 0);
  t.equal(constantRate(50, { lr: 1, steps: 100, warmup: 4 }), 1);
  t.equal(constantRate(1, { lr: 1, steps: 100, warmup: 3 }), 0.5);
  t.end();
});

t.test('impossible schedules', (t) => {
  for (const options of [
    { lr: 0, steps: 1 },
    { lr: 1, steps: 0 },
    { lr: 1, steps: 5, warmup: 6 },
    { lr: 1, steps: 5, floor: 2 },
    { lr: 1, steps: 2.5 },
  ])
    t.throws(() => cosineRate(0, options), { code: 'E_OPTION' });
  t.throws(() => cosineRate(-1, { lr: 1, steps: 5 }), { code: 'E_OPTION' });
  t.throws(() => polyRate(0, { lr: 1, steps: 5, power: 0 }), { code: 'E_OPTION' });
  t.end();
});

async function moments(tensor: Tensor): Promise<{ mean: number; deviation: number; most: number }> {
  const data = (await tensor.data()) as Float32Array;
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length;
  const deviation = Math.sqrt(data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length);
  return { mean, deviation, most: data.reduce((most, x) => Math.max(most, Math.abs(x)), 0) };
}

t.test('initial values', async (t) => {
  const shape = [120, 50, 3, 3];
  // Deviation of a normal cut at two: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
  const cut = Math.sqrt(1 - (4 * 0.05399096651318806) / 0.9544997361036416);
  const expected: [string, (r: Random) => Tensor, number][] = [
    ['normal', (r) => init.normal(shape, r, 0.5), 0.5],
    ['uniform', (r) => init.uniform(shape, r, 3), Math.sqrt(3)],
    ['truncatedNormal', (r) => init.truncatedNormal(shape, r, 0.02), 0.02 * cut],
    ['xavierUniform', (r) => init.xavierUniform(shape, r), Math.sqrt(2 / (450 + 1080))],
    ['xavierNormal', (r) => init.xavierNormal(shape, r, 2), 2 * Math.sqrt(2 / (450 + 1080))],
    ['kaimingNormal', (r) => init.kaimingNormal(shape, r), Math.sqrt(2 / 450)],
    ['kaimingUniform', (r) => init.kaimingUniform(shape, r, { mode: 'out', slope: 1 }), Math.sqrt(1 / 1080)],
  ];
  for (const [name, make, deviation] of expected) {
    const root = new Random(11);
    const first = make(root.fork(name));
    const found = await moments(first);
    // 54,000 draws: the deviation's own is 1 / sqrt(2 n) = 0.3%, the mean's 1 / sqrt(n).
    t.ok(Math.abs(found.deviation / deviation - 1) < 0.015, `${name}: deviation ${found.deviation} for ${deviation}`);
    t.ok(Math.abs(found.mean) < 0.02 * deviation, `${name}: mean`);
    const bytes = async (tensor: Tensor) => Buffer.from((await tensor.data()).buffer);
    const drawn = await bytes(first);
    t.ok(drawn.equals(await bytes(make(root.fork(name)))), `${name}: a function of the stream`);
    t.notOk(drawn.equals(await bytes(make(root.fork(`${name}.`)))), `${name}: another stream, other values`);
    if (name === 'truncatedNormal') t.ok(found.most < 0.04, 'nothing beyond the bound');
  }
  t.same(await init.zeros([2]).data(), Float32Array.of(0, 0));
  t.same(await init.ones([2]).data(), Float32Array.of(1, 1));
  t.throws(() => init.xavierUniform([3], new Random(1)), { code: 'E_OPTION' });
});
