/** CLIP with random weights of any size, made on the device: encoders and whole models without a file. */

import { denseClipEncoder } from '#lib/backbones/clip/dense.js';
import { buildClip, type ClipConfig, type ClipModel, randomClip } from '#lib/backbones/clip/index.js';
import { isolated, randomNormal } from '#lib/engine/index.js';
import { DenseModel } from '#lib/pipelines/dense-model.js';
import { Model } from '#lib/pipelines/model.js';
import { naclip } from '#lib/systems/naclip/index.js';

export interface VisionSize {
  readonly name: string;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly patch: number;
  readonly side: number;
  readonly embed: number;
  /** BERT's and open_clip's; OpenAI's is QuickGELU. */
  readonly erf?: boolean;
}

const base = { width: 768, layers: 12, heads: 12, patch: 16, embed: 512 } as const;
const large = { width: 1024, layers: 24, heads: 16, patch: 14, embed: 768 } as const;

export const sizes = {
  b16: { ...base, name: 'B/16 224', side: 224 },
  b16At320: { ...base, name: 'B/16 320', side: 320 },
  b16At448: { ...base, name: 'B/16 448', side: 448 },
  l14: { ...large, name: 'L/14 224', side: 224 },
  l14At336: { ...large, name: 'L/14 336', side: 336 },
  blip: { ...large, name: 'L/16 768 (BLIP)', patch: 16, side: 768, erf: true },
  bridgeTower: { ...large, name: 'L/14 770 (BridgeTower)', side: 770 },
  tiny: { name: 'tiny', width: 32, layers: 2, heads: 2, patch: 8, side: 16, embed: 16 },
} as const satisfies Record<string, VisionSize>;

/** `texts`: the published text tower; else the smallest that there can be. */
export function configOf(size: VisionSize, texts = false): ClipConfig {
  const { width, layers, heads, patch, side, embed, erf = false } = size;
  const common = { activation: erf ? 'gelu' : 'quick_gelu', eps: 1e-5 } as const;
  const small = size.name === 'tiny' || !texts;
  return {
    embed,
    vision: { ...common, width, layers, heads, ffn: 4 * width, imageSize: side, patch },
    text: small
      ? { ...common, width: 16, layers: 1, heads: 1, ffn: 16, vocabulary: 64, positions: 77, eosTokenId: 63 }
      : { ...common, width: 512, layers: 12, heads: 8, ffn: 2048, vocabulary: 49408, positions: 77, eosTokenId: 49407 },
  };
}

export function randomModel(size: VisionSize, texts = false): ClipModel {
  const config = configOf(size, texts);
  return isolated(() => buildClip(config, randomClip(config, 1), { compute: 'bf16' }));
}

/** NACLIP over a random encoder; its words are random rows. */
export function randomNaclip(size: VisionSize, device: string): Model {
  const clip = randomModel(size);
  const encoder = denseClipEncoder(clip);
  const { title, tasks, separable, licence } = naclip.info;
  const { patch, side: image, embed, width } = size;
  return new Model(
    new DenseModel({
      module: naclip,
      system: naclip.build(encoder),
      encodeText: (texts) => randomNormal([texts.length, embed], { seed: 7 }),
      embed,
      info: {
        ...{ system: 'naclip', title, tasks, separable, licence, device, dtype: 'bf16', hash: 'random' },
        ...{ encoders: ['clip'], presets: [], traces: [] },
        sizes: { patch, image, embed, width, parametersBytes: 0 },
      },
      fileOptions: {},
      budget: 8 * 2 ** 30,
      probeNames: [],
      probe: () => {
        throw new Error('a random model has nothing to probe');
      },
      dispose: () => {
        encoder.dispose();
        clip.dispose();
      },
    }),
  );
}
