/** An opened model: the face of `open`. Calls queue on the device; several may run at once. */
import { isolated, memory, onDevice, sync, trimMemory, withSignal } from '../engine/index.js';
import type { ImageInput } from '../image/decode.js';
import type { LabelInput, VocabularyOptions } from '../text/index.js';
import { WordmaskError } from '../util/errors.js';
import { DenseModel } from './dense-model.js';
import {
  type ExplainInput,
  type ExplainOptions,
  explainRequest,
  refuseExplainOptions,
  splitExplainOptions,
} from './explain-request.js';
import type { Explanation } from './explanation.js';
import type { Features } from './features.js';
import type { Admit, GivenText, HostValue, ModelInfo, SystemCalls } from './parts.js';
import type { CallPlan } from './plan.js';
import { type CheckedOptions, checkSegmentOptions, type SegmentOptions } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import { type StreamOptions, type StreamResult, streamImages } from './stream.js';
import { type TuneOptions, type TuneResult, tuneModel } from './tune.js';
import { Vocabulary } from './vocabulary.js';

export type { ModelInfo } from './parts.js';

export type VocabularyInput = Vocabulary | readonly LabelInput[];

/** Options of a call that names none. */
const noOptions: CheckedOptions = { common: {}, system: {} };

export class Model {
  readonly info: ModelInfo;
  /** What the kind of system does; calls on it are not counted, nor run on the device. For the pipeline. */
  readonly calls: SystemCalls;
  #running = 0;
  #idle: (() => void)[] = [];
  #disposed = false;
  #ended: Promise<void> | undefined;

  constructor(calls: SystemCalls) {
    this.calls = calls;
    this.info = calls.info;
  }

  /** What is behind a system with image features that serve any words. For the pipeline. @throws E_OPTION for another system */
  get dense(): DenseModel {
    if (this.calls instanceof DenseModel) return this.calls;
    throw new WordmaskError(
      'E_OPTION',
      `${this.info.system} has no image features that serve any words (model.info.separable is false): use segment`,
      { details: { option: 'system', value: this.info.system } },
    );
  }

  /** Labels and their text features. `cat|kitten` gives one label two prompts. @throws E_LABEL, E_VOCAB, E_OPTION */
  vocabulary(
    labels: VocabularyInput,
    options: VocabularyOptions & { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
  ): Promise<Vocabulary> {
    const { signal, onProgress, ...rest } = options;
    return this.#call(signal, async () => {
      const vocabulary = vocabularyOf(labels, rest);
      await this.calls.prepare(vocabulary, signal ? { ...noOptions, common: { signal } } : noOptions, onProgress);
      return vocabulary;
    });
  }

  /** Encodes a picture once, for many vocabularies. @throws E_OPTION where the system has no such features, else as `segment` */
  encode(image: ImageInput, options: SegmentOptions = {}): Promise<Features> {
    return this.#checked('encode', options, (checked) => this.calls.encode(image, checked));
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
    admit: Admit,
  ): Promise<Segmentation> {
    return this.#checked('segment', options, (checked) =>
      this.calls.segment(image, vocabularyOf(vocabulary), checked, admit),
    );
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
    return tuneModel(this, images, vocabularyOf(vocabulary), options);
  }

  /** What a call would need, without running it. */
  plan(width: number, height: number, vocabulary: VocabularyInput, options: SegmentOptions = {}): CallPlan {
    return this.calls.plan(width, height, vocabularyOf(vocabulary), this.check(options));
  }

  /** Pictures of a size that keep the model busy when they are in work at once. For streams. */
  ahead(width: number, height: number, options: SegmentOptions): number {
    return this.calls.ahead(width, height, this.check(options));
  }

  /** Named intermediate values of `segment` (see `info.traces`). @throws E_OPTION for an unknown name */
  trace(
    image: ImageInput,
    vocabulary: VocabularyInput,
    names: readonly string[],
    options: SegmentOptions & { textFeatures?: GivenText } = {},
  ): Promise<Record<string, HostValue>> {
    const { textFeatures, ...rest } = options;
    return this.#checked('trace', rest as SegmentOptions, (checked) =>
      this.calls.trace(image, vocabularyOf(vocabulary), names, checked, textFeatures),
    );
  }

  /**
   * Where words were found: one map over the picture a word, before background rules and, unless `refine` names one, refiners. A word
   * alone needs no vocabulary: `cat`, `dog|puppy`, several in a list. With `vocabulary` it is one of its labels, by name or index, and
   * the map says how it does against the others.
   * @throws E_OPTION where the system cannot tell, E_LABEL for an empty or unknown word, and as `segment`
   */
  explain(image: ImageInput | Features, label: LabelInput | number, options?: ExplainOptions): Promise<Explanation>;
  explain(
    image: ImageInput | Features,
    labels: readonly (LabelInput | number)[] | Vocabulary,
    options?: ExplainOptions,
  ): Promise<Explanation[]>;
  explain(
    image: ImageInput | Features,
    labels: ExplainInput,
    options: ExplainOptions = {},
  ): Promise<Explanation | Explanation[]> {
    return this.#explain(image, labels, options);
  }

  async #explain(
    image: ImageInput | Features,
    labels: ExplainInput,
    options: ExplainOptions,
  ): Promise<Explanation | Explanation[]> {
    const { vocabulary, ensemble, ...rest } = splitExplainOptions(options);
    const request = explainRequest(labels, { vocabulary, ensemble });
    const found = await this.#checked('explain', rest, (checked) => {
      refuseExplainOptions(checked);
      return this.calls.explain(image, request, checked);
    });
    return Array.isArray(labels) || labels instanceof Vocabulary ? found : (found[0] as Explanation);
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
    this.calls.dispose();
    // On a device that is lost nothing runs any more.
    await onDevice(this.info.device, () => sync()).catch(() => undefined);
    trimMemory();
  }

  /** Makes what calls with these words and options need, such as text features. @throws E_OPTION, E_LABEL, E_VOCAB */
  prepare(
    vocabulary: Vocabulary,
    options: SegmentOptions,
    onProgress?: (done: number, total: number) => void,
  ): Promise<void> {
    return this.#checked('prepare', options, (checked) => this.calls.prepare(vocabulary, checked, onProgress));
  }

  /** Runs something on the model's device, counted as a call. For the pipeline. */
  work<T>(signal: AbortSignal | undefined, fn: () => Promise<T>): Promise<T> {
    return this.#call(signal, fn);
  }

  /** @throws E_OPTION */
  check(options: SegmentOptions): CheckedOptions {
    return checkSegmentOptions(options, this.calls.optionRules);
  }

  /** A call with options of `segment`: checked first, under the caller's signal and the deadline. */
  #checked<T>(what: string, options: SegmentOptions, fn: (checked: CheckedOptions) => Promise<T>): Promise<T> {
    let checked: CheckedOptions;
    try {
      checked = this.check(options);
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

function vocabularyOf(labels: VocabularyInput, options: VocabularyOptions = {}): Vocabulary {
  return labels instanceof Vocabulary ? labels : Vocabulary.from(labels, options);
}
