/** Optimisers against float64 re-computations written here, and what training promises: determinism, frozen bytes, resume. */
import { createHash } from 'node:crypto';
import t from 'tap';
import {
  backward,
  freeze,
  geluTanh,
  linear,
  requireGrad,
  scope,
  setThreads,
  square,
  sum,
  sync,
  Tensor,
} from '#lib/engine/index.js';
import { contrastive } from '#lib/nn/losses/index.js';
import {
  AdamW,
  clipGradNorm,
  Ema,
  GradientSum,
  Muon,
  type Optimiser,
  orthogonalise,
  Sgd,
} from '#lib/nn/optim/index.js';
import { Random } from '#lib/util/random.js';
import { liveBytes } from '../helpers/memory.js';
import { relL2 } from '../helpers/samples.js';

const random = new Random(7);
const draw = (n: number, scale = 1) => Float32Array.from({ length: n }, () => Math.fround(scale * random.normal()));

interface Case {
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly start: Map<string, Float32Array>;
  /** Gradients by step and path. */
  readonly grads: Map<string, Float32Array>[];
}

function makeCase(shapes: Case['shapes'], steps: number): Case {
  const fill = (scale: number) =>
    new Map(
      Object.entries(shapes).map(([path, shape]) => [
        path,
        draw(
          shape.reduce((n, d) => n * d, 1),
          scale,
        ),
      ]),
    );
  return { shapes, start: fill(1), grads: Array.from({ length: steps }, () => fill(0.3)) };
}

function parametersOf({ shapes, start }: Case): Map<string, Tensor> {
  return new Map(
    Object.entries(shapes).map(([path, shape]) => [
      path,
      requireGrad(Tensor.from(start.get(path) as Float32Array, shape)),
    ]),
  );
}

function runSteps(optimiser: Optimiser, { shapes, grads }: Case, options = {}): void {
  for (const step of grads) {
    scope(() => {
      const tensors = new Map([...step].map(([path, data]) => [path, Tensor.from(data, shapes[path])]));
      optimiser.step(tensors, options);
    });
  }
}

async function values(parameters: ReadonlyMap<string, Tensor>): Promise<Map<string, Float64Array>> {
  const found = new Map<string, Float64Array>();
  for (const [path, tensor] of parameters) found.set(path, Float64Array.from((await tensor.data()) as Float32Array));
  return found;
}

const wide = { 'a.weight': [37, 11], 'a.bias': [37], 'b.weight': [5, 3, 2], 'b.gate': [] } as const;

t.test('AdamW: ten steps with groups', async (t) => {
  const c = makeCase(wide, 10);
  const parameters = parametersOf(c);
  const optimiser = new AdamW(parameters, {
    lr: 1e-2,
    betas: [0.9, 0.98],
    eps: 1e-6,
    decay: 0.05,
    groups: [{ match: ['**'], ranks: [0, 1], decay: 0, lr: 3e-2 }],
    half: true,
  });
  runSteps(optimiser, c, { scale: 0.5 });
  const actual = await values(parameters);
  for (const [path, start] of c.start) {
    const plain = path === 'a.bias' || path === 'b.gate';
    const [lr, decay] = plain ? [3e-2, 0] : [1e-2, 0.05];
    const p = Float64Array.from(start);
    const [m, v] = [new Float64Array(p.length), new Float64Array(p.length)];
    c.grads.forEach((grads, step) => {
      grads.get(path)?.forEach((raw, i) => {
        const g = 0.5 * raw;
        m[i] = 0.9 * (m[i] as number) + 0.1 * g;
        v[i] = 0.98 * (v[i] as number) + 0.02 * g * g;
        const mean = (m[i] as number) / (1 - 0.9 ** (step + 1));
        const root = Math.sqrt((v[i] as number) / (1 - 0.98 ** (step + 1)));
        p[i] = (p[i] as number) * (1 - lr * decay) - (lr * mean) / (root + 1e-6);
      });
    });
    const error = relL2(actual.get(path) as Float64Array, p);
    t.ok(error < 1e-6, `${path}: relative error ${error.toExponential(2)}`);
    const half = (await (optimiser.halves.get(path) as Tensor).data()) as Uint16Array;
    t.ok(
      half.every(
        (bits, i) => Math.abs(fromBf16(bits) - (actual.get(path) as Float64Array)[i]!) <= 2 ** -8 * Math.abs(p[i]!),
      ),
      `${path}: the bf16 copy is the parameter rounded`,
    );
  }
  t.equal(optimiser.steps, 10);
});

