/** config.json of BLIP: Hugging Face's (`model_type: blip`), or our own form beside original tensor names. */
import { z } from 'zod';
import {
  activationField,
  checkedConfig,
  checkHeads,
  epsField,
  ffnField,
  headsField,
  layersField,
  type ShapeReader,
  size,
  widthField,
} from '../../nn/config.js';
import type { FusionConfig } from '../../nn/match/fusion-load.js';
import { fusionPlaces, parseOwnConfig, textFrom, visionFrom } from '../../nn/match/own-config.js';

export type BlipConfig = FusionConfig;

// Defaults are those of the published classes.
const visionSchema = z.object({
  hidden_size: widthField.default(768),
  intermediate_size: ffnField.default(3072),
  num_hidden_layers: layersField.default(12),
  num_attention_heads: headsField.default(12),
  image_size: size(8192).default(384),
  patch_size: size(512).default(16),
  hidden_act: activationField.default('gelu'),
  layer_norm_eps: epsField.default(1e-5),
});
const textSchema = z.object({
  vocab_size: size(1_000_000).default(30524),
  hidden_size: widthField.default(768),
  intermediate_size: ffnField.default(3072),
  num_hidden_layers: layersField.default(12),
  num_attention_heads: headsField.default(8),
  max_position_embeddings: size(65536).default(512),
  hidden_act: activationField.default('gelu'),
  layer_norm_eps: epsField.default(1e-12),
});
const schema = z.object({
  model_type: z.literal('blip').optional(),
  image_text_hidden_size: widthField.default(256),
  vision_config: visionSchema.nullish().transform((v) => v ?? visionSchema.parse({})),
  text_config: textSchema.nullish().transform((v) => v ?? textSchema.parse({})),
});

/** @param shapes of the tensors, under Hugging Face's names @throws E_MODEL_FORMAT */
export function parseBlipConfig(
  file: string,
  json: Readonly<Record<string, unknown>>,
  shapes: ShapeReader,
): BlipConfig {
  const published = Object.hasOwn(json, 'vision_config') || Object.hasOwn(json, 'text_config');
  return published ? huggingFace(file, json) : original(file, json, shapes);
}

function huggingFace(file: string, json: unknown): BlipConfig {
  const { image_text_hidden_size, vision_config: v, text_config: t } = checkedConfig(file, json, schema, 'BLIP');
  // Early configs carry the class's old default of 8; published weights of this width were trained with 12.
  const heads = t.num_attention_heads === 8 && t.hidden_size === 768 ? 12 : t.num_attention_heads;
  checkHeads(file, 'vision_config', v.hidden_size, v.num_attention_heads);
  checkHeads(file, 'text_config', t.hidden_size, heads);
  return {
    embed: image_text_hidden_size,
    vision: {
      width: v.hidden_size,
      layers: v.num_hidden_layers,
      heads: v.num_attention_heads,
      ffn: v.intermediate_size,
      activation: v.hidden_act,
      eps: v.layer_norm_eps,
      imageSize: v.image_size,
      patch: v.patch_size,
    },
    text: {
      width: t.hidden_size,
      layers: t.num_hidden_layers,
      heads,
      ffn: t.intermediate_size,
      activation: t.hidden_act,
      eps: t.layer_norm_eps,
      vocabulary: t.vocab_size,
      positions: t.max_position_embeddings,
      types: 0,
      // As the published class: text_config.encoder_hidden_size follows the picture side, whatever it says.
      keyWidth: v.hidden_size,
      fusionLayer: 0,
    },
  };
}

function original(file: string, json: unknown, shapes: ShapeReader): BlipConfig {
  const { vision, text, embed } = parseOwnConfig(file, json, 'BLIP');
  const key = 'text_encoder.encoder.layer.0.crossattention.self.key.weight';
  const seen = visionFrom(file, vision, shapes, fusionPlaces, { activation: 'gelu', eps: 1e-6 });
  return {
    vision: seen,
    text: {
      ...textFrom(file, text, shapes),
      keyWidth: text.encoder_width ?? shapes.dim(key, 1, seen.width),
      fusionLayer: 0,
    },
    embed: embed ?? shapes.dim('vision_proj.weight', 0, 256),
  };
}
