/** PnP-OVSS: every stored stage of the reference cases through `trace`. */
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { registerSystem } from '#lib/entry/index.js';
import { denseCrf, Tensor } from '#lib/entry/native.js';
import { readPng } from '#lib/image/png.js';
import type { MatchingModel } from '#lib/nn/matching.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import type { PredictorModel } from '#lib/pipelines/predictor-model.js';
import type { PnpPredictor } from '#lib/systems/pnp-ovss/predictor.js';
import { data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { waves } from '../helpers/pictures.js';
import { toySystem } from '../helpers/toy-matching.js';

t.setTimeout(300_000);

interface Note {
  readonly parameters: {
    readonly class_names: string[];
    readonly class_index_to_label_id?: number[];
    readonly class_index?: number[];
    readonly image_size: number;
    readonly layer_counted_from_0?: number;
    readonly salience_layer?: number;
    readonly head_counted_from_0?: number;
    readonly salience_head?: number;
    readonly passes: number;
    readonly topk_n: number;
    readonly threshold: number;
  };
  readonly configuration?: object;
  readonly class_spans_in_rows_without_token_0: number[][];
  readonly drop: { new_drop_ascending: number[] }[] | Record<string, { passes: { new_drop_ascending: number[] }[] }>;
}

interface Case {
  readonly folder: string;
  /** Files of the model folder: name -> where it comes from; config.json of the note where there is none. */
  readonly files: Readonly<Record<string, string>>;
}

const reference = (name: string) => ({
  'config.json': data('reference-models', name, 'config.json'),
  'model.safetensors': data('reference-models', name, 'model.safetensors'),
});
const own = (folder: string, ...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, data('systems', folder, name)]));
const cases: readonly Case[] = [
  {
    folder: 'pnp-ovss/blip-tiny',
    files: { ...reference('blip-itm-tiny'), 'vocab.txt': data('vocab/bert-base-uncased-vocab.txt') },
  },
  {
    folder: 'pnp-ovss/blip-12x12-published-code',
    files: own('pnp-ovss/blip-12x12-published-code', 'config.json', 'model.safetensors', 'vocab.txt'),
  },
  {
    folder: 'pnp-ovss/bridgetower-tiny',
    files: {
      ...reference('bridgetower-tiny'),
      'tokenizer.json': data('systems/pnp-ovss/bridgetower-tiny', 'tokenizer.json'),
    },
  },
  { folder: 'albef/tiny', files: own('albef/tiny', 'model.safetensors', 'vocab.txt') },
  { folder: 'mplug/tiny', files: own('mplug/tiny', 'model.safetensors', 'vocab.txt') },
];

async function openCase(t: Test, { files }: Case, note: Note): Promise<Model> {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-pnp-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const [name, from] of Object.entries(files)) await copyFile(from, join(folder, name));
  if (note.configuration) await writeFile(join(folder, 'config.json'), JSON.stringify(note.configuration));
  const model = await open(`pnp-ovss:${folder}`, { device: 'cpu' });
  t.teardown(() => model.dispose());
  return model;
}

/** Settings of a stored run, by what stands in front of its values. */
interface Run {
  readonly rule: 'topk' | 'half';
  readonly weight: 1 | 2;
  readonly background: 'always' | 'fewer-than-3';
}

function optionsOf({ parameters: p }: Note, run: Run): Record<string, unknown> {
  return {
    imageSize: p.image_size,
    layer: p.layer_counted_from_0 ?? p.salience_layer,
    head: p.head_counted_from_0 ?? p.salience_head,
    passes: p.passes,
    drop: run.rule === 'half' ? { kind: 'half' } : { kind: 'topk', n: p.topk_n },
    firstPassWeight: run.weight,
    threshold: p.threshold,
    backgroundChannel: run.background,
  };
}

/** Values of a run by step, those that every run shares included. */
function stepsOf(expected: ReadonlyMap<string, Loaded>, { rule, weight, background }: Run): Map<string, Loaded> {
  const prefixes = [`${rule}.w${weight}.${background}.`, `${rule}.w${weight}.`, `${rule}.`, ''];
  const steps = new Map<string, Loaded>();
  for (const [key, value] of expected) {
    const step = key.slice((prefixes.find((prefix) => key.startsWith(prefix)) as string).length);
    if (!/^(topk|half|w[12]|always|fewer)\b/.test(step) && !steps.has(step)) steps.set(step, value);
  }
  return steps;
}