function fromBf16(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0] as number;
}

t.test('SGD: momentum, Nesterov, decay', async (t) => {
  for (const nesterov of [false, true]) {
    const c = makeCase(wide, 8);
    const parameters = parametersOf(c);
    runSteps(new Sgd(parameters, { lr: 0.1, momentum: 0.9, nesterov, decay: 0.01 }), c, { lr: 0.05 });
    const actual = await values(parameters);
    for (const [path, start] of c.start) {
      const p = Float64Array.from(start);
      const buffer = new Float64Array(p.length);
      for (const grads of c.grads) {
        grads.get(path)?.forEach((raw, i) => {
          const g = raw + 0.01 * (p[i] as number);
          buffer[i] = 0.9 * (buffer[i] as number) + g;
          p[i] = (p[i] as number) - 0.05 * (nesterov ? g + 0.9 * (buffer[i] as number) : (buffer[i] as number));
        });
      }
      const error = relL2(actual.get(path) as Float64Array, p);
      t.ok(error < 1e-6, `${path}: relative error ${error.toExponential(2)}`);
    }
  }
});

/** C = A B of row-major matrices. */
function product(a: Float64Array, b: Float64Array, m: number, k: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) for (let x = 0; x < k; x++) out[i * n + j]! += a[i * k + x]! * b[x * n + j]!;
  return out;
}

function transposed(a: Float64Array, m: number, n: number): Float64Array {
  return Float64Array.from({ length: a.length }, (_, i) => a[(i % m) * n + Math.floor(i / m)] as number);
}

/** The published iteration, always with the wide side as columns. */
function newtonSchulz(g: Float64Array, rows: number, columns: number): Float64Array {
  if (rows > columns) return transposed(newtonSchulz(transposed(g, rows, columns), columns, rows), columns, rows);
  const norm = Math.hypot(...g);
  let x = g.map((value) => value / (norm + 1e-7));
  for (let step = 0; step < 5; step++) {
    const gram = product(x, transposed(x, rows, columns), rows, columns, rows);
    const squared = product(gram, gram, rows, rows, rows);
    const mixed = product(
      gram.map((value, i) => -4.775 * value + 2.0315 * squared[i]!),
      x,
      rows,
      rows,
      columns,
    );
    x = x.map((value, i) => 3.4445 * value + mixed[i]!);
  }
  return x;
}

