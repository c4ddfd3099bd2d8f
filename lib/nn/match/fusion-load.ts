/** Tensor names of BLIP and ALBEF (Hugging Face's names of BLIP), and their layers from tensors. */
import { bertEmbeddingsFrom, bertLayerFrom, wantBertEmbeddings, wantBertLayer } from '../bert.js';
import type { TensorMaps } from '../tensor-maps.js';
import { type VisionNames, type VisionSizes, visionTowerFrom, wantVision } from '../vision-tower.js';
import { FusionCore, type FusionSizes } from './fusion.js';

export interface FusionConfig {
  readonly vision: VisionSizes;
  readonly text: FusionSizes;
  /** Width of the contrastive embedding. */
  readonly embed: number;
}

export const fusionVision: VisionNames = {
  classToken: 'vision_model.embeddings.class_embedding',
  positions: 'vision_model.embeddings.position_embedding',
  patch: 'vision_model.embeddings.patch_embedding',
  finalNorm: 'vision_model.post_layernorm',
  block: (i) => {
    const at = `vision_model.encoder.layers.${i}`;
    return {
      norm1: `${at}.layer_norm1`,
      qkv: [`${at}.self_attn.qkv.weight`, `${at}.self_attn.qkv.bias`],
      out: `${at}.self_attn.projection`,
      norm2: `${at}.layer_norm2`,
      fc1: `${at}.mlp.fc1`,
      fc2: `${at}.mlp.fc2`,
    };
  },
};

/** Name -> shape of every tensor. */
export function fusionTensors({ vision, text, embed }: FusionConfig): Map<string, readonly number[]> {
  const wanted = new Map<string, readonly number[]>();
  wantVision(wanted, fusionVision, vision, { lead: true, patchBias: true });
  wantBertEmbeddings(wanted, 'text_encoder.embeddings', text);
  for (let i = 0; i < text.layers; i++) {
    const keyWidth = i >= text.fusionLayer ? text.keyWidth : undefined;
    wantBertLayer(wanted, `text_encoder.encoder.layer.${i}`, text, keyWidth);
  }
  for (const [name, rows, columns] of [
    ['vision_proj', embed, vision.width],
    ['text_proj', embed, text.width],
    ['itm_head', 2, text.width],
  ] as const) {
    wanted.set(`${name}.weight`, [rows, columns]);
    wanted.set(`${name}.bias`, [rows]);
  }
  return wanted;
}

/** @param wholeText as `FusionCore`'s */
export function fusionCore(maps: TensorMaps, { vision, text }: FusionConfig, wholeText: boolean): FusionCore {
  const layers = Array.from({ length: text.layers }, (_, i) =>
    bertLayerFrom(maps, `text_encoder.encoder.layer.${i}`, i >= text.fusionLayer),
  );
  const parts = {
    vision: visionTowerFrom(maps, fusionVision, vision, 'exact'),
    embeddings: bertEmbeddingsFrom(maps, 'text_encoder.embeddings'),
    layers,
    itm: maps.dense('itm_head'),
    visionProjection: maps.dense('vision_proj'),
    textProjection: maps.dense('text_proj'),
  };
  return new FusionCore(text, maps.options.compute, parts, wholeText);
}

/** Vision names of the original checkpoints -> those above. */
export const fusionRules: readonly { readonly from: string; readonly to: string }[] = [
  { from: 'visual_encoder.cls_token', to: fusionVision.classToken },
  { from: 'visual_encoder.pos_embed', to: fusionVision.positions },
  { from: 'visual_encoder.patch_embed.proj.*', to: `${fusionVision.patch}.*` },
  { from: 'visual_encoder.norm.*', to: `${fusionVision.finalNorm}.*` },
  { from: 'visual_encoder.blocks.*.attn.qkv.*', to: 'vision_model.encoder.layers.*.self_attn.qkv.*' },
  { from: 'visual_encoder.blocks.*.attn.proj.*', to: 'vision_model.encoder.layers.*.self_attn.projection.*' },
  { from: 'visual_encoder.blocks.*.norm1.*', to: 'vision_model.encoder.layers.*.layer_norm1.*' },
  { from: 'visual_encoder.blocks.*.norm2.*', to: 'vision_model.encoder.layers.*.layer_norm2.*' },
  { from: 'visual_encoder.blocks.*.mlp.*.*', to: 'vision_model.encoder.layers.*.mlp.*.*' },
];

/** Pre-training files of some versions have it between text encoder and layers. */
export const fusionInfix = /(?<=^text_encoder\.)bert\./;

/** What checkpoints of this kind carry beside the model: momentum copies, queues and temperature, heads of other tasks. */
export const fusionIgnored: readonly string[] = [
  'visual_encoder_m.**',
  'text_encoder_m.**',
  'vision_proj_m.**',
  'text_proj_m.**',
  '*_queue',
  '*queue_ptr',
  'queue_*',
  'ptr_queue',
  'temp',
  '**.position_ids',
  'text_encoder.cls.**',
  'text_encoder.pooler.**',
];
