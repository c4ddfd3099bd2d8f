/** What a family of matching models provides, and GradCAM at a layer of any of them. */
import {
  attentionCam,
  attentionMaps,
  backward,
  cast,
  concat,
  matmul,
  noGrad,
  recording,
  requireGrad,
  retain,
  scope,
  sum,
  type Tensor,
} from '../../engine/index.js';
import { type BertTaps, type CrossParts, splitHeads, type TextBatch } from '../bert.js';
import type { Taps } from '../vision-tower.js';

/**
 * A matching model as a walk over its fused layers. `Image` is what the picture gives (independent of the text), `State` what
 * one fused layer hands to the next: plain objects of tensors.
 */
export interface MatchCore<Image = unknown, State = unknown> {
  /** Fused layers by their number in the checkpoint: first .. end - 1. */
  readonly first: number;
  readonly end: number;
  /** Those with text-to-image cross-attention. */
  readonly layers: readonly number[];
  readonly heads: number;
  /** Layers of the towers alone, for the names of their values. */
  readonly towers: { readonly vision: number; readonly text: number };
  /** Normalised pixels [B, 3, H, W]. */
  vision(pixels: Tensor, taps?: Taps): Image;
  /** The picture of one sample for several texts. */
  repeat(image: Image, count: number): Image;
  /** State in front of the first fused layer. */
  join(image: Image, text: TextBatch): State;
  step(state: State, layer: number, taps?: BertTaps): State;
  /** Match logits of the last state [B, 2]; index 1 = match. */
  logits(state: State): Tensor;
  /** Values by name that follow from one of these, each computed when asked for. */
  visionValues(image: Image): Values;
  /** Runs the text alone, as the contrastive side does. */
  textValues(text: TextBatch, taps: Taps): Values;
  stateValues(state: State, layer: number): Values;
  readonly names: {
    readonly vision: readonly string[];
    readonly text: readonly string[];
    readonly last: readonly string[];
  };
}

export type Values = Readonly<Record<string, () => Tensor>>;

export interface CamPlace {
  readonly layer: number;
  /** All by default. */
  readonly heads?: readonly number[];
}

export interface Cam {
  /** [B, h, T, K] f32 */
  readonly probabilities: Tensor;
  /** Gradient of the match logit, summed over the batch, with respect to them. */
  readonly gradient: Tensor;
}

/**
 * Attention probabilities A of asked layers and heads and G = dL/dA, L the match logit (Selvaraju et al. 2017, arXiv 1610.02391):
 * G[h, t, j] = <dL/dcontext[h, t, :], V[h, j, :]>. Up to the lowest asked layer nothing is recorded; from its context on the tape
 * carries the gradient back through the layers above alone.
 */
export function crossAttentionCams<Image, State>(
  core: MatchCore<Image, State>,
  image: Image,
  text: TextBatch,
  places: readonly CamPlace[],
): { cams: Cam[]; logits: Tensor } {
  return walkBack(core, image, text, places, camOf);
}

/** Mean over a place's heads of A max(G, 0), [B, T, K] f32, in one pass that keeps neither. */
export function crossAttentionSalience<Image, State>(
  core: MatchCore<Image, State>,
  image: Image,
  text: TextBatch,
  place: CamPlace,
): { salience: Tensor; logits: Tensor } {
  const { cams, logits } = walkBack(core, image, text, [place], ({ q, k, v, mask }, dContext, heads) =>
    attentionCam(pickHeads(q, heads), pickHeads(k, heads), pickHeads(v, heads), pickHeads(dContext, heads), {
      keyLengths: mask.keyLengths,
    }),
  );
  return { salience: cams[0] as Tensor, logits };
}

/** @param read what is made of a place: its parts, dL/dcontext [B, A, T, d], its heads */
function walkBack<Image, State, R>(
  core: MatchCore<Image, State>,
  image: Image,
  text: TextBatch,
  places: readonly CamPlace[],
  read: (parts: CrossParts, dContext: Tensor, heads: readonly number[] | undefined) => R,
): { cams: R[]; logits: Tensor } {
  const lowest = Math.min(...places.map(({ layer }) => layer));
  const wanted = new Set(places.map(({ layer }) => layer));
  const seen = new Map<number, CrossParts>();
  const note = (layer: number) => (parts: CrossParts) => {
    const context = retain(layer === lowest ? requireGrad(parts.context.detach()) : parts.context);
    const [q, k, v] = [parts.q, parts.k, parts.v].map((part) => retain(part.detach())) as [Tensor, Tensor, Tensor];
    seen.set(layer, { q, k, v, mask: parts.mask, context });
    return context;
  };
  return scope(() => {
    try {
      let state = noGrad(() => scope(() => walk(core, core.join(image, text), core.first, lowest)));
      const logits = recording(() => {
        for (let layer = lowest; layer < core.end; layer++)
          state = core.step(state, layer, wanted.has(layer) ? { context: note(layer) } : undefined);
        return core.logits(state);
      });
      const loss = recording(() => sum(logits.slice(1, 1, 2)));
      const grads = backward(loss, { wrt: [...seen.values()].map(({ context }) => context) });
      const cams = noGrad(() =>
        places.map(({ layer, heads }) => {
          const parts = seen.get(layer) as CrossParts;
          const dContext = splitHeads(grads.get(parts.context) as Tensor, parts.q.shape[1] as number);
          return scope(() => read(parts, dContext, heads));
        }),
      );
      grads.dispose();
      return { cams, logits: logits.detach() };
    } finally {
      for (const { q, k, v, context } of seen.values()) for (const held of [q, k, v, context]) held.dispose();
    }
  });
}

function walk<Image, State>(core: MatchCore<Image, State>, start: State, from: number, to: number): State {
  let state = start;
  for (let layer = from; layer < to; layer++) state = core.step(state, layer);
  return state;
}

function pickHeads(x: Tensor, heads: readonly number[] | undefined): Tensor {
  if (!heads) return x;
  const parts = heads.map((head) => x.slice(1, head, head + 1));
  return parts.length === 1 ? (parts[0] as Tensor) : concat(parts, 1);
}

function camOf({ q, k, v, mask }: CrossParts, dContext: Tensor, heads: readonly number[] | undefined): Cam {
  const value = pickHeads(v, heads);
  const { probabilities } = attentionMaps(pickHeads(q, heads), pickHeads(k, heads), value, mask);
  const up = cast(pickHeads(dContext, heads), 'f32');
  return { probabilities, gradient: matmul(up, cast(value, 'f32'), { transposeB: true }) };
}
