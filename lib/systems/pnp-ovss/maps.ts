/**
 * From salience to channels over the picture (sections 7 to 9 of the method's page): class maps, threshold, background channel, blur,
 * softmax and the dense CRF.
 */
import {
  clamp,
  concat,
  div,
  equal,
  fill,
  gaussianBlur,
  log,
  max,
  maximum,
  min,
  resize,
  scope,
  softmax,
  sub,
  sum,
  Tensor,
  where,
} from '../../engine/index.js';
import type { Trace } from '../../post/read-out.js';
import type { Caption } from './caption.js';
import { addRows } from './drop.js';
import type { PnpOptions } from './options.js';

/**
 * Mean over the pieces of each word, then the best (or the mean) of a target's words. [K, P]
 * @param sums rows of each caption, [T-1, P]
 */
export function classMaps(
  sums: readonly Float32Array[],
  captions: readonly Caption[],
  targets: number,
  patches: number,
  { lastClassSum }: Pick<PnpOptions, 'lastClassSum'>,
  ensemble: 'max' | 'mean' = 'max',
): Float32Array {
  const maps = new Float32Array(targets * patches);
  const words = new Int32Array(targets);
  for (const [c, { spans }] of captions.entries())
    for (const [at, { target, begin, end }] of spans.entries()) {
      const map = new Float32Array(patches);
      addRows(map, sums[c] as Float32Array, begin, end);
      const pieces = lastClassSum && at === spans.length - 1 ? 1 : end - begin;
      const into = maps.subarray(target * patches, (target + 1) * patches);
      const first = words[target] === 0;
      words[target] = (words[target] as number) + 1;
      for (let p = 0; p < patches; p++) {
        const value = Math.fround((map[p] as number) / pieces);
        const before = into[p] as number;
        into[p] = first ? value : ensemble === 'max' ? Math.max(before, value) : before + value;
      }
    }
  if (ensemble === 'mean')
    for (let i = 0; i < maps.length; i++)
      maps[i] = (maps[i] as number) / Math.max(1, words[Math.floor(i / patches)] as number);
  return maps;
}

/**
 * Cells below the share `threshold` of a map's range become 0, in place; a constant map becomes 0 everywhere.
 * @returns the maps scaled to 0..1
 */
export function applyThreshold(
  maps: Float32Array,
  patches: number,
  { threshold, binarise }: Pick<PnpOptions, 'threshold' | 'binarise'>,
): Float32Array {
  const scaled = new Float32Array(maps.length);
  for (let begin = 0; begin < maps.length; begin += patches) {
    const map = maps.subarray(begin, begin + patches);
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const value of map) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const range = Math.fround(high - low);
    // A map that holds NaN has no range either; NaN goes on and is found where scores are read.
    if (range === 0) {
      map.fill(0);
      continue;
    }
    for (let p = 0; p < patches; p++) {
      const share = Math.fround(Math.fround((map[p] as number) - low) / range);
      scaled[begin + p] = share;
      if (share < threshold) map[p] = 0;
      else if (binarise) map[p] = 1;
    }
  }
  return scaled;
}

/** Every channel to 0..1 by its own range; one without range becomes 0. [C, H, W] */
export function scaleChannels(x: Tensor): Tensor {
  return scope(() => {
    const shifted = sub(x, min(x, [1, 2], true));
    const top = max(shifted, [1, 2], true); // [C, 1, 1]
    return div(shifted, where(equal(top, 0), fill(top.shape, 1), top));
  });
}

export interface ChannelInput {
  /** Thresholded class maps [K, P]. */
  readonly maps: Float32Array;
  /** Classes. */
  readonly count: number;
  /** Cells of a side. */
  readonly side: number;
  readonly width: number;
  readonly height: number;
  /** Whether the rule adds a background channel in front. */
  readonly background: boolean;
}

/** Blurred maps, each scaled to 0..1; background is channel 0 where there is one. [C, H, W] */
export function blurredChannels(input: ChannelInput, { sigma }: PnpOptions, trace?: Trace): Tensor {
  const { maps, count, side, width, height, background } = input;
  return scope(() => {
    const cells = Tensor.from(maps, [count, side, side]);
    const resized = resize(cells, { width, height, mode: 'torch_bilinear', alignCorners: true }); // [K, H, W]
    trace?.put('resized', resized);
    const highest = max(resized, 0, true); // [1, H, W]
    const empty = where(equal(highest, 0), fill(highest.shape, 1), fill(highest.shape, 0));
    trace?.put('background', empty);
    const channels = background ? concat([empty, resized], 0) : resized;
    const spread = sigma * Math.max(width, height);
    // Reflected at the border, cut at four standard deviations: scipy's defaults.
    const blurred = scaleChannels(spread > 0 ? gaussianBlur(channels, { sigma: spread, truncate: 4 }) : channels);
    trace?.put('blurred', blurred);
    return blurred;
  });
}

/** Channels that are 0 everywhere: the published code divides 0 by 0 there. */
export async function hasEmptyChannel(blurred: Tensor): Promise<boolean> {
  return scope(async () => ((await max(blurred, [1, 2]).data()) as Float32Array).some((top) => top === 0));
}

/** What the published code makes of a picture with an empty channel: every pixel gets the first one. [C, H, W] */
export function firstChannelEverywhere(blurred: Tensor): Tensor {
  const [channels = 0, height = 0, width = 0] = blurred.shape;
  return scope(() => {
    const first = fill([1, height, width], 1);
    return channels === 1 ? first : concat([first, fill([channels - 1, height, width], 0)], 0);
  });
}

/** Probabilities of the channels in front of a refiner. [C, H, W] */
export function channelShares(blurred: Tensor, background: boolean, { unary }: PnpOptions, trace?: Trace): Tensor {
  return scope(() => {
    if (unary === 'softmax') {
      const shares = softmax(blurred, 0);
      trace?.put('softmax', shares);
      return shares;
    }
    const first = background ? 1 : 0;
    const classes = blurred.slice(0, first, blurred.shape[0] as number).contiguous();
    if (!background) return classes;
    const rest = maximum(sub(fill([1, ...classes.shape.slice(1)], 1), sum(classes, 0, true)), 0);
    return concat([rest, classes], 0);
  });
}

/** Logarithms, whose softmax are the shares themselves. */
export function logShares(shares: Tensor): Tensor {
  return scope(() => log(clamp(shares, 1e-30, 1)));
}
