/** Gaussian blur of the last two axes, separable, f32 or f64. */
import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type OpCard, type RefArray } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

type BlurAttrs = { sigma: number; truncate: number; mode: number };

/** Largest radius in pixels a kernel takes. */
const maxRadius = 2 ** 20;

/** Index of the sample that stands for `i` in a row of n. */
function borderIndex(i: number, n: number, mode: number): number {
  const row = Array.from({ length: n }, (_, k) => k);
  const back = mode === 0 ? [...row].reverse() : row.slice(1, n - 1).reverse();
  const cycle = [...row, ...back];
  return cycle[((i % cycle.length) + cycle.length) % cycle.length] as number;
}

function blurAxis(
  x: Float64Array,
  outer: number,
  n: number,
  inner: number,
  { sigma, truncate, mode }: BlurAttrs,
): Float64Array {
  const radius = Math.trunc(truncate * sigma + 0.5);
  const weights = Array.from({ length: 2 * radius + 1 }, (_, k) => Math.exp(-0.5 * ((k - radius) / sigma) ** 2));
  const sum = weights.reduce((a, w) => a + w, 0);
  const out = new Float64Array(x.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < n; i++) {
      for (let k = -radius; k <= radius; k++) {
        const from = (o * n + borderIndex(i + k, n, mode)) * inner;
        const weight = (weights[k + radius] as number) / sum;
        for (let j = 0; j < inner; j++)
          out[(o * n + i) * inner + j] = (out[(o * n + i) * inner + j] as number) + weight * (x[from + j] as number);
      }
    }
  }
  return out;
}

export const gaussianBlurCard: OpCard<BlurAttrs> = defineOp<BlurAttrs>({
  name: 'gaussian_blur',
  inputs: ['x'],
  attrs: { sigma: 1, truncate: 4, mode: 0 },
  shape(inputs, { sigma, truncate, mode }) {
    const [x] = inputs;
    if (!x || x.shape.length < 2 || (x.dtype !== 'f32' && x.dtype !== 'f64'))
      rejectShape('gaussian_blur', 'f32 or f64 [..., H, W]', inputs);
    const bad = !(sigma > 0)
      ? `sigma must be above 0, got ${sigma}`
      : !(truncate >= 0)
        ? `truncate must be at least 0, got ${truncate}`
        : !(truncate * sigma < maxRadius)
          ? `the radius truncate * sigma must be below ${maxRadius}, got ${truncate * sigma}`
          : mode !== 0 && mode !== 1
            ? `mode must be 0 (reflect) or 1 (mirror), got ${mode}`
            : undefined;
    if (bad) throw new WordmaskError('E_OPTION', `gaussian_blur: ${bad}`, { details: { sigma, truncate, mode } });
    return [x];
  },
  reference([x], attrs) {
    const { data, shape } = x as RefArray;
    const [height, width] = shape.slice(-2) as [number, number];
    if (data.length === 0) return [{ data, shape }];
    const planes = data.length / (height * width);
    return [{ data: blurAxis(blurAxis(data, planes, height, width, attrs), planes * height, width, 1, attrs), shape }];
  },
  samples: [
    { name: '3 planes 13x70', inputs: [{ shape: [3, 13, 70] }], attrs: { sigma: 2 } },
    { name: 'mirror', inputs: [{ shape: [2, 9, 11] }], attrs: { sigma: 1.3, mode: 1 } },
    { name: 'radius beyond the image', inputs: [{ shape: [5, 7] }], attrs: { sigma: 6 } },
    {
      name: 'radius beyond the image, mirror',
      inputs: [{ shape: [4, 3] }],
      attrs: { sigma: 3.5, truncate: 3, mode: 1 },
    },
    { name: 'one pixel', inputs: [{ shape: [2, 1, 1] }], attrs: { sigma: 2, mode: 1 } },
    { name: 'one row', inputs: [{ shape: [1, 100] }], attrs: { sigma: 1 } },
    { name: 'radius 0', inputs: [{ shape: [2, 5, 4] }], attrs: { sigma: 0.1 } },
    { name: 'tiles along the rows, taps in two rounds', inputs: [{ shape: [2, 140] }], attrs: { sigma: 17 } },
    {
      name: 'tiles down the columns, taps in two rounds',
      inputs: [{ shape: [140, 2] }],
      attrs: { sigma: 17, mode: 1 },
    },
    { name: 'empty', inputs: [{ shape: [0, 5, 4] }] },
  ],
  bench: [
    {
      name: '21 maps 500x375, sigma 25',
      inputs: [{ shape: [21, 375, 500] }],
      attrs: { sigma: 25 },
      dtypes: ['f32'],
      flops: 2 * 3 * 100 * 21 * 375 * 500,
    },
    {
      name: 'prompt blur 224x224',
      inputs: [{ shape: [3, 224, 224] }],
      attrs: { sigma: 2.6, truncate: 2.7, mode: 1 },
      dtypes: ['f32'],
    },
  ],
});

/** Border rules: `reflect` repeats the edge sample (d c b a | a b c d), `mirror` does not (d c b | a b c d). */
export type BlurMode = 'reflect' | 'mirror';

/**
 * Blurs the last two axes with a Gaussian cut at `truncate` deviations: radius int(truncate * sigma + 0.5), weights
 * normalised to sum 1.
 * @param x f32 or f64 [..., H, W]
 * @throws E_OPTION
 */
export function gaussianBlur(x: Tensor, options: { sigma: number; truncate?: number; mode?: BlurMode }): Tensor {
  const mode = options.mode ?? 'reflect';
  if (mode !== 'reflect' && mode !== 'mirror')
    throw new WordmaskError(
      'E_OPTION',
      `gaussian_blur: mode must be 'reflect' or 'mirror', got ${JSON.stringify(mode)}`,
    );
  return run(gaussianBlurCard, [x], {
    sigma: options.sigma,
    truncate: options.truncate ?? 4,
    mode: mode === 'reflect' ? 0 : 1,
  })[0] as Tensor;
}
