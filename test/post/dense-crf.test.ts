import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { scope, setThreads, Tensor } from '#lib/engine/index.js';
import { decodeImage } from '#lib/image/decode.js';
import {
  crfDefaults,
  crfSettings,
  type DenseCrfOptions,
  denseCrf,
  unaryFromLabels,
  unaryFromSoftmax,
  wrappedBgr,
} from '#lib/post/dense-crf.js';
import { parseNpy } from '#lib/weights/npy.js';
import { data, needsData } from '../helpers/data.js';
import { fromF16, seeded } from '../helpers/samples.js';

interface Problem {
  image: Uint8Array;
  unary: Float32Array;
  classes: number;
  height: number;
  width: number;
}

function randomProblem(key: string, classes: number, height: number, width: number, colours = 256): Problem {
  const random = seeded(key);
  const image = Uint8Array.from({ length: height * width * 3 }, () => Math.floor(random() * colours));
  const unary = Float32Array.from({ length: classes * height * width }, () => random() * 3);
  return { image, unary, classes, height, width };
}

function solve({ image, unary, classes, height, width }: Problem, options: DenseCrfOptions): Promise<Float32Array> {
  return scope(
    async () =>
      (await denseCrf(
        Tensor.from(image, [height, width, 3]),
        Tensor.from(unary, [classes, height, width]),
        options,
      ).data()) as Float32Array,
  );
}

function softmaxOf({ unary, classes }: Problem): Float32Array {
  const pixels = unary.length / classes;
  const out = new Float32Array(unary.length);
  for (let p = 0; p < pixels; p++) {
    const e = Array.from({ length: classes }, (_, c) => Math.exp(-(unary[c * pixels + p] as number)));
    const sum = e.reduce((a, x) => a + x, 0);
    e.forEach((x, c) => {
      out[c * pixels + p] = x / sum;
    });
  }
  return out;
}

function readFloats(path: string): { data: Float32Array; shape: number[] } {
  const { data: values, shape, type } = parseNpy(readFileSync(path));
  return { data: Float32Array.from(values, type === '<f2' ? fromF16 : (x) => x), shape };
}

const maxDifference = (a: Float32Array, b: ArrayLike<number>) =>
  a.reduce((max, x, i) => Math.max(max, Math.abs(x - (b[i] as number))), 0);

for (const name of ['small-320x240-5', 'voc-500x375-21']) {
  t.test(`reference case ${name}`, needsData, async (t) => {
    const file = (base: string) => data('crf', name, base);
    const spec = JSON.parse(readFileSync(file('case.json'), 'utf8'));
    const { width, height, classes } = spec;
    const { gaussian: g, bilateral: b } = spec.params;
    const { data: rgb } = await decodeImage(file('image.png'));
    const unary = readFloats(file('unary.npy')).data;
    const problem = { image: rgb, unary, classes, height, width };
    for (const iterations of spec.iterations as number[]) {
      const q = await solve(problem, {
        iterations,
        gaussian: { sxy: [g.sx, g.sy], compat: g.compat },
        bilateral: { sxy: [b.sx, b.sy], srgb: [b.sr, b.sg, b.sb], compat: b.compat },
      });
      const every = existsSync(file(`q-${iterations}.npy`)) ? 1 : 4;
      const want = readFloats(file(every === 1 ? `q-${iterations}.npy` : `q-${iterations}-every4.npy`));
      const [rows, columns] = want.shape.slice(-2) as [number, number];
      let [sum, far] = [0, 0];
      want.data.forEach((x, i) => {
        const [c, y, column] = [Math.floor(i / (rows * columns)), Math.floor(i / columns) % rows, i % columns];
        const error = Math.abs((q[(c * height + y * every) * width + column * every] as number) - x);
        sum += error;
        if (error > 2e-4) far++;
      });
      // dense-crf.md section 9: the order of sums alone may differ.
      t.ok(
        sum / want.data.length < 1e-5,
        `${iterations} iterations: mean error ${(sum / want.data.length).toExponential(1)}`,
      );
      t.equal(far, 0, `${iterations} iterations: no value off by more than 2e-4`);
    }
  });
}

