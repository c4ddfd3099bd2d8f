/** A report with made-up figures, for the forms it is printed in. */
import { type EvalReport, reportFormat } from '#lib/eval/report-types.js';
import { Random } from '#lib/util/random.js';

export interface SampleOptions {
  readonly classes: readonly string[];
  readonly images?: number;
  readonly failed?: number;
}

/** Counts of a random confusion matrix, all else derived from them. */
export function sampleReport({ classes, images = 20, failed = 0 }: SampleOptions): EvalReport {
  const random = new Random(7);
  const count = classes.length;
  const matrix = new Map<number, number>();
  const add = (row: number, column: number, pixels: number): void => {
    const cell = row * (count + 1) + column;
    matrix.set(cell, (matrix.get(cell) ?? 0) + pixels);
  };
  for (let row = 0; row < count; row++) {
    if (row % 11 === 10) continue;
    const area = 1000 + random.int(90_000);
    add(row, row, Math.floor(area * random.uniform(0.1, 0.95)));
    for (let k = 0; k < 4; k++) add(row, random.int(count + 1), Math.floor((area * random.uniform()) / 9));
  }
  const cells = [...matrix.keys()].sort((a, b) => a - b);
  const counts = cells.map((cell) => matrix.get(cell) as number);
  const total = (of: (row: number, column: number) => boolean): number =>
    cells.reduce(
      (sum, cell, i) => sum + (of(Math.floor(cell / (count + 1)), cell % (count + 1)) ? (counts[i] as number) : 0),
      0,
    );
  const perClass = classes.map((name, index) => {
    const intersection = total((row, column) => row === index && column === index);
    const labelArea = total((row) => row === index);
    const predictionArea = total((_, column) => column === index);
    const union = labelArea + predictionArea - intersection;
    const iou = union === 0 ? null : intersection / union;
    const accuracy = labelArea === 0 ? null : intersection / labelArea;
    return { index, name, iou, accuracy, intersection, labelArea, predictionArea, missedArea: 0 };
  });
  const scored = perClass.flatMap(({ iou }) => (iou === null ? [] : [iou]));
  const mIoU = scored.reduce((sum, iou) => sum + iou, 0) / scored.length;
  const validPixels = total(() => true);
  const correctPixels = total((row, column) => row === column);
  const metrics = {
    ...{ mIoU, mIoUZero: mIoU, mIoUSkip: mIoU, fwIoU: 0.4, meanAccuracy: 0.6 },
    pixelAccuracy: correctPixels / validPixels,
  };
  const timings = Array.from({ length: images }, () => ({
    ...{ decode: random.uniform(2, 5), preprocess: random.uniform(1, 2), encode: random.uniform(40, 70) },
    ...{ match: random.uniform(8, 12), count: random.uniform(0.2, 0.9) },
  }));
  const stages: Record<string, number> = {};
  for (const timing of timings)
    for (const [stage, ms] of Object.entries(timing)) stages[stage] = (stages[stage] ?? 0) + ms;
  return {
    format: reportFormat,
    dataset: {
      ...{ name: 'drawn-scenes', kind: 'semantic', classes, colors: classes.map(() => null) },
      source: { layout: 'explicit', images: '/data/sets/scenes/images' },
    },
    protocol: {
      ...{ name: 'sclip', evaluator: 'mmseg', absent: 'zero', dataset: 'drawn-scenes', templates: 'imagenet-80' },
      classes: { file: 'drawn-scenes', hash: 'a'.repeat(64) },
      queries: { file: 'drawn-scenes', hash: 'a'.repeat(64), background: 'none' },
      ...{ average: 'normalise-mean-normalise', ignore: 255, reduceZeroLabel: false, labelMap: 'none', split: null },
      resize: { mode: 'keep-ratio', shortSide: 336, longSide: 2048, multiple: 1 },
      window: { crop: 224, stride: 112 },
      background: { mode: 'none', value: null },
      ...{ refine: 'none', merge: 'cosine', systemOptions: { attention: 'kk+gauss', sigma: 5 } },
    },
    protocolHash: 'b'.repeat(64),
    metrics,
    ...(failed > 0 && { metricsWithoutFailed: { ...metrics, mIoU: mIoU + 0.01 } }),
    perClass,
    confusion: { shape: [count, count + 1], cells, counts },
    counts: {
      ...{ items: images, asked: images, done: images - failed, failed, uncounted: 0, missing: 0 },
      ...{ validPixels, correctPixels },
    },
    images: Array.from({ length: images }, (_, index) => ({
      ...{ index, id: `scene ${index}`, valid: 1000, correct: 400 + index },
      ...(index < failed
        ? { status: 'failed', mIoU: null, code: 'E_IMAGE_CORRUPT', message: '/data/a/scene.png is cut off' }
        : { status: 'done', mIoU: random.uniform() }),
    })),
    warnings: [],
    provenance: {
      ...{ wordmask: '0.1.0', system: 'naclip', model: 'c'.repeat(64), vocabulary: 'd'.repeat(64) },
      ...{ device: 'cpu', dtype: 'fp32', deterministic: true },
    },
    reference: {
      ...{ row: 'NACLIP + PAMR', metric: 'mIoU', value: 0.6407, trust: 'read', source: 'README table' },
      ...{ difference: mIoU - 0.6407, caveats: ['other weights: those of the row are openai/clip-vit-base-patch16'] },
    },
    run: {
      ...{ wallSeconds: 71.4, cpuSeconds: 130, imagesPerSecond: 14, stages, timings, limit: null, shards: null },
      resumed: 0,
    },
  };
}
