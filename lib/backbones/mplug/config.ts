/** config.json of mPLUG, of our own form: its tensors have original names, and Hugging Face has no class for it. */
import type { BertSizes } from '../../nn/bert.js';
import type { ShapeReader } from '../../nn/config.js';
import { parseOwnConfig, textFrom, type VisionPlaces, visionFrom } from '../../nn/match/own-config.js';
import type { VisionSizes } from '../../nn/vision-tower.js';
import { WordmaskError } from '../../util/errors.js';

export interface MplugConfig {
  readonly vision: VisionSizes;
  readonly text: BertSizes & { readonly vocabulary: number; readonly positions: number; readonly types: number };
  readonly fusion: {
    /** Layers stored; those from `first` on are used. */
    readonly layers: number;
    readonly first: number;
    /** Every `stride`-th used layer after the first is a joint self-attention over picture and text, without cross-attention. */
    readonly stride: number;
  };
  readonly embed: number;
}

const visual = 'visual_encoder.visual';

/** Names of the vision tower, those of OpenAI's CLIP. */
export const mplugPlaces: VisionPlaces = {
  classToken: `${visual}.class_embedding`,
  positions: `${visual}.positional_embedding`,
  patch: `${visual}.conv1`,
  blocks: `${visual}.transformer.resblocks`,
  fc1: 'mlp.c_fc',
};

/** @param shapes of the tensors @throws E_MODEL_FORMAT */
export function parseMplugConfig(file: string, json: unknown, shapes: ShapeReader): MplugConfig {
  const { vision, text, fusion, embed } = parseOwnConfig(file, json, 'mPLUG');
  const layers = fusion.num_hidden_layers ?? shapes.layers('fusion_encoder.encoder.layer', 12);
  const used = fusion.fusion_layers ?? 6;
  if (used > layers) {
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${file}: fusion_encoder.fusion_layers ${used} must not be above the number of layers, ${layers}`,
      { details: { file } },
    );
  }
  return {
    vision: visionFrom(file, vision, shapes, mplugPlaces, { activation: 'quick_gelu', eps: 1e-5 }),
    text: textFrom(file, text, shapes),
    fusion: { layers, first: layers - used, stride: fusion.stride_layer ?? 6 },
    embed: embed ?? shapes.dim('vision_proj.weight', 0, 256),
  };
}

/** Whether a used fusion layer is joint self-attention (modeling_mplug.py). */
export function isJoint({ first, stride }: MplugConfig['fusion'], layer: number): boolean {
  return layer > first && (layer - first) % stride === 0;
}
