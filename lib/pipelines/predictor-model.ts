/** Systems that predict by themselves: every call runs the whole method on picture and words. */
import { parse } from 'node:path';
import { fileURLToPath } from 'node:url';
import { scope } from '../engine/index.js';
import type { DecodedImage, ImageInput } from '../image/decode.js';
import type { PredictContext, PredictorPlan, PredictorWords } from '../post/predictor.js';
import type { SystemTuning } from '../post/tuning.js';
import { WordmaskError } from '../util/errors.js';
import { dropSmall } from './areas.js';
import { systemOptions } from './call-options.js';
import type { ExplainRequest } from './explain-request.js';
import type { Explanation } from './explanation.js';
import { Features } from './features.js';
import type { Admit, GivenText, HostValue, ModelInfo, PredictorParts, SystemCalls } from './parts.js';
import { hostPicture } from './picture.js';
import { type CallPlan, checkSize } from './plan.js';
import {
  type ExplainCall,
  explainPicture,
  explainWords,
  requireExplain,
  requireSearched,
} from './predictor-explain.js';
import { predictorTraces, tracePrediction } from './predictor-trace.js';
import { finishSettings, planesOf, wordsOf } from './predictor-words.js';
import { finishCall, provenanceOf, stopwatch } from './result.js';
import { withRetreat } from './retreat.js';
import type { CheckedOptions, OptionRules } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import { underPolicy } from './settings.js';
import { Turns } from './turns.js';
import type { Vocabulary } from './vocabulary.js';

/** A call whose words and options are known to go together. */
export interface PredictorCall {
  readonly vocab: Vocabulary;
  readonly words: PredictorWords;
  readonly options: object;
  readonly common: CheckedOptions['common'];
  /** Name of the picture's file, where it has one. */
  readonly source?: string;
}

export class PredictorModel implements SystemCalls {
  readonly info: ModelInfo;
  readonly parts: PredictorParts;
  readonly optionRules: OptionRules;
  /** Few pictures at a time: what a method holds while it looks at one is much. */
  readonly #turns: Turns;

  constructor(parts: PredictorParts) {
    this.parts = parts;
    this.#turns = new Turns(parts.atOnce, parts.budget);
    this.info = { ...parts.info, traces: [...new Set([...parts.predictor.traces, ...predictorTraces])] };
    this.optionRules = optionRules(parts.module.optionNames, parts.info.system);
  }

  get tuning(): SystemTuning | undefined {
    return this.parts.module.tuning;
  }
  get searched(): unknown {
    return this.parts.predictor;
  }
  /** The common `threshold` belongs to a call; what a system keeps is an option of its own. */
  get thresholdOption(): string | undefined {
    return this.parts.module.optionNames.includes('threshold') ? 'threshold' : undefined;
  }
  thresholdComesLast(): boolean {
    return false;
  }

  async prepare(vocab: Vocabulary, checked: CheckedOptions): Promise<void> {
    await this.#call(vocab, checked);
  }