t.test('invariants', async (t) => {
  for (const [classes, height, width] of [
    [1, 1, 1],
    [2, 1, 37],
    [3, 41, 1],
    [21, 9, 13],
    [150, 6, 7],
    [847, 3, 5],
    [3, 65, 66],
  ] as const) {
    const problem = randomProblem(`${classes}/${height}/${width}`, classes, height, width, 60);
    const size = `C ${classes}, ${width}x${height}`;
    const q = await solve(problem, crfDefaults);
    const pixels = height * width;
    const sums = Float32Array.from({ length: pixels }, (_, p) =>
      Array.from({ length: classes }, (_, c) => q[c * pixels + p] as number).reduce((a, x) => a + x, 0),
    );
    t.ok(maxDifference(sums, new Float32Array(pixels).fill(1)) < 1e-5, `${size}: marginals sum to 1`);

    const none = await solve(problem, {
      iterations: 3,
      gaussian: { sxy: 3, compat: 0 },
      bilateral: { sxy: 80, srgb: 13, compat: 0 },
    });
    t.ok(maxDifference(none, softmaxOf(problem)) < 1e-6, `${size}: without weight the softmax of the unary`);

    const equal = await solve(
      { ...problem, unary: Float32Array.from(problem.unary, (_, i) => problem.unary[i % pixels] as number) },
      crfDefaults,
    );
    t.ok(
      maxDifference(equal, new Float32Array(equal.length).fill(1 / classes)) < 1e-6,
      `${size}: equal classes stay equal`,
    );

    const order = Array.from({ length: classes }, (_, c) => (c * 5 + 2) % classes);
    if (new Set(order).size === classes) {
      const permuted = Float32Array.from(
        problem.unary,
        (_, i) => problem.unary[(order[Math.floor(i / pixels)] as number) * pixels + (i % pixels)] as number,
      );
      const back = await solve({ ...problem, unary: permuted }, crfDefaults);
      t.ok(
        maxDifference(
          back,
          q.map((_, i) => q[(order[Math.floor(i / pixels)] as number) * pixels + (i % pixels)] as number),
        ) < 2e-5,
        `${size}: classes permute`,
      );
    }

    const constant = Float32Array.from(
      problem.unary,
      (_, i) => problem.unary[Math.floor(i / pixels) * pixels] as number,
    );
    const after = await solve({ ...problem, unary: constant }, { ...crfDefaults, normalisation: 'after' });
    const first = after.map((_, i) => after[Math.floor(i / pixels) * pixels] as number);
    t.ok(maxDifference(after, first) < 1e-4, `${size}: with normalisation 'after' a constant unary stays constant`);
  }
});

t.test('close to the explicit Gaussian sum on 20x20', async (t) => {
  const problem = randomProblem('explicit', 2, 20, 20, 50);
  const pixels = 400;
  // One class ahead: the filter's error is relative to local means, which cancel in pure noise.
  for (let p = pixels; p < 2 * pixels; p++) problem.unary[p] = (problem.unary[p] as number) + 2;
  const start = softmaxOf(problem);
  const x = Float64Array.from({ length: pixels }, (_, p) => (start[pixels + p] as number) - (start[p] as number));
  const square = (d: number, s: number) => (d / s) ** 2;
  const colour = (p: number, c: number) => problem.image[3 * p + c] as number;
  const kernels = {
    gaussian: (p: number, q: number) =>
      square((p % 20) - (q % 20), 3) + square(Math.floor(p / 20) - Math.floor(q / 20), 3),
    bilateral: (p: number, q: number) =>
      square((p % 20) - (q % 20), 8) +
      square(Math.floor(p / 20) - Math.floor(q / 20), 8) +
      [0, 1, 2].reduce((sum, c) => sum + square(colour(p, c) - colour(q, c), 20), 0),
  };
  for (const [name, limit] of [
    ['gaussian', 0.015],
    ['bilateral', 0.05],
  ] as const) {
    const options =
      name === 'gaussian' ? { gaussian: { sxy: 3, compat: 1 } } : { bilateral: { sxy: 8, srgb: 20, compat: 1 } };
    const q = await solve(problem, { ...options, iterations: 1 });
    // log(Q1 / Q0) = U0 - U1 + filtered difference of the classes.
    const filtered = Float64Array.from(
      { length: pixels },
      (_, p) =>
        Math.log((q[pixels + p] as number) / (q[p] as number)) -
        ((problem.unary[p] as number) - (problem.unary[pixels + p] as number)),
    );
    const k = (p: number, r: number) => Math.exp(-0.5 * kernels[name](p, r));
    const all = Array.from({ length: pixels }, (_, p) => p);
    const norm = all.map((p) => 1 / Math.sqrt(all.reduce((sum, r) => sum + k(p, r), 0)));
    const exact = all.map(
      (p) => (norm[p] as number) * all.reduce((sum, r) => sum + k(p, r) * (norm[r] as number) * (x[r] as number), 0),
    );
    const error = Math.hypot(...all.map((p) => (filtered[p] as number) - (exact[p] as number))) / Math.hypot(...exact);
    t.ok(error < limit, `${name}: relative difference ${error.toFixed(4)}`);
    const scale =
      all.reduce((sum, p) => sum + (filtered[p] as number) * (exact[p] as number), 0) /
      exact.reduce((sum, e) => sum + e * e, 0);
    t.ok(Math.abs(scale - 1) < 0.06, `${name}: scale ${scale.toFixed(3)}`);
  }
});

t.test('same bytes for every thread count', async (t) => {
  const problem = randomProblem('threads', 21, 150, 201, 80);
  const runs: Buffer[] = [];
  for (const threads of [1, 2, 3, 7]) {
    setThreads(threads);
    runs.push(Buffer.from((await solve(problem, { ...crfSettings.pnpOvss, iterations: 3 })).buffer));
  }
  setThreads(2);
  t.ok(runs.every((run) => run.equals(runs[0] as Buffer)));
});