t.test('Muon: matrices apart, packed query, key and value, AdamW for the rest', async (t) => {
  const shapes = {
    'block.fc1.weight': [24, 8],
    'block.fc2.weight': [8, 24],
    'block.qkv.weight': [24, 8],
    'block.out.weight': [8, 8],
    'block.fc1.bias': [24],
    'embedding.weight': [9, 8],
  } as const;
  const c = makeCase(shapes, 4);
  const parameters = parametersOf(c);
  const optimiser = new Muon(parameters, {
    lr: 6e-3,
    match: ['block.**'],
    decay: 0.1,
    compute: 'f32',
    rest: { lr: 2e-3, betas: [0.9, 0.98] },
  });
  runSteps(optimiser, c, { lr: 3e-3 });
  const actual = await values(parameters);
  for (const [path, [rows = 0, columns = 0]] of Object.entries(shapes).filter(([path]) =>
    /block.*weight/.test(path),
  ) as [string, readonly number[]][]) {
    const parts = path.includes('qkv') ? 3 : 1;
    const size = (rows * columns) / parts;
    const p = Float64Array.from(c.start.get(path) as Float32Array);
    const buffer = new Float64Array(p.length);
    for (const grads of c.grads) {
      const g = grads.get(path) as Float32Array;
      const direction = buffer.map((old, i) => {
        buffer[i] = 0.95 * old + g[i]!;
        return g[i]! + 0.95 * buffer[i]!;
      });
      for (let part = 0; part < parts; part++) {
        const o = newtonSchulz(direction.slice(part * size, (part + 1) * size), rows / parts, columns);
        const rate = 3e-3 * 0.2 * Math.sqrt(Math.max(rows / parts, columns));
        for (let i = 0; i < size; i++) {
          const at = part * size + i;
          p[at] = p[at]! * (1 - 3e-3 * 0.1) - rate * o[i]!;
        }
      }
    }
    const moved = relL2(p, Float64Array.from(c.start.get(path) as Float32Array));
    const error = relL2(actual.get(path) as Float64Array, p);
    t.ok(
      moved > 1e-3 && error < 1e-6,
      `${path}: relative error ${error.toExponential(2)} of ${moved.toExponential(2)}`,
    );
  }
  const adam = parametersOf(c);
  const plain = new AdamW(new Map([...adam].filter(([path]) => !/block.*weight/.test(path))), {
    lr: 1e-3,
    betas: [0.9, 0.98],
  });
  runSteps(plain, c);
  for (const path of ['block.fc1.bias', 'embedding.weight']) {
    t.same(await (parameters.get(path) as Tensor).data(), await (adam.get(path) as Tensor).data(), `${path} by AdamW`);
  }
  t.throws(() => new Muon(parametersOf(c), { lr: 1, match: ['**.bias'], rest: { lr: 1 } }), { code: 'E_OPTION' });
});

t.test('Newton-Schulz steps in bf16 and f32', async (t) => {
  for (const [rows, columns] of [
    [24, 40],
    [40, 24],
  ] as const) {
    const x = draw(2 * rows * columns);
    const size = rows * columns;
    const expected = [0, 1].flatMap((k) => [
      ...newtonSchulz(Float64Array.from(x.subarray(k * size, (k + 1) * size)), rows, columns),
    ]);
    for (const [compute, limit] of [
      ['f32', 1e-5],
      // Fifteen products whose operands have 8 bits: 2^-8 sqrt(15) times slopes of about 3.
      ['bf16', 5e-2],
    ] as const) {
      const found = orthogonalise(Tensor.from(x, [2, rows, columns]), { compute });
      const error = relL2(Float64Array.from((await found.data()) as Float32Array), Float64Array.from(expected));
      t.ok(error < limit, `${rows}x${columns} ${compute}: relative error ${error.toExponential(2)}`);
    }
  }
});

t.test('a parameter without a gradient stays, with its state', async (t) => {
  const make = (options: (p: Map<string, Tensor>) => Optimiser) => {
    const parameters = parametersOf(makeCase({ 'x.weight': [4, 6], 'y.weight': [4, 6] }, 0));
    return { parameters, optimiser: options(parameters) };
  };
  const kinds = {
    AdamW: make((p) => new AdamW(p, { lr: 0.1, decay: 0.1 })),
    Sgd: make((p) => new Sgd(p, { lr: 0.1, momentum: 0.9, decay: 0.1 })),
    Muon: make((p) => new Muon(p, { lr: 0.1, decay: 0.1, match: ['**'], rest: { lr: 0.1 } })),
  };
  for (const [name, { parameters, optimiser }] of Object.entries(kinds)) {
    const before = await values(parameters);
    optimiser.step(new Map([['x.weight', Tensor.from(draw(24), [4, 6])]]));
    const after = await values(parameters);
    t.same(after.get('y.weight'), before.get('y.weight'), `${name}: stays`);
    t.notSame(after.get('x.weight'), before.get('x.weight'), `${name}: moves`);
    t.throws(() => optimiser.step(new Map([['x.weight', Tensor.from(draw(6))]])), {
      code: 'E_USAGE',
      message: /x\.weight/,
    });
    t.throws(() => optimiser.step(new Map(), { lr: Number.NaN }), { code: 'E_OPTION' });
  }
});

