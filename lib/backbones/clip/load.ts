/** Builds a ClipModel from weights: trainable with the file's tensors, or packed for inference. */
import type { Tensor } from '../../engine/index.js';
import type { Compute } from '../../nn/linear.js';
import { TensorMaps } from '../../nn/tensor-maps.js';
import type { BlockWeights } from '../../nn/transformer.js';
import { loadModelTensors, modelPlans, type WeightSet } from '../../weights/index.js';
import type { ClipConfig } from './config.js';
import { clipIgnored, clipRules, clipTensors } from './keys.js';
import { ClipModel } from './model.js';

export interface LoadClipOptions {
  readonly compute: Compute;
  /** Keep every tensor (f32) and let gradients flow, `compute` in bf16 if asked; otherwise maps are packed once and their originals dropped. */
  readonly trainable?: boolean;
  /** Let gradients pass through the last vision block and the projection to their input (`clipCams`); the weights stay as they are. */
  readonly differentiable?: 'last-block';
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
  return loadModelTensors(weights, modelPlans(weights, clipRules), clipTensors(config), {
    ignore: clipIgnored,
    optional: ['logit_scale'],
    check,
  });
}

/** The same from tensors at hand, by Hugging Face names; they belong to the model from now on. */
export function buildClip(config: ClipConfig, tensors: Map<string, Tensor>, options: LoadClipOptions): ClipModel {
  const builder = new Builder(tensors, options);
  const last = options.differentiable ? 'dense' : 'packed';
  const vision = {
    patch: builder.packed('vision_model.embeddings.patch_embedding', [
      config.vision.width,
      3 * config.vision.patch ** 2,
    ]),
    blocks: builder.blocks('vision_model', config.vision.layers, last),
    projection: options.differentiable ? builder.dense('visual_projection') : builder.packed('visual_projection'),
  };
  const text = {
    blocks: builder.blocks('text_model', config.text.layers),
    projection: builder.packed('text_projection'),
  };
  return new ClipModel(config, options.compute, tensors, vision, text);
}

class Builder extends TensorMaps {
  /** @param last the form of the last block, whose query, key and value stay apart; as the others by default */
  blocks(prefix: string, layers: number, last?: 'packed' | 'dense'): BlockWeights[] {
    return Array.from({ length: layers }, (_, i) =>
      this.block(`${prefix}.encoder.layers.${i}`, i === layers - 1 ? last : undefined),
    );
  }

  /** Query, key and value share one map, except where a variant may need them one by one. */
  private block(at: string, apart?: 'packed' | 'dense'): BlockWeights {
    const { trainable } = this.options;
    const three = ['q_proj', 'k_proj', 'v_proj'].map((name) => `${at}.self_attn.${name}`) as [string, string, string];
    const map = (name: string) => (apart === 'dense' ? this.dense(name) : this.packed(name));
    const [q, k, v] = three;
    return {
      ...(apart || trainable
        ? { q: map(q), k: map(k), v: map(v), ...(trainable ? { joint: this.joined(three, 'dense') } : {}) }
        : { qkv: this.joined(three, 'packed') }),
      norm1: this.norm(`${at}.layer_norm1`),
      norm2: this.norm(`${at}.layer_norm2`),
      out: map(`${at}.self_attn.out_proj`),
      fc1: map(`${at}.mlp.fc1`),
      fc2: map(`${at}.mlp.fc2`),
    };
  }
}
