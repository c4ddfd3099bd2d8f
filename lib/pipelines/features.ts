/** An encoded picture, kept to be asked with other words. */
import type { Tensor } from '../engine/index.js';
import type { DenseFeatures } from '../post/dense-encode.js';
import type { DenseOptions } from '../post/dense-options.js';
import { WordmaskError } from '../util/errors.js';

/** Options that shape features: a call with other values needs the picture encoded again. */
const encoderOptions = [
  'attention',
  'residual',
  'ffn',
  'sigma',
  'shortSide',
  'longSide',
  'crop',
  'stride',
  'padToPatch',
  'mean',
  'std',
  'positions',
  'activation',
  'layerNormEps',
  'keySmoothing',
  'units',
] as const satisfies readonly (keyof DenseOptions)[];

export class Features {
  #dense: DenseFeatures | undefined;
  #image: Tensor | undefined;

  constructor(
    dense: DenseFeatures,
    /** u8 [H, W, 3] of the picture itself, for refiners. */
    image: Tensor,
    /** Without data where the picture was a tensor. */
    readonly pixels: { readonly data?: Uint8Array; readonly width: number; readonly height: number },
    readonly imageHash: string,
    readonly options: DenseOptions,
    readonly owner: object,
  ) {
    this.#dense = dense;
    this.#image = image;
  }

  get width(): number {
    return this.pixels.width;
  }
  get height(): number {
    return this.pixels.height;
  }
  /** The picture as a result keeps it. */
  get hostPixels(): { data: Uint8Array; width: number; height: number } | undefined {
    const { data, width, height } = this.pixels;
    return data && { data, width, height };
  }
  get disposed(): boolean {
    return this.#dense === undefined;
  }
  /** Device bytes held. */
  get bytes(): number {
    if (!this.#dense) return 0;
    return (this.#dense.features.size + (this.#dense.keys?.size ?? 0)) * 4 + this.width * this.height * 3;
  }

  /** @throws E_DISPOSED */
  get dense(): DenseFeatures {
    if (!this.#dense) throw new WordmaskError('E_DISPOSED', 'these features were disposed: encode the picture again');
    return this.#dense;
  }
  get image(): Tensor {
    if (!this.#image) throw new WordmaskError('E_DISPOSED', 'these features were disposed: encode the picture again');
    return this.#image;
  }

  /** @throws E_OPTION naming the first option that would need the picture encoded again */
  checkOptions(options: DenseOptions): void {
    const changed = encoderOptions.find((name) => JSON.stringify(options[name]) !== JSON.stringify(this.options[name]));
    if (changed) {
      throw new WordmaskError(
        'E_OPTION',
        `these features were encoded with ${changed} = ${JSON.stringify(this.options[changed])}; the call asks for ${JSON.stringify(options[changed])}: encode the picture again with it`,
        { details: { option: changed } },
      );
    }
  }

  /** @throws E_OPTION when `maxSide` asks for another size than these were encoded at */
  checkCanvas(wanted: { readonly width: number; readonly height: number }): void {
    const { width, height } = this.dense.canvas;
    if (wanted.width === width && wanted.height === height) return;
    throw new WordmaskError(
      'E_OPTION',
      `these features were encoded at ${width} x ${height} pixels; maxSide asks for ${wanted.width} x ${wanted.height}: encode the picture again with it`,
      { details: { option: 'maxSide' } },
    );
  }

  dispose(): void {
    this.#dense?.features.dispose();
    this.#dense?.keys?.dispose();
    this.#image?.dispose();
    this.#dense = undefined;
    this.#image = undefined;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
