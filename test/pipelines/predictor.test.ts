/** Systems that predict by themselves behind the same `Model`: every call of the interface with a small one. */
import { join } from 'node:path';
import t from 'tap';
import { Tensor } from '#lib/engine/index.js';
import { registerSystem } from '#lib/entry/index.js';
import { Mask } from '#lib/image/mask.js';
import { open } from '#lib/pipelines/open.js';
import { planCall } from '#lib/pipelines/plan.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { seen, toyPredictor } from '../helpers/toy-predictor.js';

t.setTimeout(120_000);

const folder = join(import.meta.dirname, '..', '..', '..', '..', 'test', 'fixtures', 'clip-mini');
registerSystem(toyPredictor);
const name = `toy-predictor:${folder}`;
const labels = ['red', 'green', 'blue'];

/** Columns of pure red, green, blue, dark grey, bright red with some blue. */
function columns(height = 6): { data: Uint8Array; width: number; height: number; channels: 3 } {
  const row = [
    [255, 0, 0],
    [0, 200, 0],
    [0, 0, 180],
    [20, 20, 20],
    [250, 0, 120],
  ];
  return {
    data: Uint8Array.from({ length: height * 15 }, (_, i) => row[Math.floor((i % 15) / 3)]?.[i % 3] as number),
    width: 5,
    height,
    channels: 3,
  };
}
const firstRow = (labels: ArrayLike<number>): number[] => Array.from({ length: 5 }, (_, i) => labels[i] as number);

t.test('segment: planes, background, labels, areas', async (t) => {
  await using model = await open(name);
  t.match(model.info, { system: 'toy-predictor', separable: false, dtype: 'fp32', presets: ['bright'] });
  const outputs = ['labels', 'score', 'margin', 'entropy', 'topk', 'probabilities'] as const;
  const result = await model.segment(columns(), labels, { outputs: [...outputs], k: 2 });
  t.same(firstRow(result.labels), [0, 1, 2, 255, 0], 'dark is nothing under the rule of the system');
  const shares = [0, 1, 2].map((q) => result.probabilities?.data[q * 30 + 4] as number);
  const logits = [0.2, 250 / 255, 0, 120 / 255].map((x) => Math.exp(4 * x));
  const total = logits.reduce((a, b) => a + b, 0);
  t.ok(shares.every((p, q) => Math.abs(p - (logits[q + 1] as number) / total) < 1e-6));
  t.ok(Math.abs((result.score?.data[4] as number) - (logits[1] as number) / total) < 1e-6, 'score');
  t.ok(Math.abs((result.margin?.data[4] as number) - ((logits[1] as number) - (logits[3] as number)) / total) < 1e-6);
  const entropy = -logits.reduce((sum, x) => sum + (x / total) * Math.log(x / total), 0);
  t.ok(Math.abs((result.entropy?.data[4] as number) - entropy) < 1e-5);
  t.same(result.topk?.shape, [2, 6, 5]);
  t.same([result.topk?.data[4], result.topk?.data[34]], [0, 2]);
  t.equal(result.topk?.data[3], -1, 'background is no label');
  t.same(
    result.segments.map(({ label, area }) => [label, area]),
    [
      [0, 12],
      [1, 6],
      [2, 6],
    ],
  );
  t.ok(result.mask('green') instanceof Mask);
  t.match(result.timings, { decode: Number, match: Number, output: Number });
  t.match(result.provenance, { system: 'toy-predictor', model: 'toy', options: { threshold: 0.2, gain: 4 } });

  const { data, width, height } = columns();
  using tensor = Tensor.from(data, [height, width, 3], 'u8');
  t.same((await model.segment(tensor, labels)).labels, result.labels, 'a picture that is a tensor');

  const labelled = Vocabulary.from([{ name: 'nothing', prompts: [], background: true }, ...labels]);
  t.same(firstRow((await model.segment(columns(), labelled)).labels), [1, 2, 3, 0, 1], 'the marked label');
  const of = async (options: SegmentOptions) => firstRow((await model.segment(columns(), labels, options)).labels);
  t.same(await of({ labels: ['blue', 'green'] }), [255, 1, 2, 255, 2], 'restricted');
  t.same(await of({ threshold: 0.9 }), [0, 255, 255, 255, 0], "the system's own threshold");
  t.same(await of({ preset: 'bright' }), [0, 1, 2, 255, 0], 'preset');
  t.same(await of({ background: 'none' }), [0, 1, 2, 0, 0], 'no background');
  t.same(await of({ background: { mode: 'threshold', value: 0.9 } }), [0, 1, 255, 255, 255], 'threshold of the policy');
  t.same(await of({ minArea: 7 }), [255, 255, 255, 255, 255], 'small pieces');
});

