/**
 * BridgeTower (Xu et al. 2022, arXiv 2206.08657, section 3): the last blocks of a CLIP vision tower and of RoBERTa feed one
 * cross-modal layer each; text and picture streams attend to each other there, both from the same inputs.
 */
import { add, concat, layerNorm, scope, type Tensor, tanh } from '../../engine/index.js';
import {
  type BertEmbeddings,
  type BertLayer,
  type BertTaps,
  bertEmbeddingsFrom,
  bertLayer,
  bertLayerFrom,
  embedWords,
  type KeyMask,
  type TextBatch,
} from '../../nn/bert.js';
import type { Compute, Linear } from '../../nn/linear.js';
import type { MatchCore, Values } from '../../nn/match/core.js';
import { firstToken, repeatTokens } from '../../nn/match/fusion.js';
import type { TensorMaps } from '../../nn/tensor-maps.js';
import type { Norm } from '../../nn/transformer.js';
import { type Taps, type VisionTower, visionTowerFrom } from '../../nn/vision-tower.js';
import type { BridgeTowerConfig } from './config.js';
import { bridgeTowerVision } from './keys.js';

interface Picture {
  /** Behind the blocks in front of the first cross-modal layer [B, K, D']. */
  readonly hidden: Tensor;
}

interface Fused {
  /** Streams behind the last cross-modal layer; in front of the first one its inputs. */
  readonly text: Tensor;
  readonly image: Tensor;
  /** The towers, each as far as its last block that was used. */
  readonly textTower: Tensor;
  readonly imageTower: Tensor;
  readonly mask: KeyMask;
}

/** One of the two streams. */
interface Stream {
  readonly transform: Linear;
  readonly norm: Norm;
  readonly pooler: Linear;
  readonly layers: readonly BertLayer[];
  /** Of cross-modal layer i + 1. */
  readonly links: readonly Norm[];
  /** Which row of the type table: 0 text, 1 picture. */
  readonly type: number;
}

export class BridgeTowerCore implements MatchCore<Picture, Fused> {
  readonly first = 0;
  readonly end: number;
  readonly layers: readonly number[];
  readonly heads: number;
  readonly towers: { readonly vision: number; readonly text: number };
  readonly names = {
    vision: ['vision.last_hidden'],
    text: ['text.last_hidden'],
    last: ['multimodal.last_hidden', 'text_features', 'image_features', 'pooled'],
  };
  private readonly compute: Compute;
  private readonly tower: VisionTower;
  private readonly embeddings: BertEmbeddings;
  private readonly textLayers: readonly BertLayer[];
  private readonly types: Tensor;
  private readonly itm: Linear;
  private readonly textStream: Stream;
  private readonly imageStream: Stream;

  constructor(
    private readonly config: BridgeTowerConfig,
    maps: TensorMaps,
  ) {
    const { vision, text, cross, split } = config;
    this.end = cross.layers;
    this.layers = Array.from({ length: cross.layers }, (_, i) => i);
    this.heads = text.heads;
    this.towers = { vision: split, text: split };
    this.compute = maps.options.compute;
    this.tower = visionTowerFrom(maps, bridgeTowerVision, vision, 'exact');
    this.embeddings = bertEmbeddingsFrom(maps, 'text_model.embeddings');
    this.textLayers = Array.from({ length: text.layers }, (_, i) =>
      bertLayerFrom(maps, `text_model.encoder.layer.${i}`, false),
    );
    this.types = maps.get('token_type_embeddings.weight');
    this.itm = maps.dense('itm_score.fc');
    this.textStream = this.stream(maps, 'text', 0);
    this.imageStream = this.stream(maps, 'image', 1);
  }

  private stream(maps: TensorMaps, name: string, type: number): Stream {
    const at = `cross_modal_${name}`;
    return {
      type,
      transform: maps.dense(`${at}_transform`),
      norm: maps.norm(`${at}_layernorm`),
      pooler: maps.dense(`${at}_pooler.dense`),
      layers: this.layers.map((i) => bertLayerFrom(maps, `${at}_layers.${i}`, true)),
      links: this.layers.slice(1).map((i) => maps.norm(`${at}_link_tower.${i - 1}.LayerNorm`)),
    };
  }

  vision(pixels: Tensor, taps: Taps = {}): Picture {
    return scope(() => ({ hidden: this.tower.blocks(this.tower.embed(pixels), taps, 0, this.config.split) }));
  }

  repeat({ hidden }: Picture, count: number): Picture {
    return { hidden: repeatTokens(hidden, count) };
  }

