/** What an opened model is made of, and what each kind of system does behind the shared face. */
import type { Tensor } from '../engine/index.js';
import type { ImageInput } from '../image/decode.js';
import type { DenseOptions } from '../post/dense-options.js';
import type { DenseSystem } from '../post/dense-system.js';
import type { Predictor } from '../post/predictor.js';
import type { SystemTuning } from '../post/tuning.js';
import type { DenseSystemModule, PredictorSystemModule } from '../registry/systems.js';
import type { ExplainRequest } from './explain-request.js';
import type { Explanation } from './explanation.js';
import type { Features } from './features.js';
import type { CallPlan } from './plan.js';
import type { CheckedOptions, OptionRules } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import type { TextEncoder } from './text-features.js';
import type { Vocabulary } from './vocabulary.js';

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

/** What `open` puts together for any system. */
interface Parts {
  readonly info: ModelInfo;
  /** Options of the model folder's wordmask.json. */
  readonly fileOptions: Readonly<Record<string, unknown>>;
  readonly budget: number;
  dispose(): void;
}

export interface DenseParts extends Parts {
  readonly module: DenseSystemModule;
  readonly system: DenseSystem;
  readonly encodeText: TextEncoder;
  readonly embed: number;
  /** Values of the encoder by name, for `trace`. */
  readonly probeNames: readonly string[];
  probe(pixels: Tensor, options: DenseOptions, name: string): Tensor;
}

export interface PredictorParts extends Parts {
  readonly module: PredictorSystemModule;
  readonly predictor: Predictor;
  /** Pictures that it is given at once where memory allows. */
  readonly atOnce: number;
}

export interface HostValue {
  readonly data: ArrayLike<number>;
  readonly shape: number[];
}

/** Text features in place of the model's own, one row a prompt. */
export interface GivenText {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** Lets a decoded picture of so many pixels go on. */
export type Admit = (pixels: number, signal: AbortSignal | undefined) => Promise<void>;

/** Calls of a model, under its signal and on its device, with options that are checked. */
export interface SystemCalls {
  readonly info: ModelInfo;
  /** The system's module and what the model's folder says. */
  readonly parts: DenseParts | PredictorParts;
  readonly optionRules: OptionRules;
  readonly tuning: SystemTuning | undefined;
  /** What the reward of a search is made from: what the module's `build` or `open` gave. */
  readonly searched: unknown;
  /** Option that keeps a background threshold found on pictures, where there is one. */
  readonly thresholdOption: string | undefined;
  /**
   * Whether the threshold is the last thing that is applied: then winners and their probabilities under no threshold tell the label
   * map under any.
   */
  thresholdComesLast(options: CheckedOptions): boolean;
  /** Checks options of the system and makes what calls with these words need. */
  prepare(
    vocab: Vocabulary,
    options: CheckedOptions,
    onProgress?: (done: number, total: number) => void,
  ): Promise<void>;
  encode(image: ImageInput, options: CheckedOptions): Promise<Features>;
  segment(
    image: ImageInput | Features,
    vocab: Vocabulary,
    options: CheckedOptions,
    admit: Admit,
  ): Promise<Segmentation>;
  /** Where words were found, one map a word asked for. @throws E_OPTION where the system cannot tell */
  explain(image: ImageInput | Features, request: ExplainRequest, options: CheckedOptions): Promise<Explanation[]>;
  plan(width: number, height: number, vocab: Vocabulary, options: CheckedOptions): CallPlan;
  /** Pictures of a size that keep the model busy when they are in work at once. */
  ahead(width: number, height: number, options: CheckedOptions): number;
  trace(
    image: ImageInput,
    vocab: Vocabulary,
    names: readonly string[],
    options: CheckedOptions,
    textFeatures: GivenText | undefined,
  ): Promise<Record<string, HostValue>>;
  dispose(): void;
}
