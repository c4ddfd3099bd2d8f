/** Kernels on host arrays, by the package's own name, against published implementations (data/crf, data/systems/primitives) and naive formulas. */
import { existsSync, readFileSync } from 'node:fs';
import ndarray from 'ndarray';
import t from 'tap';
import { readLabels, readPng } from 'wordmask/formats';
import {
  attention,
  connectedComponents,
  denseCrf,
  gaussianBlur,
  pamr,
  type ResizeMode,
  resize,
  slidingWindows,
} from 'wordmask/native';
import { parseNpy } from '#lib/weights/npy.js';
import { data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { fromF16, seeded } from '../helpers/samples.js';

const primitives = (name: string) => loadAll(data('systems/primitives', name, 'expected.safetensors'));
const note = (name: string) => JSON.parse(readFileSync(data('systems/primitives', name, 'note.json'), 'utf8'));

function normal(key: string, shape: number[]): { data: Float32Array; shape: number[] } {
  const random = seeded(key);
  const count = shape.reduce((n, d) => n * d, 1);
  return { data: Float32Array.from({ length: count }, () => 2 * (random() + random() + random()) - 3), shape };
}

function npy(path: string): { data: ArrayLike<number>; shape: number[] } {
  const { data: values, shape, type } = parseNpy(readFileSync(path));
  return { data: Float32Array.from(values as ArrayLike<number>, type === '<f2' ? fromF16 : (x) => x), shape };
}

function argmax(q: ArrayLike<number>, classes: number, pixels: number): Uint8Array {
  return Uint8Array.from({ length: pixels }, (_, p) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if ((q[c * pixels + p] as number) > (q[best * pixels + p] as number)) best = c;
    return best;
  });
}

for (const name of ['small-320x240-5', 'voc-500x375-21']) {
  t.test(`dense CRF: ${name}`, needsData, async (t) => {
    const file = (base: string) => data('crf', name, base);
    const {
      width,
      height,
      classes,
      params,
      iterations: counts,
      expected,
    } = JSON.parse(readFileSync(file('case.json'), 'utf8'));
    const { gaussian: g, bilateral: b } = params;
    const { data: rgb } = await readPng(readFileSync(file('image.png')));
    const unary = npy(file('unary.npy'));
    for (const iterations of counts as number[]) {
      const q = await denseCrf({ data: rgb as Uint8Array, width, height }, unary, {
        gaussian: { sxy: [g.sx, g.sy], compat: g.compat },
        bilateral: { sxy: [b.sx, b.sy], srgb: [b.sr, b.sg, b.sb], compat: b.compat },
        iterations,
      });
      t.same(q.shape, [classes, height, width]);
      const every = existsSync(file(`q-${iterations}.npy`)) ? 1 : 4;
      const want = npy(file(every === 1 ? `q-${iterations}.npy` : `q-${iterations}-every4.npy`));
      const [rows, columns] = want.shape.slice(-2) as [number, number];
      let [sum, far] = [0, 0];
      for (let i = 0; i < want.data.length; i++) {
        const [c, y, x] = [Math.floor(i / (rows * columns)), Math.floor(i / columns) % rows, i % columns];
        const error = Math.abs(
          (q.data[(c * height + y * every) * width + x * every] as number) - (want.data[i] as number),
        );
        sum += error;
        if (error > 1e-3) far++;
      }
      const mean = sum / want.data.length;
      t.ok(mean < 1e-5, `${iterations} iterations: mean error ${mean.toExponential(1)}`);
      t.ok(far <= 0.001 * want.data.length, `${iterations} iterations: ${far} values beyond 1e-3`);
      const map = await readLabels('png', readFileSync(file(`argmax-${iterations}.png`)));
      const found = argmax(q.data, classes, width * height);
      const different = found.reduce((n, label, i) => n + (label === map.labels[i] ? 0 : 1), 0);
      const close = expected[iterations]['argmax_margin_below_1e-3'] * width * height;
      t.ok(
        different <= close,
        `${iterations} iterations: ${different} labels differ, ${close.toFixed(0)} pixels are close`,
      );
    }
  });
}