/** Without axes of length 1; of a value of the first pass alone, what the first of all passes is. */
function compareStep(t: Test, step: string, got: { data: ArrayLike<number>; shape: number[] }, want: Loaded): void {
  const shape = (dims: readonly number[]) => dims.filter((d) => d !== 1);
  const wanted = shape(want.shape);
  const found = shape(got.shape);
  const first = found.length === wanted.length + 1;
  const pixels = /^(unary|Q\d+)$/.test(step);
  t.same(
    pixels ? [got.data.length] : first ? found.slice(1) : found,
    pixels ? [want.data.length] : wanted,
    `${step}: shape`,
  );
  const values = Array.prototype.slice.call(got.data, 0, want.data.length) as number[];
  if (/^Q/.test(step)) {
    // Ten iterations amplify: 1e-7 in the unary moves single pixels by 1e-2. The CRF alone is compared below.
    const far = values.filter((x, i) => Math.abs(x - (want.data[i] as number)) > 1e-2).length;
    t.ok(far <= 0.002 * values.length, `${step}: ${far} values differ`);
    return;
  }
  const largest = /^(softmax|unary)$/.test(step) ? 1 : maxError(want.data, new Float32Array(want.data.length));
  const error = maxError(values, Array.from(want.data, Number)) / (largest || 1);
  t.ok(error <= (step.startsWith('A') ? 1e-5 : 1e-4), `${step}: relative error ${error.toExponential(1)}`);
}

const runsOf = (expected: ReadonlyMap<string, Loaded>, folder: string): Run[] =>
  folder.includes('12x12')
    ? [{ rule: 'topk', weight: 2, background: 'always' }]
    : expected.has('half.w1.fewer-than-3.blurred')
      ? (['topk', 'half'] as const).flatMap((rule) =>
          ([1, 2] as const).flatMap((weight) =>
            (['always', 'fewer-than-3'] as const).map((background) => ({ rule, weight, background })),
          ),
        )
      : [
          { rule: 'topk', weight: 2, background: 'always' },
          { rule: 'half', weight: 1, background: 'always' },
        ];

async function countDifferent(file: string, labels: ArrayLike<number>, { parameters: p }: Note): Promise<number> {
  const { data: stored } = await readPng(await readFile(file));
  const ids = p.class_index_to_label_id ?? (p.class_index ?? p.class_names.map((_, i) => i)).map((i) => i + 1);
  return Array.from(stored, Number).reduce((sum, id, i) => {
    const label = labels[i] as number;
    return sum + Number((label === 0 ? 0 : ids[label - 1]) !== id);
  }, 0);
}

for (const each of cases) {
  t.test(each.folder, needsData, async (t) => {
    const here = (...names: string[]) => data('systems', each.folder, ...names);
    const note = JSON.parse(await readFile(here('note.json'), 'utf8')) as Note;
    const expected = await loadAll(here('expected.safetensors'));
    const model = await openCase(t, each, note);
    const runs = runsOf(expected, each.folder);
    for (const run of runs) {
      const options = optionsOf(note, run);
      const steps = stepsOf(expected, run);
      steps.delete('Q1');
      const name = `${run.rule}.w${run.weight}.${run.background}`;
      await t.test(name, async (t) => {
        const names = [...steps.keys(), 'labels', 'new_drop_ascending', 'class_spans_in_rows_without_token_0'];
        const traced = await model.trace(here('image.png'), note.parameters.class_names, names, options);
        for (const [step, want] of steps) compareStep(t, step, traced[step] as never, want);
        const drops = (Array.isArray(note.drop) ? note.drop : note.drop[run.rule]?.passes) ?? [];
        const dropped = Array.from(traced.new_drop_ascending?.data ?? []);
        t.same(
          dropped,
          drops.flatMap((pass) => pass.new_drop_ascending),
          'drop lists',
        );
        t.same(
          Array.from(traced.class_spans_in_rows_without_token_0?.data ?? []),
          note.class_spans_in_rows_without_token_0.flat(),
          'spans',
        );
        const labels = traced.labels?.data as Uint16Array;
        const stem = each.folder.includes('12x12')
          ? 'labels'
          : each.folder.includes('pnp-ovss')
            ? `labels.${name}`
            : `labels.${run.rule}.w${run.weight}`;
        const different = await countDifferent(here(`${stem}.png`), labels, note);
        t.ok(different <= 0.002 * labels.length, `labels: ${different} of ${labels.length} differ`);
        const segmented = await model.segment(here('image.png'), note.parameters.class_names, options);
        t.same(
          Array.from(segmented.labels, (label) => (label === 255 ? 0 : label + 1)),
          Array.from(labels),
          'segment gives the labels of the trace',
        );
        if (stem !== `labels.${name}`) return;
        const plain = await model.trace(here('image.png'), note.parameters.class_names, ['labels'], {
          ...options,
          refine: 'none',
        });
        const others = await countDifferent(here(`labels-no-crf.${name}.png`), plain.labels?.data as Uint16Array, note);
        t.ok(others <= 0.002 * labels.length, `labels without CRF: ${others} of ${labels.length} differ`);
      });
    }
    if (each.folder.includes('12x12')) {
      const single = await model.trace(here('image.png'), note.parameters.class_names, ['labels'], {
        ...optionsOf(note, runs[0] as Run),
        passes: 1,
      });
      const labels = single.labels?.data as Uint16Array;
      t.ok((await countDifferent(here('labels-single-pass.png'), labels, note)) <= 0.002 * labels.length, 'one pass');
    }
  });
}

