/** The running best over windows and queries: any cut of vocabulary and rows gives the same bits; hand-checked rules. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import {
  classProbabilities,
  getThreads,
  scoreFinish,
  scoreInit,
  scoreUpdate,
  setThreads,
  Tensor,
  windowMerge,
  windowPatches,
  windowUpsample,
} from '#lib/engine/index.js';
import { data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { seeded } from '../helpers/samples.js';

const boxes = Tensor.from(Int32Array.of(0, 0, 24, 24, 0, 16, 24, 40, 9, 0, 33, 24, 9, 16, 33, 40), [4, 4]);
const geometry = { canvas: [33, 40], window: [24, 24], out: [37, 300] } as const;
const queries = 11;
const classes = [0, 0, 1, 2, -1, 3, 3, 4, 5, -1, 1];
const settings = { scale: 40, second: true, moment: true, topk: 3 } as const;

const random = seeded('window test');
const logits = Float32Array.from({ length: 4 * queries * 3 * 5 }, () => random() - 0.5);
const of = (values: readonly number[]): Tensor => Tensor.from(Int32Array.from(values), [values.length]);

/** Queries begin..end of every window. */
function slice(begin: number, end: number): Tensor {
  return Tensor.from(logits, [4, queries, 3, 5]).slice(1, begin, end).contiguous();
}

async function merged(cuts: readonly number[], row0 = 0, rows = 37): Promise<Float32Array> {
  let state = scoreInit(rows, 300, 3);
  for (let k = 0; k + 1 < cuts.length; k++) {
    const [begin, end] = [cuts[k] as number, cuts[k + 1] as number];
    state = windowMerge(
      state,
      slice(begin, end),
      boxes,
      of(classes.slice(begin, end)),
      { ...geometry, row0, rows },
      settings,
    );
  }
  return (await state.data()) as Float32Array;
}

