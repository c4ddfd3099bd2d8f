/** One `segment` call (architecture.md section 3), from pixels to a Segmentation. */
import { firstNonFinite, scope, type Tensor } from '../engine/index.js';
import { bandBytes } from '../post/bands.js';
import { type DenseFeatures, resizeToCanvas } from '../post/dense-encode.js';
import type { DenseOptions } from '../post/dense-options.js';
import { type Planes, ReadOut, type ReadOutSettings } from '../post/read-out.js';
import { show, WordmaskError } from '../util/errors.js';
import { applyAreaRule, dropSmall } from './areas.js';
import type { DenseModel } from './dense-model.js';
import { Features } from './features.js';
import type { Picture } from './picture.js';
import { finishCall, provenanceOf, stopwatch } from './result.js';
import { withRetreat } from './retreat.js';
import type { CheckedOptions } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import { backgroundClasses, readOutSettings, refuseVolume } from './settings.js';
import { toTensor } from './text-features.js';
import { queriesOf, type Vocabulary } from './vocabulary.js';

type Common = CheckedOptions['common'];

/** Windows encoded together, of one picture or of several: enough rows to fill the kernels, few enough that an abort is seen soon. */
export const windowGroup = 8;

/** Takes the picture's pixels over. */
export async function encodeImage(
  model: DenseModel,
  picture: Picture,
  options: DenseOptions,
  { maxSide, priority, signal }: Common,
): Promise<TimedFeatures> {
  const started = performance.now();
  const warnings: string[] = [];
  const { width, height, pixels, host, hash } = picture;
  let canvas: Tensor | undefined;
  try {
    const plan = model.parts.system.plan(width, height, options, maxSide);
    canvas = resizeToCanvas(pixels, plan);
    await made(canvas);
    const prepared = performance.now();
    const request = { canvas, plan, options, priority, signal };
    const encode = (groupSize: number) => model.windows.encode({ ...request, groupSize });
    const dense = await withRetreat(
      warnings,
      `out of memory: caches freed, ${windowGroup / 2} windows encoded at once instead of ${windowGroup}`,
      () => settled(encode(windowGroup)),
      () => settled(encode(windowGroup / 2)),
    );
    const features = new TimedFeatures(dense, pixels, { data: host?.data, width, height }, hash, options, model.parts);
    features.warnings = warnings;
    features.timings = { preprocess: prepared - started, encode: performance.now() - prepared };
    return features;
  } catch (error) {
    pixels.dispose();
    throw error;
  } finally {
    canvas?.dispose();
  }
}

/** Waits until the values are there. @throws what went wrong in making them */
async function made(tensor: Tensor): Promise<void> {
  // A read of no elements.
  await scope(() => tensor.slice(0, 0, 0).data());
}

/** Waits until the values are there, so that a failure shows here and not in whoever reads them. @throws E_NUMERIC */
async function settled(encoding: Promise<DenseFeatures>): Promise<DenseFeatures> {
  const dense = await encoding;
  try {
    await requireFinite(dense.features, 'the image features');
  } catch (error) {
    dense.features.dispose();
    dense.keys?.dispose();
    throw error;
  }
  return dense;
}

/** @throws E_NUMERIC: a NaN would otherwise lose every comparison and show as missing labels */
export async function requireFinite(tensor: Tensor, what: string): Promise<void> {
  const [at = -1] = await scope(() => firstNonFinite(tensor).data());
  if (at >= 0)
    throw new WordmaskError(
      'E_NUMERIC',
      `${what} hold a value that is not finite (number ${at}): the weights are damaged or overflow in this dtype; open the model with checkWeights, or in fp32`,
      { details: { index: at } },
    );
}

/** Features that know how long they took. */
export class TimedFeatures extends Features {
  warnings: readonly string[] = [];
  timings: Readonly<Record<string, number>> = {};
}

