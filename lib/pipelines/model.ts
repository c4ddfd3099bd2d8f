/** An opened model: the face of `open`. Calls queue on the device; several may run at once. */
import { isolated, memory, onDevice, sync, type Tensor, trimMemory, withSignal } from '../engine/index.js';
import { type DecodedImage, decodeImage, type ImageInput } from '../image/decode.js';
import type { DenseOptions } from '../post/dense-options.js';
import type { DenseSystem } from '../post/dense-system.js';
import { WindowQueue } from '../post/window-queue.js';
import type { DenseSystemModule } from '../registry/systems.js';
import { type LabelInput, templateSet, type VocabularyOptions } from '../text/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import { nearest } from '../util/nearest.js';
import { Features } from './features.js';
import { type CallPlan, planCall } from './plan.js';
import { encodeImage, segmentFeatures } from './segment.js';
import { type CheckedOptions, checkSegmentOptions, type SegmentOptions } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import { readOutSettings, refuseVolume, underPolicy } from './settings.js';
import { type StreamOptions, type StreamResult, streamImages } from './stream.js';
import { type TextEncoder, TextFeatures } from './text-features.js';
import { traceCall } from './trace.js';
import { type TuneOptions, type TuneResult, tuneModel } from './tune.js';
import { type CompiledText, Vocabulary } from './vocabulary.js';

export type VocabularyInput = Vocabulary | readonly LabelInput[];

export interface ModelInfo {
  readonly system: string;
  readonly title: string;
  readonly encoders: readonly string[];
  readonly sizes: {
    readonly patch: number;
    /** Side of the pictures it was trained on. */
    readonly image: number;
    readonly embed: number;
    readonly width: number;
    readonly parametersBytes: number;
  };
  readonly tasks: readonly string[];
  readonly separable: boolean;
  readonly licence: { readonly code: string; readonly weights: string };
  /** SHA-256 of the weights. */
  readonly hash: string;
  readonly device: string;
  readonly dtype: string;
  readonly presets: readonly string[];
  /** Names `trace` knows. */
  readonly traces: readonly string[];
}

/** What `open` puts together. */
export interface ModelParts {
  readonly module: DenseSystemModule;
  readonly system: DenseSystem;
  readonly encodeText: TextEncoder;
  readonly embed: number;
  readonly info: ModelInfo;
  /** Options of the model folder's wordmask.json. */
  readonly fileOptions: Readonly<Record<string, unknown>>;
  readonly budget: number;
  /** Values of the encoder by name, for `trace`. */
  readonly probeNames: readonly string[];
  probe(pixels: Tensor, options: DenseOptions, name: string): Tensor;
  dispose(): void;
}

export class Model {
  readonly info: ModelInfo;
  /** For the pipeline. */
  readonly parts: ModelParts;
  readonly text: TextFeatures;
  readonly windows: WindowQueue;
  #running = 0;
  #idle: (() => void)[] = [];
  #disposed = false;
  #ended: Promise<void> | undefined;

  constructor(parts: ModelParts) {
    this.parts = parts;
    this.info = parts.info;
    this.text = new TextFeatures(parts.encodeText, parts.embed);
    this.windows = new WindowQueue(parts.system.encoder);
  }

