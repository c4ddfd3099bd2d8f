/** Builds a ClipModel from weights: trainable with the file's tensors, or packed for inference. */
import { concat, requireGrad, type Tensor } from '../../engine/index.js';
import { type Compute, denseLinear, joinedLinear, type Linear, packedLinear } from '../../nn/linear.js';
import type { BlockWeights } from '../../nn/transformer.js';
import { assertCoverage, checkFinite, coverage, loadTensors, mapKeys, type WeightSet } from '../../weights/index.js';
import type { ClipConfig } from './config.js';
import { clipIgnored, clipRules, clipTensors } from './keys.js';
import { ClipModel } from './model.js';

export interface LoadClipOptions {
  readonly compute: Compute;
  /** Keep every tensor (f32) and let gradients flow, `compute` in bf16 if asked; otherwise maps are packed once and their originals dropped. */
  readonly trainable?: boolean;
  /** Look for NaN and infinity (E_WEIGHTS_VALUE). Default true. */
  readonly checkWeights?: boolean;
}

/** @throws E_WEIGHTS listing all missing, unexpected and wrong-shaped tensors; E_WEIGHTS_VALUE */
export async function loadClip(config: ClipConfig, weights: WeightSet, options: LoadClipOptions): Promise<ClipModel> {
  const tensors = await loadClipTensors(config, weights, options.checkWeights);
  try {
    return buildClip(config, tensors, options);
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose();
    throw error;
  }
}

/** Tensors by Hugging Face name, f32. @throws as `loadClip` */
export async function loadClipTensors(
  config: ClipConfig,
  weights: WeightSet,
  check = true,
): Promise<Map<string, Tensor>> {
  const entries = [...weights.tensors].map(([name, { entry }]) => [name, entry] as const);
  const plans = mapKeys(weights.path, entries, clipRules);
  const wanted = clipTensors(config);
  assertCoverage(weights.path, coverage(wanted, plans, { ignore: clipIgnored, optional: ['logit_scale'] }));
  for (const name of plans.keys()) if (!wanted.has(name)) plans.delete(name);
  const tensors = await loadTensors(weights, plans);
  try {
    if (check) await checkFinite(weights.path, tensors);
    return tensors;
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose();
    throw error;
  }
}

/** The same from tensors at hand, by Hugging Face names; they belong to the model from now on. */
export function buildClip(config: ClipConfig, tensors: Map<string, Tensor>, options: LoadClipOptions): ClipModel {
  const builder = new Builder(tensors, options);
  const vision = {
    patch: builder.map('vision_model.embeddings.patch_embedding', [config.vision.width, 3 * config.vision.patch ** 2]),
    blocks: builder.blocks('vision_model', config.vision.layers, true),
    projection: builder.map('visual_projection'),
  };
  const text = {
    blocks: builder.blocks('text_model', config.text.layers, false),
    projection: builder.map('text_projection'),
  };
  return new ClipModel(config, options.compute, tensors, vision, text);
}

class Builder {
  constructor(
    private readonly tensors: Map<string, Tensor>,
    private readonly options: LoadClipOptions,
  ) {
    if (options.trainable) for (const tensor of tensors.values()) requireGrad(tensor);
  }

  private get(name: string): Tensor {
    return this.tensors.get(name) as Tensor;
  }

  map(name: string, shape?: readonly [number, number]): Linear {
    const weight = this.get(`${name}.weight`);
    const bias = this.tensors.get(`${name}.bias`);
    if (this.options.trainable) return denseLinear(weight, bias, this.options.compute);
    const matrix = shape ? weight.reshape(shape) : weight;
    const layer = packedLinear(matrix, bias, this.options.compute);
    if (matrix !== weight) matrix.dispose();
    // The original would be a second copy: only what kernels read as it is stays.
    weight.dispose();
    this.tensors.delete(`${name}.weight`);
    this.tensors.delete(`${name}.bias`);
    return layer;
  }

  blocks(prefix: string, layers: number, variants: boolean): BlockWeights[] {
    return Array.from({ length: layers }, (_, i) =>
      this.block(`${prefix}.encoder.layers.${i}`, variants && i === layers - 1),
    );
  }

  /** Query, key and value share one map, except where a variant may need them one by one. */
  private block(at: string, separate: boolean): BlockWeights {
    const norm = (name: string) => ({ gain: this.get(`${at}.${name}.weight`), bias: this.get(`${at}.${name}.bias`) });
    const attention =
      separate || this.options.trainable
        ? {
            q: this.map(`${at}.self_attn.q_proj`),
            k: this.map(`${at}.self_attn.k_proj`),
            v: this.map(`${at}.self_attn.v_proj`),
            ...(this.options.trainable ? { joint: this.together(`${at}.self_attn`) } : {}),
          }
        : { qkv: this.joined(`${at}.self_attn`) };
    return {
      ...attention,
      norm1: norm('layer_norm1'),
      norm2: norm('layer_norm2'),
      out: this.map(`${at}.self_attn.out_proj`),
      fc1: this.map(`${at}.mlp.fc1`),
      fc2: this.map(`${at}.mlp.fc2`),
    };
  }

  private together(at: string): Linear {
    const parts = ['q_proj', 'k_proj', 'v_proj'].map((name) => ({
      weight: this.get(`${at}.${name}.weight`),
      bias: this.get(`${at}.${name}.bias`),
    }));
    return joinedLinear(parts, this.options.compute);
  }

  private joined(at: string): Linear {
    const names = ['q_proj', 'k_proj', 'v_proj'].map((name) => `${at}.${name}`);
    const weight = concat(
      names.map((name) => this.get(`${name}.weight`)),
      0,
    ); // [3D, D]
    const bias = concat(
      names.map((name) => this.get(`${name}.bias`)),
      0,
    ); // [3D]
    const layer = packedLinear(weight, bias, this.options.compute);
    weight.dispose();
    for (const name of names) {
      for (const part of ['weight', 'bias']) {
        this.get(`${name}.${part}`).dispose();
        this.tensors.delete(`${name}.${part}`);
      }
    }
    return layer;
  }
}
