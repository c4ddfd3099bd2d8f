/** Labels that a CLIP finds in a picture: ours, in place of the language model of the published code. */
import { clipPreprocess } from '../../backbones/clip/preprocess.js';
import { scope, Tensor } from '../../engine/index.js';
import type { DecodedImage } from '../../image/decode.js';
import type { Backbone } from '../../nn/backbone.js';
import type { PredictorWords } from '../../post/predictor.js';
import { templateSet } from '../../text/index.js';
import { ByteLru } from '../../util/byte-lru.js';

/** CLIP's logit scale. */
const scale = 100;
const leastShare = 0.1;
const mostLabels = 25;
/** Texts encoded at once. */
const group = 256;

export class ClipClasses {
  /** Unit rows by text. */
  readonly #texts = new ByteLru<Float32Array>(64 << 20, (row) => row.byteLength);

  constructor(readonly clip: Backbone) {}

  /** Side of the pictures that this CLIP was trained on. */
  get imageSize(): number {
    const { vision } = this.clip.config as { readonly vision: { readonly imageSize: number } };
    return vision.imageSize;
  }

  /**
   * Labels of a share of at least 0.1 in the softmax of 100 * cosine over all prompts, at least the best one, at most 25, in the
   * order of `words.chosen`. A label's share is that of its best prompt.
   */
  async present(image: DecodedImage, words: PredictorWords): Promise<number[]> {
    const prompts = words.chosen.flatMap((index) =>
      (words.labels[index]?.prompts ?? []).map((prompt) => ({ index, prompt })),
    );
    if (prompts.length === 0) return [];
    const [template = '{}'] = templateSet('photo');
    // Function replacement: `$` in a user's text must stay what it is.
    const texts = await this.rows(prompts.map(({ prompt }) => template.replace('{}', () => prompt)));
    const [row = new Float32Array()] = await scope(() =>
      this.imageRows(clipPreprocess(Tensor.from(image.data, [image.height, image.width, 3], 'u8'), this.imageSize)),
    );
    const logits = texts.map((text) => scale * text.reduce((sum, x, e) => sum + x * (row[e] as number), 0));
    const highest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const weights = logits.map((x) => Math.exp(x - highest));
    const total = weights.reduce((a, b) => a + b, 0);
    const shares = new Map<number, number>();
    for (const [i, { index }] of prompts.entries())
      shares.set(index, Math.max(shares.get(index) ?? 0, (weights[i] as number) / total));
    const ranked = [...shares].sort(([, a], [, b]) => b - a);
    const kept = new Set(
      ranked
        .filter(([, share], rank) => rank === 0 || share >= leastShare)
        .slice(0, mostLabels)
        .map(([index]) => index),
    );
    return words.chosen.filter((index) => kept.has(index));
  }

  /** Unit rows of texts as they are. */
  async rows(texts: readonly string[]): Promise<Float32Array[]> {
    const missing = [...new Set(texts)].filter((text) => this.#texts.get(text) === undefined);
    const made = new Map<string, Float32Array>();
    for (let begin = 0; begin < missing.length; begin += group) {
      const part = missing.slice(begin, begin + group);
      const { data, shape } = await this.clip.encodeText(part);
      for (const [i, row] of rowsOf(data as Float32Array, shape).entries()) {
        made.set(part[i] as string, row);
        this.#texts.set(part[i] as string, row);
      }
    }
    return texts.map((text) => (made.get(text) ?? this.#texts.get(text)) as Float32Array);
  }

  /** Unit rows of normalised pixels [N, 3, n, n]. */
  async imageRows(pixels: Tensor): Promise<Float32Array[]> {
    const { data, shape } = await this.clip.encodeImage(pixels);
    return rowsOf(data as Float32Array, shape);
  }
}

function rowsOf(data: Float32Array, [count = 0, embed = 0]: readonly number[]): Float32Array[] {
  return Array.from({ length: count }, (_, i) => data.slice(i * embed, (i + 1) * embed));
}
