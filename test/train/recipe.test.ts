/** Recipes: what is wrong with one is said at once and in full. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { checkRecipe, readRecipe } from '#lib/entry/train.js';
import { EpochOrder } from '#lib/train/order.js';
import { assetPath } from '#lib/util/assets.js';
import { Random } from '#lib/util/random.js';

const sound = {
  system: 'clip',
  data: { kind: 'drawn-scenes' },
  batch: 128,
  steps: 100,
  optimiser: { kind: 'adamw', rate: 1e-3 },
};

function problemsOf(value: unknown): string {
  try {
    checkRecipe(value);
    return '';
  } catch (error) {
    if ((error as { code?: string }).code !== 'E_OPTION') throw error;
    return (error as Error).message;
  }
}

t.test('problems are named', async (t) => {
  t.equal(problemsOf(sound), '');
  const all = problemsOf({
    ...sound,
    bacth: 3,
    batch: 'many',
    optimiser: { kind: 'adamw', rate: 1, dcay: 0 },
    data: { kind: 'tarr' },
  });
  t.match(all, /unknown key "bacth", did you mean 'batch'/);
  t.match(all, /unknown key "optimiser.dcay", did you mean 'decay'/);
  t.match(all, /batch: must be number, got "many"/);
  t.match(all, /data.kind must be drawn-scenes, folder, jsonl or tar, got "tarr"/);
  t.match(problemsOf({}), /system is missing.*data is missing.*batch is missing.*optimiser is missing/s);
  t.match(problemsOf(null), /must be object/);
  t.match(problemsOf([]), /must be object/);
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ epochs: 2 }, /give steps or epochs, not both/],
    [{ steps: undefined }, /give steps or epochs, one of the two/],
    [{ schedule: { warmup: 100 } }, /schedule.warmup is 100, the whole run has 100 steps/],
    [{ accumulation: 1000 }, /batch \* accumulation = 128000 pairs, data.count has/],
    [{ optimiser: { kind: 'adam', rate: 1 } }, /optimiser.kind must be adamw, sgd or muon, got "adam"/],
    [
      { optimiser: { kind: 'sgd', rate: 1, groups: [{ match: ['**'], rat: 1 }] } },
      /"optimiser.groups.0.rat", did you mean 'rate'/,
    ],
    [{ optimiser: { kind: 'muon', rate: 1, match: ['**'], rest: { rate: 0 } } }, /optimiser.rest.rate/],
    [{ data: { kind: 'tar', path: 3 } }, /data.path/],
    [{ precision: 'fp8' }, /precision/],
    [{ seed: -1 }, /seed/],
    [{ clip: Number.NaN }, /clip/],
    [{ ema: 2 }, /ema/],
  ];
  for (const [change, message] of cases) t.match(problemsOf({ ...sound, ...change }), message);
});

t.test('files', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'recipe.json');
  await writeFile(path, JSON.stringify(sound));
  t.match(await readRecipe(path, { 'optimiser.rate': 0.5, steps: 7 }), { steps: 7, optimiser: { rate: 0.5 } });
  await t.rejects(readRecipe(path, { 'optimiser.rte': 1 }), { code: 'E_OPTION', message: /did you mean 'rate'/ });
  await t.rejects(readRecipe(path, { __proto__x: 1 }), { code: 'E_OPTION' });
  await writeFile(path, '{"system": "clip", "system": "mgca"}');
  await t.rejects(readRecipe(path), { code: 'E_OPTION', message: /occurs twice/ });
  await writeFile(path, '{');
  await t.rejects(readRecipe(path), { code: 'E_OPTION', message: /is not JSON/ });
  await t.rejects(readRecipe(join(folder, 'none.json')), { code: 'E_USAGE' });
});

t.test('recipes of the package', async (t) => {
  const names = (await readdir(assetPath('recipes'))).filter((name) => name.endsWith('.json'));
  for (const name of names) await t.resolves(readRecipe(assetPath(`recipes/${name}`)), name);
});

t.test('an epoch is a permutation', async (t) => {
  for (const count of [1, 2, 3, 7, 64, 1000, 4097]) {
    const seen = new Set(Array.from({ length: count }, (_, i) => new EpochOrder(count, 4, 1).at(i)));
    t.equal(seen.size, count, `${count} samples`);
    t.ok([...seen].every((index) => index >= 0 && index < count));
  }
  const count = 5000;
  const [first, second] = [0, 1].map((epoch) => {
    const order = new EpochOrder(count, new Random(1).int(100), epoch);
    return Array.from({ length: count }, (_, i) => order.at(i));
  }) as [number[], number[]];
  const same = first.filter((index, i) => index === second[i]).length;
  t.ok(same < 10, `epochs differ: ${same} of ${count} samples stand where they stood`);
  const ascents = first.filter((index, i) => i > 0 && index > (first[i - 1] as number)).length;
  t.ok(Math.abs(ascents - count / 2) < 150, `and are no pattern: ${ascents} ascents`);
});
