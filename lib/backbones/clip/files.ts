/** The small files of a CLIP folder in Hugging Face's layout, written for a trained model and read for one that goes on training. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Tensor } from '../../engine/index.js';
import { loadTokenizer, type Tokenizer } from '../../text/index.js';
import { guardDisk, readFileLimited } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';
import { openWeights } from '../../weights/index.js';
import { type ClipConfig, parseClipConfig, type TowerConfig } from './config.js';
import { loadClipTensors } from './load.js';
import { clipMean, clipStd } from './preprocess.js';

const fileLimit = 64 << 20;

/** config.json and preprocessor_config.json by name. */
export function clipFiles(config: ClipConfig): Record<string, string> {
  return { 'config.json': json(configJson(config)), 'preprocessor_config.json': json(preprocessorJson(config)) };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function configJson({ embed, vision, text }: ClipConfig): Record<string, unknown> {
  const tower = ({ width, layers, heads, ffn, activation, eps }: TowerConfig) => ({
    hidden_size: width,
    intermediate_size: ffn,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    hidden_act: activation,
    layer_norm_eps: eps,
    attention_dropout: 0,
    projection_dim: embed,
  });
  return {
    architectures: ['CLIPModel'],
    model_type: 'clip',
    projection_dim: embed,
    logit_scale_init_value: 2.6592,
    vision_config: {
      model_type: 'clip_vision_model',
      ...tower(vision),
      image_size: vision.imageSize,
      patch_size: vision.patch,
      num_channels: 3,
    },
    text_config: {
      model_type: 'clip_text_model',
      ...tower(text),
      vocab_size: text.vocabulary,
      max_position_embeddings: text.positions,
      bos_token_id: text.eosTokenId - 1,
      eos_token_id: text.eosTokenId,
      pad_token_id: text.eosTokenId,
    },
  };
}

/** CLIP's own pipeline at this model's size. */
function preprocessorJson({ vision }: ClipConfig): Record<string, unknown> {
  const side = vision.imageSize;
  return {
    image_processor_type: 'CLIPImageProcessor',
    feature_extractor_type: 'CLIPFeatureExtractor',
    do_convert_rgb: true,
    do_resize: true,
    size: { shortest_edge: side },
    resample: 3,
    do_center_crop: true,
    crop_size: { height: side, width: side },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: clipMean,
    image_std: clipStd,
  };
}

const carried =
  /^(config|preprocessor_config|tokenizer|tokenizer_config|vocab|special_tokens_map)\.json$|^(merges|bpe_simple_vocab_16e6)\.txt(\.gz)?$/;

/**
 * A CLIP folder for further training: config, f32 tensors, tokenizer, and the files that the trained model takes along.
 * @throws E_MODEL_FORMAT, E_TOKENIZER, E_WEIGHTS, E_WEIGHTS_VALUE, E_DISK
 */
export async function readClipFolder(
  folder: string,
  signal?: AbortSignal,
): Promise<{
  config: ClipConfig;
  tensors: Map<string, Tensor>;
  tokenizer: Tokenizer;
  files: Record<string, Uint8Array>;
}> {
  const read = (name: string) =>
    readFileLimited(join(folder, name), { limit: fileLimit, signal, code: 'E_MODEL_FORMAT' });
  const path = join(folder, 'config.json');
  const config = parseClipConfig(
    path,
    parseJsonStrict(await read('config.json'), { code: 'E_MODEL_FORMAT', what: path }),
  );
  const names = await guardDisk('read', folder, () => readdir(folder));
  const files: Record<string, Uint8Array> = {};
  for (const name of names.filter((file) => carried.test(file)).sort()) files[name] = await read(name);
  const tokenizer = await loadTokenizer(folder, { signal });
  const index = names.includes('model.safetensors') ? 'model.safetensors' : 'model.safetensors.index.json';
  const weights = await openWeights(join(folder, index), { signal });
  try {
    return { config, tensors: await loadClipTensors(config, weights), tokenizer, files };
  } finally {
    await weights.close();
  }
}
