/** config.json of ALBEF, of our own form: its tensors have original names, and Hugging Face has no class for it. */
import type { ShapeReader } from '../../nn/config.js';
import type { FusionConfig } from '../../nn/match/fusion-load.js';
import { fusionPlaces, parseOwnConfig, textFrom, visionFrom } from '../../nn/match/own-config.js';
import { WordmaskError } from '../../util/errors.js';

export type AlbefConfig = FusionConfig;

/** @param shapes of the tensors, under the names of keys.ts @throws E_MODEL_FORMAT */
export function parseAlbefConfig(file: string, json: unknown, shapes: ShapeReader): AlbefConfig {
  const { vision, text, embed } = parseOwnConfig(file, json, 'ALBEF');
  const layers = 'text_encoder.encoder.layer';
  const sizes = textFrom(file, text, shapes);
  const fusionLayer = text.fusion_layer ?? shapes.numbers(layers, 'crossattention.')[0] ?? Math.floor(sizes.layers / 2);
  if (fusionLayer >= sizes.layers) {
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${file}: text_encoder.fusion_layer ${fusionLayer} must be below the number of layers, ${sizes.layers}`,
      { details: { file } },
    );
  }
  const seen = visionFrom(file, vision, shapes, fusionPlaces, { activation: 'gelu', eps: 1e-6 });
  const key = `${layers}.${fusionLayer}.crossattention.self.key.weight`;
  return {
    vision: seen,
    text: { ...sizes, fusionLayer, keyWidth: text.encoder_width ?? shapes.dim(key, 1, seen.width) },
    embed: embed ?? shapes.dim('vision_proj.weight', 0, 256),
  };
}
