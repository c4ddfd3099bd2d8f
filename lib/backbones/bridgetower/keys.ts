/** Names and shapes of BridgeTower: Hugging Face's without their prefix, and the rules for the original Lightning names. */
import { wantBertEmbeddings, wantBertLayer } from '../../nn/bert.js';
import { type VisionNames, wantVision } from '../../nn/vision-tower.js';
import type { KeyRule } from '../../weights/index.js';
import type { BridgeTowerConfig } from './config.js';

export const bridgeTowerInfix = /^bridgetower\./;

const visual = 'vision_model.visual';

export const bridgeTowerVision: VisionNames = {
  classToken: `${visual}.embeddings.class_embedding`,
  positions: `${visual}.embeddings.position_embedding.weight`,
  patch: `${visual}.embeddings.patch_embedding`,
  preNorm: `${visual}.ln_pre`,
  finalNorm: `${visual}.ln_post`,
  block: (i) => {
    const at = `${visual}.transformer.resblocks.${i}`;
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

export const bridgeTowerRules: readonly KeyRule[] = [
  { from: 'vit_model.visual.class_embedding', to: bridgeTowerVision.classToken },
  { from: 'vit_model.visual.positional_embedding', to: bridgeTowerVision.positions },
  { from: 'vit_model.visual.conv1.weight', to: `${bridgeTowerVision.patch}.weight` },
  { from: 'vit_model.**', to: 'vision_model.**' },
  { from: 'text_transformer.**', to: 'text_model.**' },
];

/** Heads of other tasks, the text tower's pooler, what Lightning files keep of CLIP's text side, buffers. */
export const bridgeTowerIgnored: readonly string[] = [
  'mlm_score.**',
  'itc_*.**',
  'vqa_classifier.**',
  'nlvr2_classifier.**',
  'snli_classifier.**',
  'logit_scale',
  'text_model.pooler.**',
  'vision_model.visual.proj',
  'vision_model.token_embedding.**',
  'vision_model.positional_embedding',
  'vision_model.transformer.**',
  'vision_model.ln_final.**',
  'vision_model.text_projection',
  'vision_model.logit_scale',
  '**.position_ids',
];

/** Name -> shape of every tensor the model needs. */
export function bridgeTowerTensors({ vision, text, cross }: BridgeTowerConfig): Map<string, readonly number[]> {
  const wanted = new Map<string, readonly number[]>();
  const map = (name: string, rows: number, columns: number) => {
    wanted.set(`${name}.weight`, [rows, columns]);
    wanted.set(`${name}.bias`, [rows]);
  };
  const norm = (name: string) => {
    for (const part of ['weight', 'bias']) wanted.set(`${name}.${part}`, [cross.width]);
  };
  wantVision(wanted, bridgeTowerVision, vision, { lead: false, patchBias: false });
  wantBertEmbeddings(wanted, 'text_model.embeddings', text);
  for (let i = 0; i < text.layers; i++) wantBertLayer(wanted, `text_model.encoder.layer.${i}`, text);
  wanted.set('token_type_embeddings.weight', [2, cross.width]);
  for (const [stream, width] of [
    ['text', text.width],
    ['image', vision.width],
  ] as const) {
    const at = `cross_modal_${stream}`;
    map(`${at}_transform`, cross.width, width);
    norm(`${at}_layernorm`);
    map(`${at}_pooler.dense`, cross.width, cross.width);
    for (let i = 0; i < cross.layers; i++)
      wantBertLayer(wanted, `${at}_layers.${i}`, { width: cross.width, ffn: text.ffn }, cross.width);
    for (let i = 0; i < cross.layers - 1; i++) norm(`${at}_link_tower.${i}.LayerNorm`);
  }
  map('itm_score.fc', 2, 2 * cross.width);
  return wanted;
}
