/** One picture through PnP-OVSS: labels looked for, captions, passes, maps, channels. */
import { clipMean, clipStd } from '../../backbones/clip/preprocess.js';
import { concat, normaliseImage, resize, scope, softmax, Tensor } from '../../engine/index.js';
import type { DecodedImage } from '../../image/decode.js';
import type { MatchingModel } from '../../nn/matching.js';
import type {
  Explained,
  PredictContext,
  Prediction,
  Predictor,
  PredictorPlan,
  PredictorWords,
} from '../../post/predictor.js';
import { show, WordmaskError } from '../../util/errors.js';
import { buildCaptions, type Caption, type CaptionWord, mergedWord, unknownTargets } from './caption.js';
import { ClassFiles, isListed, listedLabels } from './classes.js';
import type { ClipClasses } from './clip-classes.js';
import { applyThreshold, blurredChannels, classMaps, firstChannelEverywhere, hasEmptyChannel } from './maps.js';
import { MatchQueue } from './match-queue.js';
import type { PnpOptions } from './options.js';
import { passTraces, runPasses, towerTraces } from './passes.js';
import { refined } from './refine.js';

/** Names of the published code and of case files; `N` stands for what is numbered. */
const aliases: Readonly<Record<string, string>> = {
  pixel_values: 'normalised_input',
  token_ids: 'input_ids',
  class_spans_in_rows_without_token_0: 'class_spans',
  U_rows: 'patch_score_rows',
  M: 'salience',
  Z: 'salience_kept',
  U: 'patch_scores',
  M_all_heads: 'salience_all_heads',
  M_hat: 'aggregate',
  new_drop_ascending: 'dropped_patches',
  image_embeds: 'image_tokens',
  text_embeds: 'text.last_hidden',
  multimodal: 'multimodal.last_hidden',
  multimodal_image: 'multimodal.image_last_hidden',
};
const stages = [
  ...['input_ids', 'class_spans', 'patch_score_rows', ...passTraces, 'dropped_patches', 'aggregate', 'class_maps'],
  ...['normalised', 'thresholded', 'resized', 'background', 'blurred', 'softmax', 'unary', 'crf_marginals'],
];

/** Labels that a warning names. */
const namesShown = 8;

/** A label looked for, or the words of a background policy (-1). */
export interface Target {
  readonly label: number;
  readonly name: string;
  readonly prompts: readonly string[];
  /** Of a caption over the whole vocabulary, maps of the others are not kept. */
  readonly kept: boolean;
}

/** Class maps [K, P] of the kept targets over a picture. */
interface FoundMaps {
  readonly image: DecodedImage;
  readonly maps: Float32Array;
  /** Cells of a side. */
  readonly side: number;
  readonly kept: readonly Target[];
  /** Whether a background channel is added in front. */
  readonly background: boolean;
}

export class PnpPredictor implements Predictor<PnpOptions> {
  readonly traces: readonly string[];
  readonly #files = new ClassFiles();
  readonly #queue: MatchQueue;

  constructor(
    readonly model: MatchingModel,
    readonly clip: ClipClasses | undefined,
    /** Pictures whose passes run together. */
    together = 1,
  ) {
    this.#queue = new MatchQueue(model, together);
    const layers = model.layers.flatMap((n) => [`cross_attention.${n}`, `cross_attention_gradient.${n}`]);
    this.traces = [...stages, ...layers, ...towerTraces(model)];
  }

  traceAlias(name: string, { layer }: PnpOptions): string | undefined {
    const [, letter, number = layer] = /^([AG])(?:\.(\d+))?$/.exec(name) ?? [];
    if (letter !== undefined) return `cross_attention${letter === 'G' ? '_gradient' : ''}.${number}`;
    if (/^(crf\.)?Q\d+(_.*)?$/.test(name)) return 'crf_marginals';
    return aliases[name];
  }

