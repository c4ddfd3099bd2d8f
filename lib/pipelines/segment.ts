/** One `segment` call (architecture.md section 3), from pixels to a Segmentation. */
import { Tensor, sync } from '../engine/index.js';
import { type LabelArray, labelArray } from '../formats/format.js';
import type { DecodedImage } from '../image/decode.js';
import { encodeWindows, resizeToCanvas } from '../post/dense-encode.js';
import type { DenseOptions } from '../post/dense-options.js';
import { type Planes, ReadOut, type ReadOutSettings, type Trace } from '../post/read-out.js';
import { WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import { packageVersion } from '../util/version.js';
import { applyAreaRule, dropSmall } from './areas.js';
import { Features } from './features.js';
import type { Model } from './model.js';
import { type CheckedOptions, backgroundRule, refineOf } from './segment-options.js';
import { Segmentation, type SegmentationParts, plane, segmentsOf } from './segmentation.js';
import { toTensor } from './text-features.js';
import { type Vocabulary, queriesOf } from './vocabulary.js';

type Common = CheckedOptions['common'];

/** Windows encoded together: enough rows to fill the kernels, few enough that an abort is seen soon. */
const windowGroup = 8;

export async function encodeImage(model: Model, image: DecodedImage, options: DenseOptions, maxSide?: number): Promise<TimedFeatures> {
  const { system } = model.parts;
  const plan = system.plan(image.width, image.height, options, maxSide);
  const started = performance.now();
  const pixels = Tensor.lend(image.data, [image.height, image.width, 3], 'u8');
  let canvas: Tensor | undefined;
  try {
    canvas = resizeToCanvas(pixels, plan);
    await sync();
    const prepared = performance.now();
    const dense = await encodeWindows(system.encoder, canvas, plan, options, windowGroup, sync);
    const features = new TimedFeatures(dense, pixels, image, image.hash, options, model.parts);
    features.timings = { preprocess: prepared - started, encode: performance.now() - prepared };
    return features;
  } catch (error) {
    pixels.dispose();
    throw error;
  } finally {
    canvas?.dispose();
  }
}

/** Features that know how long they took. */
export class TimedFeatures extends Features {
  timings: Readonly<Record<string, number>> = {};
}

export async function segmentFeatures(
  model: Model, features: Features, vocab: Vocabulary, options: DenseOptions, common: Common, timings: Record<string, number>, trace?: Trace,
): Promise<Segmentation> {
  const { width, height } = features;
  const clock = stopwatch(timings);
  const rows = await model.compile(vocab, options);
  clock('text');
  const { planes, settings, warnings } = await readOut(model, features, vocab, rows, options, common, trace);
  clock(settings.refine.kind === 'none' ? 'match' : 'refine');
  const labels = await narrow(planes.labels, vocab);
  const segments = await segmentsOf(labels, width, height, planes.score);
  clock('output');
  return new Segmentation({
    width, height, labels, vocab, segments, warnings, timings,
    planes: planesOf(planes, common, width, height, vocab.labels.length),
    provenance: provenance(model, features, vocab, options, common, settings),
    image: common.keepImage === false ? undefined : features.pixels,
  });
}

async function readOut(model: Model, features: Features, vocab: Vocabulary, rows: readonly Float32Array[], options: DenseOptions, common: Common, trace?: Trace) {
  const { spec } = vocab;
  const queries = queriesOf(spec, rows, model.parts.embed);
  const outputs = common.outputs ?? [];
  const restricted = common.labels && new Set(common.labels.map((name) => vocab.indexOf(name)));
  const settings: ReadOutSettings = {
    options,
    refine: refineOf(common.refine, options),
    ...backgroundRule(spec.background, common, options, spec.backgroundIndex),
    outputs: {
      margin: outputs.includes('margin'), entropy: outputs.includes('entropy'), probabilities: outputs.includes('probabilities'),
      topk: outputs.includes('topk') ? Math.min(common.k ?? 5, queries.classes) : 0,
    },
    budget: model.parts.budget,
    tileRows: typeof common.tile === 'number' ? common.tile : undefined,
    // Restricted to some labels: the others leave the softmax, as if the vocabulary did not have them.
    excluded: undefined,
  };
  if (settings.outputs.probabilities) checkVolume(settings, queries.classes, queries.classOf.length, features);
  const kept = restricted ? [...queries.classOf.keys()].filter((i) => restricted.has(queries.classOf[i] as number) || (queries.classOf[i] as number) >= spec.labels.length) : undefined;
  const text = toTensor(kept ? kept.map((i) => queries.rows[i] as Float32Array) : queries.rows, model.parts.embed);
  const classOf = kept ? Int32Array.from(kept, (i) => queries.classOf[i] as number) : queries.classOf;
  try {
    const run = (excluded?: ReadonlySet<number>, changes: Partial<ReadOutSettings> = {}) =>
      new ReadOut(model.parts.system, features.dense, { text, classOf, classes: queries.classes }, { ...settings, ...changes, excluded }, () => features.image, trace).run();
    const planes = options.areaThreshold > 0 ? await applyAreaRule(run, options.areaThreshold, queries.classes) : await run();
    checkFinite(planes);
    if (common.minArea) await dropSmall(planes.labels, features.width, features.height, common.minArea);
    return { planes, settings, warnings: [] as string[] };
  } finally {
    text.dispose();
  }
}

function checkVolume(settings: ReadOutSettings, classes: number, queries: number, features: Features): void {
  const needed = ReadOut.bytes(settings, classes, queries, features.width, features.height);
  if (needed <= settings.budget) return;
  throw new WordmaskError('E_MEMORY_PLAN', `output 'probabilities' holds all ${classes} labels over ${features.width} x ${features.height} pixels and would need ${needed} bytes; the budget is ${settings.budget}: ask for score or topk, fewer labels, or raise \`memory\``, { details: { needed, limit: settings.budget } });
}

/** Scores are probabilities; anything else means that weights or kernels gave NaN. */
function checkFinite(planes: Planes): void {
  const probe = Math.max(1, Math.floor(planes.score.length / 4096));
  for (let i = 0; i < planes.score.length; i += probe) {
    if (Number.isFinite(planes.score[i])) continue;
    throw new WordmaskError('E_NUMERIC', `the score at pixel ${i} is ${planes.score[i]}: the weights give values that are not finite`, { details: { index: i } });
  }
}

/** Class indices as the smallest label array; classes beyond the labels (hidden background) and -1 become nothing. */
async function narrow(classes: Int32Array, vocab: Vocabulary): Promise<LabelArray> {
  const count = vocab.labels.length;
  const labels = await labelArray(count, classes.length);
  await inSlices(classes.length, 1 << 18, (begin, end) => {
    for (let i = begin; i < end; i++) {
      const value = classes[i] as number;
      if (value >= 0 && value < count) labels[i] = value;
    }
  });
  return labels;
}

function planesOf(planes: Planes, common: Common, width: number, height: number, labels: number): SegmentationParts['planes'] {
  const wanted = common.outputs ?? [];
  const map = [height, width];
  const k = (planes.topkLabels?.length ?? 0) / (width * height);
  return {
    ...(wanted.includes('score') && { score: plane(planes.score, map) }),
    ...(planes.margin && { margin: plane(planes.margin, map) }),
    ...(planes.entropy && { entropy: plane(planes.entropy, map) }),
    ...(planes.topkLabels && { topk: plane(planes.topkLabels, [k, ...map]), topkScores: plane(planes.topkScores as Float32Array, [k, ...map]) }),
    // The hidden class of background words is no label.
    ...(planes.probabilities && { probabilities: plane(planes.probabilities.subarray(0, labels * width * height), [labels, ...map]) }),
  };
}

function provenance(model: Model, features: Features, vocab: Vocabulary, options: DenseOptions, common: Common, settings: ReadOutSettings): Record<string, unknown> {
  const { refine, threshold, margin } = settings;
  return {
    wordmask: packageVersion, system: model.info.system, model: model.info.hash, vocabulary: vocab.hash, input: features.imageHash,
    device: model.info.device, dtype: model.info.dtype, deterministic: true, options: { ...options, refine, threshold, margin, minArea: common.minArea ?? 0 },
  };
}

function stopwatch(timings: Record<string, number>): (stage: string) => void {
  let last = performance.now();
  return (stage) => {
    const now = performance.now();
    timings[stage] = (timings[stage] ?? 0) + now - last;
    last = now;
  };
}
