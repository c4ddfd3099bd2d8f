/** MGCA at inference: the reference case stage by stage, MaskCLIP at zero gates, units, and folders that do not fit. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { attention, equal, fill, iota, layerNorm, randomNormal, scope, Tensor, where } from '#lib/engine/index.js';
import { denseLinear } from '#lib/nn/linear.js';
import { transformerBlock } from '#lib/nn/transformer.js';
import { open } from '#lib/pipelines/open.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { decoderTensors, initialDecoder } from '#lib/systems/mgca/decoder.js';
import { findUnits, metaPoints, pooled } from '#lib/systems/mgca/units.js';
import { data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { type HostTensor, mgcaFolder } from '../helpers/mgca.js';

const reference = data('systems', 'mgca', 'inference-clip-tiny');

interface Note {
  classes: string[];
  parameters: { short_side: number; crop: number; stride: number; background_thresholds: Record<string, number> };
}

const parametersOf = (expected: Map<string, Loaded>) =>
  new Map(
    [...decoderTensors(24).keys()].map((name) => [name, expected.get(`parameters.${name}`) as unknown as HostTensor]),
  );

/** A decoder at its start: gates 0. */
async function untrained(width: number): Promise<Map<string, HostTensor>> {
  const tensors = initialDecoder(width, 1);
  const host = new Map<string, HostTensor>();
  for (const [name, x] of tensors) host.set(name, { data: (await x.data()) as Float32Array, shape: x.shape });
  return host;
}

function compare(
  t: Test,
  name: string,
  actual: { data: ArrayLike<number>; shape: number[] },
  want: Loaded,
  tolerance: number,
) {
  t.same(
    actual.shape.filter((d) => d !== 1),
    want.shape.filter((d) => d !== 1),
    `${name}: shape`,
  );
  const error = maxError(actual.data, want.data);
  t.ok(error <= tolerance, `${name}: error ${error.toExponential(2)}`);
}

/** [n, E, h, w] as the models hold it: [n, h w, E]. */
function pixelMajor({ data: from, shape }: Loaded): Loaded {
  const [n = 0, e = 0, h = 0, w = 0] = shape;
  const to = new Float32Array(from.length);
  for (let i = 0; i < from.length; i++) {
    const [p, c, b] = [i % (h * w), Math.floor(i / (h * w)) % e, Math.floor(i / (h * w * e))];
    to[(b * h * w + p) * e + c] = from[i] as number;
  }
  return { data: to, shape: [n, h * w, e] };
}

t.test('the reference case', needsData, async (t) => {
  const note = JSON.parse(await readFile(join(reference, 'note.json'), 'utf8')) as Note;
  const expected = await loadAll(join(reference, 'expected.safetensors'));
  const want = (name: string) => expected.get(name) as Loaded;
  const { folder } = await mgcaFolder(parametersOf(expected));
  const model = await open(folder);
  t.equal(model.info.system, 'mgca');
  const { parameters } = note;
  const options = { shortSide: parameters.short_side, crop: parameters.crop, stride: parameters.stride };
  const image = join(reference, 'image.png');
  const words = Vocabulary.from(note.classes);
  for (const [name, units] of [
    ['units36', 36],
    ['units16', 16],
    ['pixels', 0],
  ] as const) {
    const names: Record<string, [Loaded, number]> = {
      normalised_input: [want('normalised_input'), 1e-5],
      window_boxes_y1x1y2x2: [want('window_boxes_y1x1y2x2'), 0],
      window_pad_left_right_top_bottom: [want('window_pad_left_right_top_bottom'), 0],
      query_features: [want('text'), 1e-5],
      window_features: [pixelMajor(want('window_features')), 1e-4],
      window_embeddings: [pixelMajor(want('window_embeddings')), 1e-4],
      window_logits_lowres: [want(`${name}.window_scores`), 1e-4],
      ...(units > 0 && {
        unit_meta_index: [want(`${name}.meta_index`), 0],
        unit_assignment: [{ ...want(`${name}.assignment`), shape: [2, 784] }, 0],
        unit_embedding: [want(`${name}.unit_embedding`), 1e-4],
      }),
      ...(name === 'units36' && {
        merged_logits: [want('units36.merged_scores'), 1e-4],
        logits_original_size: [want('units36.scores_original_size'), 1e-4],
        max_probability: [want('units36.max_probability'), 1e-4],
      }),
      label_map: [want(`${name}.label_map`), 0],
    };
    const found = await model.trace(image, words, Object.keys(names), { ...options, units });
    for (const [key, [value, tolerance]] of Object.entries(names))
      compare(t, `${name}: ${key}`, found[key] as { data: ArrayLike<number>; shape: number[] }, value, tolerance);
    const threshold = parameters.background_thresholds[name];
    const result = await model.segment(image, words, { ...options, units, threshold });
    const withBackground = Array.from(result.labels, (label) => (label >= note.classes.length ? 0 : label + 1));
    t.same(withBackground, Array.from(want(`${name}.label_map_with_background`).data), `${name}: with background`);
  }
  await model.dispose();
});