  /** Labels and their text features. `cat|kitten` gives one label two prompts. @throws E_LABEL, E_VOCAB, E_OPTION */
  vocabulary(
    labels: VocabularyInput,
    options: VocabularyOptions & { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
  ): Promise<Vocabulary> {
    const { signal, onProgress, ...rest } = options;
    return this.#call(signal, async () => {
      const vocabulary = labels instanceof Vocabulary ? labels : Vocabulary.from(labels, rest);
      await this.compile(vocabulary, this.options(), onProgress);
      return vocabulary;
    });
  }

  /** Encodes a picture once, for many vocabularies. @throws as `segment`, as far as words are not concerned */
  encode(image: ImageInput, options: SegmentOptions = {}): Promise<Features> {
    return this.#checked('encode', options, async ({ common, system }) => {
      const dense = this.options(system, common.preset);
      const features = await encodeImage(this, await decode(image, common), dense, common);
      if (!common.signal?.aborted) return features;
      // Nobody will see these.
      features.dispose();
      throw common.signal.reason;
    });
  }

  /**
   * Masks for a picture or for features encoded before.
   * @throws E_OPTION, E_LABEL, E_VOCAB, E_IMAGE_FORMAT, E_IMAGE_CORRUPT, E_IMAGE_SIZE, E_MEMORY_PLAN, E_OOM, E_NUMERIC, E_TIMEOUT
   */
  segment(
    image: ImageInput | Features,
    vocabulary: VocabularyInput,
    options: SegmentOptions = {},
  ): Promise<Segmentation> {
    return this.segmentAdmitted(image, vocabulary, options, async () => undefined);
  }

  /** As `segment`; a decoded picture goes on when `admit` lets it. For streams. */
  segmentAdmitted(
    image: ImageInput | Features,
    vocabulary: VocabularyInput,
    options: SegmentOptions,
    admit: (pixels: number, signal: AbortSignal | undefined) => Promise<void>,
  ): Promise<Segmentation> {
    return this.#checked('segment', options, async ({ common, system }) => {
      const vocab = underPolicy(vocabulary instanceof Vocabulary ? vocabulary : Vocabulary.from(vocabulary), common);
      const dense = this.options(system, common.preset);
      if (image instanceof Features) {
        if (image.owner !== this.parts)
          throw new WordmaskError(
            'E_USAGE',
            'these features come from another model: encode the picture with this one',
          );
        image.checkOptions(dense);
        if (common.maxSide !== undefined)
          image.checkCanvas(this.parts.system.plan(image.width, image.height, dense, common.maxSide).canvas);
        return segmentFeatures(this, image, vocab, dense, common, {});
      }
      const started = performance.now();
      const decoded = await decode(image, common);
      const decodeMs = performance.now() - started;
      refuseVolume(
        readOutSettings(vocab.spec, dense, common, this.parts.budget),
        vocab.spec,
        decoded.width,
        decoded.height,
      );
      await admit(decoded.width * decoded.height, common.signal);
      using features = await encodeImage(this, decoded, dense, common);
      return await segmentFeatures(this, features, vocab, dense, common, { decode: decodeMs, ...features.timings });
    });
  }

  /** Pictures one after another with decoding ahead and back-pressure; results in the order of the inputs unless `ordered: false`. */
  stream(
    images: Iterable<ImageInput> | AsyncIterable<ImageInput>,
    vocabulary: VocabularyInput,
    options: StreamOptions = {},
  ): AsyncGenerator<StreamResult> {
    return streamImages(this, images, vocabulary, options);
  }

  /**
   * Settings found on pictures: the background threshold without labels where the system defines a rule, else by `truth`; or a search.
   * `saveTuning` keeps them in the model's folder.
   * @throws E_OPTION, E_USAGE for labels that do not fit, and as `segment`
   */
  async tune(
    images: readonly ImageInput[],
    vocabulary: VocabularyInput,
    options: TuneOptions = {},
  ): Promise<TuneResult> {
    const vocab = vocabulary instanceof Vocabulary ? vocabulary : Vocabulary.from(vocabulary);
    return tuneModel(this, images, vocab, options);
  }

  /** What a call would need, without running it. */
  plan(width: number, height: number, vocabulary: VocabularyInput, options: SegmentOptions = {}): CallPlan {
    return planCall(
      this,
      width,
      height,
      vocabulary instanceof Vocabulary ? vocabulary : Vocabulary.from(vocabulary),
      options,
    );
  }

  /** Named intermediate values of `segment` (see `info.traces`). @throws E_OPTION for an unknown name */
  trace(
    image: ImageInput,
    vocabulary: VocabularyInput,
    names: readonly string[],
    options: SegmentOptions & { textFeatures?: { data: Float32Array; shape: readonly number[] } } = {},
  ): Promise<Record<string, { data: ArrayLike<number>; shape: number[] }>> {
    const { textFeatures: _, ...rest } = options;
    return this.#checked('trace', rest as SegmentOptions, () => traceCall(this, image, vocabulary, names, options));
  }

  /** Bytes in use and kept for reuse, by device. */
  memory(): ReturnType<typeof memory> {
    return memory();
  }

  /** Waits for running calls, then frees everything. Later calls reject with E_DISPOSED. */
  dispose(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #end(): Promise<void> {
    this.#disposed = true;
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    this.parts.dispose();
    // On a device that is lost nothing runs any more.
    await onDevice(this.info.device, () => sync()).catch(() => undefined);
    trimMemory();
  }

  /** Options of a call: defaults < preset < model folder < call. */
  options(call: Readonly<Record<string, unknown>> = {}, preset?: string): DenseOptions {
    const { presets } = this.parts.module;
    if (preset !== undefined && !Object.hasOwn(presets, preset)) {
      const guess = nearest(preset, Object.keys(presets));
      throw new WordmaskError(
        'E_OPTION',
        `${this.info.system} has no preset ${show(preset)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${Object.keys(presets).join(', ')})`,
        { details: { option: 'preset', value: preset } },
      );
    }
    return this.parts.module.check(
      preset === undefined ? undefined : presets[preset]?.options,
      this.parts.fileOptions,
      call,
    );
  }

  /** Compiles a vocabulary for calls with these options. */
  prepare(vocabulary: Vocabulary, options: SegmentOptions): Promise<void> {
    return this.#checked('prepare', options, async ({ common, system }) => {
      await this.compile(underPolicy(vocabulary, common), this.options(system, common.preset));
    });
  }

  /** Features of a vocabulary for this model and these options, made if they are not there. @throws E_VOCAB */
  async compile(
    vocabulary: Vocabulary,
    options: DenseOptions,
    onProgress?: (done: number, total: number) => void,
  ): Promise<CompiledText> {
    const { spec } = vocabulary;
    const templates =
      spec.templates?.list ??
      (typeof options.templates === 'string' ? templateSet(options.templates) : options.templates);
    const key = this.compileKey(templates, options.averaging);
    const compiled = vocabulary.compiled(key, this.info.hash);
    if (compiled) {
      const width = compiled.rows[0]?.length;
      if (width !== this.parts.embed)
        throw new WordmaskError(
          'E_VOCAB',
          `the text features of this vocabulary have ${width} values each, the model needs ${this.parts.embed}: save them again`,
        );
      return compiled;
    }
    const warnings: string[] = [];
    const rows = await this.text.rows(spec.prompts, templates, options.averaging, {
      warnings,
      known: vocabulary.known(key),
      onProgress,
    });
    const made = { key, rows, warnings, encoder: this.info.hash };
    vocabulary.remember(made);
    return made;
  }

  /** Identity of text features: encoder, templates, averaging. */
  compileKey(templates: readonly string[], averaging: string): string {
    return sha256(`${this.info.hash}\n${this.info.dtype}\n${averaging}\n${templates.join('\n')}`);
  }

  /** A call with options of `segment`: checked first, under the caller's signal and the deadline. */
  #checked<T>(what: string, options: SegmentOptions, fn: (checked: CheckedOptions) => Promise<T>): Promise<T> {
    let checked: CheckedOptions;
    try {
      checked = checkSegmentOptions(options);
    } catch (error) {
      return Promise.reject(error);
    }
    const { common, system } = checked;
    if (common.timeoutMs === undefined) return this.#call(common.signal, () => fn(checked));
    const deadline = new Deadline(what, common.timeoutMs);
    const signal = common.signal ? AbortSignal.any([common.signal, deadline.signal]) : deadline.signal;
    return this.#call(signal, () => fn({ common: { ...common, signal }, system })).finally(() => deadline.clear());
  }

  #call<T>(signal: AbortSignal | undefined, fn: () => Promise<T>): Promise<T> {
    if (this.#disposed) return Promise.reject(new WordmaskError('E_DISPOSED', 'the model was disposed: open it again'));
    if (signal?.aborted) return Promise.reject(signal.reason);
    this.#running++;
    const work = async () => {
      try {
        return await fn();
      } finally {
        if (--this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve();
      }
    };
    return withSignal(signal, () => onDevice(this.info.device, () => isolated(work)));
  }
}

/** Aborts with E_TIMEOUT unless it is cleared in time. */
class Deadline {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(what: string, timeoutMs: number) {
    const error = () =>
      new WordmaskError('E_TIMEOUT', `${what} took longer than timeoutMs = ${timeoutMs}`, {
        details: { limit: timeoutMs },
      });
    this.#timer = setTimeout(() => this.#controller.abort(error()), timeoutMs);
  }
  get signal(): AbortSignal {
    return this.#controller.signal;
  }
  clear(): void {
    clearTimeout(this.#timer);
  }
}

function decode(image: ImageInput, options: CheckedOptions['common']): Promise<DecodedImage> {
  return decodeImage(image, {
    matte: options.matte,
    formats: options.formats,
    limits: options.limits,
    signal: options.signal,
  });
}
