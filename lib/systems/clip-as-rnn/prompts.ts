/** Visual prompts: a proposal drawn into the picture, so that CLIP looks there (clip-as-rnn.md section 4; utils.py). */
import { type Colour, drawEllipse, drawRectangle, drawRim, fillHoles } from '../../image/outline.js';
import { inSlices } from '../../util/slices.js';

export const promptKinds = ['blur', 'gray', 'black', 'circle', 'rectangle', 'contour'] as const;
export type PromptKind = (typeof promptKinds)[number];

interface Picture {
  /** [H, W, 3] */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

const red: Colour = [255, 0, 0];
/** A kernel of 15 x 15 without a sigma of its own: OpenCV's 0.3 * ((15 - 1) / 2 - 1) + 0.8. */
const blurSigma = 2.6;
const blurSide = 15;

/** Draws prompts of one picture; what lies outside of a mask looks the same for all of them and is made once. */
export class VisualPrompts {
  private constructor(
    private readonly picture: Picture,
    private readonly outside: Uint8Array,
    private readonly kinds: ReadonlySet<PromptKind>,
  ) {}

  static async of(picture: Picture, kinds: readonly PromptKind[], signal?: AbortSignal): Promise<VisualPrompts> {
    const set = new Set(kinds);
    let outside = picture.data;
    if (set.has('blur')) outside = await blurred(picture, signal);
    if (set.has('gray')) outside = await grey(outside, signal);
    if (set.has('black')) outside = new Uint8Array(outside.length);
    return new VisualPrompts(picture, outside, set);
  }

  /**
   * The picture with a mask drawn into it, in the order blur, grey, black, circle, rectangle, contour. Without a pixel in the mask,
   * or with a map that sums to no more than 1, the picture as it is.
   * @param map [H, W] of the proposal
   */
  async draw(map: Float32Array, threshold: number, signal?: AbortSignal): Promise<Uint8Array> {
    const { data, width, height } = this.picture;
    const mask = new Uint8Array(map.length);
    let [sum, pixels, sumX, sumY] = [0, 0, 0, 0];
    let [left, top, right, bottom] = [width, height, 0, 0];
    await inSlices(
      map.length,
      1 << 17,
      (begin, end) => {
        for (let at = begin; at < end; at++) {
          sum += map[at] as number;
          if ((map[at] as number) <= threshold) continue;
          const [x, y] = [at % width, Math.floor(at / width)];
          mask[at] = 1;
          pixels++;
          sumX += x;
          sumY += y;
          if (x < left) left = x;
          if (x > right) right = x;
          if (y < top) top = y;
          if (y > bottom) bottom = y;
        }
      },
      signal,
    );
    if (sum <= 1 || pixels === 0) return data;
    const drawn = this.outside === data ? data.slice() : await inside(data, this.outside, mask, signal);
    const canvas = { data: drawn, width, height };
    const centre = [Math.trunc(sumX / pixels), Math.trunc(sumY / pixels)] as const;
    const half = [Math.floor((right - left + 1) / 2), Math.floor((bottom - top + 1) / 2)] as const;
    if (this.kinds.has('circle')) drawEllipse(canvas, centre, half, red);
    if (this.kinds.has('rectangle')) {
      const [from, to] = [-1, 1].map((side) => [centre[0] + side * half[0], centre[1] + side * half[1]] as const);
      drawRectangle(canvas, from as [number, number], to as [number, number], red);
    }
    if (this.kinds.has('contour')) drawRim(canvas, fillHoles(mask, width, height), red);
    return drawn;
  }
}

async function inside(
  data: Uint8Array,
  outside: Uint8Array,
  mask: Uint8Array,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const drawn = outside.slice();
  await inSlices(
    mask.length,
    1 << 17,
    (begin, end) => {
      for (let at = begin; at < end; at++)
        if (mask[at]) {
          drawn[3 * at] = data[3 * at] as number;
          drawn[3 * at + 1] = data[3 * at + 1] as number;
          drawn[3 * at + 2] = data[3 * at + 2] as number;
        }
    },
    signal,
  );
  return drawn;
}

/**
 * OpenCV's 8-bit GaussianBlur: weights of 8 bits that add up to 256, whole sums, one rounding at the end. The border is mirrored
 * without repeating the edge pixel.
 */
async function blurred({ data, width, height }: Picture, signal?: AbortSignal): Promise<Uint8Array> {
  const kernel = blurKernel();
  const [radius, columns] = [blurSide >> 1, mirrored(width)];
  const along = new Uint16Array(data.length);
  await inSlices(
    height,
    8,
    (begin, end) => {
      for (let y = begin; y < end; y++)
        for (let x = 0; x < width; x++)
          for (let c = 0; c < 3; c++) {
            let sum = 0;
            for (let k = 0; k < blurSide; k++)
              sum += (kernel[k] as number) * (data[3 * (y * width + (columns[x + k] as number)) + c] as number);
            along[3 * (y * width + x) + c] = sum;
          }
    },
    signal,
  );
  const rows = mirrored(height);
  const out = new Uint8Array(data.length);
  await inSlices(
    height,
    8,
    (begin, end) => {
      for (let y = begin; y < end; y++)
        for (let i = 0; i < 3 * width; i++) {
          let sum = 0;
          for (let k = 0; k <= 2 * radius; k++)
            sum += (kernel[k] as number) * (along[3 * width * (rows[y + k] as number) + i] as number);
          out[3 * width * y + i] = (sum + 0x8000) >>> 16;
        }
    },
    signal,
  );
  return out;
}

/** Weights of 1/256: what rounding takes from one goes to the next, the middle one gets the rest. */
function blurKernel(): Int32Array {
  const radius = blurSide >> 1;
  const bell = Array.from({ length: blurSide }, (_, k) => Math.exp(-((k - radius) ** 2) / (2 * blurSigma ** 2)));
  const total = bell.reduce((a, b) => a + b, 0);
  const kernel = new Int32Array(blurSide);
  let [error, sum] = [0, 0];
  for (let k = 0; k < radius; k++) {
    const exact = (256 * (bell[k] as number)) / total + error;
    const weight = Math.round(exact);
    error = exact - weight;
    kernel[k] = weight;
    kernel[blurSide - 1 - k] = weight;
    sum += 2 * weight;
  }
  kernel[radius] = 256 - sum;
  return kernel;
}

/** Coordinates from -radius to size + radius - 1, mirrored at the first and the last one as often as needed. */
function mirrored(size: number): Int32Array {
  const radius = blurSide >> 1;
  const period = Math.max(1, 2 * (size - 1));
  return Int32Array.from({ length: size + 2 * radius }, (_, i) => {
    const at = (((i - radius) % period) + period) % period;
    return size === 1 ? 0 : Math.min(at, period - at);
  });
}

/** OpenCV's BGR2GRAY on a picture whose first channel is red: red weighs 0.114, blue 0.299. */
async function grey(data: Uint8Array, signal?: AbortSignal): Promise<Uint8Array> {
  const out = new Uint8Array(data.length);
  await inSlices(
    data.length / 3,
    1 << 17,
    (begin, end) => {
      for (let at = 3 * begin; at < 3 * end; at += 3) {
        const [r, g, b] = [data[at] as number, data[at + 1] as number, data[at + 2] as number];
        out.fill((r * 3735 + g * 19235 + b * 9798 + (1 << 14)) >> 15, at, at + 3);
      }
    },
    signal,
  );
  return out;
}
