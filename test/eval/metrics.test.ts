import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  Boundary,
  boundaryScores,
  Confusion,
  confusion,
  harmonic,
  type LabelMap,
  MaskAp,
  maskAp,
  PanopticQuality,
  type PanopticScores,
  panopticQuality,
  reduceZeroLabel,
  semanticScores,
} from 'wordmask/eval';
import { Mask, readLabels, vocColour } from 'wordmask/formats';

const data = process.env.WORDMASK_TEST_DATA;
const skip = data ? false : 'WORDMASK_TEST_DATA is not set';
const path = (...parts: string[]): string => join(data as string, ...parts);
const json = (...parts: string[]) => JSON.parse(readFileSync(path(...parts), 'utf8'));

interface SemanticCase {
  name?: string;
  kind?: string;
  classes: number;
  ignore_index: number;
  reduce_zero_label?: boolean;
  ground_truth: number[][] | string;
  prediction: number[][] | string;
  expected: Record<string, never>;
}

function checkSemantic(
  t: Test,
  scores: ReturnType<typeof semanticScores>,
  expected: Record<string, number & (number | null)[]>,
  name: string,
): void {
  const close = (a: number, b: number | null): boolean => (b === null ? Number.isNaN(a) : Math.abs(a - b) < 1e-12);
  const singles = {
    mIoU: 'mean_iou',
    fwIoU: 'frequency_weighted_iou',
    pixelAccuracy: 'pixel_accuracy',
    meanAccuracy: 'mean_accuracy',
    validPixels: 'valid_pixels',
    correct: 'correct',
  } as const;
  for (const [ours, theirs] of Object.entries(singles))
    if (theirs in expected) t.ok(close(scores[ours as 'mIoU'], expected[theirs] as number), `${name}: ${ours}`);
  const lists = {
    iou: 'iou',
    accuracy: 'accuracy',
    intersection: 'intersection',
    labelArea: 'ground_truth_area',
    predictionArea: 'prediction_area',
  } as const;
  for (const [ours, theirs] of Object.entries(lists)) {
    if (theirs in expected)
      t.ok(
        (expected[theirs] as (number | null)[]).every((value, c) => close(scores[ours as 'iou'][c] as number, value)),
        `${name}: ${ours}`,
      );
  }
}

t.test('hand-made semantic cases', { skip }, async (t) => {
  for (const item of json('metrics/semantic-hand.json') as SemanticCase[]) {
    const label = Uint8Array.from((item.ground_truth as number[][]).flat());
    const pred = Uint8Array.from((item.prediction as number[][]).flat());
    const counts = confusion(pred, item.reduce_zero_label ? reduceZeroLabel(label) : label, {
      numClasses: item.classes,
      ignore: item.ignore_index,
    });
    checkSemantic(t, semanticScores(counts), item.expected, item.name as string);
  }
});

async function readMap(file: string, kind: string): Promise<LabelMap> {
  const bytes = readFileSync(path(file));
  const legend = Array.from({ length: 21 }, (_, index) => ({ index, name: `class ${index}`, color: vocColour(index) }));
  const result = kind.includes('colour') ? await readLabels('rgb', bytes, { legend }) : await readLabels('png', bytes);
  return { data: result.labels, shape: [result.height, result.width] };
}

t.test('real maps', { skip }, async (t) => {
  const cases = json('metrics/semantic-real.json') as SemanticCase[];
  const totals = new Map<string, Confusion>();
  for (const item of cases) {
    if (typeof item.ground_truth !== 'string' || typeof item.prediction !== 'string') continue;
    const options = { numClasses: item.classes, ignore: item.ignore_index };
    const [pred, label] = [
      await readMap(item.prediction, item.kind as string),
      await readMap(item.ground_truth, item.kind as string),
    ];
    checkSemantic(t, semanticScores(confusion(pred, label, options)), item.expected, item.ground_truth);
    const key = JSON.stringify(options);
    totals.set(key, (totals.get(key) ?? new Confusion(options)).add(pred, label));
  }
  const total = cases.find((item) => typeof item.ground_truth !== 'string');
  t.comment(JSON.stringify({ ...total, expected: undefined }));
  if (total)
    for (const counts of totals.values())
      if (counts.matrix().shape[0] === total.classes)
        checkSemantic(t, semanticScores(counts.matrix()), total.expected, 'data set');
});

