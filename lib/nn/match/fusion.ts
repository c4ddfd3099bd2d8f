/**
 * Matching models whose text layers look at the picture themselves: BLIP (every layer) and ALBEF (the upper half; the lower half
 * reads text alone). Li et al. 2022, arXiv 2201.12086, section 3.1; Li et al. 2021, arXiv 2107.07651, section 3.1.
 */
import { l2Normalise, scope, type Tensor } from '../../engine/index.js';
import { WordmaskError } from '../../util/errors.js';
import {
  type BertEmbeddings,
  type BertLayer,
  type BertSizes,
  type BertTaps,
  bertLayer,
  embedWords,
  type KeyMask,
  type TextBatch,
} from '../bert.js';
import type { Compute, Linear } from '../linear.js';
import type { Taps, VisionTower } from '../vision-tower.js';
import type { MatchCore, Values } from './core.js';

export interface FusionSizes extends BertSizes {
  readonly vocabulary: number;
  readonly positions: number;
  /** Segments the embedding has; 0: none. */
  readonly types: number;
  /** Width of the picture tokens. */
  readonly keyWidth: number;
  /** First layer with cross-attention. */
  readonly fusionLayer: number;
}

export interface FusionParts {
  readonly vision: VisionTower;
  readonly embeddings: BertEmbeddings;
  readonly layers: readonly BertLayer[];
  /** Match head [2, D] on token 0. */
  readonly itm: Linear;
  readonly visionProjection: Linear;
  readonly textProjection: Linear;
}

interface Picture {
  readonly tokens: Tensor;
}

interface Fused {
  readonly text: Tensor;
  readonly image: Tensor;
  readonly mask: KeyMask;
}

/** Row 0 of each sample, [B, L, D] -> [B, D]. */
export function firstToken(x: Tensor): Tensor {
  return x.select(1, 0).contiguous();
}

/** One sample's tokens for several texts. */
export function repeatTokens(x: Tensor, count: number): Tensor {
  if (x.shape[0] === count) return x;
  if (x.shape[0] !== 1) {
    throw new WordmaskError(
      'E_USAGE',
      `a matching model takes one picture for each text or one for all of them, got ${x.shape[0]} pictures and ${count} texts`,
    );
  }
  return x.expand(count, ...x.shape.slice(1)).contiguous();
}

export class FusionCore implements MatchCore<Picture, Fused> {
  readonly first: number;
  readonly end: number;
  readonly layers: readonly number[];
  readonly heads: number;
  readonly towers: { readonly vision: number; readonly text: number };
  readonly names = {
    vision: ['vision.last_hidden', 'vision.pooled', 'vision.projected_patches', 'image_embeds', 'image_tokens'],
    text: ['text.last_hidden', 'text.pooled', 'text_embeds'],
    last: ['multimodal.last_hidden'],
  };

  constructor(
    readonly sizes: FusionSizes,
    readonly compute: Compute,
    private readonly parts: FusionParts,
    /** Whether the text alone runs through all layers (BLIP) or through those below the fusion (ALBEF). */
    wholeText: boolean,
  ) {
    this.first = sizes.fusionLayer;
    this.end = sizes.layers;
    this.layers = Array.from({ length: sizes.layers - sizes.fusionLayer }, (_, i) => sizes.fusionLayer + i);
    this.heads = sizes.heads;
    this.towers = { vision: parts.vision.sizes.layers, text: wholeText ? sizes.layers : sizes.fusionLayer };
  }

  vision(pixels: Tensor, taps: Taps = {}): Picture {
    return { tokens: this.parts.vision.forward(pixels, taps) };
  }

  repeat({ tokens }: Picture, count: number): Picture {
    return { tokens: repeatTokens(tokens, count) };
  }

  join({ tokens }: Picture, text: TextBatch): Fused {
    return { text: this.textLayers(text, this.first), image: tokens, mask: text.mask };
  }

