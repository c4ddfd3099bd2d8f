/** The small files of a BLIP folder in Hugging Face's layout (`BlipForImageTextRetrieval`), written for a trained model. */
import type { TowerSizes } from '../../nn/vision-tower.js';
import type { BlipConfig } from './config.js';

/** Pixels of BLIP are normalised with CLIP's constants. */
export const blipMean: readonly number[] = [0.48145466, 0.4578275, 0.40821073];
export const blipStd: readonly number[] = [0.26862954, 0.26130258, 0.27577711];

/** Ids of special tokens, as config.json names them. */
export interface BlipTokens {
  readonly pad: number;
  readonly sep: number;
  /** [DEC] */
  readonly bos: number;
}

/** config.json and preprocessor_config.json by name. */
export function blipFiles(config: BlipConfig, tokens: BlipTokens): Record<string, string> {
  return {
    'config.json': json(configJson(config, tokens)),
    'preprocessor_config.json': json(preprocessorJson(config)),
  };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function configJson({ embed, vision, text }: BlipConfig, { pad, sep, bos }: BlipTokens): Record<string, unknown> {
  const tower = ({ width, layers, heads, ffn, activation, eps }: TowerSizes) => ({
    hidden_size: width,
    intermediate_size: ffn,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    hidden_act: activation,
    layer_norm_eps: eps,
    projection_dim: embed,
  });
  return {
    architectures: ['BlipForImageTextRetrieval'],
    model_type: 'blip',
    projection_dim: embed,
    image_text_hidden_size: embed,
    logit_scale_init_value: 2.6592,
    vision_config: {
      model_type: 'blip_vision_model',
      ...tower(vision),
      image_size: vision.imageSize,
      patch_size: vision.patch,
      num_channels: 3,
      attention_dropout: 0,
    },
    text_config: {
      model_type: 'blip_text_model',
      ...tower(text),
      encoder_hidden_size: text.keyWidth,
      vocab_size: text.vocabulary,
      max_position_embeddings: text.positions,
      hidden_dropout_prob: 0,
      attention_probs_dropout_prob: 0,
      is_decoder: true,
      use_cache: false,
      bos_token_id: bos,
      sep_token_id: sep,
      eos_token_id: sep,
      pad_token_id: pad,
    },
  };
}

/** Squashed to a square, not cropped. */
function preprocessorJson({ vision }: BlipConfig): Record<string, unknown> {
  const side = vision.imageSize;
  return {
    image_processor_type: 'BlipImageProcessor',
    do_convert_rgb: true,
    do_resize: true,
    size: { height: side, width: side },
    resample: 3,
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: blipMean,
    image_std: blipStd,
  };
}