export async function segmentFeatures(
  model: DenseModel,
  features: Features,
  vocab: Vocabulary,
  options: DenseOptions,
  common: Common,
  timings: Record<string, number>,
): Promise<Segmentation> {
  const { width, height } = features;
  const settings = readOutSettings(vocab.spec, options, common, model.parts.budget);
  refuseVolume(settings, vocab.spec, width, height);
  const clock = stopwatch(timings);
  const text = await model.compile(vocab, options);
  clock('text');
  const warnings = [...(features instanceof TimedFeatures ? features.warnings : []), ...text.warnings];
  const read = (budget: number) => readOut(model, features, vocab, text.rows, { ...settings, budget }, common);
  // What needs all classes at once has no smaller pieces: it is tried again with the caches gone.
  const whole = settings.refine.kind === 'crf' || settings.outputs.probabilities;
  const planes = await readBands(warnings, settings.budget, whole, read);
  clock(settings.refine.kind === 'none' ? 'match' : 'refine');
  return finishCall({
    width,
    height,
    vocab,
    planes,
    common,
    warnings,
    timings,
    clock,
    provenance: provenance(model, features, vocab, options, common, settings),
    image: features.hostPixels,
  });
}

/** Reads out within a budget, and in smaller bands where memory runs out; `whole` has none. */
export function readBands<T>(
  warnings: string[],
  budget: number,
  whole: boolean,
  read: (budget: number) => Promise<T>,
): Promise<T> {
  return withRetreat(
    warnings,
    `out of memory: caches freed${whole ? '' : ', picture read out in smaller bands'}`,
    () => read(budget),
    () => read(whole ? budget : Math.min(budget, 2 * bandBytes) / 8),
  );
}

async function readOut(
  model: DenseModel,
  features: Features,
  vocab: Vocabulary,
  rows: readonly Float32Array[],
  settings: ReadOutSettings,
  common: Common,
): Promise<Planes> {
  const { embed, system } = model.parts;
  const { options } = settings;
  const queries = restrict(queriesOf(vocab.spec, rows, embed), vocab, common.labels);
  const text = toTensor(queries.rows, embed);
  try {
    await requireFinite(text, 'the text features');
    const run = (excluded?: ReadonlySet<number>, changes: Partial<ReadOutSettings> = {}) =>
      new ReadOut(
        system,
        features.dense,
        { text, classOf: queries.classOf, classes: queries.classes },
        { ...settings, ...changes, excluded },
        () => features.image,
      ).run();
    const planes =
      options.areaThreshold > 0
        ? await applyAreaRule(run, options.areaThreshold, queries.classes, backgroundClasses(vocab.spec))
        : await run();
    if (!common.minArea) return planes;
    return { ...planes, labels: await dropSmall(planes.labels, features.width, features.height, common.minArea) };
  } finally {
    text.dispose();
  }
}

/** Restricted to some labels, the others leave the softmax, as if the vocabulary did not have them; background words stay. */
function restrict(
  queries: ReturnType<typeof queriesOf>,
  vocab: Vocabulary,
  names: readonly string[] | undefined,
): ReturnType<typeof queriesOf> {
  if (!names) return queries;
  const wanted = new Set(names.map((name) => vocab.indexOf(name)));
  const kept = [...queries.classOf.keys()].filter(
    (i) => wanted.has(queries.classOf[i] as number) || (queries.classOf[i] as number) >= vocab.labels.length,
  );
  if (!kept.some((i) => wanted.has(queries.classOf[i] as number))) {
    throw new WordmaskError(
      'E_OPTION',
      `labels: ${names.map((name) => show(name)).join(', ')} have no words of their own to look for: name another label of the vocabulary`,
      { details: { option: 'labels', value: names } },
    );
  }
  return {
    rows: kept.map((i) => queries.rows[i] as Float32Array),
    classOf: Int32Array.from(kept, (i) => queries.classOf[i] as number),
    classes: queries.classes,
  };
}

function provenance(
  model: DenseModel,
  features: Features,
  vocab: Vocabulary,
  options: DenseOptions,
  common: Common,
  settings: ReadOutSettings,
): Record<string, unknown> {
  const { refine, threshold, margin } = settings;
  return provenanceOf(model.info, vocab, features.imageHash, common, { ...options, refine, threshold, margin });
}
