/** What a system exports, whatever its kind. */
import type { ClipModel } from '../backbones/clip/index.js';
import type { DenseOptions } from '../post/dense-options.js';
import type { DensePreset, DenseSystem } from '../post/dense-system.js';

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

/** A system of the dense text-query family. */
export interface DenseSystemModule {
  readonly info: SystemInfo;
  readonly defaults: DenseOptions;
  readonly presets: Readonly<Record<string, DensePreset>>;
  /** @throws E_OPTION */
  check(...layers: readonly (Readonly<Record<string, unknown>> | undefined)[]): DenseOptions;
  build(model: ClipModel): DenseSystem;
}
