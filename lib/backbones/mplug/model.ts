/**
 * mPLUG (Li et al. 2022, arXiv 2205.12005, section 3.1): CLIP's vision tower, a text encoder, and fusion layers in which the text
 * attends to the picture, with a joint self-attention over both every `stride` layers, around which the picture alone has a skip.
 */
import { add, concat, fill, l2Normalise, layerNorm, scope, type Tensor } from '../../engine/index.js';
import {
  type BertEmbeddings,
  type BertLayer,
  type BertTaps,
  bertEmbeddingsFrom,
  bertLayer,
  bertLayerFrom,
  embedWords,
  type KeyMask,
  lengthMask,
  type TextBatch,
} from '../../nn/bert.js';
import type { Compute, Linear } from '../../nn/linear.js';
import type { MatchCore, Values } from '../../nn/match/core.js';
import { firstToken, repeatTokens } from '../../nn/match/fusion.js';
import type { TensorMaps } from '../../nn/tensor-maps.js';
import type { Norm } from '../../nn/transformer.js';
import { type Taps, type VisionTower, visionTowerFrom } from '../../nn/vision-tower.js';
import { isJoint, type MplugConfig } from './config.js';
import { mplugVision } from './keys.js';

interface Picture {
  /** Behind the tower's final norm [B, K, D']. */
  readonly last: Tensor;
  /** In the width of the text [B, K, D]. */
  readonly tokens: Tensor;
}

interface Fused {
  readonly image: Tensor;
  readonly text: Tensor;
  readonly mask: KeyMask;
  /** Over picture and text together, for joint layers. */
  readonly jointMask: KeyMask;
}

export class MplugCore implements MatchCore<Picture, Fused> {
  readonly first: number;
  readonly end: number;
  readonly layers: readonly number[];
  readonly heads: number;
  readonly towers: { readonly vision: number; readonly text: number };
  readonly names = {
    vision: ['vision.last_hidden', 'vision.projected_patches', 'image_embeds', 'image_tokens'],
    text: ['text.last_hidden', 'text.pooled', 'text_embeds'],
    last: ['multimodal.last_hidden', 'multimodal.image_last_hidden'],
  };
  private readonly compute: Compute;
  private readonly tower: VisionTower;
  private readonly embeddings: BertEmbeddings;
  private readonly textLayers: readonly BertLayer[];
  /** From `first` on. */
  private readonly fusionLayers: readonly BertLayer[];
  private readonly maps: Readonly<Record<'visn' | 'vision' | 'text' | 'itm', Linear>>;
  private readonly visnNorm: Norm;

  constructor(
    private readonly config: MplugConfig,
    maps: TensorMaps,
  ) {
    const { vision, text, fusion } = config;
    const used = Array.from({ length: fusion.layers - fusion.first }, (_, i) => fusion.first + i);
    this.first = fusion.first;
    this.end = fusion.layers;
    this.layers = used.filter((layer) => !isJoint(fusion, layer));
    this.heads = text.heads;
    this.towers = { vision: vision.layers, text: text.layers };
    this.compute = maps.options.compute;
    this.tower = visionTowerFrom(maps, mplugVision, vision, 'bilinear');
    this.embeddings = bertEmbeddingsFrom(maps, 'text_encoder.embeddings');
    this.textLayers = Array.from({ length: text.layers }, (_, i) =>
      bertLayerFrom(maps, `text_encoder.encoder.layer.${i}`, false),
    );
    this.fusionLayers = used.map((layer) =>
      bertLayerFrom(maps, `fusion_encoder.encoder.layer.${layer}`, !isJoint(fusion, layer)),
    );
    this.maps = {
      visn: maps.dense('visn_fc'),
      vision: maps.dense('vision_proj'),
      text: maps.dense('text_proj'),
      itm: maps.dense('itm_head'),
    };
    this.visnNorm = maps.norm('visn_layer_norm');
  }

  vision(pixels: Tensor, taps: Taps = {}): Picture {
    return scope(() => {
      const last = this.tower.forward(pixels, taps);
      const { gain, bias } = this.visnNorm;
      return {
        last,
        tokens: layerNorm(this.maps.visn.forward(last, { out: 'f32' }), gain, bias, this.config.text.eps),
      };
    });
  }

  repeat({ last, tokens }: Picture, count: number): Picture {
    return { last, tokens: repeatTokens(tokens, count) };
  }

  join({ tokens }: Picture, text: TextBatch): Fused {
    const jointMask = joint(text, tokens.shape[1] as number);
    return { image: tokens, text: this.readText(text), mask: text.mask, jointMask };
  }

  private readText(text: TextBatch, taps: Taps = {}): Tensor {
    return scope(() => {
      let x = embedWords(text, this.embeddings, this.config.text.eps);
      taps.hidden?.(0, x);
      this.textLayers.forEach((weights, i) => {
        const map = taps.attention && ((p: Tensor) => taps.attention?.(i, p));
        x = this.layer(x, weights, { mask: text.mask, taps: { selfAttention: map } });
        taps.hidden?.(i + 1, x);
      });
      return x;
    });
  }

  private layer(
    x: Tensor,
    weights: BertLayer,
    more: { image?: Tensor; mask: KeyMask; taps?: BertTaps | undefined },
  ): Tensor {
    const { heads, eps, activation } = this.config.text;
    return bertLayer(x, weights, { heads, eps, activation, compute: this.compute, ...more });
  }

  step({ image, text, mask, jointMask }: Fused, layer: number, taps?: BertTaps): Fused {
    const weights = this.fusionLayers[layer - this.first] as BertLayer;
    if (!isJoint(this.config.fusion, layer))
      return { image, text: this.layer(text, weights, { image, mask, taps }), mask, jointMask };
    return scope(() => {
      const keys = image.shape[1] as number;
      const both = concat([image, text], 1); // [B, K+T, D]
      const mixed = this.layer(both, weights, { mask: jointMask, taps });
      return {
        image: add(image, mixed.slice(1, 0, keys)),
        text: mixed.slice(1, keys).contiguous(),
        mask,
        jointMask,
      };
    });
  }

  logits({ text }: Fused): Tensor {
    return scope(() => this.maps.itm.forward(firstToken(text), { out: 'f32' }));
  }

  visionValues({ last, tokens }: Picture): Values {
    return {
      'vision.last_hidden': () => last,
      image_tokens: () => tokens,
      'vision.projected_patches': () => this.maps.vision.forward(tokens.slice(1, 1), { out: 'f32' }),
      image_embeds: () => l2Normalise(this.maps.vision.forward(firstToken(tokens), { out: 'f32' })),
    };
  }

  textValues(text: TextBatch, taps: Taps): Values {
    const last = this.readText(text, taps);
    return {
      'text.last_hidden': () => last,
      'text.pooled': () => firstToken(last),
      text_embeds: () => l2Normalise(this.maps.text.forward(firstToken(last), { out: 'f32' })),
    };
  }

  stateValues({ image, text }: Fused, layer: number): Values {
    const hidden = { [`multimodal.hidden.${layer}`]: () => text };
    if (layer !== this.end) return hidden;
    return { ...hidden, 'multimodal.last_hidden': () => text, 'multimodal.image_last_hidden': () => image };
  }

  dispose(): void {
    this.tower.dispose();
  }
}

/** The text's mask with all picture tokens in front of it. */
function joint({ mask, lengths, batch }: TextBatch, keys: number): KeyMask {
  if (lengths) return lengthMask(lengths, keys);
  return mask.bias ? { bias: concat([fill([batch, 1, 1, keys], 0), mask.bias], 3) } : {};
}
