/** Training on a device of a module against the CPU: losses, weights, resumed runs, CLIP with all its terms and optimisers. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { memory, sync } from '#lib/engine/index.js';
import { readMetrics, registerTrainable, train } from '#lib/entry/train.js';
import { openSafetensors } from '#lib/weights/index.js';
import { relL2 } from '../helpers/samples.js';
import { deviceUnderTest as device, noDevice } from '../helpers/simt.js';
import { toyRecipe, toySystem, writePairs } from './toy.js';

t.setTimeout(1_800_000);
const skip = noDevice();
registerTrainable('toy', toySystem());

const lossesOf = async (out: string): Promise<number[]> =>
  (await readMetrics(join(out, 'metrics.jsonl'))).map(({ losses }) => losses.total as number);

async function weightsAgree(t: Test, a: string, b: string, limit: number): Promise<void> {
  const [one, other] = [await openSafetensors(a), await openSafetensors(b)];
  for (const name of one.tensors.keys()) {
    const [x, y] = [await one.readArray(name), await other.readArray(name)];
    const error = relL2(y.data as ArrayLike<number>, x.data as ArrayLike<number>);
    t.ok(error <= limit, `${name}: relL2 ${error.toExponential(1)} <= ${limit}`);
  }
  await Promise.all([one.close(), other.close()]);
}

t.test('a run repeats what the CPU does, and itself when resumed', { skip }, async (t) => {
  const folder = t.testdir();
  await writePairs(join(folder, 'data'), 8);
  const recipe = toyRecipe(join(folder, 'data'), { steps: 6, save: { every: 3, keep: 9 }, ema: 0.9 });
  const at = (name: string) => join(folder, name);
  await train(recipe, { out: at('cpu'), device: 'cpu' });
  await train(recipe, { out: at('there'), device });
  const [here, there] = [await lossesOf(at('cpu')), await lossesOf(at('there'))];
  t.equal(there.length, 6);
  t.ok(relL2(there, here) <= 1e-4, `losses ${there} for ${here}`);
  await weightsAgree(t, at('cpu/step-6/model.safetensors'), at('there/step-6/model.safetensors'), 1e-3);
  // Stopped behind the third step and resumed.
  const stop = new AbortController();
  await train(recipe, {
    out: at('resumed'),
    device,
    stop: stop.signal,
    onProgress: ({ step }) => void (step === 3 && stop.abort()),
  });
  await train(recipe, { out: at('resumed'), device, resume: true });
  t.same(await lossesOf(at('resumed')), there, 'the same losses');
});

t.test('CLIP on drawn scenes', { skip }, async (t) => {
  const folder = t.testdir();
  const recipe = JSON.parse(await readFile(new URL('../../../../assets/recipes/tiny.json', import.meta.url), 'utf8'));
  recipe.model.vision = { image: 32, patch: 8, width: 32, layers: 2, heads: 1 };
  recipe.model.text = { width: 32, layers: 1, heads: 1, context: 32, vocabulary: 512 };
  recipe.model.projection = 32;
  Object.assign(recipe, { data: { kind: 'drawn-scenes', count: 64, width: 32, height: 32 }, batch: 4, steps: 2 });
  Object.assign(recipe, { schedule: { kind: 'constant' }, log: { every: 1 }, save: { every: 2, keep: 1 } });
  for (const [precision, limit] of [
    ['fp32', 1e-3],
    ['bf16', 3e-2],
  ] as const) {
    const [here, there] = [join(folder, `${precision}-cpu`), join(folder, `${precision}-there`)];
    await train({ ...recipe, precision }, { out: here, device: 'cpu' });
    await train({ ...recipe, precision }, { out: there, device });
    const [a, b] = [await lossesOf(here), await lossesOf(there)];
    t.ok(b.length === 2 && relL2(b, a) <= limit, `${precision}: losses ${b} for ${a}`);
  }
  // Releases wait in the queue.
  await sync();
  t.equal(memory()[device]?.liveBytes, 0, 'and everything was given back');
});
