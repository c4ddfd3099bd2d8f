import { WordmaskError } from '../../../util/errors.js';
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { boxesOf, sixWindows } from './window_upsample.js';

const attrs = {
  height: 0,
  width: 0,
  patch: 16,
  padTop: 0,
  padLeft: 0,
  padBottom: 0,
  padRight: 0,
  unit: false,
  bf16Out: false,
};
type WindowPatchesAttrs = typeof attrs;

const photo = { dtype: 'u8', fill: { integers: [0, 255] } } as const;
const mean = { shape: [3], dtype: 'f32', fill: { values: [122.771, 116.746, 104.094] } } as const;
const std = { shape: [3], dtype: 'f32', fill: { values: [68.501, 66.632, 70.323] } } as const;

function grid(a: WindowPatchesAttrs): [h: number, w: number] {
  for (const [name, value] of Object.entries(a)) {
    if (typeof value === 'number' && (!Number.isInteger(value) || value < (name === 'patch' ? 1 : 0))) {
      throw new WordmaskError(
        'E_OPTION',
        `window_patches: ${name} must be a whole number from ${name === 'patch' ? 1 : 0}, got ${value}`,
      );
    }
  }
  return [
    Math.floor((a.padTop + a.height + a.padBottom) / a.patch),
    Math.floor((a.padLeft + a.width + a.padRight) / a.patch),
  ];
}

export const windowPatchesCard = defineOp({
  name: 'window_patches',
  inputs: ['image', 'boxes', 'mean', 'std'],
  attrs,
  shape: ([image, b, m, s], a) => {
    const ok =
      image!.dtype === 'u8' &&
      image!.shape.length === 3 &&
      image!.shape[2] === 3 &&
      b!.dtype === 'i32' &&
      b!.shape.length === 2 &&
      b!.shape[1] === 4;
    if (!ok || [m, s].some((t) => t!.dtype !== 'f32' || t!.shape.join() !== '3'))
      rejectShape('window_patches', 'u8[H, W, 3], i32[N, 4], f32[3], f32[3]', [image, b, m, s]);
    const [h, w] = grid(a);
    return [{ shape: [b!.shape[0] as number, h * w, 3 * a.patch * a.patch], dtype: a.bf16Out ? 'bf16' : 'f32' }]; // [N, h*w, C*p*p]
  },
  reference: ([image, b, m, s], a) => {
    const [h, w] = grid(a);
    const imageWidth = image!.shape[1] as number;
    const row = 3 * a.patch * a.patch;
    const shape = [b!.shape[0] as number, h * w, row];
    const data = new Float64Array((shape[0] as number) * h * w * row);
    for (let i = 0; i < data.length; i++) {
      const k = i % row;
      const patch = Math.floor(i / row) % (h * w);
      const n = Math.floor(i / (row * h * w));
      const c = Math.floor(k / (a.patch * a.patch));
      const y = Math.floor(patch / w) * a.patch + Math.floor((k % (a.patch * a.patch)) / a.patch) - a.padTop;
      const x = (patch % w) * a.patch + (k % a.patch) - a.padLeft;
      if (y < 0 || x < 0 || y >= a.height || x >= a.width) continue;
      const pixel = ((b!.data[4 * n] as number) + y) * imageWidth + (b!.data[4 * n + 1] as number) + x;
      const v = image!.data[pixel * 3 + c] as number;
      data[i] = ((a.unit ? v / 255 : v) - (m!.data[c] as number)) / (s!.data[c] as number);
    }
    return [{ data, shape }];
  },
  samples: [
    {
      name: 'three windows, a remainder',
      inputs: [{ shape: [21, 30, 3], ...photo }, boxesOf(0, 0, 19, 17, 0, 13, 19, 30, 2, 5, 21, 22), mean, std],
      attrs: { height: 19, width: 17, patch: 5 },
    },
    {
      name: 'centred padding',
      inputs: [{ shape: [15, 15, 3], ...photo }, boxesOf(0, 0, 15, 15), mean, std],
      attrs: { height: 15, width: 15, patch: 4, padBottom: 1, padRight: 1 },
    },
    {
      name: 'padding wider than a patch',
      inputs: [{ shape: [4, 5, 3], ...photo }, boxesOf(0, 0, 4, 5), mean, std],
      attrs: { height: 4, width: 5, patch: 3, padTop: 4, padLeft: 5, padBottom: 4, padRight: 5 },
    },
    {
      name: 'bf16 rows',
      inputs: [{ shape: [8, 8, 3], ...photo }, boxesOf(0, 0, 8, 8), mean, std],
      attrs: { height: 8, width: 8, patch: 4, bf16Out: true },
    },
    {
      name: 'bf16 rows of 14 x 14 patches, one of them padding in part',
      inputs: [{ shape: [20, 17, 3], ...photo }, boxesOf(0, 0, 20, 17), mean, std],
      attrs: { height: 20, width: 17, patch: 14, padLeft: 3, padRight: 8, bf16Out: true },
    },
    {
      name: 'no windows',
      inputs: [{ shape: [8, 8, 3], ...photo }, boxesOf(), mean, std],
      attrs: { height: 8, width: 8, patch: 4 },
    },
  ],
  bench: [
    {
      name: 'six windows of 224',
      inputs: [{ shape: [336, 448, 3], ...photo }, sixWindows, mean, std],
      attrs: { height: 224, width: 224 },
    },
  ],
});

export interface WindowPatchesOptions {
  /** Size of every box in pixels. */
  readonly height: number;
  readonly width: number;
  readonly patch: number;
  /** Zeros added around each window after normalisation: top, left, bottom, right. */
  readonly pad?: readonly [number, number, number, number];
  readonly unit?: boolean;
  readonly dtype?: 'f32' | 'bf16';
}

/**
 * Windows of an image as rows for the patch embedding: image u8 `[H, W, 3]`, boxes i32 `[N, 4]` (y1, x1, y2, x2, all of one
 * size, inside the image), mean and std f32 `[3]` -> `[N, h*w, 3*p*p]`, each row in the order `[C, p, p]` of the convolution
 * weight, with the values of `normaliseImage`. Pixels that do not fill a patch are dropped.
 * @throws E_OPTION for shapes; at the next await for a box of another size or outside the image
 */
export function windowPatches(
  image: Tensor,
  boxes: Tensor,
  mean: Tensor,
  std: Tensor,
  options: WindowPatchesOptions,
): Tensor {
  const [padTop, padLeft, padBottom, padRight] = options.pad ?? [0, 0, 0, 0];
  const { height, width, patch, unit = false, dtype = 'f32' } = options;
  return run(windowPatchesCard, [image, boxes, mean, std], {
    height,
    width,
    patch,
    padTop,
    padLeft,
    padBottom,
    padRight,
    unit,
    bf16Out: dtype === 'bf16',
  })[0] as Tensor;
}
