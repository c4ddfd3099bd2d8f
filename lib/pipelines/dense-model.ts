/** Systems that compare image features with text: a picture is encoded once, then asked for any words. */
import type { ImageInput } from '../image/decode.js';
import { type DenseOptions, denseOptionNames } from '../post/dense-options.js';
import type { SystemTuning } from '../post/tuning.js';
import { WindowQueue } from '../post/window-queue.js';
import { templateSet } from '../text/index.js';
import { WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import { systemOptions } from './call-options.js';
import { explainFeatures, refuseMaps } from './explain-dense.js';
import type { ExplainRequest } from './explain-request.js';
import type { Explanation } from './explanation.js';
import { Features } from './features.js';
import type { Admit, DenseParts, GivenText, HostValue, ModelInfo, SystemCalls } from './parts.js';
import { pictureFor } from './picture.js';
import { type CallPlan, planDense } from './plan.js';
import { encodeImage, segmentFeatures, windowGroup } from './segment.js';
import { type CheckedOptions, type OptionRules, refineOf } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import { readOutSettings, refuseVolume, underPolicy } from './settings.js';
import { TextFeatures } from './text-features.js';
import { traceDense } from './trace.js';
import type { CompiledText, Vocabulary } from './vocabulary.js';

export class DenseModel implements SystemCalls {
  readonly info: ModelInfo;
  readonly parts: DenseParts;
  readonly text: TextFeatures;
  readonly windows: WindowQueue;
  readonly optionRules: OptionRules = denseOptionRules;

  constructor(parts: DenseParts) {
    this.parts = parts;
    this.info = parts.info;
    this.text = new TextFeatures(parts.encodeText, parts.embed);
    this.windows = new WindowQueue(parts.system.encoder);
  }

  get tuning(): SystemTuning | undefined {
    return this.parts.module.tuning;
  }
  get searched(): unknown {
    return this.parts.system;
  }
  readonly thresholdOption = 'probThreshold';

  /** The dense CRF takes the threshold as a class of its own; rules about areas look at what it left. */
  thresholdComesLast({ common, system }: CheckedOptions): boolean {
    const dense = this.options(system, common.preset);
    return refineOf(common.refine, dense).kind !== 'crf' && dense.areaThreshold === 0 && !common.minArea;
  }

  /** Options of a call: defaults < preset < model folder < call. */
  options(call: Readonly<Record<string, unknown>> = {}, preset?: string): DenseOptions {
    return systemOptions(this.parts.module, this.parts.fileOptions, call, preset);
  }

  async prepare(
    vocab: Vocabulary,
    { common, system }: CheckedOptions,
    onProgress?: (done: number, total: number) => void,
  ): Promise<void> {
    await this.compile(underPolicy(vocab, common), this.options(system, common.preset), onProgress);
  }

  async encode(image: ImageInput, { common, system }: CheckedOptions): Promise<Features> {
    const dense = this.options(system, common.preset);
    const features = await encodeImage(this, await pictureFor(image, this.info.device, common), dense, common);
    if (!common.signal?.aborted) return features;
    // Nobody will see these.
    features.dispose();
    throw common.signal.reason;
  }

  async segment(
    image: ImageInput | Features,
    vocabulary: Vocabulary,
    { common, system }: CheckedOptions,
    admit: Admit,
  ): Promise<Segmentation> {
    const vocab = underPolicy(vocabulary, common);
    const dense = this.options(system, common.preset);
    if (image instanceof Features) {
      this.#checkFeatures(image, dense, common);
      return segmentFeatures(this, image, vocab, dense, common, {});
    }
    const started = performance.now();
    const picture = await pictureFor(image, this.info.device, common);
    const { width, height } = picture;
    const decodeMs = performance.now() - started;
    try {
      refuseVolume(readOutSettings(vocab.spec, dense, common, this.parts.budget), vocab.spec, width, height);
      await admit(width * height, common.signal);
    } catch (error) {
      picture.pixels.dispose();
      throw error;
    }
    using features = await encodeImage(this, picture, dense, common);
    return await segmentFeatures(this, features, vocab, dense, common, { decode: decodeMs, ...features.timings });
  }

  async explain(
    image: ImageInput | Features,
    request: ExplainRequest,
    { common, system }: CheckedOptions,
  ): Promise<Explanation[]> {
    const dense = this.options(system, common.preset);
    const refuse = ({ width, height }: { readonly width: number; readonly height: number }): void =>
      refuseMaps(this, request, dense, common, width, height);
    if (image instanceof Features) {
      this.#checkFeatures(image, dense, common);
      refuse(image);
      return explainFeatures(this, image, request, dense, common, {});
    }
    const started = performance.now();
    const picture = await pictureFor(image, this.info.device, common);
    const decodeMs = performance.now() - started;
    try {
      refuse(picture);
    } catch (error) {
      picture.pixels.dispose();
      throw error;
    }
    using features = await encodeImage(this, picture, dense, common);
    return await explainFeatures(this, features, request, dense, common, { decode: decodeMs, ...features.timings });
  }

  /** @throws E_USAGE, E_OPTION for features that were made by another model or under other options */
  #checkFeatures(image: Features, dense: DenseOptions, { maxSide }: CheckedOptions['common']): void {
    if (image.owner !== this.parts)
      throw new WordmaskError('E_USAGE', 'these features come from another model: encode the picture with this one');
    image.checkOptions(dense);
    if (maxSide !== undefined)
      image.checkCanvas(this.parts.system.plan(image.width, image.height, dense, maxSide).canvas);
  }

  plan(width: number, height: number, vocab: Vocabulary, options: CheckedOptions): CallPlan {
    return planDense(this, width, height, vocab, options);
  }

  /** Those that fill a group of windows, and one that decodes. */
  ahead(width: number, height: number, { common, system }: CheckedOptions): number {
    const plan = this.parts.system.plan(width, height, this.options(system, common.preset), common.maxSide);
    return 1 + Math.ceil(windowGroup / (plan.boxes.length / 4));
  }

  trace(
    image: ImageInput,
    vocab: Vocabulary,
    names: readonly string[],
    options: CheckedOptions,
    textFeatures: GivenText | undefined,
  ): Promise<Record<string, HostValue>> {
    return traceDense(this, image, vocab, names, options, textFeatures);
  }

  dispose(): void {
    this.parts.dispose();
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
}

/** Size and window of the picture go to options of the system. */
const denseOptionRules: OptionRules = { names: denseOptionNames, size: 'shortSide', window: 'crop', refused: {} };