t.test('rules of counting', async (t) => {
  const scores = semanticScores(confusion([0, 1, 0, 1], [0, 1, 1, 255], { numClasses: 2 }));
  t.same(
    [scores.mIoU, scores.pixelAccuracy, scores.intersection, scores.labelArea, scores.predictionArea],
    [0.5, 2 / 3, [1, 1], [1, 2], [2, 1]],
  );
  const outside = confusion([7, 0], [0, 0], { numClasses: 2 });
  t.same(
    [outside.shape, [...outside.data]],
    [
      [2, 3],
      [1, 0, 1, 0, 0, 0],
    ],
    'a prediction outside the classes counts against the label',
  );
  const predictedOnly = confusion([0, 2], [0, 0], { numClasses: 3 });
  t.same(semanticScores(predictedOnly, { absent: 'zero' }).mIoU, 0.25);
  t.same(semanticScores(predictedOnly, { absent: 'skip' }).mIoU, 0.5);
  t.same([...reduceZeroLabel(Uint8Array.of(0, 1, 150, 255))], [255, 0, 149, 255]);
  t.same([...reduceZeroLabel(Uint16Array.of(0, 1, 255, 847, 65_535))], [65_535, 0, 254, 846, 65_535]);
  t.equal(harmonic(40, 60), 48);
  t.equal(harmonic([0.2, 0.6], [0.6]), 0.48);
  t.equal(harmonic(0, 0), 0);
  t.throws(() => harmonic([0.2, Number.NaN], 1), { code: 'E_NUMERIC' });
  t.throws(() => confusion([0], [0, 1], { numClasses: 2 }), { code: 'E_USAGE' });
  t.throws(() => confusion([0], [9], { numClasses: 2 }), { code: 'E_USAGE' });
  t.throws(() => confusion([0], [0], { numClasses: 0 }), { code: 'E_OPTION' });
  t.throws(() => semanticScores({ data: [1, 2], shape: [1, 3] }), { code: 'E_USAGE' });
  const transposed = { data: Uint8Array.of(0, 1, 2, 3, 4, 5), shape: [3, 2], stride: [1, 3], offset: 0 };
  t.same(
    [...confusion(transposed, { data: [0, 3, 1, 4, 2, 5], shape: [3, 2] }, { numClasses: 6 }).data].filter(
      (n) => n === 1,
    ).length,
    6,
    'strided views',
  );
});

t.test('shards add up', async (t) => {
  const maps = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 24, maxLength: 24 });
  fc.assert(
    fc.property(maps, maps, maps, maps, (a, b, c, d) => {
      const options = { numClasses: 3, ignore: 3 };
      const parts = new Confusion(options).add(a, b).merge(new Confusion(options).add(c, d));
      const whole = confusion([...a, ...c], [...b, ...d], options);
      const shaped = (list: number[]) => ({ data: list, shape: [4, 6] });
      const boundary = new Boundary(options).add(shaped(a), shaped(b)).add(shaped(c), shaped(d)).result();
      const merged = new Boundary(options)
        .add(shaped(a), shaped(b))
        .merge(new Boundary(options).add(shaped(c), shaped(d)))
        .result();
      return (
        JSON.stringify([...parts.matrix().data]) === JSON.stringify([...whole.data]) &&
        JSON.stringify(boundary) === JSON.stringify(merged)
      );
    }),
    { numRuns: 50 },
  );
  t.pass();
});

function checkPanoptic(
  t: Test,
  scores: PanopticScores,
  expected: PanopticScores & { per_category: Record<string, Record<string, number>> },
  name: string,
): void {
  for (const part of ['all', 'things', 'stuff'] as const) {
    for (const key of ['pq', 'sq', 'rq', 'n'] as const)
      t.ok(Math.abs(scores[part][key] - expected[part][key]) < 1e-12, `${name}: ${part} ${key}`);
  }
  t.same(Object.keys(scores.perCategory), Object.keys(expected.per_category), `${name}: categories`);
  for (const [id, item] of Object.entries(expected.per_category)) {
    const ours = scores.perCategory[id];
    t.ok(
      ours &&
        ours.tp === item.tp &&
        ours.fp === item.fp &&
        ours.fn === item.fn &&
        Math.abs(ours.iouSum - (item.iou_sum as number)) < 1e-12 &&
        Math.abs(ours.pq - (item.pq as number)) < 1e-12,
      `${name}: category ${id}`,
    );
  }
}

