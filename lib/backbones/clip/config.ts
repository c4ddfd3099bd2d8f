/** config.json of CLIP in the Hugging Face layout (`model_type: clip`), checked field by field. */
import { z } from 'zod';
import { activationField as activation, checkedConfig, checkHeads, epsField as eps, size } from '../../nn/config.js';
import type { Activation } from '../../nn/linear.js';
import { WordmaskError } from '../../util/errors.js';

export interface TowerConfig {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly ffn: number;
  readonly activation: Activation;
  readonly eps: number;
}

export interface ClipConfig {
  readonly embed: number;
  readonly vision: TowerConfig & { readonly imageSize: number; readonly patch: number };
  readonly text: TowerConfig & { readonly vocabulary: number; readonly positions: number; readonly eosTokenId: number };
}

const visionSchema = z.object({
  hidden_size: size(16384).default(768),
  intermediate_size: size(65536).default(3072),
  num_hidden_layers: size(512).default(12),
  num_attention_heads: size(1024).default(12),
  image_size: size(8192).default(224),
  patch_size: size(512).default(32),
  num_channels: z.literal(3).default(3),
  hidden_act: activation.default('quick_gelu'),
  layer_norm_eps: eps.default(1e-5),
});
const textSchema = z.object({
  hidden_size: size(16384).default(512),
  intermediate_size: size(65536).default(2048),
  num_hidden_layers: size(512).default(12),
  num_attention_heads: size(1024).default(8),
  vocab_size: size(1_000_000).default(49408),
  max_position_embeddings: size(4096).default(77),
  hidden_act: activation.default('quick_gelu'),
  layer_norm_eps: eps.default(1e-5),
  eos_token_id: z.number().int().min(0).max(1_000_000).default(49407),
});
const schema = z.object({
  model_type: z.literal('clip'),
  projection_dim: size(16384).default(512),
  vision_config: visionSchema.nullish().transform((v) => v ?? visionSchema.parse({})),
  text_config: textSchema.nullish().transform((v) => v ?? textSchema.parse({})),
  vision_config_dict: visionSchema.nullish(),
  text_config_dict: textSchema.nullish(),
});

/** @throws E_MODEL_FORMAT naming the key, the value and what is allowed */
export function parseClipConfig(file: string, json: unknown): ClipConfig {
  const parsed = checkedConfig(file, json, schema, 'CLIP');
  const { projection_dim } = parsed;
  // Exports of 2021 and 2022 say it twice; as in the published reader, the older spelling wins with its defaults filled in.
  const v = parsed.vision_config_dict ?? parsed.vision_config;
  const t = parsed.text_config_dict ?? parsed.text_config;
  checkHeads(file, 'vision_config', v.hidden_size, v.num_attention_heads);
  checkHeads(file, 'text_config', t.hidden_size, t.num_attention_heads);
  if (v.image_size < v.patch_size) {
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${file}: vision_config.image_size ${v.image_size} is smaller than patch_size ${v.patch_size}`,
      { details: { file } },
    );
  }
  return {
    embed: projection_dim,
    vision: { ...tower(v), imageSize: v.image_size, patch: v.patch_size },
    text: { ...tower(t), vocabulary: t.vocab_size, positions: t.max_position_embeddings, eosTokenId: t.eos_token_id },
  };
}

function tower(c: z.infer<typeof visionSchema> | z.infer<typeof textSchema>): TowerConfig {
  return {
    width: c.hidden_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    ffn: c.intermediate_size,
    activation: c.hidden_act,
    eps: c.layer_norm_eps,
  };
}
