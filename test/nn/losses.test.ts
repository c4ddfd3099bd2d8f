/** Losses against formulas in float64 and their derivatives against central differences; gradient caching against the plain gradient. */
import t, { type Test } from 'tap';
import {
  backward,
  concat,
  type DType,
  geluTanh,
  linear,
  mean,
  memory,
  requireGrad,
  resetPeakMemory,
  scope,
  square,
  sync,
  Tensor,
} from '#lib/engine/index.js';
import { dropout } from '#lib/nn/dropout.js';
import * as losses from '#lib/nn/losses/index.js';
import { GradientSum } from '#lib/nn/optim/index.js';
import { Random } from '#lib/util/random.js';
import { relL2, toHost } from '../helpers/samples.js';

const random = new Random(5);
const normal = (n: number) => Float64Array.from({ length: n }, () => random.normal());
const unit = (n: number) => Float64Array.from({ length: n }, () => random.uniform());
const rows = (x: Float64Array, width: number) =>
  Array.from({ length: x.length / width }, (_, i) => [...x.subarray(i * width, (i + 1) * width)]);
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((s, x, i) => s + x * (b[i] as number), 0);
const average = (values: readonly number[]) => values.reduce((s, x) => s + x, 0) / values.length;
const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const logSumExp = (values: readonly number[]) => {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((s, x) => s + Math.exp(x - top), 0));
};
const cosine = (a: readonly number[], b: readonly number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

interface LossCase {
  readonly shape: readonly number[];
  /** The differentiated inputs. */
  readonly inputs: readonly Float64Array[];
  run(...inputs: Tensor[]): Tensor;
  reference(...inputs: Float64Array[]): number;
}

const [R, C] = [6, 5];
const n = R * C;
const [targets, weights, teacher] = [unit(n), unit(n), normal(n)];
const constant = (values: Float64Array, dtype: DType) => Tensor.from(toHost(values, dtype), [R, C], dtype);

const bce = (z: number, y: number, positive = 1) =>
  -positive * y * Math.log(sigmoid(z)) - (1 - y) * Math.log(sigmoid(-z));

const cases: Record<string, LossCase> = {
  'binary cross-entropy, weighted': {
    shape: [R, C],
    inputs: [normal(n)],
    run: (z) =>
      losses.binaryCrossEntropy(z, constant(targets, z.dtype), { positive: 3, weights: constant(weights, z.dtype) }),
    reference: (z) => average([...z].map((x, i) => weights[i]! * bce(x, targets[i]!, 3))),
  },
  'binary cross-entropy per count': {
    shape: [R, C],
    inputs: [normal(n)],
    run: (z) => losses.binaryCrossEntropy(z, constant(targets, z.dtype), { per: 7 }),
    reference: (z) => [...z].reduce((s, x, i) => s + bce(x, targets[i]!), 0) / 7,
  },
  focal: {
    shape: [R, C],
    inputs: [normal(n)],
    run: (z) => losses.focal(z, constant(targets.map(Math.round), z.dtype), { reduce: 'sum' }),
    reference: (z) =>
      [...z].reduce((s, x, i) => {
        const p = targets[i]! >= 0.5 ? sigmoid(x) : sigmoid(-x);
        return s - (targets[i]! >= 0.5 ? 0.25 : 0.75) * (1 - p) ** 2 * Math.log(p);
      }, 0),
  },
  dice: {
    shape: [R, C],
    inputs: [normal(n)],
    run: (z) => losses.dice(z, constant(targets, z.dtype)),
    reference: (z) =>
      average(
        rows(z.map(sigmoid), C).map((p, r) => {
          const y = rows(targets, C)[r] as number[];
          const total = (values: number[]) => values.reduce((s, x) => s + x, 0);
          return 1 - (2 * dot(p, y) + 1) / (total(p) + total(y) + 1);
        }),
      ),
  },
  'smooth L1': {
    shape: [R, C],
    inputs: [normal(n).map((x) => 2 * x)],
    run: (x) => losses.smoothL1(x, constant(teacher, x.dtype), { beta: 0.7 }),
    reference: (x) =>
      average(
        [...x].map((value, i) => {
          const d = Math.abs(value - teacher[i]!);
          return d < 0.7 ? (d * d) / 1.4 : d - 0.35;
        }),
      ),
  },
  'Kullback-Leibler with a temperature': {
    shape: [R, C],
    inputs: [normal(n)],
    run: (z) => losses.kullbackLeibler(z, constant(teacher, z.dtype), { temperature: 2 }),
    reference: (z) =>
      4 *
      average(
        rows(z, C).map((row, r) => {
          const logs = (values: number[]) => values.map((x) => x / 2 - logSumExp(values.map((y) => y / 2)));
          const [p, q] = [logs(rows(teacher, C)[r] as number[]), logs(row)];
          return p.reduce((s, x, i) => s + Math.exp(x) * (x - q[i]!), 0);
        }),
      ),
  },
  'triplet, cosine': {
    shape: [R, C],
    inputs: [normal(n), normal(n), normal(n)],
    run: (a, p, f) => losses.triplet(a, p, f, { margin: 0.5 }),
    reference: (a, p, f) =>
      average(
        rows(a, C).map((row, r) =>
          Math.max(0, 0.5 + cosine(row, rows(f, C)[r] as number[]) - cosine(row, rows(p, C)[r] as number[])),
        ),
      ),
  },
  'triplet, Euclidean': {
    shape: [R, C],
    inputs: [normal(n), normal(n), normal(n)],
    run: (a, p, f) => losses.triplet(a, p, f, { margin: 1, distance: 'euclidean' }),
    reference: (a, p, f) =>
      average(
        rows(a, C).map((row, r) => {
          const apart = (b: number[]) => Math.hypot(...row.map((x, i) => x - (b[i] as number)));
          return Math.max(0, 1 + apart(rows(p, C)[r] as number[]) - apart(rows(f, C)[r] as number[]));
        }),
      ),
  },
  InfoNCE: {
    shape: [R, C],
    inputs: [normal(n), normal(n)],
    run: (a, b) => losses.infoNce(a, b, { temperature: 0.2 }),
    reference: (a, b) => (nce(rows(a, C), rows(b, C)) + nce(rows(b, C), rows(a, C))) / 2,
  },
};

function nce(queries: number[][], keys: number[][]): number {
  return average(
    queries.map((query, i) => {
      const scores = keys.map((key) => cosine(query, key) / 0.2);
      return logSumExp(scores) - (scores[i] as number);
    }),
  );
}

async function checkLoss(t: Test, { shape, inputs, run, reference }: LossCase): Promise<void> {
  const expected = reference(...inputs);
  const narrow = await run(...inputs.map((x) => Tensor.from(Float32Array.from(x), shape))).item();
  t.ok(Math.abs(narrow / expected - 1) < 1e-5, `f32 ${narrow} for ${expected}`);
  const leaves = inputs.map((x) => requireGrad(Tensor.from(x, shape)));
  const loss = run(...leaves);
  t.ok(Math.abs((await loss.item()) / expected - 1) < 1e-12, 'f64');
  const grads = backward(loss);
  for (const [k, input] of inputs.entries()) {
    const analytic = (await (grads.get(leaves[k] as Tensor) as Tensor).data()) as Float64Array;
    const numeric = [...input.keys()].map((i) => {
      const moved = (h: number) =>
        reference(...inputs.map((x, j) => (j === k ? x.map((v, at) => v + (at === i ? h : 0)) : x)));
      return (moved(1e-5) - moved(-1e-5)) / 2e-5;
    });
    const error = relL2(analytic, numeric);
    t.ok(error < 1e-6, `gradient of input ${k}: ${error.toExponential(2)}`);
  }
}

for (const [name, each] of Object.entries(cases)) t.test(name, (t) => scope(() => checkLoss(t, each)));

t.test('edges of losses', async (t) => {
  const z = Tensor.from([200, -200, 0]);
  const perfect = losses.binaryCrossEntropy(z, Tensor.from([1, 0, 0.5]), { reduce: 'none' });
  t.same(Array.from(await perfect.data()), [0, 0, Math.fround(Math.LN2)], 'no overflow');
  const start = requireGrad(Tensor.from([0, 0]));
  const slope = backward(losses.binaryCrossEntropy(start, Tensor.from([1, 0]), { reduce: 'sum' })).get(start);
  t.same(Array.from(await (slope as Tensor).data()), [-0.5, 0.5], 'the slope at 0');
  const same = requireGrad(Tensor.from([1, 2], [1, 2]));
  const zero = losses.triplet(same, same.detach(), Tensor.from([-5, 0], [1, 2]), { distance: 'euclidean' });
  t.equal(await zero.item(), 0, 'satisfied margin');
  t.ok((await (backward(zero).get(same) as Tensor).data()).every((g) => g === 0));
  const half = Tensor.from(toHost(Float64Array.of(1, -2, 0.5), 'bf16'), [3], 'bf16');
  t.equal(losses.smoothL1(half, Tensor.from([0, 0, 0])).dtype, 'f32', 'losses are f32');
  t.throws(() => losses.infoNce(z, z, { temperature: 0 }), { code: 'E_OPTION' });
  t.throws(() => losses.smoothL1(z, z, { beta: -1 }), { code: 'E_OPTION' });
});

/** Two-layer towers with dropout by name; the batch is cut into chunks. */
function towers(pairs: number) {
  const own = new Random(9);
  const make = (...shape: number[]) =>
    Tensor.from(
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 0.4 * own.normal()),
      shape,
    );
  const parameters = new Map<string, Tensor>();
  for (const side of ['image', 'text']) {
    parameters.set(`${side}.0`, requireGrad(make(16, 10)));
    parameters.set(`${side}.1`, requireGrad(make(8, 16)));
  }
  parameters.set('scale', requireGrad(Tensor.from([1.5])));
  const inputs = { image: make(pairs, 10), text: make(pairs, 10) };
  const tower = (side: 'image' | 'text', begin: number, end: number) => {
    const hidden = geluTanh(linear(inputs[side].slice(0, begin, end), parameters.get(`${side}.0`) as Tensor));
    // A mask a row, so that the cut into chunks does not change what is dropped.
    const kept = Array.from({ length: end - begin }, (_, i) =>
      dropout(hidden.slice(0, i, i + 1), 0.3, new Random(1).fork(side).fork(begin + i)),
    );
    return linear(concat(kept, 0), parameters.get(`${side}.1`) as Tensor);
  };
  return { parameters, tower };
}

