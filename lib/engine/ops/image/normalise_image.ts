import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

const photo = { dtype: 'u8', fill: { integers: [0, 255] } } as const;
const mean = { shape: [3], dtype: 'f32', fill: { values: [122.771, 116.746, 104.094] } } as const;
const std = { shape: [3], dtype: 'f32', fill: { values: [68.501, 66.632, 70.323] } } as const;
const unitMean = { ...mean, fill: { values: [0.48145466, 0.4578275, 0.40821073] } } as const;
const unitStd = { ...std, fill: { values: [0.26862954, 0.26130258, 0.27577711] } } as const;

export const normaliseImageCard = defineOp({
  name: 'normalise_image',
  inputs: ['image', 'mean', 'std'],
  attrs: { unit: false as boolean },
  shape: ([image, m, s]) => {
    const ok = image!.dtype === 'u8' && image!.shape.length === 3 && image!.shape[2] === 3;
    if (!ok || [m, s].some((t) => t!.dtype !== 'f32' || t!.shape.join() !== '3'))
      rejectShape('normalise_image', 'u8[H, W, 3], f32[3], f32[3]', [image, m, s]);
    return [{ shape: [3, image!.shape[0] as number, image!.shape[1] as number], dtype: 'f32' }];
  },
  reference: ([image, m, s], { unit }) => {
    const [h, w] = image!.shape as [number, number];
    const data = new Float64Array(3 * h * w);
    for (let i = 0; i < data.length; i++) {
      const c = Math.floor(i / (h * w));
      const v = image!.data[(i % (h * w)) * 3 + c] as number;
      data[i] = ((unit ? v / 255 : v) - (m!.data[c] as number)) / (s!.data[c] as number);
    }
    return [{ data, shape: [3, h, w] }];
  },
  samples: [
    { name: '0..255 statistics', inputs: [{ shape: [7, 13, 3], ...photo }, mean, std] },
    { name: 'unit statistics', inputs: [{ shape: [5, 4, 3], ...photo }, unitMean, unitStd], attrs: { unit: true } },
    { name: 'no rows', inputs: [{ shape: [0, 4, 3], ...photo }, mean, std] },
  ],
  bench: [{ name: '448x597', inputs: [{ shape: [448, 597, 3], ...photo }, mean, std] }],
});

/**
 * Pixels to a network input: u8 `[H, W, 3]` -> f32 `[3, H, W]`, (v - mean) / std per channel, with `unit` (v / 255 - mean) / std.
 * mean, std: f32 `[3]`, std positive.
 */
export function normaliseImage(image: Tensor, mean: Tensor, std: Tensor, options: { unit?: boolean } = {}): Tensor {
  return run(normaliseImageCard, [image, mean, std], { unit: options.unit ?? false })[0] as Tensor; // [3, H, W]
}