t.test('cuts of the vocabulary, of the rows and thread counts do not change a bit', async (t) => {
  const whole = await merged([0, queries]);
  t.same(await merged([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), whole, 'one by one');
  t.same(await merged([0, 5, 7, 11]), whole, 'uneven');
  const before = getThreads();
  setThreads(before === 1 ? 3 : 1);
  t.same(await merged([0, queries]), whole, 'threads');
  setThreads(before);
  const part = await merged([0, queries], 13, 6);
  for (let k = 0; k < 12; k++)
    t.same(
      part.subarray(k * 1800, (k + 1) * 1800),
      whole.subarray((k * 37 + 13) * 300, (k * 37 + 19) * 300),
      `plane ${k}`,
    );
  const volume = windowUpsample(slice(0, queries), boxes, geometry);
  const twoSteps = scoreUpdate(scoreInit(37, 300, 3), volume, of(classes), settings);
  t.same(await twoSteps.data(), whole, 'upsample, then update');
});

t.test('a constant map passes unchanged, whatever the sizes', async (t) => {
  const constant = Tensor.from(new Float32Array(4 * 2 * 15).fill(0.3), [4, 2, 3, 5]);
  const out = (await windowUpsample(constant, boxes, geometry).data()) as Float32Array;
  t.ok(out.every((v) => v === Math.fround(0.3)));
});

t.test('labels: ties, synonyms, thresholds, words that do not compete', async (t) => {
  // Pixels: a tie of classes 1 and 2; two synonyms of class 0 against class 2; a word that does not compete leads.
  const x = [
    [1, 2, 0],
    [1, 2, 0],
    [0, 1, 0],
    [0, 0, 5],
  ].flat();
  const state = scoreUpdate(scoreInit(1, 3), Tensor.from(Float32Array.from(x), [4, 1, 3]), of([2, 1, 1, -1]), {
    scale: 1,
    second: true,
  });
  const read = async (options: object): Promise<number[]> => [
    ...((await scoreFinish(state, { scale: 1, ...options }).labels.data()) as Uint8Array),
  ];
  t.same(await read({}), [1, 1, 1]);
  t.same(await read({ threshold: 0.3 }), [1, 1, 255], 'the non-competing word takes the mass');
  t.same(await read({ threshold: 0.3, background: 0 }), [1, 1, 0]);
  t.same(await read({ threshold: 0 }), [1, 1, 1], 'a threshold of 0 never changes labels');
  t.same(await read({ marginThreshold: 1e-6 }), [255, 255, 255], 'ties have no margin');
  const { score, margin } = scoreFinish(state, { scale: 1, score: true, margin: true });
  const z = 2 * Math.E + 2;
  t.ok(Math.abs(((await score!.data()) as Float32Array)[0]! - Math.E / z) < 1e-6);
  t.equal(((await margin!.data()) as Float32Array)[0], 0);
});

t.test('a state without queries, and infinite logits', async (t) => {
  const empty = scoreFinish(scoreInit(1, 2), { scale: 1, score: true, entropy: true });
  t.same([...((await empty.labels.data()) as Uint8Array)], [255, 255]);
  t.same([...((await empty.score!.data()) as Float32Array)], [0, 0]);
  const x = Float32Array.of(-Infinity, 1, 0.5, -Infinity);
  const state = scoreUpdate(scoreInit(1, 2), Tensor.from(x, [2, 1, 2]), of([0, 1]), { scale: 40, moment: true });
  const done = scoreFinish(state, { scale: 40, score: true, entropy: true });
  t.same([...((await done.labels.data()) as Uint8Array)], [1, 0]);
  t.same([...((await done.score!.data()) as Float32Array)], [1, 1]);
  t.same([...((await done.entropy!.data()) as Float32Array)], [0, 0]);
});

t.test('class probabilities agree with the running best', async (t) => {
  const volume = windowUpsample(slice(0, queries), boxes, geometry);
  const p = (await classProbabilities(volume, of(classes), { scale: 40, classes: 6 }).data()) as Float32Array;
  const state = scoreUpdate(scoreInit(37, 300), volume, of(classes), { scale: 40 });
  const done = scoreFinish(state, { scale: 40, score: true });
  const [labels, score] = [(await done.labels.data()) as Uint8Array, (await done.score!.data()) as Float32Array];
  let worst = 0;
  for (let i = 0; i < labels.length; i++)
    worst = Math.max(worst, Math.abs((p[(labels[i] as number) * labels.length + i] as number) - (score[i] as number)));
  t.ok(worst < 1e-5, `largest difference ${worst}`);
});

t.test('boxes are checked before anything is read', async (t) => {
  const outside = Tensor.from(Int32Array.of(0, 0, 24, 24, 0, 17, 24, 41, 9, 0, 33, 24, 9, 16, 33, 40), [4, 4]);
  await t.rejects(windowUpsample(slice(0, 1), outside, geometry).data(), { code: 'E_OPTION', message: /box 1/ });
  const image = Tensor.from(new Uint8Array(33 * 40 * 3), [33, 40, 3]);
  const [mean, std] = [Tensor.from(Float32Array.of(0, 0, 0), [3]), Tensor.from(Float32Array.of(1, 1, 1), [3])];
  await t.rejects(windowPatches(image, outside, mean, std, { height: 24, width: 24, patch: 8 }).data(), {
    code: 'E_OPTION',
    message: /box 1/,
  });
  t.throws(() => windowUpsample(slice(0, 1), boxes, { ...geometry, row0: 30, rows: 8 }), {
    code: 'E_OPTION',
    message: /outside/,
  });
});

t.test('merging as the published window loop does it', needsData, async (t) => {
  const folder = data('systems/primitives/sliding-window');
  const { windows } = JSON.parse(readFileSync(`${folder}/note.json`, 'utf8'));
  const { image: canvas, crop, boxes_y1x1y2x2: list } = windows[0];
  const values = await loadAll(`${folder}/expected.safetensors`);
  const value = (name: string) => values.get(name) as Loaded;
  const maps = Tensor.from(value('lowres').data, value('lowres').shape);
  const places = Tensor.from(Int32Array.from(list.flat()), [list.length, 4]);
  const plan = { canvas, window: [crop, crop] } as const;
  t.ok(maxError(await windowUpsample(maps, places, plan).data(), value('merged').data) < 1e-5, 'merged');
  const [classes = 0, height = 0, width = 0] = value('resized').shape;
  const resized = (await windowUpsample(maps, places, { ...plan, out: [height, width] }).data()) as Float32Array;
  t.ok(maxError(resized, value('resized').data) < 1e-5, 'resized');
  const pixels = height * width;
  const best = Array.from({ length: pixels }, (_, i) => {
    const column = Array.from({ length: classes }, (_, c) => resized[c * pixels + i] as number);
    return column.indexOf(Math.max(...column));
  });
  t.equal(maxError(best, value('labels').data), 0, 'labels');
});