t.test('panoptic quality', { skip }, async (t) => {
  for (const item of json('metrics/panoptic-hand.json')) {
    const quality = new PanopticQuality(item.categories);
    quality.add(
      { ids: item.ground_truth.flat(), segments: item.ground_truth_segments },
      { ids: item.prediction.flat(), segments: item.prediction_segments },
    );
    checkPanoptic(t, quality.result(), item.expected, item.name);
  }
  const expected = json('metrics/panoptic-expected.json').results;
  for (const [name, result] of Object.entries(expected)) {
    const files = {
      gtJson: path('panoptic/panoptic_examples.json'),
      gtFolder: path('panoptic/panoptic_examples'),
      predJson: path(`metrics/${name}.json`),
      predFolder: path('metrics', name),
    };
    checkPanoptic(t, await panopticQuality(files), result as never, name);
  }
});

t.test('panoptic rules', async (t) => {
  const categories = [{ id: 1, isthing: 1 }];
  const gt = { ids: new Uint8Array(200).fill(1, 0, 100), segments: [{ id: 1, category_id: 1, area: 100 }] };
  const scored = (pixels: number) =>
    new PanopticQuality(categories)
      .add(gt, { ids: new Uint8Array(200).fill(7, 0, pixels), segments: [{ id: 7, category_id: 1 }] })
      .result();
  t.same(scored(60).all, { pq: 0.6, sq: 0.6, rq: 1, n: 1 });
  t.match(scored(50).perCategory['1'], { tp: 0, fp: 1, fn: 1 }, 'one half is no match');
  const bad = (segments: { id: number; category_id: number }[], ids: Uint8Array) => () =>
    new PanopticQuality(categories).add(gt, { ids, segments });
  t.throws(bad([], new Uint8Array(200).fill(3)), { code: 'E_USAGE' }, 'id without segment');
  t.throws(bad([{ id: 3, category_id: 1 }], new Uint8Array(200)), { code: 'E_USAGE' }, 'segment without pixel');
  t.throws(bad([{ id: 3, category_id: 9 }], new Uint8Array(200).fill(3)), { code: 'E_USAGE' }, 'unknown category');
  t.throws(bad([], new Uint8Array(100)), { code: 'E_USAGE' }, 'size');
  await t.rejects(panopticQuality({ gtJson: '/nowhere.json', gtFolder: '', predJson: {}, predFolder: '' }), {
    code: 'E_USAGE',
  });
  await t.rejects(panopticQuality({ gtJson: {}, gtFolder: '', predJson: {}, predFolder: '' }), { code: 'E_USAGE' });
});

t.test('mask average precision', { skip }, async (t) => {
  const { expected, average_precision_per_category: perCategory } = json('metrics/instance-a-expected.json');
  const scores = await maskAp({
    gtJson: path('metrics/instance-ground-truth.json'),
    predJson: path('metrics/instance-a-predictions.json'),
  });
  for (const [key, value] of Object.entries(expected))
    t.ok(Math.abs(scores[key as 'AP'] - (value as number)) < 1e-12, `${key} ${scores[key as 'AP']}`);
  for (const [id, value] of Object.entries(perCategory))
    t.ok(Math.abs((scores.perCategory[id] as number) - (value as number)) < 1e-12, `category ${id}`);
  const truth = json('metrics/instance-ground-truth.json');
  const perfect = truth.annotations.map((item: object, i: number) => ({ ...item, score: 1 - i / 1000 }));
  t.equal((await maskAp({ gtJson: truth, predJson: perfect })).AP50, 1);
  await t.rejects(maskAp({ gtJson: truth, predJson: [{ ...perfect[0], image_id: 5 }] }), { code: 'E_USAGE' });
  await t.rejects(maskAp({ gtJson: truth, predJson: [{ ...perfect[0], score: 'high' }] }), { code: 'E_USAGE' });
});

t.test('average precision by hand', async (t) => {
  const mask = (begin: number, end: number) =>
    Mask.fromBitmap(
      Array.from({ length: 100 }, (_, i) => Number(i >= begin && i < end)),
      10,
      10,
    );
  const ap = new MaskAp([1]);
  ap.add(
    1,
    [
      { category: 1, mask: mask(0, 20) },
      { category: 1, mask: mask(50, 70) },
    ],
    [
      { category: 1, mask: mask(0, 20), score: 0.9 },
      { category: 1, mask: mask(80, 90), score: 0.8 },
      { category: 1, mask: mask(50, 62), score: 0.7 },
    ],
  );
  const { AP50, AP75, AR_1, AP_large } = ap.result();
  t.ok(Math.abs(AP50 - (51 + 50 * (2 / 3)) / 101) < 1e-12, 'IoU 0.6 counts at 0.50');
  t.ok(Math.abs(AP75 - 51 / 101) < 1e-12, 'and not at 0.75');
  t.equal(AR_1, 0.5);
  t.equal(AP_large, -1);
});