  /** Embedding and the first layers without picture: [B, L, D]. */
  private textLayers(text: TextBatch, count: number, taps: Taps = {}): Tensor {
    return scope(() => {
      let x = embedWords(text, this.parts.embeddings, this.sizes.eps);
      taps.hidden?.(0, x);
      for (let i = 0; i < count; i++) {
        const map = taps.attention && ((p: Tensor) => taps.attention?.(i, p));
        x = this.layer(x, i, { mask: text.mask, taps: { selfAttention: map } });
        taps.hidden?.(i + 1, x);
      }
      return x;
    });
  }

  private layer(
    x: Tensor,
    index: number,
    more: { image?: Tensor; mask: KeyMask; taps?: BertTaps | undefined },
  ): Tensor {
    const { heads, eps, activation } = this.sizes;
    return bertLayer(x, this.parts.layers[index] as BertLayer, {
      heads,
      eps,
      activation,
      compute: this.compute,
      ...more,
    });
  }

  /** What training reads of pictures of which some patches are seen (`VisionTower.embedSome`): tokens [B, 1+K, D']. */
  someTokens(rows: Tensor, places: Tensor): Tensor {
    const { vision } = this.parts;
    return scope(() => vision.finalNorm(vision.blocks(vision.embedSome(rows, places))));
  }

  /** Contrastive side of picture tokens [B, 1+P, D'] -> [B, E], not normalised. */
  imageEmbedding(tokens: Tensor): Tensor {
    return scope(() => this.parts.visionProjection.forward(firstToken(tokens), { out: 'f32' }));
  }

  /** Contrastive side of texts alone -> [B, E], not normalised. */
  textEmbedding(text: TextBatch): Tensor {
    return scope(() => this.projectText(firstToken(this.textLayers(text, this.towers.text))));
  }

  private projectText(pooled: Tensor): Tensor {
    return this.parts.textProjection.forward(pooled, { out: 'f32' });
  }

  /** Texts in front of the first fused layer: [B, L, D]. */
  textStates(text: TextBatch): Tensor {
    return this.textLayers(text, this.first);
  }

  /** Match logits [B, 2] of texts [B, L, D] (`textStates`), each with the picture tokens of its row. */
  match(text: Tensor, mask: KeyMask, image: Tensor): Tensor {
    return scope(() => {
      let x = text;
      for (let i = this.first; i < this.end; i++) x = this.layer(x, i, { image, mask });
      return this.parts.itm.forward(firstToken(x), { out: 'f32' });
    });
  }

  step({ text, image, mask }: Fused, layer: number, taps?: BertTaps): Fused {
    return { text: this.layer(text, layer, { image, mask, taps }), image, mask };
  }

  logits({ text }: Fused): Tensor {
    return scope(() => this.parts.itm.forward(firstToken(text), { out: 'f32' }));
  }

  visionValues({ tokens }: Picture): Values {
    const { vision, visionProjection } = this.parts;
    return {
      'vision.last_hidden': () => tokens,
      image_tokens: () => tokens,
      // The published vision model norms the class token a second time for its pooled output.
      'vision.pooled': () => vision.finalNorm(firstToken(tokens)),
      'vision.projected_patches': () => visionProjection.forward(tokens.slice(1, 1), { out: 'f32' }),
      image_embeds: () => l2Normalise(this.imageEmbedding(tokens)),
    };
  }

  textValues(text: TextBatch, taps: Taps): Values {
    const last = this.textLayers(text, this.towers.text, taps);
    const pooled = () => firstToken(last);
    return {
      'text.last_hidden': () => last,
      'text.pooled': pooled,
      text_embeds: () => l2Normalise(this.projectText(pooled())),
    };
  }

  stateValues({ text }: Fused, layer: number): Values {
    const whole = { [`multimodal.hidden.${layer}`]: () => text };
    return layer === this.end ? { ...whole, 'multimodal.last_hidden': () => text } : whole;
  }

  dispose(): void {
    this.parts.vision.dispose();
  }
}