t.test('trace', async (t) => {
  await using model = await open(name);
  t.same(model.info.traces, ['brightness', 'class_probabilities', 'max_probability', 'label_map']);
  const names = ['light', 'label_map', 'class_probabilities', 'max_probability'];
  const traced = await model.trace(columns(), labels, names);
  t.same(Object.keys(traced), names);
  t.same(firstRow(traced.label_map?.data ?? []), [1, 2, 3, 0, 1], "the method's numbers");
  t.same(traced.class_probabilities?.shape, [3, 6, 5]);
  t.equal(traced.light?.data[0], 1);
  const all = await model.segment(columns(), labels, { outputs: ['score', 'probabilities'] });
  t.same(traced.class_probabilities?.data, all.probabilities?.data);
  t.same(traced.max_probability?.data, all.score?.data);
  const marked = Vocabulary.from(['red', { name: 'nothing', prompts: [], background: true }, 'green']);
  const other = await model.trace(columns(), marked, ['labels']);
  t.same(firstRow(other.labels?.data ?? []), [1, 2, 0, 0, 1], 'labels without background count on');
  await t.rejects(model.trace(columns(), labels, ['brightnes']), { code: 'E_OPTION', message: /brightness/ });
  await t.rejects(
    model.trace(columns(), labels, ['light'], { textFeatures: { data: new Float32Array(3), shape: [3, 1] } }),
    { code: 'E_OPTION' },
  );
});

t.test('plan, memory, options, features', async (t) => {
  await using model = await open(name, { memory: 64 << 20 });
  const vocab = await model.vocabulary(labels);
  const plan = model.plan(100, 50, vocab);
  t.match(plan, { deviceBytes: 100 * 50 * 16, tiles: 1, batch: 1, route: 'toy', fits: true });
  t.same(planCall(model, 100, 50, vocab, {}), plan);
  t.equal(model.plan(5000, 5000, vocab).fits, false);
  const big = { data: new Uint8Array(3000 * 1500 * 3), width: 3000, height: 1500, channels: 3 as const };
  await t.rejects(model.segment(big, vocab), { code: 'E_MEMORY_PLAN', message: /3000 x 1500 pixels with 3 labels/ });
  await t.rejects(model.segment(columns(), vocab, { window: 224 }), { code: 'E_OPTION', message: /whole picture/ });
  await t.rejects(model.segment(columns(), vocab, { gainn: 2 }), { code: 'E_OPTION', message: /did you mean 'gain'/ });
  await t.rejects(model.segment(columns(), vocab, { size: 100 }), { code: 'E_OPTION', message: /size/ });
  await t.rejects(model.segment(columns(), ['red', 'pink']), { code: 'E_LABEL', message: /pink/ });
  await t.rejects(model.vocabulary(['pink']), { code: 'E_LABEL' });
  await t.rejects(model.encode(columns()), { code: 'E_OPTION', message: /separable/ });
  t.throws(() => model.dense, { code: 'E_OPTION' });
  await using dense = await open(`naclip:${folder}`);
  using features = await dense.encode(columns(40), { shortSide: 32, crop: 0 });
  await t.rejects(model.segment(features, vocab), { code: 'E_OPTION', message: /no image features/ });
  await t.rejects(open(name, { dtype: 'bf16' }), { code: 'E_OPTION', message: /toy-predictor/ });
  await t.rejects(open(name, { encoders: { secnd: folder } }), { code: 'E_OPTION', message: /did you mean 'second'/ });
  await t.rejects(open(`naclip:${folder}`, { encoders: { second: folder } }), { code: 'E_OPTION', message: /none/ });
});

t.test('calls: one at a time by priority, deadlines, aborts, stream, disposal', async (t) => {
  const model = await open(name, { encoders: { second: folder } });
  t.same([seen.open, seen.roles.sort(), seen.compute], [1, ['main', 'second'], 'f32']);
  seen.most = 0;
  seen.order = [];
  const call = (label: string, priority: number, options: object = {}) =>
    model.segment(columns(), [label], { wait: 40, priority, ...options });
  const first = call('red', 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const stop = new AbortController();
  const left = call('green', 2, { signal: stop.signal });
  const rest = [call('green', 0), call('blue', 1)];
  const late = t.rejects(call('red', -1, { timeoutMs: 30 }), { code: 'E_TIMEOUT' });
  await new Promise((resolve) => setTimeout(resolve, 5));
  stop.abort(new Error('not needed'));
  await t.rejects(left, { message: 'not needed' });
  await Promise.all([first, ...rest, late]);
  t.same(seen.order, ['red', 'blue', 'green'], 'higher priority first');
  t.equal(seen.most, 1, 'one at a time');

  const inputs = [columns(), columns(2), new Uint8Array([1, 2, 3]), columns(9)];
  const results: (number | string)[] = [];
  for await (const result of model.stream(inputs, labels))
    results.push(result.ok ? result.value.height : result.error.code);
  t.same(results, [6, 2, 'E_IMAGE_FORMAT', 9]);

  const running = call('red', 0);
  const ended = model.dispose();
  await running;
  await ended;
  t.equal(seen.open, 0, 'disposed once nothing runs');
  await t.rejects(model.segment(columns(), labels), { code: 'E_DISPOSED' });
});
