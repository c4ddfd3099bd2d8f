/** Random numbers: published vectors, streams, ranges, moments. */
import t from 'tap';
import { Random } from '#lib/util/random.js';

const words = (random: Random, n: number): string[] => Array.from({ length: n }, () => random.bits().toString(16));

t.test('Philox 4x32-10', async (t) => {
  // First entry of the known-answer file that comes with the published generator.
  t.same(words(new Random(0), 4), ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']);
  const long = words(new Random(5), 1000);
  t.equal(new Set(long).size, 1000);
  t.notSame(long.slice(0, 4), words(new Random(5 + 2 ** 32), 4), 'all bits of the seed count');
  t.throws(() => new Random(0.5), { code: 'E_OPTION' });
});

t.test('streams', async (t) => {
  const random = new Random(7);
  const before = words(random.fork('a'), 3);
  random.bits();
  t.same(words(random.fork('a'), 3), before, 'a fork does not depend on what was drawn');
  t.notSame(words(random.fork('b'), 3), before);
  t.notSame(words(random.fork(1), 3), words(random.fork('1'), 3), 'numbers and words name different streams');
  const many = Array.from({ length: 20_000 }, (_, i) => random.fork(i).bits());
  t.ok(new Set(many).size > 19_990, 'streams of neighbouring numbers differ');
});

t.test('distributions', async (t) => {
  const random = new Random(1);
  const n = 40_000;
  const uniform = Array.from({ length: n }, () => random.uniform(2, 4));
  const normal = Array.from({ length: n }, () => random.normal());
  const mean = (x: number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
  t.ok(uniform.every((x) => x >= 2 && x < 4));
  t.ok(Math.abs(mean(uniform) - 3) < 0.015);
  t.ok(Math.abs(mean(normal)) < 0.025);
  t.ok(Math.abs(mean(normal.map((x) => x * x)) - 1) < 0.04);
  t.ok(Math.abs(mean(normal.map((x) => x ** 4)) - 3) < 0.3, 'tails of a normal distribution');
  const counts = [0, 0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    const k = random.int(5);
    counts[k] = (counts[k] as number) + 1;
  }
  t.ok(counts.every((c) => Math.abs(c - n / 5) < 400));
  t.same(
    Array.from({ length: 300 }, () => random.weighted([0, 1, 0, 3, 0])).filter((i) => i !== 1 && i !== 3),
    [],
  );
  t.same(random.shuffle([1, 2, 3, 4, 5]).sort(), [1, 2, 3, 4, 5]);
  t.throws(() => random.pick([]), { code: 'E_USAGE' });
});