t.test('zero gates: MaskCLIP, enlarged, bit for bit', needsData, async (t) => {
  const { folder, base } = await mgcaFolder(await untrained(24));
  const options = { shortSide: 72, crop: 48, stride: 24 };
  const image = join(reference, 'image.png');
  const model = await open(folder);
  const found = await model.trace(image, ['horse'], ['window_features', 'window_embeddings'], options);
  await model.dispose();
  const plain = await open(`maskclip:${base}`);
  const settings = model.dense.parts.system.defaults;
  const { attention, residual, ffn, positions, mean, std, padToPatch } = settings;
  const maskclip = await plain.trace(image, ['horse'], ['window_patch_features'], {
    ...options,
    ...{ attention, residual, ffn, positions, mean, std, padToPatch },
  });
  await plain.dispose();
  t.same(found.window_features?.data, maskclip.window_patch_features?.data, 'features');
  const [n = 0, , e = 0] = found.window_features?.shape ?? [];
  const narrow = found.window_features?.data as Float32Array;
  const wide = found.window_embeddings?.data as Float32Array;
  const enlarged = wide.map((_, at) => {
    const [c, x, y, i] = [at % e, Math.floor(at / e) % 12, Math.floor(at / e / 12) % 12, Math.floor(at / e / 144)];
    return narrow[((i * 6 + (y >> 1)) * 6 + (x >> 1)) * e + c] as number;
  });
  t.equal(wide.length, n * 144 * e);
  t.same(wide, enlarged, 'embeddings');
});

t.test('sides that are no multiple of the patch, bf16, caching of features', needsData, async (t) => {
  const expected = await loadAll(join(reference, 'expected.safetensors'));
  const { folder } = await mgcaFolder(parametersOf(expected), { defaults: { shortSide: 100, crop: 52, stride: 30 } });
  const model = await open(folder);
  const image = join(reference, 'image.png');
  const direct = await model.segment(image, ['horse', 'whiskers', 'eye']);
  t.equal(direct.labels.length, direct.width * direct.height);
  const features = await model.encode(image);
  t.same((await model.segment(features, ['horse', 'whiskers', 'eye'])).labels, direct.labels, 'from features');
  await t.rejects(model.segment(features, ['horse'], { units: 16 }), { code: 'E_OPTION', message: /units/ });
  await t.rejects(model.segment(image, ['horse'], { units: 35 }), { code: 'E_OPTION', message: /square/ });
  features.dispose();
  await model.dispose();
  const narrow = await open(folder, { dtype: 'bf16' });
  const { labels } = await narrow.segment(image, ['horse', 'whiskers', 'eye']);
  const same = Array.from(labels).filter((label, i) => label === direct.labels[i]).length;
  t.ok(same > 0.9 * labels.length, `${same} of ${labels.length} labels as in fp32`);
  await narrow.dispose();
});

t.test('units', async (t) => {
  t.same(
    [...metaPoints([56, 56], 36)].slice(0, 6).map((at) => at % 56),
    [4, 14, 23, 32, 42, 51],
    'places of the paper',
  );
  await scope(async () => {
    const grid = [12, 8] as const;
    // Constant on the cells of a 2 x 2 sampling grid: each cell is one unit.
    const values = Float32Array.from({ length: 96 * 5 }, (_, at) => {
      const [c, x, y] = [at % 5, Math.floor(at / 5) % 8, Math.floor(at / 40)];
      return Math.sin(1 + c + 3 * (x >> 2) + 7 * Math.floor(y / 6));
    });
    const embeddings = Tensor.from(values, [1, 96, 5]);
    const { assignment, means } = findUnits(embeddings, grid, 4);
    t.same(
      [...(await assignment.data())],
      Array.from({ length: 96 }, (_, p) => 2 * Math.floor(p / 48) + ((p % 8) >> 2)),
      'assignment',
    );
    t.ok(maxError(await pooled(embeddings, grid, 4).data(), values) < 1e-6, 'reproduced');
    t.same(means.shape, [1, 4, 5]);
    const random = randomNormal([2, 36, 7], { seed: 4 });
    t.same(await pooled(random, [6, 6], 36).data(), await random.data(), 'a unit a pixel is pixel mode');
  });
});