  async prepare(words: PredictorWords, options: PnpOptions, signal?: AbortSignal): Promise<void> {
    this.check(options);
    if (isListed(options)) await this.#files.get(options.classes, signal);
    if (options.classProvider === 'clip' && !this.clip)
      throw new WordmaskError(
        'E_OPTION',
        "pnp-ovss: classProvider 'clip' needs a CLIP: open(model, { encoders: { clip: 'openai/clip-vit-large-patch14-336' } }), --encoder clip=...",
        { details: { option: 'classProvider', value: 'clip' } },
      );
    // Labels without tokens are refused before a picture is decoded.
    buildCaptions(this.model, captionWords(this.targets(words.chosen, words, options)));
  }

  async predict(
    image: DecodedImage,
    words: PredictorWords,
    options: PnpOptions,
    context: PredictContext,
  ): Promise<Prediction> {
    this.check(options);
    const present = await this.present(image, words, options, context);
    const targets = this.targets(present, words, options);
    const kept = targets.filter((target) => target.kept);
    context.stage('text');
    if (kept.length === 0) return nothing(image);
    const { side, maps } = await this.#classMaps(image, targets, words, options, context);
    const auto = words.background === 'auto';
    const background = auto && (options.backgroundChannel === 'always' || kept.length < 3);
    const found = await this.#channels({ image, maps, side, kept, background }, options, context);
    // Channels that are all empty are equal, and rounding would choose among them.
    return auto && maps.every((value) => value === 0) ? nothing(image) : found;
  }

  /** The blurred map of each label, scaled to 0..1; behind a refiner its probability against background and the labels beside it. */
  async explain(
    image: DecodedImage,
    words: PredictorWords,
    asked: readonly number[],
    options: PnpOptions,
    context: PredictContext,
  ): Promise<Explained> {
    this.check(options);
    const alone = words.chosen.every((label) => asked.includes(label));
    const present = alone ? [] : await this.present(image, words, options, context);
    const looked = words.chosen.filter((label) => asked.includes(label) || present.includes(label));
    const refines = context.refine !== undefined && context.refine.name !== 'none';
    const targets = this.targets(looked, words, options).map((target) => ({
      ...target,
      kept: asked.includes(target.label) || (refines && target.kept),
    }));
    const kept = targets.filter((target) => target.kept);
    context.stage('text');
    const { side, maps } = await this.#classMaps(image, targets, words, options, context);
    const input = { image, maps, side, kept, background: refines };
    if (!refines) {
      const blurred = this.#blurred(input, options, context);
      context.stage('match');
      return { maps: blurred, labels: kept.map(({ label }) => label), values: 'salience' };
    }
    // The quirk replaces channels, which is no place of a word.
    const { logits, channels } = await this.#channels(input, { ...options, emptyChannelQuirk: false }, context);
    const shares = scope(() => {
      const all = softmax(logits, 0); // [C, H, W]
      return concat(
        asked.map((label) => all.slice(0, channels.indexOf(label), channels.indexOf(label) + 1).contiguous()),
        0,
      );
    });
    return { maps: shares, labels: asked, values: 'probability' };
  }

  plan(
    width: number,
    height: number,
    { chosen, backgroundPrompts }: PredictorWords,
    options: PnpOptions,
  ): PredictorPlan {
    const { model } = this;
    const { imageSize, passes, crf } = options;
    const tokens = (imageSize / model.patch) ** 2 + 1;
    // Width of a tower whose layers hold most of the parameters.
    const channels = Math.sqrt(model.parametersBytes / 4 / 400);
    const caption = Math.min(model.maxTokens, 8 + 3 * (chosen.length + backgroundPrompts.length));
    const tower = tokens * channels * 4 * 24 + model.heads * tokens * 512 * 4;
    const text = model.layers.length * caption * channels * 4 * 24 + 4 * caption * tokens * 4;
    const count = chosen.length + 1 + Number(backgroundPrompts.length > 0);
    // Volumes of maps, shares, unaries and marginals; the lattice, whose size depends on the picture.
    const volumes = width * height * 4 * (crf ? 10 * count + 100 : 7 * count);
    return {
      deviceBytes: Math.ceil(width * height * 3 + Math.max(tower + text, volumes)),
      tiles: passes,
      batch: 1,
      route: crf ? 'gradcam-crf' : 'gradcam',
    };
  }

