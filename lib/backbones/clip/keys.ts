/** Tensor names of CLIP: those of the Hugging Face layout, and the rules that bring original OpenAI names to them. */
import type { KeyRule } from '../../weights/index.js';
import type { ClipConfig, TowerConfig } from './config.js';

/** Name -> shape of every tensor the model needs. */
export function clipTensors(config: ClipConfig): Map<string, readonly number[]> {
  const { vision, text, embed } = config;
  const grid = Math.floor(vision.imageSize / vision.patch);
  const wanted = new Map<string, readonly number[]>([
    ['vision_model.embeddings.class_embedding', [vision.width]],
    ['vision_model.embeddings.patch_embedding.weight', [vision.width, 3, vision.patch, vision.patch]],
    ['vision_model.embeddings.position_embedding.weight', [1 + grid * grid, vision.width]],
    ['vision_model.pre_layrnorm.weight', [vision.width]],
    ['vision_model.pre_layrnorm.bias', [vision.width]],
    ['vision_model.post_layernorm.weight', [vision.width]],
    ['vision_model.post_layernorm.bias', [vision.width]],
    ['visual_projection.weight', [embed, vision.width]],
    ['text_model.embeddings.token_embedding.weight', [text.vocabulary, text.width]],
    ['text_model.embeddings.position_embedding.weight', [text.positions, text.width]],
    ['text_model.final_layer_norm.weight', [text.width]],
    ['text_model.final_layer_norm.bias', [text.width]],
    ['text_projection.weight', [embed, text.width]],
    ['logit_scale', []],
  ]);
  addTower(wanted, 'vision_model', vision);
  addTower(wanted, 'text_model', text);
  return wanted;
}

function addTower(wanted: Map<string, readonly number[]>, prefix: string, tower: TowerConfig): void {
  for (let i = 0; i < tower.layers; i++) {
    const at = `${prefix}.encoder.layers.${i}`;
    for (const norm of ['layer_norm1', 'layer_norm2'])
      for (const part of ['weight', 'bias']) wanted.set(`${at}.${norm}.${part}`, [tower.width]);
    for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj']) {
      wanted.set(`${at}.self_attn.${name}.weight`, [tower.width, tower.width]);
      wanted.set(`${at}.self_attn.${name}.bias`, [tower.width]);
    }
    wanted.set(`${at}.mlp.fc1.weight`, [tower.ffn, tower.width]);
    wanted.set(`${at}.mlp.fc1.bias`, [tower.ffn]);
    wanted.set(`${at}.mlp.fc2.weight`, [tower.width, tower.ffn]);
    wanted.set(`${at}.mlp.fc2.bias`, [tower.width]);
  }
}

/** Buffers that older exports carry along, and what only training needs. */
export const clipIgnored: readonly string[] = [
  '**.position_ids',
  'input_resolution',
  'context_length',
  'vocab_size',
  'noun_patch.*',
];

const block = (from: string, to: string): KeyRule[] => [
  {
    from: `${from}.resblocks.*.attn.in_proj_weight`,
    to: ['q', 'k', 'v'].map((x) => `${to}.encoder.layers.*.self_attn.${x}_proj.weight`),
  },
  {
    from: `${from}.resblocks.*.attn.in_proj_bias`,
    to: ['q', 'k', 'v'].map((x) => `${to}.encoder.layers.*.self_attn.${x}_proj.bias`),
  },
  { from: `${from}.resblocks.*.attn.out_proj.*`, to: `${to}.encoder.layers.*.self_attn.out_proj.*` },
  { from: `${from}.resblocks.*.ln_1.*`, to: `${to}.encoder.layers.*.layer_norm1.*` },
  { from: `${from}.resblocks.*.ln_2.*`, to: `${to}.encoder.layers.*.layer_norm2.*` },
  { from: `${from}.resblocks.*.mlp.c_fc.*`, to: `${to}.encoder.layers.*.mlp.fc1.*` },
  { from: `${from}.resblocks.*.mlp.c_proj.*`, to: `${to}.encoder.layers.*.mlp.fc2.*` },
];

/** Names of OpenAI's own checkpoints (clip/model.py) -> Hugging Face's. Hugging Face names pass unchanged. */
export const clipRules: readonly KeyRule[] = [
  { from: 'visual.conv1.weight', to: 'vision_model.embeddings.patch_embedding.weight' },
  { from: 'visual.class_embedding', to: 'vision_model.embeddings.class_embedding' },
  { from: 'visual.positional_embedding', to: 'vision_model.embeddings.position_embedding.weight' },
  { from: 'visual.ln_pre.*', to: 'vision_model.pre_layrnorm.*' },
  { from: 'visual.ln_post.*', to: 'vision_model.post_layernorm.*' },
  { from: 'visual.proj', to: 'visual_projection.weight', transpose: true },
  ...block('visual.transformer', 'vision_model'),
  ...block('transformer', 'text_model'),
  { from: 'token_embedding.weight', to: 'text_model.embeddings.token_embedding.weight' },
  { from: 'positional_embedding', to: 'text_model.embeddings.position_embedding.weight' },
  { from: 'ln_final.*', to: 'text_model.final_layer_norm.*' },
  { from: 'text_projection', to: 'text_projection.weight', transpose: true },
];
