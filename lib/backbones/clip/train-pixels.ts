/** Pictures for training, on the host: a random square crop as in CLIP's paper (section 2.5), and patch rows of some patches. */
import { noGrad, resize, scope, Tensor } from '../../engine/index.js';
import type { PairImage, PairSample, StepContext } from '../../nn/trainable.js';
import type { Random } from '../../util/random.js';
import { Slices } from '../../util/slices.js';
import { clipMean, clipStd } from './preprocess.js';

/**
 * A square of `side` pixels, RGB u8: short side resized to `side` (antialiased bicubic), cropped at a random place. A picture that has
 * this size is returned as it is.
 */
export async function trainPixels(image: PairImage, side: number, random: Random): Promise<Uint8Array> {
  const { data, width, height } = image;
  if (width === side && height === side) return data;
  const short = Math.min(width, height);
  const [w, h] = [width, height].map((x) => Math.max(side, Math.round((x * side) / short))) as [number, number];
  const [left, top] = [random.int(w - side + 1), random.int(h - side + 1)];
  return noGrad(() =>
    scope(async () => {
      const resized = resize(Tensor.from(data, [height, width, 3], 'u8'), { width: w, height: h, mode: 'pil_bicubic' });
      return (await resized
        .slice(0, top, top + side)
        .slice(1, left, left + side)
        .data()) as Uint8Array;
    }),
  );
}

/** Normalised value of each u8, by channel: [3 * 256] f32, and the same as bf16 patterns. */
const values = Float32Array.from({ length: 768 }, (_, i) => {
  const channel = i >> 8;
  return ((i & 255) / 255 - (clipMean[channel] as number)) / (clipStd[channel] as number);
});
const patterns = Uint16Array.from(
  new Uint32Array(values.buffer),
  (bits) => (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16,
);

/**
 * Rows of the patches `places` of a square picture, in the order of `patchify` (channel, row, column), normalised.
 * @param pixels RGB u8 [side, side, 3]
 * @param out [K, 3*p*p], f32 or bf16 patterns
 */
export function normaliseRows(
  pixels: Uint8Array,
  side: number,
  patch: number,
  places: Int32Array,
  out: Float32Array | Uint16Array,
): void {
  const table = out instanceof Uint16Array ? patterns : values;
  const grid = side / patch;
  let at = 0;
  for (const place of places) {
    const row = Math.floor(place / grid);
    const corner = (row * patch * side + (place - row * grid) * patch) * 3;
    for (let channel = 0; channel < 3; channel++) {
      for (let y = 0; y < patch; y++) {
        let from = corner + y * side * 3 + channel;
        for (let x = 0; x < patch; x++, from += 3)
          out[at++] = table[(channel << 8) | (pixels[from] as number)] as number;
      }
    }
  }
}

/** Arrays of a batch of pictures: normalised patch values [B, K, 3*p*p], f32 or bf16 patterns, and which patch each row is [B, K]. */
export type TrainRows = {
  readonly rows: { data: Float32Array | Uint16Array; shape: readonly number[] };
  readonly places: { data: Int32Array; shape: readonly number[] };
};

/**
 * Pictures as a step sees them: a random crop of each, and of its patches a random share.
 * @param image side of the crop, a multiple of `patch`
 * @param seen share of the patches; at least one is seen
 */
export async function trainRows(
  samples: readonly PairSample[],
  { image: side, patch }: { readonly image: number; readonly patch: number },
  seen: number,
  context: StepContext,
): Promise<TrainRows> {
  const grid = side / patch;
  const kept = Math.max(1, Math.round(grid * grid * seen));
  const length = 3 * patch * patch;
  const size = samples.length;
  const places = new Int32Array(size * kept);
  const data =
    context.compute === 'bf16' ? new Uint16Array(size * kept * length) : new Float32Array(size * kept * length);
  const crop = context.random.fork('crop');
  const choice = context.random.fork('patches');
  const slices = new Slices();
  for (const [b, { image }] of samples.entries()) {
    if (slices.due) await slices.pause();
    const pixels = await trainPixels(image, side, crop);
    const own = places.subarray(b * kept, (b + 1) * kept);
    choose(own, grid * grid, choice);
    normaliseRows(pixels, side, patch, own, data.subarray(b * kept * length, (b + 1) * kept * length));
  }
  return { rows: { data, shape: [size, kept, length] }, places: { data: places, shape: [size, kept] } };
}

/** Fills `out` with different numbers 0..n-1 in ascending order. */
function choose(out: Int32Array, n: number, random: Random): void {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  if (out.length < n) {
    for (let i = 0; i < out.length; i++) {
      const k = i + random.int(n - i);
      const held = order[i] as number;
      order[i] = order[k] as number;
      order[k] = held;
    }
  }
  out.set(order.subarray(0, out.length).sort());
}