t.test('dense CRF: forms of the arguments', async (t) => {
  const unary = normal('unary', [2, 4, 5]);
  const rgb = Uint8Array.from({ length: 60 }, (_, i) => (i * 37) % 256);
  const terms = { gaussian: { sxy: 2, compat: 3 }, bilateral: { sxy: 4, srgb: 20, compat: 5 }, iterations: 2 };
  const plain = await denseCrf({ data: rgb, width: 5, height: 4 }, unary, terms);
  t.same((await denseCrf({ data: rgb, shape: [4, 5, 3] }, unary, terms)).data, plain.data, 'image [H, W, 3]');
  const same = await denseCrf({ data: rgb, shape: [4, 5, 3] }, unary, {
    ...terms,
    device: 'auto',
    bilateral: { sxy: [4, 4], srgb: [20, 20, 20], compat: 5 },
  });
  t.same(same.data, plain.data, 'widths by axis and channel');
  // Transposed in memory, the same array for the reader.
  const across = new Float32Array(40);
  for (let c = 0; c < 2; c++)
    for (let y = 0; y < 4; y++)
      for (let x = 0; x < 5; x++) across[(c * 5 + x) * 4 + y] = unary.data[(c * 4 + y) * 5 + x] as number;
  t.same(
    (
      await denseCrf(
        { data: rgb, width: 5, height: 4 },
        { data: across, shape: [2, 4, 5], stride: [20, 1, 4], offset: 0 },
        terms,
      )
    ).data,
    plain.data,
    'strided unary',
  );
  t.same(
    (await denseCrf(null, unary, { gaussian: terms.gaussian, iterations: 1 })).shape,
    [2, 4, 5],
    'no bilateral term, no image',
  );
  await t.rejects(denseCrf({ data: rgb, width: 5, height: 3 }, unary, terms), {
    code: 'E_USAGE',
    message: /45 values, data has 60/,
  });
  await t.rejects(denseCrf({ data: rgb, width: 5, height: 4 }, unary, { ...terms, device: 'cuda' }), {
    code: 'E_DEVICE',
  });
  await t.rejects(denseCrf({ data: rgb, width: 5, height: 4 }, unary, { ...terms, device: 'gpu' }), {
    code: 'E_OPTION',
  });
});

type Naive = (q: number[], keys: number[][], b: number, h: number, row: number) => number[];

/** Attention row by row in doubles; `score` gives the scores of one row. */
function naive(q: Loaded, k: Loaded, v: Loaded, score: Naive): Float64Array {
  const [B, H, rows, d] = q.shape as [number, number, number, number];
  const columns = k.shape[2] as number;
  const vectors = (x: Loaded, b: number, h: number, n: number) =>
    Array.from(
      { length: n },
      (_, i) => [...x.data.subarray(((b * H + h) * n + i) * d, ((b * H + h) * n + i + 1) * d)] as number[],
    );
  const out = new Float64Array(q.data.length);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const keys = vectors(k, b, h, columns);
      const values = vectors(v, b, h, columns);
      vectors(q, b, h, rows).forEach((query, row) => {
        const scores = score(query, keys, b, h, row);
        const top = Math.max(...scores);
        const weights = scores.map((s) => (s === -Infinity ? 0 : Math.exp(s - top)));
        const sum = weights.reduce((a, x) => a + x, 0);
        for (let i = 0; i < d; i++) {
          const total = weights.reduce((a, w, j) => a + w * ((values[j] as number[])[i] as number), 0);
          out[((b * H + h) * rows + row) * d + i] = sum > 0 ? total / sum : 0;
        }
      });
    }
  }
  return out;
}

