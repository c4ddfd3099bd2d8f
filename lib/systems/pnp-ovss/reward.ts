/**
 * The reward of PnP-OVSS without masks (section 10 of the method's page): a salience map is good for a class where a CLIP that sees
 * the picture through it thinks more of the class than one that sees nothing.
 */
import { gaussianBlur, scope, Tensor } from '../../engine/index.js';

/** CLIP's temperature. */
const temperature = 0.01;
/** Pole of the cubic B-spline, and how far it is felt. */
const pole = Math.sqrt(3) - 2;
const margin = 12;

/** To 0..1 by a map's own range; a constant map becomes 0. */
function scaled(map: Float32Array): Float32Array {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of map) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const range = Math.fround(high - low);
  return range > 0 ? map.map((value) => Math.fround(value - low) / range) : new Float32Array(map.length);
}

/** Coefficients of the cubic B-spline through the samples, mirrored at the ends, in place. */
function prefilter(row: Float64Array): void {
  const n = row.length;
  if (n < 2) return;
  const gain = (1 - pole) * (1 - 1 / pole);
  for (let i = 0; i < n; i++) row[i] = (row[i] as number) * gain;
  let sum = row[0] as number;
  // Behind the margin the pole's powers are below any rounding.
  for (let i = 1, power = pole; i < n; i++, power *= pole) sum += power * (row[i] as number);
  row[0] = sum;
  for (let i = 1; i < n; i++) row[i] = (row[i] as number) + pole * (row[i - 1] as number);
  row[n - 1] = (pole / (pole * pole - 1)) * ((row[n - 1] as number) + pole * (row[n - 2] as number));
  for (let i = n - 2; i >= 0; i--) row[i] = pole * ((row[i + 1] as number) - (row[i] as number));
}

/** Weights of the four coefficients around a position between the second and the third. */
function basis(t: number): [number, number, number, number] {
  const u = 1 - t;
  return [(u * u * u) / 6, 2 / 3 - t * t + (t * t * t) / 2, 2 / 3 - u * u + (u * u * u) / 2, (t * t * t) / 6];
}

/** One axis: n samples, zero outside, to `size` on the half-pixel grid. */
function stretch(samples: Float64Array, size: number): Float64Array {
  const n = samples.length;
  const row = new Float64Array(n + 2 * margin);
  row.set(samples, margin);
  prefilter(row);
  const out = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const x = (i + 0.5) * (n / size) - 0.5 + margin;
    const left = Math.floor(x);
    const weights = basis(x - left);
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += (weights[k] as number) * (row[left - 1 + k] as number);
    out[i] = sum;
  }
  return out;
}

/**
 * A square map [side, side] to [size, size] by cubic B-splines with prefilter, on the half-pixel grid, zero outside, limited to the
 * range of its values (what skimage.transform.resize and scipy.ndimage.zoom call order 3).
 */
export function splineResize(map: Float32Array, side: number, size: number): Float32Array {
  const rows = Array.from({ length: side }, (_, y) => Float64Array.from(map.subarray(y * side, (y + 1) * side)));
  const wide = rows.map((row) => stretch(row, size)); // [side][size]
  const out = new Float32Array(size * size);
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of map) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  for (let x = 0; x < size; x++) {
    const column = stretch(
      Float64Array.from(wide, (row) => row[x] as number),
      size,
    );
    for (let y = 0; y < size; y++) out[y * size + x] = Math.min(high, Math.max(low, column[y] as number));
  }
  return out;
}

export interface RewardMask {
  /** All [K, size, size]. */
  readonly resized: Float32Array;
  /** Scaled to 0..1. */
  readonly blurred: Float32Array;
  /** 0 or 1. */
  readonly mask: Float32Array;
}

/**
 * What of the picture each class map shows to the CLIP.
 * @param maps [K, side, side]
 * @param threshold share of the range that has to be exceeded, in front of and behind the blur
 * @param blur standard deviation as a share of the side
 */
export async function rewardMasks(
  maps: Float32Array,
  side: number,
  size: number,
  threshold: number,
  blur: number,
): Promise<RewardMask> {
  const [cells, pixels] = [side * side, size * size];
  const count = maps.length / cells;
  const resized = new Float32Array(count * pixels);
  for (let k = 0; k < count; k++) {
    const binary = scaled(maps.subarray(k * cells, (k + 1) * cells)).map((value) => Number(value > threshold));
    // Ones alone lose their minimum: nothing is shown.
    resized.set(splineResize(scaled(binary), side, size), k * pixels);
  }
  const blurred = await scope(async () => {
    const spread = blur * size;
    return (await gaussianBlur(Tensor.from(resized, [count, size, size]), { sigma: spread }).data()) as Float32Array;
  });
  for (let k = 0; k < count; k++) blurred.set(scaled(blurred.subarray(k * pixels, (k + 1) * pixels)), k * pixels);
  return { resized, blurred, mask: blurred.map((value) => Number(value > threshold)) };
}

/** Softmax over classes of cosine / 0.01. @param images unit rows [N, E] @param texts unit rows [K, E] */
export function matchShares(images: readonly Float32Array[], texts: readonly Float32Array[]): Float64Array[] {
  return images.map((image) => {
    const logits = texts.map((text) => text.reduce((sum, x, e) => sum + x * (image[e] as number), 0) / temperature);
    const highest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const weights = Float64Array.from(logits, (x) => Math.exp(x - highest));
    const total = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / total);
  });
}

/** Classes of which the picture seen through their own map speaks more than the empty one. @param shares [2K][K], positives first */
export function countRewarded(shares: readonly Float64Array[]): number {
  const count = shares.length / 2;
  let sum = 0;
  for (let c = 0; c < count; c++) if ((shares[c]?.[c] as number) > (shares[count + c]?.[c] as number)) sum++;
  return sum;
}