/** Boundary scores straight from the definitions. */
function naiveBoundary(
  pred: number[],
  label: number[],
  width: number,
  height: number,
  classes: number,
  ignore: number,
) {
  const depth = Math.max(1, Math.round(0.02 * Math.hypot(width, height)));
  const reach = Math.ceil(0.0075 * Math.hypot(width, height));
  const inside = (x: number, y: number) => x >= 0 && y >= 0 && x < width && y < height;
  const iou: number[] = [];
  const f: number[] = [];
  for (let c = 0; c < classes; c++) {
    const masks = [label, pred].map((map) => map.map((value, i) => value === c && label[i] !== ignore));
    const [bands, lines] = [
      masks.map((mask) => {
        let eroded = mask;
        for (let k = 0; k < depth; k++)
          eroded = eroded.map((_, i) =>
            [-1, 0, 1].every((dy) =>
              [-1, 0, 1].every(
                (dx) => inside((i % width) + dx, Math.floor(i / width) + dy) && eroded[i + dy * width + dx],
              ),
            ),
          );
        return mask.map((value, i) => value && !eroded[i]);
      }),
      masks.map((mask) =>
        mask.flatMap((value, i) => {
          const [x, y] = [i % width, Math.floor(i / width)];
          return value &&
            [
              [1, 0],
              [-1, 0],
              [0, 1],
              [0, -1],
            ].some(
              ([dx, dy]) =>
                inside(x + (dx as number), y + (dy as number)) && !mask[i + (dx as number) + (dy as number) * width],
            )
            ? [[x, y] as const]
            : [];
        }),
      ),
    ];
    const [a, b] = bands as [boolean[], boolean[]];
    iou.push(a.filter((value, i) => value && b[i]).length / a.filter((value, i) => value || b[i]).length);
    const [truth, guess] = lines as [(readonly [number, number])[], (readonly [number, number])[]];
    const share = (from: typeof truth, to: typeof truth) =>
      from.length && to.length
        ? from.filter(([x, y]) => to.some(([u, v]) => Math.hypot(x - u, y - v) <= reach)).length / from.length
        : 0;
    const [p, r] = [share(guess, truth), share(truth, guess)];
    const empty = truth.length === 0 && guess.length === 0;
    f.push(
      !(masks[0] as boolean[]).includes(true)
        ? Number.NaN
        : empty
          ? Number((masks[1] as boolean[]).includes(true))
          : p + r === 0
            ? 0
            : (2 * p * r) / (p + r),
    );
  }
  return { iou, f };
}

t.test('boundary scores agree with their definitions', async (t) => {
  const size = fc.tuple(fc.integer({ min: 1, max: 140 }), fc.integer({ min: 1, max: 12 }));
  const blobs = size.chain(([width, height]) =>
    fc.tuple(
      fc.constant(width),
      fc.constant(height),
      fc.array(
        fc.tuple(fc.nat(2), fc.nat(width), fc.nat(height), fc.nat(width), fc.nat(height), fc.constantFrom(0, 1, 2, 9)),
        { maxLength: 8 },
      ),
    ),
  );
  fc.assert(
    fc.property(blobs, ([width, height, boxes]) => {
      const maps = [new Array(width * height).fill(0), new Array(width * height).fill(0)] as [number[], number[]];
      for (const [which, x0, y0, x1, y1, value] of boxes) {
        for (let y = Math.min(y0, y1); y < Math.max(y0, y1); y++)
          for (let x = Math.min(x0, x1); x < Math.max(x0, x1); x++)
            for (const k of which === 2 ? [0, 1] : [which]) (maps[k] as number[])[y * width + x] = value;
      }
      const shape = [height, width];
      const ours = boundaryScores({ data: maps[0], shape }, { data: maps[1], shape }, { numClasses: 3, ignore: 9 });
      const theirs = naiveBoundary(maps[0], maps[1], width, height, 3, 9);
      const near = (a: number[], b: number[]) =>
        a.every((value, i) => Object.is(value, b[i]) || Math.abs(value - (b[i] as number)) < 1e-12);
      return near(ours.iou, theirs.iou) && near(ours.f, theirs.f);
    }),
    { numRuns: 150 },
  );
  t.throws(() => boundaryScores([1], [1], { numClasses: 2 }), { code: 'E_USAGE' });
});
