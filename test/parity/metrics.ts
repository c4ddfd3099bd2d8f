/**
 * Metrics against torchmetrics, pycocotools and OpenCV's erosion on 200 random cases of each kind. By hand:
 *     python test/parity/metrics_reference.py OUT.json && node build/ts/test/parity/metrics.js OUT.json
 * Counts must be equal, ratios agree within what the other side's precision allows. Exit code 1 where one is over.
 */
import { readFileSync } from 'node:fs';
import { boundaryScores, confusion, maskAp, PanopticQuality, semanticScores } from 'wordmask/eval';

type Numbers = (number | null)[];
interface Cases {
  semantic: {
    classes: number;
    pred: number[];
    label: number[];
    matrix: number[][];
    iou: Numbers;
    weighted: number;
    accuracy: number;
  }[];
  boundary: { classes: number; shape: [number, number]; pred: number[]; label: number[]; iou: Numbers }[];
  panoptic: {
    categories: { id: number; isthing: number }[];
    images: { ids: number[]; segments: { id: number; category_id: number; area: number }[] }[][];
    per_class: number[][];
    counts: number[][];
  }[];
  instances: { truth: object; predictions: object; stats: number[] }[];
}

const cases = JSON.parse(readFileSync(process.argv[2] as string, 'utf8')) as Cases;
const worst = new Map<string, number>();

function compare(name: string, actual: ArrayLike<number>, expected: ArrayLike<number | null>): void {
  let most = worst.get(name) ?? 0;
  for (let i = 0; i < expected.length; i++) {
    const [mine, theirs] = [actual[i] as number, expected[i] ?? Number.NaN];
    const equal = Number.isNaN(mine) && Number.isNaN(theirs);
    most = Math.max(most, equal ? 0 : Math.abs(mine - theirs) || (mine === theirs ? 0 : Infinity));
  }
  worst.set(name, actual.length === expected.length ? most : Infinity);
}

for (const { classes: numClasses, pred, label, ...expected } of cases.semantic) {
  const counts = confusion(Uint8Array.from(pred), Uint8Array.from(label), { numClasses });
  const scores = semanticScores(counts);
  const square = expected.matrix.flatMap((row) => [...row, 0]);
  compare('confusion matrix (torchmetrics)', counts.data, square);
  compare('IoU of classes (torchmetrics)', scores.iou, expected.iou);
  compare('frequency-weighted IoU (torchmetrics)', [scores.fwIoU], [expected.weighted]);
  compare('pixel accuracy (torchmetrics)', [scores.pixelAccuracy], [expected.accuracy]);
}
for (const { classes: numClasses, shape, pred, label, iou } of cases.boundary) {
  const scores = boundaryScores({ data: pred, shape }, { data: label, shape }, { numClasses });
  compare('boundary IoU (OpenCV)', scores.iou, iou);
}
for (const { categories, images, per_class: quality, counts } of cases.panoptic) {
  const sums = new PanopticQuality(categories);
  for (const [truth, guess] of images) sums.add(truth as never, guess as never);
  const { perCategory } = sums.result();
  const found = (c: number) => perCategory[c + 1] ?? { pq: 0, sq: 0, rq: 0, tp: 0, fp: 0, fn: 0 };
  compare(
    'panoptic counts (torchmetrics)',
    counts.flatMap((_, c) => [found(c).tp, found(c).fp, found(c).fn]),
    counts.flat(),
  );
  compare(
    'PQ, SQ, RQ (torchmetrics)',
    quality.flatMap((_, c) => [found(c).pq, found(c).sq, found(c).rq]),
    quality.flatMap((row) => row.map((value) => (Number.isNaN(value) ? 0 : value))),
  );
}
const names = [
  'AP',
  'AP50',
  'AP75',
  'AP_small',
  'AP_medium',
  'AP_large',
  'AR_1',
  'AR_10',
  'AR_100',
  'AR_small',
  'AR_medium',
  'AR_large',
];
for (const { truth, predictions, stats } of cases.instances) {
  const scores = (await maskAp({ gtJson: truth, predJson: predictions })) as never as Record<string, number>;
  compare(
    'mask AP, twelve figures (pycocotools)',
    names.map((name) => scores[name] as number),
    stats,
  );
}
for (const [name, error] of worst) {
  // torchmetrics divides in f32 where the metric is not counted in f64.
  const limit = /counts|matrix/.test(name) ? 0 : /torchmetrics/.test(name) ? 2e-7 : 1e-12;
  if (!(error <= limit)) process.exitCode = 1;
  process.stdout.write(`${error <= limit ? 'ok  ' : 'OVER'} ${name}: ${error.toExponential(2)} (limit ${limit})\n`);
}