t.test('compatibility as number, vector, matrix and tensor agree', async (t) => {
  const problem = randomProblem('compat', 5, 12, 17, 60);
  const withCompat = (
    compat: DenseCrfOptions['gaussian'] extends infer G | undefined
      ? G extends { compat: infer X }
        ? X
        : never
      : never,
  ) => solve(problem, { iterations: 3, gaussian: { sxy: 2, compat } });
  const potts = await withCompat(4);
  const rows = Array.from({ length: 5 }, (_, i) => Array.from({ length: 5 }, (_, j) => (i === j ? -4 : 0)));
  t.ok(maxDifference(await withCompat([-4, -4, -4, -4, -4]), potts) < 1e-6);
  t.ok(maxDifference(await withCompat(rows), potts) < 1e-6);
  await scope(async () =>
    t.ok(maxDifference(await withCompat(Tensor.from(Float32Array.from(rows.flat()), [5, 5])), potts) < 1e-6),
  );
});

t.test('unary potentials', async (t) => {
  await scope(async () => {
    const p = Tensor.from(Float32Array.from([0.25, 0, 0.75, 1.5]), [2, 2]);
    const plain = (await unaryFromSoftmax(p).data()) as Float32Array;
    t.ok(maxDifference(plain, [-Math.log(0.25), -Math.log(1e-5), -Math.log(0.75), 0]) < 2e-6);
    const scaled = (await unaryFromSoftmax(p, { scale: 0.5, clip: 0.3 }).data()) as Float32Array;
    t.ok(maxDifference(scaled, [-Math.log(0.375), -Math.log(0.3), -Math.log(0.625), 0]) < 1e-6);
    const labels = { data: Uint8Array.from([0, 1, 3]), shape: [1, 3] };
    const n = -Math.log(0.3 / 2);
    const [g, u] = [-Math.log(0.7), -Math.log(1 / 3)];
    t.same(unaryFromLabels(labels, 3, 0.7).shape, [3, 1, 3]);
    t.ok(
      maxDifference((await unaryFromLabels(labels, 3, 0.7).data()) as Float32Array, [u, g, n, u, n, n, u, n, g]) < 1e-6,
    );
    t.ok(
      maxDifference(
        (await unaryFromLabels({ data: Uint8Array.from([0, 2]), shape: [2] }, 3, 0.7, false).data()) as Float32Array,
        [g, n, n, n, n, g],
      ) < 1e-6,
    );
  });
  // 10 - 104.008 is truncated to -94 and wraps to 162.
  t.same(wrappedBgr(Uint8Array.from([200, 120, 10])), Uint8Array.from([162, 3, 77]));
});

t.test('refuses what it cannot take', async (t) => {
  const problem = randomProblem('errors', 3, 4, 5);
  const bad: [unknown, RegExp][] = [
    [{ iterations: -1 }, /iterations must be a whole number/],
    [{ gausian: { sxy: 3, compat: 3 } }, /did you mean 'gaussian'/],
    [{ gaussian: { sxy: 0, compat: 3 } }, /sxy must be a finite number above 0/],
    [{ gaussian: { sxy: [3], compat: 3 } }, /sxy must be/],
    [{ gaussian: { sxy: 3, compat: Number.NaN } }, /compat must be a finite number/],
    [{ gaussian: { sxy: 3, compat: [1, 2] } }, /compat must be a number, 3 numbers/],
    [{ bilateral: { sxy: 3, srgb: [1, 2], compat: 3 } }, /srgb must be/],
    [{ gaussian: { sxy: 3, compat: 3, normalisation: 'both' } }, /one of symmetric/],
    [{ terms: [{ kind: 'box', sxy: 3, compat: 1 }] }, /'gaussian' or 'bilateral'/],
    [{ terms: new Array(9).fill({ kind: 'gaussian', sxy: 3, compat: 1 }) }, /at most 8 terms/],
  ];
  for (const [options, message] of bad)
    await t.rejects(async () => solve(problem, options as DenseCrfOptions), { code: 'E_OPTION', message });
  await t.rejects(solve(problem, { gaussian: { sxy: 1e-9, compat: 1 } }), { code: 'E_OPTION', message: /too small/ });
  problem.unary[7] = Number.NaN;
  await t.rejects(solve(problem, crfDefaults), { code: 'E_NUMERIC', message: /NaN at class 0, y 1, x 2/ });
});

t.test('extreme unaries stay finite', async (t) => {
  const problem = randomProblem('extreme', 3, 4, 5);
  problem.unary.set([Infinity, 1e38, 0], 0);
  for (let c = 0; c < 3; c++) problem.unary[c * 20 + 9] = Infinity;
  const q = await solve(problem, crfDefaults);
  t.ok(q.every((x) => x >= 0 && x <= 1 + 1e-6));
});
