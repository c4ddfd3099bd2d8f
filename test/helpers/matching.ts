/** Small random matching models as folders: what a bare clone tests them with. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseBridgeTowerConfig } from '#lib/backbones/bridgetower/config.js';
import { bridgeTowerTensors } from '#lib/backbones/bridgetower/keys.js';
import { parseMplugConfig } from '#lib/backbones/mplug/config.js';
import { mplugTensors } from '#lib/backbones/mplug/keys.js';
import { ShapeReader } from '#lib/nn/config.js';
import { type FusionConfig, fusionTensors } from '#lib/nn/match/fusion-load.js';
import { Random } from '#lib/util/random.js';
import { writeSafetensors } from '#lib/weights/index.js';

export type Tensors = Map<string, { shape: readonly number[]; data: Float32Array }>;

/** Values that keep attention far from uniform and norms near one. */
export function randomTensors(wanted: ReadonlyMap<string, readonly number[]>, seed: number): Tensors {
  const random = new Random(seed);
  return new Map(
    [...wanted].map(([name, shape]) => {
      const draw = random.fork(name);
      const count = shape.reduce((product, d) => product * d, 1);
      const norm = /(norm|norm1|norm2|ln_\w+|LayerNorm|layer_norm\d?|layernorm)\.weight$/.test(name);
      const spread = name.includes('embedding') ? 0.5 : 2 / Math.sqrt(shape.at(-1) ?? 1);
      const data = Float32Array.from({ length: count }, () =>
        norm ? 1 + 0.1 * draw.normal() : (name.endsWith('bias') ? 0.1 : spread) * draw.normal(),
      );
      return [name, { shape, data }];
    }),
  );
}

const words = [
  '[PAD]',
  '[UNK]',
  '[CLS]',
  '[SEP]',
  '[MASK]',
  'a',
  'picture',
  'of',
  'cat',
  'dog',
  'gr',
  '##ass',
  '##es',
  'sky',
];

export async function modelFolder(
  tensors: Iterable<readonly [string, { shape: readonly number[]; data: Float32Array }]>,
  config: unknown,
  vocabulary: readonly string[] = words,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-match-'));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeFile(join(folder, 'vocab.txt'), `${vocabulary.join('\n')}\n`);
  return folder;
}

const rows = words.length;
const vision = {
  width: 24,
  layers: 2,
  heads: 3,
  ffn: 48,
  activation: 'gelu',
  eps: 1e-6,
  imageSize: 24,
  patch: 8,
} as const;
const text = {
  width: 16,
  layers: 4,
  heads: 2,
  ffn: 32,
  activation: 'gelu',
  eps: 1e-12,
  positions: 20,
} as const;

/** 3 x 3 patches; two text layers with cross-attention, in ALBEF above two without. */
export function fusionConfig(kind: 'blip' | 'albef'): FusionConfig {
  const blip = kind === 'blip';
  const sizes = {
    ...text,
    layers: blip ? 2 : 4,
    vocabulary: blip ? rows + 2 : rows,
    types: blip ? 0 : 2,
    keyWidth: vision.width,
    fusionLayer: blip ? 0 : 2,
  };
  return { vision, text: sizes, embed: 8 };
}

/** Tensors under Hugging Face's names. */
export function fusionModel(kind: 'blip' | 'albef', seed = 1): Tensors {
  return randomTensors(fusionTensors(fusionConfig(kind)), seed);
}

export const blipConfig = {
  model_type: 'blip',
  image_text_hidden_size: 8,
  vision_config: {
    hidden_size: 24,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 3,
    image_size: 24,
    patch_size: 8,
    layer_norm_eps: 1e-6,
  },
  text_config: {
    vocab_size: rows + 2,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    max_position_embeddings: 20,
  },
};

/** Of our own form with nothing in it but what tensors do not tell. */
export const ownConfig = { visual_encoder: { heads: 3 }, text_encoder: { heads: 2 } };

/** Hugging Face's name of BLIP -> the original one, written down apart from the key map. */
export function originalName(name: string): string {
  return name
    .replace('vision_model.embeddings.class_embedding', 'visual_encoder.cls_token')
    .replace('vision_model.embeddings.position_embedding', 'visual_encoder.pos_embed')
    .replace('vision_model.embeddings.patch_embedding', 'visual_encoder.patch_embed.proj')
    .replace('vision_model.post_layernorm', 'visual_encoder.norm')
    .replace('vision_model.encoder.layers', 'visual_encoder.blocks')
    .replace('self_attn.qkv', 'attn.qkv')
    .replace('self_attn.projection', 'attn.proj')
    .replace('layer_norm1', 'norm1')
    .replace('layer_norm2', 'norm2');
}

export const mplugConfig = {
  visual_encoder: { heads: 3, width: 24, layers: 2, patch_size: 8, image_size: 24, mlp_ratio: 4 },
  text_encoder: {
    heads: 2,
    hidden_size: 16,
    layers: 2,
    intermediate_size: 32,
    vocab_size: rows,
    max_position_embeddings: 20,
  },
  fusion_encoder: { num_hidden_layers: 5, fusion_layers: 4, stride_layer: 2 },
  embed_dim: 8,
};

export function mplugModel(seed = 2): Tensors {
  const shapes = new ShapeReader(
    new Map([['text_encoder.embeddings.token_type_embeddings.weight', { shape: [2, 16] }]]),
  );
  return randomTensors(mplugTensors(parseMplugConfig('config.json', mplugConfig, shapes)).wanted, seed);
}

export const bridgeTowerConfig = {
  model_type: 'bridgetower',
  hidden_size: 64,
  num_hidden_layers: 2,
  text_config: {
    hidden_size: 64,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    intermediate_size: 32,
    vocab_size: 20,
    max_position_embeddings: 22,
  },
  vision_config: { hidden_size: 64, num_hidden_layers: 3, patch_size: 8, image_size: 24 },
};

/** Under Hugging Face's names without their prefix. */
export function bridgeTowerModel(seed = 3): Tensors {
  return randomTensors(bridgeTowerTensors(parseBridgeTowerConfig('config.json', bridgeTowerConfig)), seed);
}
