/**
 * Models that say whether a text fits a picture and look at the picture through text-to-image cross-attention while they do:
 * what a method that reads salience off them needs to know, whatever the family.
 */
import type { Tensor } from '../engine/index.js';

export type MatchingKind = 'blip' | 'albef' | 'mplug' | 'bridgetower';

export interface MatchingTokens {
  /** With the start token (`startId`) in front and the end token behind. */
  readonly ids: number[];
  /** What the tokenizer's table calls each of them: word pieces with `##`, byte pairs with the sign of a leading blank. */
  readonly pieces: string[];
}

export interface CrossAttentionPlace {
  /** One of `layers`. */
  readonly layer: number;
  /** From 0; results keep this order. */
  readonly heads: readonly number[];
}

/** `probabilities` and `gradient` f32 [h, T, 1+P], key 0 being the picture's class token; `logits` f32 [1, 2], index 1 = match. */
export interface CrossAttention {
  readonly probabilities: Tensor;
  readonly gradient: Tensor;
  readonly logits: Tensor;
}

export interface MatchingModel {
  readonly kind: MatchingKind;
  /** Side of a patch in pixels. */
  readonly patch: number;
  /** Side of the picture the position table was made for. */
  readonly imageSize: number;
  /**
   * Layers with text-to-image cross-attention, by their number in the checkpoint (from 0; 6..11 for ALBEF). Only token 0 of the
   * last one reaches the match logit, so the gradient there is 0 for every other token.
   */
  readonly layers: readonly number[];
  /** Heads of the cross-attention. */
  readonly heads: number;
  /** Longest sequence, start and end token included. */
  readonly maxTokens: number;
  /** Id of the start token as image-text matching takes it: [ENC] (BLIP), [CLS] (ALBEF, mPLUG), <s> (BridgeTower). */
  readonly startId: number;
  /** SHA-256 over the weights files. */
  readonly hash: string;
  readonly parametersBytes: number;
  /** @throws E_LABEL for a text that is no well-formed Unicode or too long in bytes; its tokens are not cut */
  tokenize(text: string): MatchingTokens;
  /**
   * GradCAM at one layer: attention of text tokens to picture tokens, and the gradient of the match logit with respect to it
   * (Selvaraju et al. 2017; for matching models Tiong et al. 2022, eq. 1 to 3). Only the layers above `layer` are walked back,
   * and the volume exists for that layer and those heads alone.
   * @param pixels normalised, [1, 3, H, W] with sides of at least one patch
   * @throws E_OPTION for a layer or head that does not exist, too many tokens or an id outside the vocabulary
   */
  crossAttention(pixels: Tensor, ids: readonly number[], at: CrossAttentionPlace): CrossAttention;
  /**
   * The same for several at once: pixels [B, 3, H, W] with a caption each, or [1, 3, H, W] with B captions. Results [B, h, T, 1+P]
   * and [B, 2], T being the longest caption; rows behind a shorter one are its padding (gradient 0).
   */
  crossAttentions(pixels: Tensor, ids: readonly (readonly number[])[], at: CrossAttentionPlace): CrossAttention;
  /**
   * Mean over the place's heads of attention times the positive part of its gradient, [B, T, 1+P] f32, in one pass that keeps
   * neither; `logits` [B, 2]. Pictures and captions as for `crossAttentions`.
   */
  salience(
    pixels: Tensor,
    ids: readonly (readonly number[])[],
    at: CrossAttentionPlace,
  ): { readonly salience: Tensor; readonly logits: Tensor };
  /**
   * Values by the names of `inspect` (`itm_logits`, `vision.last_hidden`, `cross_attention.7`, ...) for one picture and caption,
   * without a tape. @throws E_OPTION for an unknown name
   */
  values(pixels: Tensor, ids: readonly number[], names: readonly string[]): Record<string, Tensor>;
  dispose(): void;
}
