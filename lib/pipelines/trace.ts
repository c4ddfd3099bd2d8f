/** Named intermediate values of a call: the same code as `segment`, keeping what was asked for. */
import { normaliseImage, pad, scope, Tensor } from '../engine/index.js';
import type { ImageInput } from '../image/decode.js';
import { resizeToCanvas, type WindowGeometry } from '../post/dense-encode.js';
import type { DenseOptions } from '../post/dense-options.js';
import { ReadOut, type ReadOutSettings, type Trace } from '../post/read-out.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { applyAreaRule } from './areas.js';
import type { DenseModel } from './dense-model.js';
import type { Features } from './features.js';
import type { GivenText, HostValue } from './parts.js';
import { pictureFor } from './picture.js';
import { encodeImage } from './segment.js';
import { backgroundRule, type CheckedOptions, refineOf } from './segment-options.js';
import { backgroundClasses, classCount, underPolicy } from './settings.js';
import { toTensor } from './text-features.js';
import { queriesOf, type Vocabulary } from './vocabulary.js';

/** A network input instead of a picture: f32 [1, 3, h, w], normalised. */
export interface PixelInput {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

export const traceNames = [
  'normalised_input',
  'window_boxes_y1x1y2x2',
  'window_pad_left_right_top_bottom',
  'query_features',
  'query_to_class',
  'window_patch_features',
  'window_logits_lowres',
  'merged_logits',
  'logits_original_size',
  'pamr_logits',
  'unary',
  'crf_marginals',
  'class_probabilities_before_area_rule',
  'class_probabilities',
  'max_probability',
  'label_map',
  'label_map_before_area_and_threshold',
] as const;

/** Spellings of case files. */
const aliases: Record<string, string> = {
  labels: 'label_map',
  pixel_values: 'normalised_input',
  logits_lowres: 'window_logits_lowres',
  Q10: 'crf_marginals',
};

export async function traceDense(
  model: DenseModel,
  image: ImageInput | PixelInput,
  vocabulary: Vocabulary,
  names: readonly string[],
  { common, system }: CheckedOptions,
  textFeatures: GivenText | undefined,
): Promise<Record<string, HostValue>> {
  const dense = model.options(system, common.preset);
  const wanted = new Map(names.map((name) => [name, resolveName(model, name)]));
  const values: Record<string, HostValue> = {};
  const own = new Set<string>([...traceNames, ...inspected(model)]);
  const probes = [...wanted].filter(([, name]) => !own.has(name));
  if (isPixels(image)) {
    if (probes.length !== wanted.size)
      throw new WordmaskError(
        'E_USAGE',
        `a network input has no picture behind it: only ${model.parts.probeNames.join(', ')} can be traced from it`,
      );
    for (const [name, canonical] of probes)
      values[name] = await probe(model, Tensor.from(image.data, image.shape), dense, canonical);
    return values;
  }
  const vocab = underPolicy(vocabulary, common);
  using features = await encodeImage(model, await pictureFor(image, model.info.device, common), dense, common);
  const rows = textFeatures ? rowsOf(textFeatures, vocab, model.parts.embed) : (await model.compile(vocab, dense)).rows;
  const collected = await collect(model, features, vocab, rows, dense, { common, system }, new Set(wanted.values()));
  for (const [name, canonical] of wanted) {
    const value = collected.get(canonical);
    if (value) values[name] = value;
    else if (probes.some(([probeName]) => probeName === name))
      values[name] = await probe(model, paddedInput(features, dense), dense, canonical);
    else
      throw new WordmaskError('E_OPTION', `trace: '${name}' does not arise under these options (refine, thresholds)`, {
        details: { name },
      });
  }
  return values;
}

/** Values of the system itself. */
function inspected(model: DenseModel): readonly string[] {
  return model.parts.system.inspection?.names ?? [];
}

function resolveName(model: DenseModel, name: string): string {
  const canonical = aliases[name] ?? name;
  const known = [...traceNames, ...inspected(model), ...model.parts.probeNames];
  if (known.includes(canonical)) return canonical;
  const guess = nearest(canonical, known);
  throw new WordmaskError(
    'E_OPTION',
    `trace: unknown value ${show(name)}${guess ? `, did you mean '${guess}'?` : ''} (known: ${known.join(', ')})`,
    { details: { name } },
  );
}

function isPixels(image: unknown): image is PixelInput {
  return (
    typeof image === 'object' &&
    image !== null &&
    'data' in image &&
    (image as PixelInput).data instanceof Float32Array &&
    Array.isArray((image as PixelInput).shape)
  );
}

function rowsOf(features: GivenText, vocab: Vocabulary, embed: number): Float32Array[] {
  const count = vocab.spec.prompts.length;
  if (features.shape[0] !== count || features.shape[1] !== embed) {
    throw new WordmaskError(
      'E_USAGE',
      `textFeatures must have shape [${count}, ${embed}] (one row a prompt), got [${features.shape.join(', ')}]`,
    );
  }
  return Array.from({ length: count }, (_, i) => features.data.slice(i * embed, (i + 1) * embed));
}

function normalisedInput(features: Features, options: DenseOptions): Tensor {
  return scope(() => {
    const canvas = resizeToCanvas(features.image, features.dense);
    const input = normaliseImage(
      canvas,
      Tensor.from(Float32Array.from(options.mean)),
      Tensor.from(Float32Array.from(options.std)),
    );
    return input.reshape(1, ...input.shape);
  });
}

/** The network's input as a system that pads sees it: zeros after normalisation. */
function paddedInput(features: Features, options: DenseOptions): Tensor {
  const [top, left, bottom, right] = features.dense.pad;
  return scope(() =>
    pad(normalisedInput(features, options), [
      [0, 0],
      [0, 0],
      [top, bottom],
      [left, right],
    ]),
  );
}

async function probe(model: DenseModel, pixels: Tensor, options: DenseOptions, name: string): Promise<HostValue> {
  using input = pixels;
  using value = model.parts.probe(input, options, name);
  return await value.toArray();
}

/** What is known before anything is computed: windows, and the text side. */
function plannedValues(
  dense: WindowGeometry,
  queries: ReturnType<typeof queriesOf>,
  embed: number,
): Map<string, HostValue> {
  const [top, left, bottom, right] = dense.pad;
  return new Map<string, HostValue>([
    ['window_boxes_y1x1y2x2', { data: dense.boxes, shape: [dense.boxes.length / 4, 4] }],
    ['window_pad_left_right_top_bottom', { data: Int32Array.of(left, right, top, bottom), shape: [4] }],
    ['query_to_class', { data: queries.classOf, shape: [queries.classOf.length] }],
    [
      'query_features',
      { data: Float32Array.from(queries.rows.flatMap((row) => [...row])), shape: [queries.rows.length, embed] },
    ],
  ]);
}

function traceSettings(
  model: DenseModel,
  vocab: Vocabulary,
  options: DenseOptions,
  common: CheckedOptions['common'],
): ReadOutSettings {
  return {
    options,
    refine: refineOf(common.refine, options),
    // The method's own numbers: 0 is background where a threshold applies.
    ...backgroundRule(vocab.spec.background, common, options, -1),
    background: 0,
    outputs: { margin: false, entropy: false, topk: 0, probabilities: false },
    budget: model.parts.budget,
  };
}

/** What is known before any word is asked. */
function imageSide(
  model: DenseModel,
  features: Features,
  options: DenseOptions,
  wanted: ReadonlySet<string>,
): Readonly<Record<string, Tensor>> {
  const { dense } = features;
  const { inspection } = model.parts.system;
  const count = dense.boxes.length / 4;
  return {
    window_patch_features: dense.features,
    ...(wanted.has('normalised_input') && { normalised_input: normalisedInput(features, options) }),
    ...(inspection?.names.some((name) => wanted.has(name)) &&
      inspection.values({ canvas: resizeToCanvas(features.image, dense), plan: dense, begin: 0, end: count }, options)),
  };
}

async function collect(
  model: DenseModel,
  features: Features,
  vocab: Vocabulary,
  rows: readonly Float32Array[],
  options: DenseOptions,
  given: CheckedOptions,
  wanted: ReadonlySet<string>,
): Promise<Map<string, HostValue>> {
  const queries = queriesOf(vocab.spec, rows, model.parts.embed);
  const { dense } = features;
  const found = plannedValues(dense, queries, model.parts.embed);
  const keepTensor = async (name: string, tensor: Tensor) => void found.set(name, await tensor.toArray());
  await scope(async () => {
    for (const [name, tensor] of Object.entries(imageSide(model, features, options, wanted)))
      if (wanted.has(name)) await keepTensor(name, tensor);
  });
  const pending: Promise<void>[] = [];
  const trace: Trace = {
    wants: (name) => wanted.has(name),
    put: (name, tensor) => {
      if (!wanted.has(name)) return;
      const reading = keepTensor(name, tensor);
      // Awaited below; until then a failure must not pass for one that nobody handles.
      reading.catch(() => undefined);
      pending.push(reading);
    },
  };
  const settings = traceSettings(model, vocab, options, given.common);
  const text = toTensor(queries.rows, model.parts.embed);
  try {
    const readOut = (changes: Partial<ReadOutSettings> = {}) =>
      new ReadOut(
        model.parts.system,
        dense,
        { text, classOf: queries.classOf, classes: queries.classes },
        { ...settings, ...changes },
        () => features.image,
        trace,
      );
    await probabilities(readOut, settings, vocab, found, wanted, pending);
    const run = (excluded?: ReadonlySet<number>, changes: Partial<ReadOutSettings> = {}) =>
      readOut({ ...changes, excluded }).run();
    const shape = [features.height, features.width];
    const before = 'label_map_before_area_and_threshold';
    if (wanted.has(before))
      found.set(before, { data: Uint16Array.from((await run(undefined, { threshold: 0, margin: 0 })).labels), shape });
    const planes =
      options.areaThreshold > 0
        ? await applyAreaRule(run, options.areaThreshold, queries.classes, backgroundClasses(vocab.spec))
        : await run();
    found.set('label_map', { data: Uint16Array.from(planes.labels), shape });
    found.set('max_probability', { data: planes.score, shape });
    await Promise.all(pending);
  } finally {
    await Promise.allSettled(pending);
    text.dispose();
  }
  return found;
}

/** Class probabilities before and after SCLIP's area rule, which sets removed classes to 0. */
async function probabilities(
  readOut: (changes?: Partial<ReadOutSettings>) => ReadOut,
  settings: ReadOutSettings,
  vocab: Vocabulary,
  found: Map<string, HostValue>,
  wanted: ReadonlySet<string>,
  pending: Promise<void>[],
): Promise<void> {
  const inner = [
    'window_logits_lowres',
    'merged_logits',
    'logits_original_size',
    'pamr_logits',
    'class_probabilities',
    'class_probabilities_before_area_rule',
  ];
  if (!inner.some((name) => wanted.has(name))) return;
  await scope(async () => {
    const volume = readOut().probabilityVolume(settings.refine); // [Q, H, W]
    const data = (await volume.data()) as Float32Array;
    await Promise.all(pending);
    const shape = [...volume.shape];
    found.set('class_probabilities_before_area_rule', { data, shape });
    if (settings.options.areaThreshold <= 0) {
      found.set('class_probabilities', { data, shape });
      return;
    }
    let removed: ReadonlySet<number> = new Set();
    await applyAreaRule(
      async (excluded, changes) => {
        removed = excluded ?? removed;
        return readOut({ ...changes, excluded }).run();
      },
      settings.options.areaThreshold,
      classCount(vocab.spec),
      backgroundClasses(vocab.spec),
    );
    const pixels = data.length / classCount(vocab.spec);
    const kept = data.slice();
    for (const index of removed) kept.fill(0, index * pixels, (index + 1) * pixels);
    found.set('class_probabilities', { data: kept, shape });
  });
}
