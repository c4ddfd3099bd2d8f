/**
 * BLIP image-text matching (Li et al. 2022, arXiv 2201.12086): ViT with patch bias and no norm in front, BERT text layers with
 * cross-attention in each, match head and contrastive heads. As Hugging Face's `BlipForImageTextRetrieval`; a system feeds [ENC] at
 * position 0 (LAVIS), raw inputs are taken as they come.
 */

import type { Tensor } from '../../engine/index.js';
import { ShapeReader } from '../../nn/config.js';
import type { Compute } from '../../nn/linear.js';
import type { FusionCore } from '../../nn/match/fusion.js';
import { type FusionConfig, fusionCore, fusionTensors } from '../../nn/match/fusion-load.js';
import { type MatchFiles, type MatchOptions, matchOf, type OpenedMatch } from '../../nn/match/model.js';
import { TensorMaps } from '../../nn/tensor-maps.js';
import { captionTokenizer } from '../../text/index.js';
import { readModelTensors } from '../../weights/index.js';
import { parseBlipConfig } from './config.js';
import { blipIgnored, blipInfix, blipRules } from './keys.js';

export type { FusionConfig as BlipConfig } from '../../nn/match/fusion-load.js';
export type { MatchFiles, MatchOptions, OpenedMatch } from '../../nn/match/model.js';
export type { CrossAttention, CrossAttentionPlace, MatchingModel, MatchingTokens } from '../../nn/matching.js';
export { type BlipTokens, blipFiles } from './files.js';
export { blipScale, randomBlip } from './init.js';

/** `model_type`s this family answers to. */
export const blipTypes: readonly string[] = ['blip'];

/** @throws E_MODEL_FORMAT, E_WEIGHTS, E_WEIGHTS_VALUE, E_DISK */
export async function openBlip(files: MatchFiles, options: MatchOptions): Promise<OpenedMatch> {
  const model = await readModelTensors(files.weights, {
    rules: blipRules,
    infix: blipInfix,
    ignore: blipIgnored,
    check: options.checkWeights,
    signal: options.signal,
    configure: (shapes) => {
      const given = parseBlipConfig(files.configFile, files.config, new ShapeReader(shapes));
      const eps = options.visionEps ?? given.vision.eps;
      const config = { ...given, vision: { ...given.vision, eps } };
      return { config, wanted: fusionTensors(config) };
    },
  });
  const { config } = model;
  const maps = new TensorMaps(model.tensors, options);
  const core = fusionCore(maps, config, true);
  // Published folders carry BERT's own table of 30522 pieces beside 30524 rows: [DEC] and [ENC] are the two behind it.
  const words = {
    kind: 'bert',
    start: '[ENC]',
    rows: config.text.vocabulary,
    behindTable: 2,
    signal: options.signal,
  } as const;
  return matchOf(
    'blip',
    config,
    model,
    [core, maps],
    () => captionTokenizer(files.tokenizer, words),
    options.trainable,
  );
}

/** A model to train, from f32 tensors by Hugging Face name: gradients flow to all of them, `compute` in bf16 if asked. */
export function buildBlip(config: FusionConfig, tensors: Map<string, Tensor>, compute: Compute): FusionCore {
  return fusionCore(new TensorMaps(tensors, { compute, trainable: true }), config, true);
}