  encode(): Promise<Features> {
    return Promise.reject(this.#noFeatures());
  }

  async segment(
    image: ImageInput | Features,
    vocabulary: Vocabulary,
    checked: CheckedOptions,
    admit: Admit,
  ): Promise<Segmentation> {
    if (image instanceof Features) throw this.#noFeatures();
    const call = await this.#call(vocabulary, checked, image);
    const { vocab, common } = call;
    const started = performance.now();
    const decoded = await hostPicture(image, this.info.device, common);
    const timings: Record<string, number> = { decode: performance.now() - started };
    this.refuse(decoded, call);
    await admit(decoded.width * decoded.height, common.signal);
    const warnings: string[] = [];
    return this.inTurn(decoded, call, async () => {
      const clock = stopwatch(timings);
      const run = () => this.#planes(decoded, call, clock, warnings);
      const planes = await withRetreat(warnings, 'out of memory: caches freed', run, run);
      return finishCall({
        width: decoded.width,
        height: decoded.height,
        vocab,
        planes,
        common,
        warnings: [...new Set(warnings)],
        timings,
        clock,
        provenance: this.provenance(call, decoded.hash),
        image: decoded,
      });
    });
  }

  async explain(
    image: ImageInput | Features,
    request: ExplainRequest,
    checked: CheckedOptions,
  ): Promise<Explanation[]> {
    if (image instanceof Features) throw this.#noFeatures();
    requireExplain(this);
    const { vocab, alone } = request;
    const calls: ExplainCall[] = [];
    // Words alone are looked for one by one: none of them competes with another.
    for (const asked of alone ? request.asked.map((label) => [label]) : [request.asked]) {
      const labels = alone ? asked.map((label) => vocab.labels[label]?.name as string) : undefined;
      const common = { ...checked.common, labels, refine: checked.common.refine ?? 'none' };
      const words = explainWords(wordsOf(vocab.spec, common), alone);
      requireSearched(words, asked, this.info.system);
      calls.push({ call: this.#callOf(vocab, words, { ...checked, common }, image), asked });
    }
    for (const { call } of calls) await this.#prepare(call);
    return explainPicture(this, calls, request, image, checked.common);
  }

  plan(width: number, height: number, vocabulary: Vocabulary, checked: CheckedOptions): CallPlan {
    checkSize(width, height);
    const { common } = checked;
    const vocab = underPolicy(vocabulary, common);
    const options = this.#options(checked);
    const plan = this.#plan(width, height, { vocab, words: wordsOf(vocab.spec, common), options, common });
    const { outputs } = finishSettings(vocab.spec, common);
    const labels = vocab.labels.length;
    const planes =
      1 + Number(outputs.margin) + Number(outputs.entropy) + 2 * outputs.topk + (wantsVolume(common) ? labels : 0);
    return {
      ...plan,
      hostBytes: width * height * (3 + 4 + (labels > 255 ? 2 : 1) + 4 * planes),
      fits: plan.deviceBytes <= this.parts.budget,
    };
  }

  /** Those that are computed, and one that decodes. */
  ahead(): number {
    return this.parts.atOnce + 1;
  }

  async trace(
    image: ImageInput,
    vocabulary: Vocabulary,
    names: readonly string[],
    checked: CheckedOptions,
    textFeatures: GivenText | undefined,
  ): Promise<Record<string, HostValue>> {
    if (textFeatures)
      throw new WordmaskError(
        'E_OPTION',
        `${this.info.system} takes no textFeatures: its words meet the picture inside`,
        {
          details: { option: 'textFeatures' },
        },
      );
    return tracePrediction(this, await this.#call(vocabulary, checked, image), image, names);
  }

  dispose(): void {
    this.parts.dispose();
  }

  /** When it is this call's turn. */
  inTurn<T>({ width, height }: DecodedImage, call: PredictorCall, work: () => Promise<T>): Promise<T> {
    const { priority, signal } = call.common;
    const bytes = this.#plan(width, height, call).deviceBytes;
    return this.#turns.run({ priority, bytes, signal }, () => scope(work));
  }

  context(
    { common, source }: PredictorCall,
    clock: (stage: string) => void,
    warnings: string[],
    trace?: PredictContext['trace'],
  ): PredictContext {
    return {
      signal: common.signal,
      budget: this.parts.budget,
      refine: typeof common.refine === 'string' ? { name: common.refine } : common.refine,
      source,
      trace,
      stage: clock,
      warn: (message) => void warnings.push(message),
    };
  }

  async #planes(
    image: DecodedImage,
    call: PredictorCall,
    clock: (stage: string) => void,
    warnings: string[],
  ): ReturnType<typeof planesOf> {
    const { vocab, words, options, common } = call;
    return scope(async () => {
      const prediction = await this.parts.predictor.predict(image, words, options, this.context(call, clock, warnings));
      const planes = await planesOf(prediction, vocab.spec, finishSettings(vocab.spec, common), wantsVolume(common));
      clock('output');
      if (!common.minArea) return planes;
      return { ...planes, labels: await dropSmall(planes.labels, image.width, image.height, common.minArea) };
    });
  }

  #options({ common, system }: CheckedOptions): object {
    return systemOptions(this.parts.module, this.parts.fileOptions, system, common.preset);
  }

  /** @throws E_OPTION, E_LABEL, E_VOCAB for words and options that do not go together */
  async #call(vocabulary: Vocabulary, checked: CheckedOptions, image?: ImageInput): Promise<PredictorCall> {
    const { common } = checked;
    const vocab = underPolicy(vocabulary, common);
    const call = this.#callOf(vocab, wordsOf(vocab.spec, common), checked, image);
    await this.#prepare(call);
    return call;
  }

  #callOf(vocab: Vocabulary, words: PredictorWords, checked: CheckedOptions, image?: ImageInput): PredictorCall {
    return { vocab, words, options: this.#options(checked), common: checked.common, source: sourceOf(image) };
  }

  async #prepare({ words, options, common }: PredictorCall): Promise<void> {
    await this.parts.predictor.prepare?.(words, options, common.signal);
  }

