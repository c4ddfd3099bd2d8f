/** config.json of BridgeTower in the Hugging Face layout (`model_type: bridgetower`). */
import { z } from 'zod';
import type { BertSizes } from '../../nn/bert.js';
import {
  activationField,
  checkedConfig,
  checkHeads,
  epsField,
  ffnField,
  headsField,
  layersField,
  size,
  widthField,
} from '../../nn/config.js';
import type { VisionSizes } from '../../nn/vision-tower.js';
import { WordmaskError } from '../../util/errors.js';

export interface BridgeTowerConfig {
  readonly vision: VisionSizes;
  readonly text: BertSizes & {
    readonly vocabulary: number;
    readonly positions: number;
    readonly types: number;
    readonly padId: number;
  };
  /** Cross-modal layers of either stream; heads, FFN and eps inside are those of the text tower. */
  readonly cross: { readonly width: number; readonly layers: number; readonly eps: number };
  /** Blocks of either tower in front of the first cross-modal layer. */
  readonly split: number;
}

// Defaults are those of the published classes.
const visionSchema = z.object({
  hidden_size: widthField.default(768),
  num_hidden_layers: layersField.default(12),
  num_channels: z.literal(3).default(3),
  patch_size: size(512).default(16),
  image_size: size(8192).default(288),
  layer_norm_eps: epsField.default(1e-5),
  share_layernorm: z.literal(true).default(true),
  remove_last_layer: z.literal(false).default(false),
});
const textSchema = z.object({
  vocab_size: size(1_000_000).default(50265),
  hidden_size: widthField.default(768),
  num_hidden_layers: layersField.default(12),
  num_attention_heads: headsField.default(12),
  intermediate_size: ffnField.default(3072),
  hidden_act: activationField.default('gelu'),
  max_position_embeddings: size(65536).default(514),
  type_vocab_size: size(1024).default(1),
  layer_norm_eps: epsField.default(1e-5),
  pad_token_id: z.number().int().min(0).max(1_000_000).default(1),
});
// What published models do not use is refused by name, not guessed.
const schema = z.object({
  model_type: z.literal('bridgetower').optional(),
  hidden_size: widthField.default(768),
  num_hidden_layers: layersField.default(6),
  layer_norm_eps: epsField.default(1e-5),
  link_tower_type: z.literal('add').default('add'),
  share_cross_modal_transformer_layers: z.literal(true).default(true),
  share_link_tower_layers: z.literal(false).default(false),
  text_config: textSchema.nullish().transform((v) => v ?? textSchema.parse({})),
  vision_config: visionSchema.nullish().transform((v) => v ?? visionSchema.parse({})),
});

/** @throws E_MODEL_FORMAT */
export function parseBridgeTowerConfig(file: string, json: unknown): BridgeTowerConfig {
  const c = checkedConfig(file, json, schema, 'BridgeTower');
  const { text_config: t, vision_config: v } = c;
  const heads = Math.max(1, Math.floor(v.hidden_size / 64));
  checkHeads(file, 'vision_config', v.hidden_size, heads);
  checkHeads(file, 'text_config', t.hidden_size, t.num_attention_heads);
  checkHeads(file, 'the cross-modal layers', c.hidden_size, t.num_attention_heads);
  const split = t.num_hidden_layers - c.num_hidden_layers + 1;
  if (split < 1 || v.num_hidden_layers < t.num_hidden_layers || t.max_position_embeddings < t.pad_token_id + 2) {
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${file}: ${c.num_hidden_layers} cross-modal layers need as many blocks in both towers, the vision tower at least as many as the text tower, and positions behind pad_token_id; found ${t.num_hidden_layers} text layers, ${v.num_hidden_layers} vision layers, ${t.max_position_embeddings} positions`,
      { details: { file } },
    );
  }
  return {
    split,
    cross: { width: c.hidden_size, layers: c.num_hidden_layers, eps: c.layer_norm_eps },
    vision: {
      width: v.hidden_size,
      layers: v.num_hidden_layers,
      heads,
      ffn: 4 * v.hidden_size,
      activation: 'quick_gelu',
      eps: v.layer_norm_eps,
      imageSize: v.image_size,
      patch: v.patch_size,
    },
    text: {
      width: t.hidden_size,
      layers: t.num_hidden_layers,
      heads: t.num_attention_heads,
      ffn: t.intermediate_size,
      activation: t.hidden_act,
      eps: t.layer_norm_eps,
      vocabulary: t.vocab_size,
      positions: t.max_position_embeddings,
      types: t.type_vocab_size,
      padId: t.pad_token_id,
    },
  };
}
