/** The engine of dense text-query systems: options in, window features out, cosine maps against any text. */
import { cosineLogits, type Tensor } from '../engine/index.js';
import {
  type DenseEncoder,
  type DenseFeatures,
  planWindows,
  type WindowGeometry,
  type WindowSlice,
} from './dense-encode.js';
import { type DenseOptions, denseOptions } from './dense-options.js';
import type { SystemTuning } from './tuning.js';

/** A published setting: options and where they come from. */
export interface DensePreset {
  readonly options: Readonly<Record<string, unknown>>;
  /** Paper table or section, or repository file. */
  readonly source: string;
  /** Class list of the benchmark (assets/classes), and its query list where the system uses one. */
  readonly classes: string;
  readonly queries?: string;
}

export interface DenseSystem {
  readonly defaults: DenseOptions;
  readonly encoder: DenseEncoder;
  /** Options of one call: defaults < preset < model file < call. */
  check(...layers: readonly (Readonly<Record<string, unknown>> | undefined)[]): DenseOptions;
  plan(width: number, height: number, options: DenseOptions, maxSide?: number): WindowGeometry;
  /** Cosine maps of a chunk of queries: text [S, E] with unit rows -> [N, S, P] f32. */
  scores(features: DenseFeatures, text: Tensor, options: DenseOptions): Tensor;
  /** Rewrites the maps of ALL queries before they are resized (MaskCLIP's refinements); absent where there is none. */
  refine?(scores: Tensor, features: DenseFeatures, options: DenseOptions): Tensor;
  /** Whether `refine` does anything under these options; it then needs all queries at once. */
  refines(options: DenseOptions): boolean;
  /** Values of the image side by name, of all windows at once, for `trace`. */
  readonly inspection?: Inspection;
}

export interface Inspection {
  readonly names: readonly string[];
  values(windows: WindowSlice, options: DenseOptions): Readonly<Record<string, Tensor>>;
}

/** What a system trained beside its frozen encoder. */
export interface TrainedPart {
  /** By name, as in the file. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** SHA-256 of the file. */
  readonly hash: string;
  readonly bytes: number;
}

/** What every system says about itself. */
export interface SystemInfo {
  /** Lower-case name of the registry. */
  readonly name: string;
  readonly title: string;
  readonly paper: string;
  readonly year: number;
  readonly kind: 'semantic' | 'panoptic' | 'instance';
  readonly supervision: 'none' | 'text' | 'masks';
  /** `model_type`s it runs on. */
  readonly backbones: readonly string[];
  readonly licence: { readonly code: string; readonly weights: string };
  readonly tasks: readonly string[];
  /** Whether image features serve any vocabulary. */
  readonly separable: boolean;
}

/** What a system of this family exports: lib/systems/<name>/index.ts. */
export interface DenseSystemModule {
  readonly info: SystemInfo;
  readonly defaults: DenseOptions;
  readonly presets: Readonly<Record<string, DensePreset>>;
  /** How it finds settings on pictures without annotations, where it defines that. */
  readonly tuning?: SystemTuning;
  /** @throws E_OPTION */
  check(...layers: readonly (Readonly<Record<string, unknown>> | undefined)[]): DenseOptions;
  /** `part` is what `openPart` gave. */
  build(encoder: DenseEncoder, part?: TrainedPart): DenseSystem;
  /**
   * Of a system with trained parts of its own: reads them from the weights of a model folder.
   * @throws E_WEIGHTS, E_WEIGHTS_VALUE
   */
  openPart?(
    file: string,
    encoder: DenseEncoder,
    options: { readonly checkWeights: boolean; readonly signal?: AbortSignal },
  ): Promise<TrainedPart>;
}

export function createDenseSystem(
  encoder: DenseEncoder,
  defaults: DenseOptions,
  hooks: Partial<Omit<DenseSystem, 'defaults' | 'encoder'>> = {},
): DenseSystem {
  return {
    defaults,
    encoder,
    check: (...layers) => denseOptions(defaults, ...layers),
    plan: (width, height, options, maxSide) => planWindows(width, height, encoder.patch, options, maxSide),
    scores: (features, text) => cosineLogits(features.features, text),
    refines: () => false,
    ...hooks,
  };
}

/** What a training-free reading of CLIP says for itself; the rest is the same for all of them. */
export interface ClipReading {
  readonly name: string;
  readonly title: string;
  readonly paper: string;
  readonly year: number;
  /** Licence of the published code. */
  readonly code: string;
  readonly defaults: DenseOptions;
  readonly presets: Readonly<Record<string, DensePreset>>;
  readonly hooks?: Partial<Pick<DenseSystem, 'refine' | 'refines'>>;
  /** @throws E_OPTION for options that do not go together */
  refuse?(options: DenseOptions): void;
}

/** The module of a system that reads patches of an unchanged CLIP against words. */
export function clipReading(reading: ClipReading): DenseSystemModule {
  const { name, title, paper, year, code, defaults, presets, hooks } = reading;
  return {
    info: {
      name,
      title,
      paper,
      year,
      kind: 'semantic',
      supervision: 'none',
      backbones: ['clip'],
      licence: { code, weights: 'MIT (OpenAI)' },
      tasks: ['semantic'],
      separable: true,
    },
    defaults,
    presets,
    check: (...layers) => {
      const options = denseOptions(defaults, ...layers);
      reading.refuse?.(options);
      return options;
    },
    build: (encoder) => createDenseSystem(encoder, defaults, hooks),
  };
}