t.test('attention against the formula', async (t) => {
  const [B, H, rows, columns, d] = [2, 3, 13, 17, 20];
  const q = normal('q', [B, H, rows, d]);
  const k = normal('k', [B, H, columns, d]);
  const v = normal('v', [B, H, columns, d]);
  const dot = (a: number[], b: number[]) => a.reduce((s, x, i) => s + x * (b[i] as number), 0);
  const scale = 1 / Math.sqrt(d);
  const check = (
    name: string,
    found: { data: ArrayLike<number>; shape: number[] },
    score: Naive,
    keys = k,
    values = v,
  ) => {
    t.same(found.shape, q.shape, `${name}: shape`);
    const error = maxError(found.data, naive(q, keys, values, score));
    t.ok(error < 1e-5, `${name}: error ${error.toExponential(1)}`);
  };
  check('plain', await attention(q, k, v), (a, keys) => keys.map((b) => scale * dot(a, b)));
  check('scale', await attention(q, k, v, { scale: 0.7 }), (a, keys) => keys.map((b) => 0.7 * dot(a, b)));
  for (const shape of [
    [rows, columns],
    [B, 1, rows, columns],
    [1, H, rows, columns],
    [B, H, rows, columns],
  ]) {
    const bias = normal('bias', shape);
    const [bs = 1, hs = 1] = shape.length === 4 ? shape : [1, 1];
    const at = (b: number, h: number, row: number, j: number) =>
      bias.data[(((b % bs) * hs + (h % hs)) * rows + row) * columns + j] as number;
    check(`bias [${shape}]`, await attention(q, k, v, { bias }), (a, keys, b, h, row) =>
      keys.map((key, j) => scale * dot(a, key) + at(b, h, row, j)),
    );
  }
  for (const shape of [
    [rows, columns],
    [B, rows, columns],
    [1, H, rows, columns],
    [B, H, rows, columns],
  ]) {
    const random = seeded(`mask ${shape}`);
    const mask = {
      data: Uint8Array.from({ length: shape.reduce((n, x) => n * x, 1) }, () => (random() < 0.4 ? 1 : 0)),
      shape,
    };
    mask.data.fill(1, 0, columns);
    const [bs, hs] = shape.length === 4 ? (shape as [number, number]) : shape.length === 3 ? [B, 1] : [1, 1];
    const at = (b: number, h: number, row: number, j: number) =>
      mask.data[(((b % bs) * hs + (h % hs)) * rows + row) * columns + j];
    const score: Naive = (a, keys, b, h, row) =>
      keys.map((key, j) => (at(b, h, row, j) ? -Infinity : scale * dot(a, key)));
    check(`mask [${shape}]`, await attention(q, k, v, { mask }), score);
    const bias = normal('both', [1, H, rows, columns]);
    check(`mask [${shape}] and bias`, await attention(q, k, v, { mask, bias }), (a, keys, b, h, row) =>
      score(a, keys, b, h, row).map((s, j) => s + (bias.data[(h * rows + row) * columns + j] as number)),
    );
  }
  const [kc, vc] = [normal('kc', q.shape), normal('vc', q.shape)];
  const causal: Naive = (a, keys, _b, _h, row) => keys.map((key, j) => (j > row ? -Infinity : scale * dot(a, key)));
  check('causal', await attention(q, kc, vc, { causal: true }), causal, kc, vc);
  await t.rejects(attention(q, k, v, { mask: { data: new Uint8Array(4), shape: [2, 2] } }), {
    code: 'E_USAGE',
    message: /mask must have shape/,
  });
  await t.rejects(attention(q, { data: k.data, shape: [B, H, columns] }, v), { code: 'E_USAGE', message: /k must be/ });
});

t.test('an ndarray is an array', async (t) => {
  const map = ndarray(normal('ndarray', [6, 8]).data, [6, 8]);
  const plain = { data: map.data, shape: [6, 8] };
  const options = { width: 5, height: 7, mode: 'torch_bilinear' } as const;
  t.same(await resize(map, options), await resize(plain, options));
  const turned = await resize(map.transpose(1, 0), { ...options, width: 7, height: 5 });
  const upright = await resize(plain, options);
  for (const [y, x] of [
    [0, 0],
    [6, 4],
    [3, 2],
  ] as const)
    t.ok(Math.abs((turned.data[x * 7 + y] as number) - (upright.data[y * 5 + x] as number)) < 1e-6);
  const part = await gaussianBlur(map.lo(2, 3).hi(3, 4).step(1, -1), { sigma: 1 });
  t.same(part.shape, [3, 4]);
  t.same(
    (await resize(ndarray(new Uint8Array(12), [2, 2, 3]), { width: 1, height: 1, mode: 'opencv_area' })).shape,
    [1, 1, 3],
  );
});

t.test('resize: bytes', needsData, async (t) => {
  const values = await primitives('resize-u8');
  for (const [name, want] of values) {
    const [number, mode] = name.split('.') as [string, ResizeMode | 'input'];
    if (mode === 'input') continue;
    const [height, width] = want.shape as [number, number];
    const found = await resize(values.get(`${number}.input`) as Loaded, { width, height, mode });
    t.same(found.shape, want.shape, name);
    t.ok(Buffer.from(found.data as Uint8Array).equals(want.data as Uint8Array), `${name}: equal bytes`);
  }
});