  #plan(width: number, height: number, { words, options, vocab, common }: PredictorCall): PredictorPlan {
    const plan = this.parts.predictor.plan(width, height, words, options);
    const volume = wantsVolume(common) ? width * height * 4 * (vocab.labels.length + words.chosen.length + 1) : 0;
    return { ...plan, deviceBytes: Math.ceil(plan.deviceBytes + volume) };
  }

  /** @throws E_MEMORY_PLAN: the channels of a method are over all pixels at once */
  refuse({ width, height }: DecodedImage, call: PredictorCall): void {
    const { budget } = this.parts;
    const { deviceBytes } = this.#plan(width, height, call);
    if (deviceBytes <= budget) return;
    const instead = wantsVolume(call.common) ? "leave out the output 'probabilities', name" : 'name';
    throw new WordmaskError(
      'E_MEMORY_PLAN',
      `${this.info.system} on ${width} x ${height} pixels with ${call.words.chosen.length} labels would need ${deviceBytes} bytes; the budget is ${budget}: ${instead} fewer labels, take a smaller picture, or raise \`memory\``,
      { details: { needed: deviceBytes, limit: budget } },
    );
  }

  provenance({ vocab, options, common }: PredictorCall, input: string): Record<string, unknown> {
    const { threshold, margin } = finishSettings(vocab.spec, common);
    return provenanceOf(this.info, vocab, input, common, {
      ...options,
      ...(common.refine !== undefined && { refine: common.refine }),
      ...(common.background !== undefined && { background: common.background }),
      ...(threshold > 0 && { scoreThreshold: threshold }),
      ...(margin > 0 && { scoreMargin: margin }),
    });
  }

  #noFeatures(): WordmaskError {
    return new WordmaskError(
      'E_OPTION',
      `${this.info.system} looks at picture and words together: it has no image features to keep (model.info.separable is false); give segment the picture`,
      { details: { system: this.info.system } },
    );
  }
}

function sourceOf(image: ImageInput | undefined): string | undefined {
  if (typeof image === 'string') return parse(image).name;
  // Other URLs are refused where the picture is read.
  return image instanceof URL && image.protocol === 'file:' ? parse(fileURLToPath(image)).name : undefined;
}

function wantsVolume({ outputs }: CheckedOptions['common']): boolean {
  return outputs?.includes('probabilities') ?? false;
}

function optionRules(names: readonly string[], system: string): OptionRules {
  const takes = (option: string): boolean => names.includes(option);
  const why: Record<string, string> = {
    window: `${system} looks at the whole picture: leave it out`,
    tile: `${system} looks at the whole picture: leave it out`,
    maxSide: `${system} has no such limit: give a smaller picture`,
    ...(!takes('imageSize') && { size: `${system} does not scale pictures by their short side: leave it out` }),
  };
  return {
    names,
    ...(takes('imageSize') && { size: 'imageSize' }),
    refused: Object.fromEntries(Object.entries(why).filter(([option]) => !takes(option))),
  };
}