t.test('folders that do not fit', needsData, async (t) => {
  const start = await untrained(24);
  const { folder, base } = await mgcaFolder(start);
  await t.rejects(open(`mgca:${base}`), { code: 'E_MODEL_FORMAT', message: /encoder alone.*wordmask train/s });
  await t.rejects(open(`naclip:${folder}`), { code: 'E_MODEL_FORMAT', message: /naclip does not have/ });
  await t.rejects(open((await mgcaFolder(await untrained(16), { base })).folder), {
    code: 'E_WEIGHTS',
    message: /\[24, 24, 3, 3\]/,
  });
  const gone = await mgcaFolder(start, { base: '/nowhere/clip' });
  await t.rejects(open(gone.folder), { code: 'E_MODEL_NOT_FOUND', message: /trained beside the frozen model/ });
  const other = await mgcaFolder(start, { base, sha256: '0'.repeat(64) });
  await t.rejects(open(other.folder), { code: 'E_HASH', message: /was trained beside weights with 0000/ });
  const broken = new Map(start).set('decoder.block2.gate', { data: Float32Array.of(Number.NaN), shape: [] });
  await t.rejects(open((await mgcaFolder(broken, { base })).folder), {
    code: 'E_WEIGHTS_VALUE',
    message: /block2.gate/,
  });
  const missing = new Map(start);
  missing.delete('decoder.block1.conv.bias');
  await t.rejects(open((await mgcaFolder(missing, { base })).folder), {
    code: 'E_WEIGHTS',
    message: /block1.conv.bias/,
  });
});

t.test("TCL's weights are refused by name", needsData, async (t) => {
  const zeros = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape });
  const names = [0, 1].flatMap((i) =>
    ['conv', 'conv2'].map((part) => `masker.image_encoder.decoder.decoder.net.${i}.${part}`),
  );
  const tcl = new Map<string, HostTensor>(
    names.flatMap((name) => [
      [`${name}.conv.weight`, zeros(8, 8, 3, 3)],
      [`${name}.norm.weight`, zeros(8)],
      [`${name}.gate.gate`, zeros(1)],
    ]),
  );
  const { folder } = await mgcaFolder(tcl);
  await t.rejects(open(folder), { code: 'E_WEIGHTS', message: /TCL's, whose decoder works before the projection/ });
  // Under other names the shapes speak: 768 channels where this encoder has 24.
  const renamed = new Map([...decoderTensors(768)].map(([name, shape]) => [name, zeros(...shape)]));
  await t.rejects(open((await mgcaFolder(renamed)).folder), { code: 'E_WEIGHTS', message: /768/ });
});

t.test('identity attention is full attention masked off the diagonal', async (t) => {
  await scope(async () => {
    let offset = 0;
    const random = (...shape: number[]) => randomNormal(shape, { seed: 9, offset: offset++ << 12, deviation: 0.3 });
    const map = (n: number, k: number) => denseLinear(random(n, k), random(n));
    const norm = () => ({ gain: random(16), bias: random(16) });
    const [q, k, v, out] = [map(16, 16), map(16, 16), map(16, 16), map(16, 16)];
    const [fc1, fc2, norm1, norm2] = [map(64, 16), map(16, 64), norm(), norm()];
    const x = random(2, 7, 16);
    const options = { heads: 4, activation: 'quick_gelu', eps: 1e-5, compute: 'f32' } as const;
    const identity = transformerBlock(x, { q, k, v, out, fc1, fc2, norm1, norm2 }, { ...options, attention: 'v' });
    const normed = layerNorm(x, norm1.gain, norm1.bias, 1e-5);
    const heads = (t: Tensor) => t.reshape(2, 7, 4, 4).permute(0, 2, 1, 3);
    const diagonal = equal(iota([7]).reshape(7, 1), iota([7]).reshape(1, 7));
    const bias = where(diagonal, fill([7, 7], 0), Number.NEGATIVE_INFINITY).reshape(1, 1, 7, 7);
    const mixed = attention(heads(q.forward(normed)), heads(k.forward(normed)), heads(v.forward(normed)), { bias });
    const y = out.forward(mixed.permute(0, 2, 1, 3).reshape(2, 7, 16), { residual: x });
    const hidden = fc1.forward(layerNorm(y, norm2.gain, norm2.bias, 1e-5), { activation: 'quick_gelu' });
    const full = fc2.forward(hidden, { residual: y });
    const error = maxError(await identity.data(), await full.data());
    t.ok(error < 1e-5, `error ${error.toExponential(2)}`);
  });
});
