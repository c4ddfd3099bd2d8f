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

  constructor(private readonly clip: Backbone) {}

  /** Side of the pictures that this CLIP was trained on. */
  private get imageSize(): number {
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
    const texts = await this.#rows(prompts.map(({ prompt }) => prompt));
    const pixels = await scope(async () =>
      clipPreprocess(Tensor.from(image.data, [image.height, image.width, 3], 'u8'), this.imageSize).toArray(),
    );
    const row = Float32Array.from((await this.clip.encodeImage(pixels)).data as ArrayLike<number>);
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

  async #rows(prompts: readonly string[]): Promise<Float32Array[]> {
    const [template = '{}'] = templateSet('photo');
    const missing = [...new Set(prompts)].filter((prompt) => this.#texts.get(prompt) === undefined);
    const made = new Map<string, Float32Array>();
    for (let begin = 0; begin < missing.length; begin += group) {
      const part = missing.slice(begin, begin + group);
      // Function replacement: `$` in a user's text must stay what it is.
      const { data, shape } = await this.clip.encodeText(part.map((prompt) => template.replace('{}', () => prompt)));
      const embed = (shape as readonly number[])[1] as number;
      part.forEach((prompt, i) => {
        const row = Float32Array.from(data as ArrayLike<number>).slice(i * embed, (i + 1) * embed);
        made.set(prompt, row);
        this.#texts.set(prompt, row);
      });
    }
    return prompts.map((prompt) => (made.get(prompt) ?? this.#texts.get(prompt)) as Float32Array);
  }
}