  /** @throws E_OPTION naming what the model has */
  check({ layer, head, imageSize }: PnpOptions): void {
    const { layers, heads, patch, kind } = this.model;
    const fail = (option: string, value: number, allowed: string): never => {
      throw new WordmaskError(
        'E_OPTION',
        `pnp-ovss: ${option} must be ${allowed} for this ${kind} model, got ${value}`,
        {
          details: { option, value },
        },
      );
    };
    if (!layers.includes(layer)) fail('layer', layer, `one of ${layers.join(', ')} (counted from 0)`);
    if (head >= heads) fail('head', head, `from 0 to ${heads - 1}`);
    if (imageSize % patch !== 0 || imageSize < patch)
      fail('imageSize', imageSize, `a multiple of the patch, ${patch} pixels`);
  }

  /** Labels that the class provider finds, of those that may appear. */
  async present(
    image: DecodedImage,
    words: PredictorWords,
    options: PnpOptions,
    context: Pick<PredictContext, 'signal' | 'source'>,
  ): Promise<readonly number[]> {
    if (isListed(options)) {
      const listed = await this.#files.get(options.classes, context.signal);
      const source = typeof options.classes === 'string' ? options.classes : 'classes';
      return listedLabels(listed, options.imageId ?? context.source, words, source);
    }
    if (options.classProvider === 'clip' && this.clip) return this.clip.present(image, words);
    return words.chosen;
  }

  /** What the caption speaks of. */
  targets(present: readonly number[], words: PredictorWords, { caption }: PnpOptions): Target[] {
    const named = caption === 'all' ? words.chosen : present;
    const target = (label: number): Target => {
      const { name, prompts } = words.labels[label] as PredictorWords['labels'][number];
      return { label, name, prompts, kept: present.includes(label) };
    };
    const { backgroundPrompts: prompts } = words;
    return [
      ...(prompts.length > 0 ? [{ label: -1, name: 'background', prompts, kept: true }] : []),
      ...named.map(target),
    ];
  }

  #warn(
    captions: readonly Caption[],
    targets: readonly Target[],
    { layer }: PnpOptions,
    context: PredictContext,
  ): void {
    if (layer === this.model.layers.at(-1))
      context.warn(
        `layer ${layer} is the last one, from which no word but the first token reaches the match: its maps are empty; take one of ${this.model.layers.slice(0, -1).join(', ')}`,
      );
    if (captions.length > 1)
      context.warn(
        `the words do not fit into one caption of this model (${this.model.maxTokens} tokens): they were put into ${captions.length}, whose maps were joined`,
      );
    const unknown = unknownTargets(captions).map((target) => show(targets[target]?.name));
    if (unknown.length > 0)
      context.warn(
        `unknown to the model's tokenizer, so that their maps are those of any unknown word: ${unknown.slice(0, namesShown).join(', ')}${unknown.length > namesShown ? ` and ${unknown.length - namesShown} more` : ''}`,
      );
  }

  async #salience(
    image: DecodedImage,
    captions: readonly Caption[],
    options: PnpOptions,
    context: PredictContext,
  ): Promise<{ side: number; sums: readonly Float32Array[] }> {
    const { imageSize, blank, adeNoNormalise } = options;
    const pixels = await squashed(image, options);
    context.stage('preprocess');
    const black = clipMean.map((mean, c) => -mean / (clipStd[c] as number)) as [number, number, number];
    const input = {
      pixels,
      size: imageSize,
      blank: blank === 'black' && !adeNoNormalise ? black : ([0, 0, 0] as const),
      captions,
    };
    const { sums } = await runPasses(this.model, this.#queue, input, options, context);
    context.stage('encode');
    return { side: imageSize / this.model.patch, sums };
  }

  /** Maps of the targets that are kept, [K, P], from the passes over all captions. */
  async #classMaps(
    image: DecodedImage,
    targets: readonly Target[],
    { ensemble }: PredictorWords,
    options: PnpOptions,
    context: PredictContext,
  ): Promise<{ side: number; maps: Float32Array }> {
    const captions = buildCaptions(this.model, captionWords(targets));
    this.#warn(captions, targets, options, context);
    const { side, sums } = await this.#salience(image, captions, options, context);
    const patches = side * side;
    traceCaptions(captions, sums, side, context);
    const all = classMaps(sums, captions, targets.length, patches, options, ensemble);
    return { side, maps: keptMaps(all, targets, patches) };
  }

  /** Thresholds the maps in place and blurs them over the picture. [C, H, W] */
  #blurred({ image, maps, side, kept, background }: FoundMaps, options: PnpOptions, { trace }: PredictContext): Tensor {
    const shape = [kept.length, side, side];
    trace?.put('class_maps', Tensor.from(maps, shape));
    const scaled = applyThreshold(maps, side * side, options);
    trace?.put('normalised', Tensor.from(scaled, shape));
    trace?.put('thresholded', Tensor.from(maps, shape));
    const { width, height } = image;
    return blurredChannels({ maps, count: kept.length, side, width, height, background }, options, trace);
  }

  async #channels(found: FoundMaps, options: PnpOptions, context: PredictContext): Promise<Prediction> {
    const { image, kept, background } = found;
    const blurred = this.#blurred(found, options, context);
    context.stage('match');
    const channels = [...(background ? [-1] : []), ...kept.map(({ label }) => label)];
    if (options.emptyChannelQuirk && (await hasEmptyChannel(blurred)))
      return { logits: firstChannelEverywhere(blurred), channels };
    const logits = scope(() => refined(image, blurred, background, options, context));
    // A read of no elements: the time of the kernels belongs to this stage.
    await scope(() => logits.slice(0, 0, 0).data());
    context.stage('refine');
    return { logits, channels };
  }
}

