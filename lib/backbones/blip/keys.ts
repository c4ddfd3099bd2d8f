/** Names of the original BLIP checkpoints (salesforce/BLIP, LAVIS) -> Hugging Face's, which pass unchanged. */
import { fusionRules } from '../../nn/match/fusion-load.js';

export const blipRules = fusionRules;

/** Pre-training files of some versions have it between encoder and layers. */
export const blipInfix = /(?<=^text_encoder\.)bert\./;

/** Momentum copies, queues and temperature, heads of other tasks, buffers of older exports. */
export const blipIgnored: readonly string[] = [
  'visual_encoder_m.**',
  'text_encoder_m.**',
  'vision_proj_m.**',
  'text_proj_m.**',
  '*_queue',
  '*queue_ptr',
  'queue_*',
  'ptr_queue',
  'temp',
  'logit_scale',
  'text_decoder.**',
  '**.position_ids',
  'text_encoder.cls.**',
  'text_encoder.pooler.**',
];
