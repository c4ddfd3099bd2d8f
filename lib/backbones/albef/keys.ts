/** Names of ALBEF's checkpoints (salesforce/ALBEF): vision names as BLIP's, text names as they are. */
import { fusionRules } from '../../nn/match/fusion-load.js';

export const albefRules = fusionRules;

/** Pre-training files keep the text layers one level deeper than the retrieval code. */
export const albefInfix = /(?<=^text_encoder\.)bert\./;

/** Momentum copies, queues and temperature; the heads of pre-training and of other tasks. */
export const albefIgnored: readonly string[] = [
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