t.test('state: a loaded optimiser goes on as the one that was saved', async (t) => {
  const c = makeCase({ 'x.weight': [6, 4], 'x.bias': [6] }, 6);
  const kinds: Record<string, (p: Map<string, Tensor>) => Optimiser> = {
    AdamW: (p) => new AdamW(p, { lr: 0.01, decay: 0.1, groups: [{ match: ['**.bias'], decay: 0 }] }),
    Sgd: (p) => new Sgd(p, { lr: 0.01, momentum: 0.9 }),
    Muon: (p) => new Muon(p, { lr: 0.01, match: ['**'], rest: { lr: 0.01 } }),
  };
  for (const [name, make] of Object.entries(kinds)) {
    const whole = parametersOf(c);
    runSteps(make(whole), c);
    const first = parametersOf(c);
    const saved = make(first);
    runSteps(saved, { ...c, grads: c.grads.slice(0, 3) });
    const state = new Map<string, Tensor>();
    for (const [key, value] of saved.state()) state.set(key, Tensor.from(await value.data(), value.shape));
    const second = new Map<string, Tensor>();
    for (const [path, tensor] of first) second.set(path, requireGrad(Tensor.from(await tensor.data(), tensor.shape)));
    const resumed = make(second);
    await resumed.load(state);
    t.equal(resumed.steps, 3, `${name}: steps`);
    runSteps(resumed, { ...c, grads: c.grads.slice(3) });
    for (const [path, tensor] of whole) t.same(await second.get(path)?.data(), await tensor.data(), `${name}: ${path}`);
    state.delete('steps');
    state.set('momentum.z', Tensor.from([1]));
    await t.rejects(resumed.load(state), { code: 'E_CHECKPOINT', message: /missing steps; unexpected momentum\.z/ });
  }
});

t.test('parameters move into the flat buffer and out of the optimiser again', async (t) => {
  const before = await liveBytes();
  const base = Tensor.from(draw(24), [4, 6]);
  const x = requireGrad(base.transpose(0, 1));
  const old = x.detach();
  const start = Array.from(await x.data());
  const optimiser = new Sgd(new Map([['x', x]]), { lr: 1 });
  t.same(Array.from(await x.data()), start, 'the same values, row by row');
  t.ok(x.requiresGrad && x.isContiguous);
  const grads = scope(() => backward(sum(square(x))));
  optimiser.step(grads);
  grads.dispose();
  t.same(
    Array.from(await x.data()),
    start.map((v) => -v),
    'one step of -2x',
  );
  t.same(Array.from(await old.data()), start, 'a handle made before keeps the old values');
  optimiser.dispose();
  t.same(
    Array.from(await x.data()),
    start.map((v) => -v),
  );
  for (const tensor of [base, x, old]) tensor.dispose();
  t.equal(await liveBytes(), before, 'nothing stays behind');
});

t.test('groups and options are checked', (t) => {
  const parameters = () => parametersOf(makeCase({ 'x.weight': [2, 2] }, 0));
  t.throws(() => new AdamW(parameters(), { lr: 1, groups: [{ match: ['**.bias'] }] }), {
    code: 'E_OPTION',
    message: /bias/,
  });
  t.throws(() => new AdamW(parameters(), { lr: 0 }), { code: 'E_OPTION' });
  t.throws(() => new AdamW(parameters(), { lr: 1, betas: [0.9, 1] }), { code: 'E_OPTION', message: /betas\[1\]/ });
  t.throws(() => new AdamW(new Map([['x', Tensor.from([1])]]), { lr: 1 }), { code: 'E_USAGE', message: /gradient/ });
  t.throws(() => new AdamW(new Map([['x', requireGrad(Tensor.from(Float64Array.of(1)))]]), { lr: 1 }), {
    code: 'E_USAGE',
    message: /f64/,
  });
  const tied = requireGrad(Tensor.from([1, 2]));
  t.equal(
    new AdamW(
      new Map([
        ['x', tied],
        ['y', tied],
      ]),
      { lr: 1 },
    ).parameters.size,
    1,
    'one tensor, one entry',
  );
  t.end();
});

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
