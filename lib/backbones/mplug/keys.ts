/** Names and shapes of mPLUG's checkpoints (X-PLUG/mPLUG), which the model keeps. */
import { wantBertEmbeddings, wantBertLayer } from '../../nn/bert.js';
import { type VisionNames, wantVision } from '../../nn/vision-tower.js';
import { isJoint, type MplugConfig, mplugPlaces } from './config.js';

export const mplugInfix = /(?<=^(?:text|fusion)_encoder\.)bert\./;

export const mplugVision: VisionNames = {
  classToken: mplugPlaces.classToken,
  positions: mplugPlaces.positions,
  patch: mplugPlaces.patch,
  preNorm: 'visual_encoder.visual.ln_pre',
  finalNorm: 'visual_encoder.visual.ln_post',
  block: (i) => {
    const at = `${mplugPlaces.blocks}.${i}`;
    return {
      norm1: `${at}.ln_1`,
      qkv: [`${at}.attn.in_proj_weight`, `${at}.attn.in_proj_bias`],
      out: `${at}.attn.out_proj`,
      norm2: `${at}.ln_2`,
      fc1: `${at}.mlp.c_fc`,
      fc2: `${at}.mlp.c_proj`,
    };
  },
};

/** Name -> shape of every tensor the model needs, and patterns of what is stored and not used. */
export function mplugTensors(config: MplugConfig): {
  wanted: Map<string, readonly number[]>;
  ignore: readonly string[];
} {
  const { vision, text, fusion, embed } = config;
  const wanted = new Map<string, readonly number[]>();
  const ignore = [...mplugIgnored];
  wantVision(wanted, mplugVision, vision, { lead: false, patchBias: false });
  wantBertEmbeddings(wanted, 'text_encoder.embeddings', text);
  for (let i = 0; i < text.layers; i++) wantBertLayer(wanted, `text_encoder.encoder.layer.${i}`, text);
  for (let i = 0; i < fusion.layers; i++) {
    const at = `fusion_encoder.encoder.layer.${i}`;
    if (i < fusion.first) ignore.push(`${at}.**`);
    else if (isJoint(fusion, i)) ignore.push(`${at}.crossattention.**`);
    if (i >= fusion.first) wantBertLayer(wanted, at, text, isJoint(fusion, i) ? undefined : text.width);
  }
  for (const [name, rows, columns] of [
    ['visn_fc', text.width, vision.width],
    ['vision_proj', embed, text.width],
    ['text_proj', embed, text.width],
    ['itm_head', 2, text.width],
  ] as const) {
    wanted.set(`${name}.weight`, [rows, columns]);
    wanted.set(`${name}.bias`, [rows]);
  }
  for (const part of ['weight', 'bias']) wanted.set(`visn_layer_norm.${part}`, [text.width]);
  return { wanted, ignore };
}

/** Momentum copies, queues and temperature; the projection of CLIP; embeddings and heads that only other tasks use. */
export const mplugIgnored: readonly string[] = [
  '*_m.**',
  '*_queue',
  '*queue_ptr',
  'queue_*',
  'ptr_queue',
  'temp',
  'visual_encoder.visual.proj',
  'fusion_encoder.embeddings.**',
  '**.position_ids',
  '*_encoder.cls.**',
  '*_encoder.pooler.**',
  'text_decoder.**',
];
