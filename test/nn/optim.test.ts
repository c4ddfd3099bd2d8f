/** Optimisers against float64 re-computations written here; state and resume. */
import t from 'tap';
import { backward, requireGrad, scope, square, sum, Tensor } from '#lib/engine/index.js';
import { AdamW, Muon, type Optimiser, orthogonalise, Sgd } from '#lib/nn/optim/index.js';
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
