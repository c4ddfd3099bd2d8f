/**
 * Scores: prompted pictures against texts. The published wrapper runs one vision block fewer here, because it keeps the last one
 * for the activation maps (clip-as-rnn.md section 5; clip_wrapper.py forward_clip); the text tower runs whole.
 */
import { clipPreprocess, encodeTexts, type OpenedClip } from '../../backbones/clip/index.js';
import { concat, l2Normalise, matmul, mul, scope, softmax, sum, Tensor } from '../../engine/index.js';
import { ByteLru } from '../../util/byte-lru.js';

const cachedBytes = 64 << 20;
const textGroup = 256;

/** Text features of a CLIP, unit rows, kept between calls. */
export class TextRows {
  readonly #rows = new ByteLru<Float32Array>(cachedBytes, (row) => row.byteLength);

  constructor(private readonly clip: OpenedClip) {}

  /** [T, E]; belongs to the scope of the caller. Texts that were cut are told. */
  async of(texts: readonly string[], warn: (message: string) => void): Promise<Tensor> {
    const rows = new Map<string, Float32Array>();
    for (const text of new Set(texts)) {
      const known = this.#rows.get(text);
      if (known) rows.set(text, known);
    }
    const missing = [...new Set(texts)].filter((text) => !rows.has(text));
    for (let begin = 0; begin < missing.length; begin += textGroup) {
      const group = missing.slice(begin, begin + textGroup);
      const warnings: string[] = [];
      const { model, tokenizer } = this.clip;
      const values = await scope(() => l2Normalise(encodeTexts(model, tokenizer, group, warnings)).data());
      const embed = values.length / group.length;
      group.forEach((text, i) => {
        const row = (values as Float32Array).slice(i * embed, (i + 1) * embed);
        rows.set(text, row);
        // A cut text is encoded again next time, so that it is told again.
        if (warnings.length === 0) this.#rows.set(text, row);
      });
      warnings.forEach(warn);
    }
    const { embed } = this.clip.config;
    const joined = new Float32Array(texts.length * embed);
    texts.forEach((text, i) => joined.set(rows.get(text) as Float32Array, i * embed));
    return Tensor.from(joined, [texts.length, embed]);
  }
}

/** Side of the pictures that are scored. */
export function scoringSize(clip: OpenedClip, size: number | null): number {
  return size ?? clip.config.vision.imageSize;
}

/** A prompted picture u8 [H, W, 3] as the scoring model takes it, [1, 3, n, n]. */
export function scoringInput(picture: Uint8Array, width: number, height: number, size: number): Tensor {
  return scope(() => clipPreprocess(Tensor.from(picture, [height, width, 3], 'u8'), size));
}

/** Unit rows of pictures [N, 3, n, n] -> [N, E], the last vision block left out. */
export function scoringRows({ model, config }: OpenedClip, pixels: Tensor): Tensor {
  return scope(() => {
    const { rows, grid } = model.patchRows(pixels);
    const tokens = model.embedPatches(rows, grid, { positions: 'bilinear-f16' });
    const hidden = model.blockRange(tokens, 0, config.vision.layers - 1); // [N, 1+P, D]
    return l2Normalise(model.projectPooled(model.postNorm(hidden.select(1, 0).contiguous()))); // [N, E]
  });
}

/**
 * Softmax over the texts of the sum over templates of each template's own softmax: [n pictures, n texts]; of one template alone
 * its softmax.
 * @param images [n, E]
 * @param texts one [n, E] per template
 * @param scale factor of the cosines
 */
export function scoreMatrix(
  images: Tensor,
  texts: readonly Tensor[],
  scale: number,
  summed: boolean,
): { readonly scores: Tensor; readonly perTemplate: Tensor } {
  return scope(() => {
    const shares = texts.map((rows) => softmax(mul(matmul(images, rows, { transposeB: true }), scale), 1)); // [n, n]
    const perTemplate = concat(
      shares.map((share) => share.reshape(1, ...share.shape)),
      0,
    ); // [T, n, n]
    const scores = summed ? softmax(sum(perTemplate, 0), 1) : mul(shares[0] as Tensor, 1);
    return { scores, perTemplate };
  });
}
