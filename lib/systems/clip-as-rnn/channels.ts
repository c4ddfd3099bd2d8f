/**
 * From proposals to channels over all pixels: background and texts through the dense CRF (clip-as-rnn.md section 6; crf.py), then
 * painted one layer over another (section 7; evaluate.py).
 */
import { clipMean, clipStd } from '../../backbones/clip/preprocess.js';
import { concat, exp, fill, log, max, mul, resize, scope, sub, Tensor } from '../../engine/index.js';
import type { DecodedImage } from '../../image/decode.js';
import type { PredictContext, Prediction } from '../../post/predictor.js';
import { type CrfSetting, chosenCrf, crfMarginals, pamrShares } from '../../post/refine-shares.js';
import { inSlices } from '../../util/slices.js';
import { type CarOptions, defaults } from './options.js';

/** One layer of paint: what it covers is decided by its own shares. */
export interface Layer {
  /** What rows 1.. stand for. */
  readonly labels: readonly number[];
  /** [1 + n, H*W]; row 0 is "none of these". */
  readonly shares: Float32Array;
}

/** Logarithm of a share that counts as none. */
const floor = -30;

/** Maps [n, h, w] stretched over the picture [n, H, W]. */
export function stretched(
  maps: readonly Float32Array[],
  [height, width]: readonly [number, number],
  image: { readonly width: number; readonly height: number },
): Tensor {
  return scope(() => {
    const cells = concat(
      maps.map((map) => Tensor.from(map, [1, height, width])),
      0,
    );
    return resize(cells, { width: image.width, height: image.height, mode: 'opencv_linear' });
  });
}

/** Shares of background and texts behind the refiner: background is what the best text leaves, to the power of `factor`. */
export function refinedShares(
  image: DecodedImage,
  proposals: Tensor,
  factor: number,
  options: CarOptions,
  { refine, trace }: Pick<PredictContext, 'refine' | 'trace'>,
): Tensor {
  return scope(() => {
    const [, height = 0, width = 0] = proposals.shape;
    const rest = sub(fill([1, height, width], 1), max(proposals, 0, true));
    const background = factor === 1 ? rest : exp(mul(log(rest), factor));
    const shares = concat([background, proposals], 0); // [1 + n, H, W]
    const picture = Tensor.from(options.crfWrapQuirk ? wrapped(image.data) : image.data, [height, width, 3], 'u8');
    if (refine?.name === 'pamr') return pamrShares(picture, shares, refine, { mean: clipMean, std: clipStd });
    const crf = chosenCrf(refine, options.crf, defaults.crf as Exclude<CrfSetting, false>);
    return crf ? crfMarginals(picture, shares, crf, trace) : mul(shares, 1);
  });
}

/** Blue, green, red minus their means, cast to 8 bits: what is below zero wraps, as in the published code. */
function wrapped(data: Uint8Array): Uint8Array {
  const means = [104.008, 116.669, 122.675];
  return Uint8Array.from(data, (_, i) => {
    const channel = i % 3;
    return Math.trunc((data[i - channel + (2 - channel)] as number) - (means[channel] as number)) & 255;
  });
}

/**
 * Layers painted from the first to the last over background: where a layer's best row is a text, the texts of that layer alone
 * count; where no layer has one, background wins.
 * @param withBackground without it the last layer's texts share what no layer claims
 */
export async function paint(
  layers: readonly Layer[],
  { width, height }: { readonly width: number; readonly height: number },
  signal?: AbortSignal,
): Promise<Prediction> {
  const pixels = width * height;
  const channels = [-1, ...layers.flatMap(({ labels }) => labels)];
  const logits = new Float32Array(channels.length * pixels).fill(floor);
  let first = 1;
  const placed = layers.map((layer) => {
    const row = first;
    first += layer.labels.length;
    return { ...layer, row };
  });
  await inSlices(
    pixels,
    1 << 14,
    (begin, end) => {
      for (let at = begin; at < end; at++) paintPixel(placed, logits, pixels, at);
    },
    signal,
  );
  return { logits: Tensor.from(logits, [channels.length, height, width]), channels };
}

function paintPixel(
  layers: readonly (Layer & { readonly row: number })[],
  logits: Float32Array,
  pixels: number,
  at: number,
): void {
  let none = 0;
  for (let l = layers.length - 1; l >= 0; l--) {
    const { labels, shares, row } = layers[l] as Layer & { row: number };
    const rest = shares[at] as number;
    let best = 0;
    for (let k = 1; k <= labels.length; k++)
      if ((shares[k * pixels + at] as number) > (shares[best * pixels + at] as number)) best = k;
    none = Math.max(none, rest);
    if (best === 0) continue;
    logits[at] = logOf(rest);
    for (let k = 1; k <= labels.length; k++)
      logits[(row + k - 1) * pixels + at] = logOf(shares[k * pixels + at] as number);
    return;
  }
  // At least as high as every text of every layer.
  logits[at] = logOf(none);
  for (const { labels, shares, row } of layers)
    for (let k = 1; k <= labels.length; k++)
      logits[(row + k - 1) * pixels + at] = logOf(shares[k * pixels + at] as number);
}

function logOf(share: number): number {
  return share > 0 ? Math.max(floor, Math.log(share)) : floor;
}

/** At least half of the picture's pixels, or the union of the masks where that covers at most this share of it. */
const smallCover = 0.05;

/**
 * Sentences for one thing: the mean of their masks weighted by score, where it is at least a half; if that covers at most 5% of the
 * picture, every pixel of any mask (evaluate.py merge_masks_simple).
 * @param shares [2, H*W] of each sentence, background first
 * @returns [2, H*W] in which the second row is the larger one inside the merged mask
 */
export function mergedSentences(shares: readonly Float32Array[], scores: readonly number[]): Float32Array {
  const [only] = shares;
  if (shares.length === 1 && only) return only;
  const pixels = (only as Float32Array).length / 2;
  const total = scores.reduce((a, b) => a + b, 0) || 1;
  const mean = new Float32Array(pixels);
  shares.forEach((share, s) => {
    for (let at = 0; at < pixels; at++)
      if ((share[pixels + at] as number) > (share[at] as number))
        mean[at] = (mean[at] as number) + (scores[s] as number) / total;
  });
  const covered = mean.reduce((sum, value) => sum + Number(value >= 0.5), 0);
  const least = covered <= smallCover * pixels ? Number.MIN_VALUE : 0.5;
  const merged = new Float32Array(2 * pixels);
  for (let at = 0; at < pixels; at++) {
    const value = mean[at] as number;
    const share = value >= least ? Math.max(value, 0.5 + 1e-6) : value;
    merged[at] = 1 - share;
    merged[pixels + at] = share;
  }
  return merged;
}