t.test('pictures together get the bits of pictures alone', needsData, async (t) => {
  const [blip] = cases as [Case];
  const note = JSON.parse(await readFile(data('systems', blip.folder, 'note.json'), 'utf8')) as Note;
  const model = await openCase(t, blip, note);
  const { model: matching } = (model.calls as PredictorModel).parts.predictor as PnpPredictor;
  let calls = 0;
  const counted = Object.assign(Object.create(matching), {
    crossAttentions: (...args: Parameters<MatchingModel['crossAttentions']>) => {
      calls++;
      return matching.crossAttentions(...args);
    },
    dispose: () => undefined,
  }) as MatchingModel;
  registerSystem(toySystem('pnp-together', counted, 4));
  const mini = join(import.meta.dirname, '..', '..', '..', '..', 'test', 'fixtures', 'clip-mini');
  await using together = await open(`pnp-together:${mini}`, { device: 'cpu' });
  const options = {
    ...optionsOf(note, { rule: 'topk', weight: 2, background: 'always' }),
    outputs: ['score'] as const,
  };
  const pictures = [waves(90, 70), waves(64, 80, 1), waves(50, 50, 2), waves(90, 70, 3)];
  const words = note.parameters.class_names;
  const given = { ...options, outputs: [...options.outputs], crf: false };
  const found = await Promise.all(pictures.map((picture) => together.segment(picture, words, given)));
  t.ok(calls > 0, `${calls} groups`);
  for (const [i, picture] of pictures.entries()) {
    const alone = await model.segment(picture, words, given);
    t.same(found[i]?.labels, alone.labels);
    t.same(found[i]?.score?.data, alone.score?.data);
  }
});

t.test('the CRF over the stored unary', needsData, async (t) => {
  const image = await readPng(await readFile(data('systems/pnp-ovss/blip-tiny/image.png')));
  const expected = await loadAll(data('systems/pnp-ovss/blip-tiny/expected.safetensors'));
  for (const run of ['topk.w2.always', 'half.w1.fewer-than-3'])
    for (const iterations of [1, 10]) {
      const unary = expected.get(`${run}.unary`) as Loaded;
      const want = expected.get(`${run}.Q${iterations}`) as Loaded;
      const found = (await denseCrf(
        { data: image.data as Uint8Array, width: image.width, height: image.height },
        Tensor.from(unary.data as Float32Array, unary.shape),
        { iterations, gaussian: { sxy: 3, compat: 7 }, bilateral: { sxy: 50, srgb: 5, compat: 10 } },
      )) as Tensor;
      const values = (await found.data()) as Float32Array;
      found.dispose();
      const errors = values.map((x, i) => Math.abs(x - (want.data[i] as number)));
      t.ok(errors.reduce((a, b) => a + b, 0) / errors.length <= 1e-5, `${run}, ${iterations} iterations: mean`);
      t.ok(errors.filter((error) => error > 1e-3).length <= 0.001 * errors.length, `${run}, ${iterations} iterations`);
    }
});
