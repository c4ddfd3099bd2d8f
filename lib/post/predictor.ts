/**
 * Systems that predict by themselves: where image and words only meet inside the method (gradients of a match, loops over texts),
 * there are no image features to keep. The method gives channels over all pixels; background rules, planes, areas, segments and the
 * result belong to the pipeline and are the same as for dense systems.
 */
import type { Tensor } from '../engine/index.js';
import type { DecodedImage } from '../image/decode.js';
import type { CrfTerms } from './dense-crf.js';
import type { DensePreset, SystemInfo } from './dense-system.js';
import type { Trace } from './read-out.js';
import type { SystemTuning } from './tuning.js';

/** The words of a call. */
export interface PredictorWords {
  /** All labels of the vocabulary, in its order. */
  readonly labels: readonly {
    readonly name: string;
    readonly prompts: readonly string[];
    readonly background?: boolean;
    /** A countable thing (true) or stuff (false), where the vocabulary says. */
    readonly thing?: boolean;
  }[];
  /**
   * Labels that may appear, in the order of the call's `labels`, else in that of the vocabulary: those with words of their own that
   * do not stand for background.
   */
  readonly chosen: readonly number[];
  /** Words of a background policy `prompts`: they compete, and who wins by them is background. */
  readonly backgroundPrompts: readonly string[];
  readonly ensemble: 'max' | 'mean';
  /** Under `auto` the method's own rule decides about background; under the others there is no channel for it. */
  readonly background: 'auto' | 'none' | 'threshold' | 'margin' | 'prompts';
}

/** The call's own `refine`: what it leaves out, the options of the system say. */
export type RefineChoice =
  | { readonly name: 'none' }
  | { readonly name: 'pamr'; readonly steps?: number; readonly dilations?: readonly number[] }
  | {
      readonly name: 'crf';
      readonly iterations?: number;
      readonly gaussian?: CrfTerms['gaussian'] | null;
      readonly bilateral?: CrfTerms['bilateral'] | null;
    };

export interface PredictContext {
  readonly signal?: AbortSignal;
  /** Bytes that the call may take besides the weights. */
  readonly budget: number;
  readonly refine?: RefineChoice;
  /** Name of the picture's file without folders and extension, where it has one. */
  readonly source?: string;
  /** Keeps what was asked for by name; absent outside of `trace`. */
  readonly trace?: Trace;
  /** Time since the last stage goes to this one. */
  stage(name: string): void;
  /** For the result's `warnings`. */
  warn(message: string): void;
}

export interface Prediction {
  /**
   * f32 [C, H, W] at the picture's size: the softmax over C is the probability of a channel, the first of the largest wins. Belongs to
   * the scope of the call.
   */
  readonly logits: Tensor;
  /** What each channel stands for: the index of a label, or -1 for background. Several channels may share a label; the best counts. */
  readonly channels: readonly number[];
}

/** Where asked labels were found. */
export interface Explained {
  /** f32 [K, H, W] at the picture's size, one a label of `labels`. Belongs to the scope of the call. */
  readonly maps: Tensor;
  readonly labels: readonly number[];
  /** What the method itself sees, or the probability behind a refiner. */
  readonly values: 'salience' | 'probability';
}

export interface PredictorPlan {
  readonly deviceBytes: number;
  /** Runs of the image encoder. */
  readonly tiles: number;
  readonly batch: number;
  readonly route: string;
}

export interface Predictor<Options extends object = object> {
  /** Names of its intermediate values, beside `label_map`, `max_probability` and `class_probabilities`. */
  readonly traces: readonly string[];
  /** The name that a spelling of the published code stands for under these options; undefined: none. */
  traceAlias?(name: string, options: Options): string | undefined;
  /** Refuses words and options that do not go together, before a picture is looked at. @throws E_LABEL, E_OPTION, E_VOCAB */
  prepare?(words: PredictorWords, options: Options, signal?: AbortSignal): Promise<void>;
  /** Runs the method on one picture, in the scope of the caller. */
  predict(image: DecodedImage, words: PredictorWords, options: Options, context: PredictContext): Promise<Prediction>;
  /**
   * Maps of the labels asked for, before background rules, in the scope of the caller; behind a refiner only where `context.refine`
   * names one. It runs the steps of `predict`. What is asked for is looked for, whatever rule chooses among labels elsewhere.
   */
  explain?(
    image: DecodedImage,
    words: PredictorWords,
    asked: readonly number[],
    options: Options,
    context: PredictContext,
  ): Promise<Explained>;
  plan(width: number, height: number, words: PredictorWords, options: Options): PredictorPlan;
}

/** A model folder as a system opens it: checked paths, parsed config.json. */
export interface PredictorFolder {
  readonly path: string;
  readonly modelType: string;
  readonly configFile: string;
  readonly config: Record<string, unknown>;
  readonly weights: string;
  readonly tokenizer: string;
}

export interface OpenRequest<Openers> {
  /** The folder that the model's name stands for, and those of further roles that were named. */
  readonly folders: { readonly main: PredictorFolder } & Readonly<Record<string, PredictorFolder | undefined>>;
  /** What opens an encoder of a family. */
  readonly openers: Openers;
  /** 'cpu', 'cuda:0' */
  readonly device: string;
  readonly compute: 'f32' | 'bf16';
  readonly checkWeights: boolean;
  readonly signal?: AbortSignal;
}

export interface OpenedPredictor<Options extends object = object> {
  readonly predictor: Predictor<Options>;
  readonly sizes: {
    readonly patch: number;
    readonly image: number;
    readonly embed: number;
    readonly width: number;
    readonly parametersBytes: number;
  };
  /** Pictures that `predict` may be given at once where memory allows (default 1). */
  readonly atOnce?: number;
  /** SHA-256 over the weights of all roles. */
  readonly hash: string;
  dispose(): void;
}

/** What such a system exports: lib/systems/<name>/index.ts. */
export interface PredictorModule<Options extends object = object, Openers = unknown> {
  /** `separable` is false; `backbones` are those of the folder that the model's name stands for. */
  readonly info: SystemInfo;
  readonly defaults: Options;
  readonly presets: Readonly<Record<string, DensePreset>>;
  /** How it finds settings on pictures without annotations, where it defines that. */
  readonly tuning?: SystemTuning;
  /** Names of all options, for "did you mean". A name that `segment` has as well means the system's own. */
  readonly optionNames: readonly string[];
  /** Compute types, the first for `auto`. */
  readonly dtypes: readonly ('f32' | 'bf16')[];
  /** Further models by role (a scoring CLIP, a class provider): `encoders` of `open`. */
  readonly roles: readonly {
    readonly name: string;
    readonly backbones: readonly string[];
    readonly optional: boolean;
  }[];
  /** @throws E_OPTION */
  check(...layers: readonly (Readonly<Record<string, unknown>> | undefined)[]): Options;
  /** @throws E_MODEL_FORMAT, E_WEIGHTS, E_WEIGHTS_VALUE, E_TOKENIZER */
  open(request: OpenRequest<Openers>): Promise<OpenedPredictor<Options>>;
}
