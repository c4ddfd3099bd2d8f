/** What training promises: eight pairs learnt by heart, frozen bytes, determinism; norms, sums and means over parameters. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { backward, freeze, geluTanh, linear, requireGrad, scope, setThreads, sync, Tensor } from '#lib/engine/index.js';
import { contrastive } from '#lib/nn/losses/index.js';
import { AdamW, clipGradNorm, Ema, GradientSum, Muon, type Optimiser, Sgd } from '#lib/nn/optim/index.js';
import { Random } from '#lib/util/random.js';

/** Two linear layers a side, contrastive loss: parameters by path and the loss of eight fixed pairs. */
function twoLayers(): { parameters: Map<string, Tensor>; loss: () => Tensor } {
  const own = new Random(3);
  const matrix = (...shape: number[]) =>
    Tensor.from(
      Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => 0.3 * own.normal()),
      shape,
    );
  const parameters = new Map<string, Tensor>();
  for (const side of ['image', 'text']) {
    parameters.set(`${side}.0.weight`, matrix(32, 12));
    parameters.set(`${side}.0.bias`, matrix(32));
    parameters.set(`${side}.1.weight`, matrix(8, 32));
  }
  parameters.set('logit_scale', Tensor.from([Math.log(10)]));
  parameters.set('frozen.weight', matrix(12, 12));
  const inputs = { image: matrix(8, 12), text: matrix(8, 12) };
  freeze({ parameters }, ['!**', 'frozen.**']);
  const get = (path: string) => parameters.get(path) as Tensor;
  const tower = (side: 'image' | 'text') => {
    const x = linear(inputs[side], get('frozen.weight'));
    const hidden = geluTanh(linear(x, get(`${side}.0.weight`), { bias: get(`${side}.0.bias`) }));
    return linear(hidden, get(`${side}.1.weight`));
  };
  return { parameters, loss: () => contrastive(tower('image'), tower('text'), { logitScale: get('logit_scale') }) };
}

async function train(
  { parameters, loss }: ReturnType<typeof twoLayers>,
  optimiser: Optimiser,
  steps: number,
): Promise<number[]> {
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    await scope(async () => {
      const value = loss();
      const grads = backward(value);
      const { finite, scale } = await clipGradNorm(grads, parameters, 1);
      if (finite) optimiser.step(grads, { scale });
      losses.push(await value.item());
    });
  }
  return losses;
}

async function hash(tensor: Tensor): Promise<string> {
  return createHash('sha256')
    .update(new Uint8Array((await tensor.data()).buffer))
    .digest('hex');
}

t.test('two layers learn eight pairs by heart; frozen bytes do not change in 100 steps', async (t) => {
  const kinds: Record<string, (p: Map<string, Tensor>) => Optimiser> = {
    AdamW: (p) => new AdamW(p, { lr: 2e-2 }),
    Muon: (p) => new Muon(p, { lr: 2e-2, match: ['*.*.weight'], rest: { lr: 2e-2 } }),
    Sgd: (p) => new Sgd(p, { lr: 0.5, momentum: 0.9, nesterov: true }),
  };
  for (const [name, make] of Object.entries(kinds)) {
    const model = twoLayers();
    const frozen = model.parameters.get('frozen.weight') as Tensor;
    const before = await hash(frozen);
    const losses = await train(model, make(model.parameters), 100);
    t.ok((losses[0] as number) > 1.5 && (losses.at(-1) as number) < 1e-3, `${name}: ${losses[0]} -> ${losses.at(-1)}`);
    t.equal(await hash(frozen), before, `${name}: frozen bytes`);
  }
});

t.test('one thread and two give the same bytes', async (t) => {
  const results: string[][] = [];
  for (const threads of [1, 2]) {
    setThreads(threads);
    const model = twoLayers();
    const optimiser = new Muon(model.parameters, { lr: 2e-2, match: ['*.*.weight'], rest: { lr: 2e-2 } });
    await train(model, optimiser, 10);
    results.push(await Promise.all([...model.parameters.values()].map(hash)));
  }
  setThreads(2);
  t.same(results[0], results[1]);
});

t.test('norm, clipping and sums of gradients', async (t) => {
  const parameters = new Map([
    ['a', requireGrad(Tensor.from([1, 2]))],
    ['b', requireGrad(Tensor.from([3]))],
    ['c', requireGrad(Tensor.from([3]))],
  ]);
  const grads = new Map([
    ['a', Tensor.from([3, 0])],
    ['b', Tensor.from([-4])],
  ]);
  t.same(await clipGradNorm(grads, parameters, 2.5), { norm: 5, scale: 0.5, finite: true });
  t.same(await clipGradNorm(grads, parameters), { norm: 5, scale: 1, finite: true });
  grads.set('c', Tensor.from([Number.NaN]));
  t.equal((await clipGradNorm(grads, parameters, 1)).finite, false);
  await t.rejects(clipGradNorm(grads, parameters, 0), { code: 'E_OPTION' });

  const total = new GradientSum(parameters);
  total.add(new Map([['a', Tensor.from([1, 2])]]), 0.5);
  total.add(
    new Map([
      ['a', Tensor.from([10, 20])],
      ['b', Tensor.from([4])],
    ]),
    0.25,
  );
  t.same(await total.get(parameters.get('a') as Tensor)?.data(), Float32Array.of(3, 6));
  t.same(await total.get(parameters.get('b') as Tensor)?.data(), Float32Array.of(1), 'first seen in the second batch');
  t.equal(total.get(parameters.get('c') as Tensor), undefined);
  total.clear();
  t.equal(total.get(parameters.get('a') as Tensor), undefined);
  total.add(new Map([['a', Tensor.from([1, 1])]]));
  t.same(await total.get(parameters.get('a') as Tensor)?.data(), Float32Array.of(1, 1), 'the old sum is gone');
  total.dispose();
});

t.test('running mean of the weights', async (t) => {
  const parameters = new Map([['a', requireGrad(Tensor.from([1, 2]))]]);
  const optimiser = new Sgd(parameters, { lr: 1 });
  const mean = new Ema(parameters, { decay: 0.75 });
  optimiser.step(new Map([['a', Tensor.from([-4, 0])]]));
  mean.update();
  t.same(await parameters.get('a')?.data(), Float32Array.of(5, 2));
  t.same(await mean.values.get('a')?.data(), Float32Array.of(2, 2));
  const other = new Ema(parameters, { decay: 0.5 });
  other.load(mean.state());
  t.same(await other.values.get('a')?.data(), Float32Array.of(2, 2));
  t.throws(() => new Ema(parameters, { decay: 1 }), { code: 'E_OPTION' });
  optimiser.dispose();
  t.same(await parameters.get('a')?.data(), Float32Array.of(5, 2), 'parameters outlive their optimiser');
  await sync();
});