export function captionWords(targets: readonly Target[]): CaptionWord[] {
  return targets.flatMap(({ prompts, name }, target) =>
    prompts.map((prompt) => ({ word: mergedWord(prompt), target, name })),
  );
}

/** Rows of the targets whose maps are kept. */
function keptMaps(all: Float32Array, targets: readonly Target[], patches: number): Float32Array {
  if (targets.every(({ kept }) => kept)) return all;
  const rows = targets.flatMap(({ kept }, at) => (kept ? [all.subarray(at * patches, (at + 1) * patches)] : []));
  const maps = new Float32Array(rows.length * patches);
  for (const [at, row] of rows.entries()) maps.set(row, at * patches);
  return maps;
}

/** Every pixel background. */
function nothing({ width, height }: DecodedImage): Prediction {
  return { logits: Tensor.from(new Float32Array(width * height), [1, height, width]), channels: [-1] };
}

/** The picture squashed to the model's square and normalised, [3, S, S]. */
export async function squashed(
  image: DecodedImage,
  { imageSize, resize: mode, adeNoNormalise }: PnpOptions,
): Promise<Float32Array> {
  return scope(async () => {
    const picture = Tensor.from(image.data, [image.height, image.width, 3], 'u8');
    const small = resize(picture, { width: imageSize, height: imageSize, mode: `pil_${mode}` });
    const [mean, std] = adeNoNormalise
      ? [
          [0, 0, 0],
          [1, 1, 1],
        ]
      : [clipMean, clipStd];
    const pixels = normaliseImage(small, Tensor.from(Float32Array.from(mean)), Tensor.from(Float32Array.from(std)), {
      unit: true,
    });
    return (await pixels.data()) as Float32Array;
  });
}

/** Tokens, spans and the sum over passes, captions one behind the other. */
function traceCaptions(
  captions: readonly Caption[],
  sums: readonly Float32Array[],
  side: number,
  { trace }: PredictContext,
): void {
  if (!trace) return;
  const spans = captions.flatMap(({ spans }) => spans);
  trace.put('input_ids', Tensor.from(Int32Array.from(captions.flatMap(({ ids }) => [...ids]))));
  trace.put(
    'class_spans',
    Tensor.from(Int32Array.from(spans.flatMap(({ begin, end }) => [begin, end])), [spans.length, 2]),
  );
  const rows = spans.flatMap(({ begin, end }) => Array.from({ length: end - begin }, (_, i) => begin + i));
  trace.put('patch_score_rows', Tensor.from(Int32Array.from(rows)));
  const total = sums.reduce((sum, { length }) => sum + length, 0);
  const joined = new Float32Array(total);
  let at = 0;
  for (const part of sums) {
    joined.set(part, at);
    at += part.length;
  }
  trace.put('aggregate', Tensor.from(joined, [total / (side * side), side, side]));
}