t.test('resize: floats', needsData, async (t) => {
  const values = await primitives('resize-float');
  const tables = note('resize-float').position as { table: [number, number]; grid: [number, number] }[];
  for (const [name, want] of values) {
    const [number, kind, align] = name.split(/\.(?!1$)/) as [string, string, string | undefined];
    if (kind === 'input') continue;
    const [height, width] = want.shape.slice(-2) as [number, number];
    const input = values.get(`${number}.input`) as Loaded;
    const position = number.startsWith('position') ? tables[Number(number.slice(8))] : undefined;
    const plus = position && {
      y: (position.grid[0] + 0.1) / position.table[0],
      x: (position.grid[1] + 0.1) / position.table[1],
    };
    const mode = (position ? 'torch_bicubic' : kind.replace(/_float$/, '')) as ResizeMode;
    const scale = kind === 'bicubic_plus_0.1' ? plus : undefined;
    const found = await resize(input, { width, height, mode, alignCorners: align === 'align_corners_true', scale });
    t.same(found.shape, want.shape, name);
    const error = maxError(found.data, want.data);
    // The reference's own distance from double arithmetic is 3.7e-6 (its note).
    t.ok(error < 4e-6, `${name}: error ${error.toExponential(1)}`);
  }
});

t.test('Gaussian blur', needsData, async (t) => {
  const values = await primitives('gaussian-blur');
  for (const { case: number, sigma } of note('gaussian-blur').cases as { case: number; sigma: number }[]) {
    const want = values.get(`${number}.float32`) as Loaded;
    const found = await gaussianBlur(values.get(`${number}.input`) as Loaded, { sigma, truncate: 4 });
    const error = maxError(found.data, want.data);
    t.ok(error < 1e-6, `case ${number}: error ${error.toExponential(1)}`);
    t.same(
      (await gaussianBlur(values.get(`${number}.input`) as Loaded, { sigma })).data,
      found.data,
      'truncate is 4 unless said',
    );
  }
});

t.test('sliding windows', needsData, async (t) => {
  for (const { image, crop, stride, boxes_y1x1y2x2: boxes } of note('sliding-window').windows) {
    const [height, width] = image;
    const found = slidingWindows(width, height, { crop, stride });
    t.same(
      [[...found.shape], [...found.data]],
      [[boxes.length, 4], boxes.flat()],
      `${width} x ${height}, ${crop} / ${stride}`,
    );
    t.ok(found.data instanceof Int32Array);
  }
});

t.test('PAMR', async (t) => {
  const guide = normal('guide', [3, 9, 11]);
  const constant = { data: new Float32Array(2 * 99).fill(0.25), shape: [2, 9, 11] };
  const kept = await pamr(guide, constant, { dilations: [1, 2], iterations: 3 });
  t.same(kept.shape, [2, 9, 11]);
  t.ok(maxError(kept.data, constant.data) < 1e-6, 'a constant stays');
  const masks = normal('masks', [2, 9, 11]);
  t.same((await pamr(guide, masks, { iterations: 0 })).data, masks.data, 'no iteration, no change');
  const standard = await pamr(guide, masks);
  t.same(
    (await pamr(guide, masks, { dilations: [8, 16], iterations: 10 })).data,
    standard.data,
    'defaults are 10 iterations of 8 and 16',
  );
  // A flat guide weighs all neighbours alike: the mean of the ring, edge pixels repeated.
  const flat = await pamr(
    { data: new Float32Array(27).fill(0.5), shape: [3, 3, 3] },
    { data: [0, 0, 0, 0, 8, 0, 0, 0, 0], shape: [1, 3, 3] },
    { dilations: [1], iterations: 1 },
  );
  t.ok(maxError(flat.data, [1, 1, 1, 1, 0, 1, 1, 1, 1]) < 1e-6, `${flat.data}`);
  await t.rejects(pamr({ data: guide.data, shape: [3, 99] }, masks), { code: 'E_USAGE' });
  await t.rejects(pamr(guide, masks, { dilations: [0] }), { code: 'E_OPTION' });
});

t.test('connected components', async (t) => {
  const labels = { data: [1, 1, 0, 2, 0, 1, 0, 2, 1, 0, 2, 0], shape: [3, 4] };
  const ids = async (options?: { connectivity?: 4 | 8; nothing?: number }) => [
    ...(await connectedComponents(labels, options)).data,
  ];
  t.same(await ids({ connectivity: 4 }), [1, 1, 2, 3, 4, 1, 2, 3, 5, 6, 7, 8]);
  t.same(await ids({ connectivity: 8, nothing: 0 }), [1, 1, 0, 2, 0, 1, 0, 2, 1, 0, 2, 0]);
  const found = await connectedComponents({ data: new Uint8Array(6), shape: [2, 3] });
  t.same([found.shape, found.data], [[2, 3], new Int32Array(6).fill(1)]);
});
