/**
 * config.json of a folder with original tensor names (BLIP, ALBEF, mPLUG): every size may be left out, since tensors tell all of
 * them but the number of heads; what is given has to fit. Keys of the published config_bert.json are understood too.
 */
import { z } from 'zod';
import {
  activationField,
  checkedConfig,
  epsField,
  ffnField,
  headsField,
  headsOf,
  layersField,
  type ShapeReader,
  size,
  widthField,
} from '../config.js';
import type { Activation } from '../linear.js';
import type { VisionSizes } from '../vision-tower.js';

const visionSchema = z.object({
  image_size: size(8192).optional(),
  patch_size: size(512).optional(),
  patch: size(512).optional(),
  width: widthField.optional(),
  layers: layersField.optional(),
  heads: headsField.optional(),
  mlp_ratio: z.number().gt(0).max(64).optional(),
  layer_norm_eps: epsField.optional(),
  activation: activationField.optional(),
});

const textSchema = z.object({
  vocab_size: size(1_000_000).optional(),
  hidden_size: widthField.optional(),
  layers: layersField.optional(),
  num_hidden_layers: layersField.optional(),
  heads: headsField.optional(),
  num_attention_heads: headsField.optional(),
  intermediate_size: ffnField.optional(),
  max_position_embeddings: size(65536).optional(),
  layer_norm_eps: epsField.optional(),
  encoder_width: widthField.optional(),
  fusion_layer: z.number().int().min(0).max(512).optional(),
});

const fusionSchema = z.object({
  num_hidden_layers: layersField.optional(),
  fusion_layers: layersField.optional(),
  stride_layer: layersField.optional(),
});

const schema = z.object({
  model_type: z.string().optional(),
  visual_encoder: visionSchema.optional(),
  vision: visionSchema.optional(),
  text_encoder: textSchema.optional(),
  text: textSchema.optional(),
  fusion_encoder: fusionSchema.optional(),
  fusion: fusionSchema.optional(),
  embed_dim: widthField.optional(),
});

export interface OwnConfig {
  readonly vision: z.infer<typeof visionSchema>;
  readonly text: z.infer<typeof textSchema>;
  readonly fusion: z.infer<typeof fusionSchema>;
  readonly embed?: number;
}

/** @throws E_MODEL_FORMAT */
export function parseOwnConfig(file: string, json: unknown, family: string): OwnConfig {
  const given = checkedConfig(file, json, schema, family);
  return {
    vision: given.visual_encoder ?? given.vision ?? {},
    text: given.text_encoder ?? given.text ?? {},
    fusion: given.fusion_encoder ?? given.fusion ?? {},
    ...(given.embed_dim === undefined ? {} : { embed: given.embed_dim }),
  };
}

export interface VisionPlaces {
  readonly classToken: string;
  readonly positions: string;
  readonly patch: string;
  readonly blocks: string;
  /** Behind a block's number. */
  readonly fc1: string;
}

/** @throws E_MODEL_FORMAT when the heads are missing or do not fit */
export function visionFrom(
  file: string,
  given: OwnConfig['vision'],
  shapes: ShapeReader,
  at: VisionPlaces,
  defaults: { readonly activation: Activation; readonly eps: number },
): VisionSizes {
  const width = given.width ?? shapes.dim(at.classToken, -1, 768);
  const patch = given.patch_size ?? given.patch ?? shapes.dim(`${at.patch}.weight`, -1, 16);
  const side = Math.round(Math.sqrt(shapes.dim(at.positions, -2, 577) - 1));
  const ffn = given.mlp_ratio === undefined ? undefined : Math.round(width * given.mlp_ratio);
  return {
    width,
    patch,
    imageSize: given.image_size ?? Math.max(1, side) * patch,
    layers: given.layers ?? shapes.layers(at.blocks, 12),
    heads: headsOf(file, 'visual_encoder', width, given.heads),
    ffn: ffn ?? shapes.dim(`${at.blocks}.0.${at.fc1}.weight`, 0, 4 * width),
    activation: given.activation ?? defaults.activation,
    eps: given.layer_norm_eps ?? defaults.eps,
  };
}

/** Sizes of the text layers below `text_encoder`. @throws E_MODEL_FORMAT */
export function textFrom(file: string, given: OwnConfig['text'], shapes: ShapeReader) {
  const at = 'text_encoder';
  const width = given.hidden_size ?? shapes.dim(`${at}.embeddings.word_embeddings.weight`, 1, 768);
  const types = `${at}.embeddings.token_type_embeddings.weight`;
  return {
    width,
    layers: given.layers ?? given.num_hidden_layers ?? shapes.layers(`${at}.encoder.layer`, 12),
    heads: headsOf(file, at, width, given.heads ?? given.num_attention_heads),
    ffn: given.intermediate_size ?? shapes.dim(`${at}.encoder.layer.0.intermediate.dense.weight`, 0, 4 * width),
    activation: 'gelu' as const,
    eps: given.layer_norm_eps ?? 1e-12,
    vocabulary: given.vocab_size ?? shapes.dim(`${at}.embeddings.word_embeddings.weight`, 0, 30522),
    positions: given.max_position_embeddings ?? shapes.dim(`${at}.embeddings.position_embeddings.weight`, 0, 512),
    types: shapes.has(types) ? shapes.dim(types, 0, 2) : 0,
  };
}

/** Of BLIP and ALBEF, under Hugging Face's names. */
export const fusionPlaces: VisionPlaces = {
  classToken: 'vision_model.embeddings.class_embedding',
  positions: 'vision_model.embeddings.position_embedding',
  patch: 'vision_model.embeddings.patch_embedding',
  blocks: 'vision_model.encoder.layers',
  fc1: 'mlp.fc1',
};