  join({ hidden }: Picture, text: TextBatch): Fused {
    return scope(() => {
      const textTower = this.readText(text, this.config.split);
      return {
        textTower,
        imageTower: hidden,
        text: this.enter(this.textStream, textTower, this.textStream.norm),
        image: this.enter(this.imageStream, this.tower.finalNorm(hidden), this.imageStream.norm),
        mask: text.mask,
      };
    });
  }

  /** LN(W x + type, and what the stream was before) [B, L, D]. */
  private enter({ transform, type }: Stream, x: Tensor, norm: Norm, before?: Tensor): Tensor {
    return scope(() => {
      const typed = add(transform.forward(x, { out: 'f32' }), this.types.select(0, type));
      return layerNorm(before ? add(typed, before) : typed, norm.gain, norm.bias, this.config.cross.eps);
    });
  }

  private readText(text: TextBatch, count: number, taps: Taps = {}): Tensor {
    return scope(() => {
      let x = embedWords(text, this.embeddings, this.config.text.eps, (t) => robertaPlaces(t, this.config.text.padId));
      taps.hidden?.(0, x);
      for (let i = 0; i < count; i++) {
        const map = i < this.towers.text && taps.attention ? (p: Tensor) => taps.attention?.(i, p) : undefined;
        x = this.layer(x, this.textLayers[i] as BertLayer, { mask: text.mask, taps: { selfAttention: map } });
        if (i < this.towers.text) taps.hidden?.(i + 1, x);
      }
      return x;
    });
  }

  private layer(
    x: Tensor,
    weights: BertLayer,
    more: { image?: Tensor; mask: KeyMask; imageMask?: KeyMask; taps?: BertTaps | undefined },
  ): Tensor {
    const { heads, eps, activation } = this.config.text;
    return bertLayer(x, weights, { heads, eps, activation, compute: this.compute, ...more });
  }

  step(state: Fused, layer: number, taps?: BertTaps): Fused {
    const { mask } = state;
    return scope(() => {
      const { text, image, textTower, imageTower } = layer === 0 ? state : this.bridge(state, layer);
      const [forText, forImage] = [this.textStream, this.imageStream].map(({ layers }) => layers[layer]);
      return {
        text: this.layer(text, forText as BertLayer, { mask, image, taps }),
        image: this.layer(image, forImage as BertLayer, { mask: {}, image: text, imageMask: mask }),
        textTower,
        imageTower,
        mask,
      };
    });
  }

  /** One more block of each tower, and its link into the streams. */
  private bridge(state: Fused, layer: number): Omit<Fused, 'mask'> {
    const block = this.config.split + layer - 1;
    const textTower = this.layer(state.textTower, this.textLayers[block] as BertLayer, { mask: state.mask });
    const imageTower = this.tower.blocks(state.imageTower, {}, block, block + 1);
    const link = ({ links }: Stream) => links[layer - 1] as Norm;
    return {
      textTower,
      imageTower,
      text: this.enter(this.textStream, textTower, link(this.textStream), state.text),
      image: this.enter(this.imageStream, this.tower.finalNorm(imageTower), link(this.imageStream), state.image),
    };
  }

  /** [B, 2D], text first. */
  private pooled({ text, image }: Fused): Tensor {
    const pool = ({ pooler }: Stream, x: Tensor) => tanh(pooler.forward(firstToken(x), { out: 'f32' }));
    return scope(() => concat([pool(this.textStream, text), pool(this.imageStream, image)], 1));
  }

  logits(state: Fused): Tensor {
    return scope(() => this.itm.forward(this.pooled(state), { out: 'f32' }));
  }

  visionValues({ hidden }: Picture): Values {
    const { split, vision } = this.config;
    return {
      'vision.last_hidden': () =>
        scope(() => this.tower.finalNorm(this.tower.blocks(hidden, {}, split, vision.layers))),
    };
  }

  textValues(text: TextBatch, taps: Taps): Values {
    const last = this.readText(text, this.config.text.layers, taps);
    return { 'text.last_hidden': () => last };
  }

  stateValues(state: Fused, layer: number): Values {
    const hidden = { [`multimodal.hidden.${layer}`]: () => state.text };
    if (layer !== this.end) return hidden;
    return {
      ...hidden,
      'multimodal.last_hidden': () => state.text,
      text_features: () => state.text,
      image_features: () => state.image,
      pooled: () => this.pooled(state),
    };
  }

  dispose(): void {
    this.tower.dispose();
  }
}

/** RoBERTa counts the tokens that are no padding, from `padId` + 1; padding stays at `padId`. */
function robertaPlaces({ ids, length }: TextBatch, padId: number): Int32Array {
  const places = new Int32Array(ids.length).fill(padId);
  let seen = 0;
  ids.forEach((id, i) => {
    if (i % length === 0) seen = 0;
    if (id !== padId) places[i] = padId + ++seen;
  });
  return places;
}