t.test('cached contrastive loss: the plain gradient, in chunks of any size', async (t) => {
  const pairs = 12;
  const { parameters, tower } = towers(pairs);
  const logitScale = parameters.get('scale') as Tensor;
  const plain = losses.contrastive(tower('image', 0, pairs), tower('text', 0, pairs), { logitScale });
  const expected = backward(plain);
  for (const chunks of [1, 3, 12]) {
    const into = new GradientSum(parameters);
    const size = pairs / chunks;
    const loss = losses.cachedContrastive({
      chunks,
      logitScale,
      into,
      embed: (i) => ({
        image: tower('image', i * size, (i + 1) * size),
        text: tower('text', i * size, (i + 1) * size),
      }),
    });
    t.notOk(loss.requiresGrad, 'the loss is off the tape');
    t.ok(Math.abs((await loss.item()) - (await plain.item())) < 1e-6, `${chunks} chunks: loss`);
    for (const [path, parameter] of parameters) {
      const actual = (await (into.get(parameter) as Tensor).data()) as Float32Array;
      const error = relL2(actual, (await (expected.get(parameter) as Tensor).data()) as Float32Array);
      t.ok(error < 2e-6, `${chunks} chunks: ${path} ${error.toExponential(2)}`);
    }
    into.dispose();
  }
  t.throws(
    () =>
      losses.cachedContrastive({
        chunks: 0,
        logitScale,
        into: new GradientSum(parameters),
        embed: () => assertNever(),
      }),
    { code: 'E_OPTION' },
  );
});

t.test('cached loss: memory is that of a chunk', async (t) => {
  const { parameters, tower } = towers(4);
  const peak = async (chunks: number) => {
    const into = new GradientSum(parameters);
    const bytes = 1 << 20;
    await sync();
    resetPeakMemory();
    losses.cachedLoss({
      chunks,
      into,
      embed: () => {
        const wide = tower('image', 0, 4)
          .reshape(4, 8, 1)
          .expand(4, 8, bytes / 128);
        return [mean(square(wide.contiguous()), 2)];
      },
      loss: (embeddings) => mean(embeddings),
    });
    await sync();
    const used = (memory().cpu as { peakBytes: number }).peakBytes;
    into.dispose();
    return used;
  };
  const [one, eight] = [await peak(1), await peak(8)];
  t.ok(eight < 1.2 * one, `${eight} bytes with eight chunks, ${one} with one`);
});

function assertNever(): never {
  throw new Error('called');
}
