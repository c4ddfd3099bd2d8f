/** A matching model without weights: a word is where its colour is, and tokens are runs of four letters. */

import { clipMean, clipStd } from '#lib/backbones/clip/preprocess.js';
import { mean, Tensor } from '#lib/engine/index.js';
import type { MatchingModel } from '#lib/nn/matching.js';
import type { PredictorSystemModule } from '#lib/registry/systems.js';
import { ClipClasses } from '#lib/systems/pnp-ovss/clip-classes.js';
import { pnpOvss } from '#lib/systems/pnp-ovss/index.js';
import { PnpPredictor } from '#lib/systems/pnp-ovss/predictor.js';

const colours = ['red', 'green', 'blue'];

export class ToyMatching implements MatchingModel {
  readonly kind = 'blip';
  readonly patch = 4;
  readonly imageSize = 32;
  readonly layers = [0, 1, 2];
  readonly heads = 2;
  readonly startId = 1;
  readonly hash = 'toy';
  readonly parametersBytes = 4000;
  /** Captions of every call. */
  readonly asked: string[] = [];
  /** Captions at once, call by call. */
  readonly groups: number[] = [];
  disposed = false;

  constructor(readonly maxTokens = 64) {}

  tokenize(text: string): { ids: number[]; pieces: string[] } {
    const words = text
      .toLowerCase()
      .split(/\s+/)
      .filter((word) => word !== '');
    const pieces = words.flatMap((word) =>
      /^[\p{ASCII}]*$/u.test(word)
        ? (word.match(/.{1,4}/g) ?? []).map((part, i) => (i === 0 ? part : `##${part}`))
        : ['[UNK]'],
    );
    const all = ['[ENC]', ...pieces, '[SEP]'];
    return { pieces: all, ids: all.map((piece) => [...piece].reduce((sum, c) => sum + (c.codePointAt(0) ?? 0), 0)) };
  }

  crossAttention(pixels: Tensor, ids: readonly number[], at: { layer: number; heads: readonly number[] }) {
    const { probabilities, gradient, logits } = this.crossAttentions(pixels, [ids], at);
    const [, ...rest] = probabilities.shape;
    return { probabilities: probabilities.reshape(...rest), gradient: gradient.reshape(...rest), logits };
  }

  /** Attention is the share of the word's colour in a patch; the second head sees half of it. */
  crossAttentions(pixels: Tensor, ids: readonly (readonly number[])[], { heads }: { heads: readonly number[] }) {
    const size = pixels.shape[3] as number;
    const side = size / this.patch;
    const patches = side * side;
    const all = pixels.dataSync() as Float32Array;
    const each = 3 * size * size;
    const longest = Math.max(...ids.map(({ length }) => length));
    const shape = [ids.length, heads.length, longest, patches + 1];
    const a = new Float32Array(shape.reduce((x, y) => x * y));
    for (const [b, caption] of ids.entries()) {
      const data = pixels.shape[0] === 1 ? all : all.subarray(b * each, (b + 1) * each);
      for (const [h, head] of heads.entries())
        for (const [t, id] of caption.entries()) {
          const colour = colours.findIndex((name) => this.tokenize(name).ids[1] === id);
          for (let p = 0; p < patches && colour >= 0; p++)
            a[((b * heads.length + h) * longest + t) * (patches + 1) + 1 + p] =
              this.#share(data, size, p, colour) / (1 + head);
        }
    }
    this.groups.push(ids.length);
    this.asked.push(...ids.map((caption) => caption.join(' ')));
    return {
      probabilities: Tensor.from(a, shape),
      gradient: Tensor.from(new Float32Array(a.length).fill(1), shape),
      logits: Tensor.from(new Float32Array(2 * ids.length), [ids.length, 2]),
    };
  }

  /** Colour minus the mean of the others, of a patch of normalised pixels; a patch of the mean colour has none. */
  #share(data: Float32Array, size: number, patch: number, colour: number): number {
    const side = size / this.patch;
    let sum = 0;
    for (let i = 0; i < this.patch ** 2; i++) {
      const y = Math.floor(patch / side) * this.patch + Math.floor(i / this.patch);
      const x = (patch % side) * this.patch + (i % this.patch);
      const at = (c: number): number => {
        const value = data[(c * size + y) * size + x] as number;
        return value === 0 ? 0 : value * (clipStd[c] as number) + (clipMean[c] as number);
      };
      sum += at(colour) - (at((colour + 1) % 3) + at((colour + 2) % 3)) / 2;
    }
    return Math.max(0, sum / this.patch ** 2);
  }

  salience(pixels: Tensor, ids: readonly (readonly number[])[], at: { heads: readonly number[] }) {
    const { probabilities, logits } = this.crossAttentions(pixels, ids, at);
    return { salience: mean(probabilities, 1), logits };
  }

  values(): Record<string, Tensor> {
    return {};
  }
  dispose(): void {
    this.disposed = true;
  }
}

/** PnP-OVSS over the toy, as a system of its own on a CLIP folder. */
export function toySystem(name: string, model: MatchingModel, together = 1): PredictorSystemModule {
  return {
    ...pnpOvss,
    info: { ...pnpOvss.info, name, backbones: ['clip'] },
    async open({ folders, openers }) {
      const clip = folders.clip && (await openers.clip('clip'));
      return {
        predictor: new PnpPredictor(model, clip && new ClipClasses(clip), together),
        atOnce: together,
        sizes: { patch: 4, image: 32, embed: 8, width: 8, parametersBytes: 4000 },
        hash: 'toy',
        dispose() {
          model.dispose();
          clip?.dispose();
        },
      };
    },
  };
}
