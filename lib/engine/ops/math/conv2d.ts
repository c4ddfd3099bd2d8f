/** Convolution of pixel-major maps (kernels.md R7; the decoder of mgca.md section 2.2). */
import { defineOp, type RefArray, type TensorSpec } from '../../card.js';
import type { DType } from '../../dtype.js';
import { run } from '../../run.js';
import { numel, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { cast } from './cast.js';
import { sumTo } from './sum_to.js';

const attrs = { stride: 1, padding: 0, f32Out: false };
const inputAttrs = { stride: 1, padding: 0, height: 1, width: 1 };
const weightAttrs = { stride: 1, padding: 0, kernelHeight: 1, kernelWidth: 1 };

interface Geometry {
  readonly stride: number;
  readonly padding: number;
}

/** [B, H', W', O] for x [B, H, W, C] and weight [O, C, kh, kw]; undefined where they do not fit. */
function outputShape(x: readonly number[], weight: readonly number[], { stride, padding }: Geometry) {
  const [batch = 0, height = 0, width = 0, channels] = x;
  const [outputs = 0, inputs, kernelHeight = 0, kernelWidth = 0] = weight;
  const h = Math.floor((height + 2 * padding - kernelHeight) / stride) + 1;
  const w = Math.floor((width + 2 * padding - kernelWidth) / stride) + 1;
  const fits =
    x.length === 4 &&
    weight.length === 4 &&
    channels === inputs &&
    Math.min(kernelHeight, kernelWidth) >= 1 &&
    [stride, padding].every(Number.isInteger) &&
    stride >= 1 &&
    padding >= 0 &&
    padding < Math.min(kernelHeight, kernelWidth) &&
    h >= 1 &&
    w >= 1;
  return fits ? [batch, h, w, outputs] : undefined;
}

/** The gradient of bf16 maps may be f32. */
const gradientFits = (dy: DType, like: DType) => dy === like || (dy === 'f32' && like === 'bf16');

/** Calls `body` for every output pixel, tap and input pixel under it; pixels in the border are left out. */
function eachTap(
  x: readonly number[],
  weight: readonly number[],
  geometry: Geometry,
  body: (outPixel: number, inPixel: number, tap: number) => void,
): void {
  const [batch, h, w] = outputShape(x, weight, geometry) as [number, number, number];
  const [, height, width] = x as [number, number, number];
  const [, , kh, kw] = weight as [number, number, number, number];
  for (let b = 0; b < batch; b++)
    for (let oy = 0; oy < h; oy++)
      for (let ox = 0; ox < w; ox++)
        for (let tap = 0; tap < kh * kw; tap++) {
          const y = oy * geometry.stride + Math.floor(tap / kw) - geometry.padding;
          const z = ox * geometry.stride + (tap % kw) - geometry.padding;
          if (y < 0 || z < 0 || y >= height || z >= width) continue;
          body((b * h + oy) * w + ox, (b * height + y) * width + z, tap);
        }
}

/** For every product of the convolution: indices into y, x and weight. */
function eachProduct(
  x: readonly number[],
  weight: readonly number[],
  geometry: Geometry,
  body: (y: number, x: number, weight: number) => void,
): void {
  const [outputs, channels, kh, kw] = weight as [number, number, number, number];
  eachTap(x, weight, geometry, (outPixel, inPixel, tap) => {
    for (let o = 0; o < outputs; o++)
      for (let c = 0; c < channels; c++)
        body(outPixel * outputs + o, inPixel * channels + c, (o * channels + c) * kh * kw + tap);
  });
}

function reference([x, weight, bias]: readonly (RefArray | undefined)[], a: Geometry): RefArray[] {
  const shape = outputShape(x!.shape, weight!.shape, a) as number[];
  const outputs = shape[3] as number;
  const data = new Float64Array(numel(shape)).map((_, i) => bias?.data[i % outputs] ?? 0);
  eachProduct(x!.shape, weight!.shape, a, (y, i, w) => {
    data[y]! += (x!.data[i] as number) * (weight!.data[w] as number);
  });
  return [{ data, shape }];
}

const dtypes = ['f32', 'f64', 'bf16'] as const;
const samples = [
  { name: 'same size', inputs: [{ shape: [2, 5, 7, 6] }, { shape: [9, 6, 3, 3] }, { shape: [9] }], padding: 1 },
  { name: 'odd channels', inputs: [{ shape: [1, 4, 9, 5] }, { shape: [3, 5, 3, 3] }, { shape: [3] }], padding: 1 },
  { name: 'stride 2', inputs: [{ shape: [2, 8, 7, 4] }, { shape: [5, 4, 3, 3] }, undefined], padding: 1, stride: 2 },
  { name: 'no border', inputs: [{ shape: [1, 6, 5, 8] }, { shape: [4, 8, 2, 3] }, { shape: [4] }] },
  { name: 'one by one', inputs: [{ shape: [1, 3, 5, 7] }, { shape: [11, 7, 1, 1] }, { shape: [11] }] },
  { name: 'wide border', inputs: [{ shape: [1, 2, 3, 3] }, { shape: [2, 3, 5, 5] }, { shape: [2] }], padding: 4 },
  {
    name: 'several blocks',
    inputs: [{ shape: [1, 3, 3, 100] }, { shape: [50, 100, 3, 3] }, { shape: [50] }],
    padding: 1,
    grad: false,
  },
  {
    name: 'channels in eights',
    inputs: [{ shape: [2, 9, 8, 16] }, { shape: [136, 16, 3, 3] }, { shape: [136] }],
    padding: 1,
    grad: false,
  },
  {
    name: 'channels in eights, stride 2',
    inputs: [{ shape: [1, 9, 8, 40] }, { shape: [8, 40, 3, 3] }, undefined],
    padding: 1,
    stride: 2,
    grad: false,
  },
  { name: 'no images', inputs: [{ shape: [0, 3, 3, 2] }, { shape: [4, 2, 3, 3] }, { shape: [4] }], padding: 1 },
].map(({ padding = 0, stride = 1, grad = true, ...rest }) => ({ ...rest, padding, stride, grad }));

/** The decoder of MGCA at full size on B images: both convolutions are this one. */
const decoder = (batch: number) => ({
  x: { shape: [batch, 28, 28, 512] },
  weight: { shape: [512, 512, 3, 3] },
  flops: 2 * batch * 784 * 512 * 9 * 512,
  dtypes: ['f32', 'bf16'] as const,
});
const { x: benchX, weight: benchWeight, flops, dtypes: benchDtypes } = decoder(4);

export const conv2dCard = defineOp<typeof attrs>({
  name: 'conv2d',
  inputs: ['x', 'weight', 'bias?'],
  attrs,
  shape: (specs, a) => {
    const [x, weight, bias] = specs as [TensorSpec, TensorSpec, TensorSpec | undefined];
    const shape = outputShape(x.shape, weight.shape, a);
    if (!shape || (bias && !sameShape(bias.shape, [weight.shape[0] as number])))
      return rejectShape(
        'conv2d',
        'x [B, H, W, C], weight [O, C, kh, kw] that fits into it, bias [O] and padding below the kernel size',
        specs,
      );
    return [{ shape, dtype: a.f32Out && x.dtype === 'bf16' ? 'f32' : x.dtype }];
  },
  grad: ({ inputs: [x, weight], grads: [dy], attrs: { stride, padding } }) => [
    () => {
      const [, height = 0, width = 0] = x!.shape;
      return run(conv2dBwdInputCard, [dy, weight], { stride, padding, height, width })[0] as Tensor;
    },
    () => {
      const [, , kernelHeight = 0, kernelWidth = 0] = weight!.shape;
      return run(conv2dBwdWeightCard, [x, dy], { stride, padding, kernelHeight, kernelWidth })[0] as Tensor;
    },
    () => cast(sumTo(dy!, [weight!.shape[0] as number]), x!.dtype),
  ],
  reference,
  samples: [
    ...samples.map(({ name, inputs, padding, stride, grad }) => ({
      name,
      inputs,
      attrs: { padding, stride },
      grad,
      dtypes,
    })),
    {
      name: 'f32 from bf16',
      inputs: [{ shape: [1, 4, 6, 10] }, { shape: [17, 10, 3, 3] }, { shape: [17] }],
      attrs: { padding: 1, f32Out: true },
      dtypes: ['bf16'],
    },
  ],
  bench: [
    { name: 'decoder, 4 images', inputs: [benchX, benchWeight], attrs: { padding: 1 }, dtypes: benchDtypes, flops },
  ],
});

const dyOf = (sample: (typeof samples)[number]) => ({
  shape: outputShape(sample.inputs[0]!.shape, sample.inputs[1]!.shape, sample) as number[],
});

export const conv2dBwdInputCard = defineOp({
  name: 'conv2d_bwd_input',
  inputs: ['dy', 'weight'],
  attrs: inputAttrs,
  mixedDtypes: true,
  shape: (specs, a) => {
    const [dy, weight] = specs as [TensorSpec, TensorSpec];
    const shape = [dy.shape[0] ?? 0, a.height, a.width, weight.shape[1] ?? 0];
    const expected = outputShape(shape, weight.shape, a);
    if (!expected || !sameShape(expected, dy.shape) || !gradientFits(dy.dtype, weight.dtype))
      return rejectShape('conv2d_bwd_input', `dy [B, H', W', O] of x [${shape.join(', ')}] and weight`, specs);
    return [{ shape, dtype: weight.dtype }];
  },
  reference: ([dy, weight], a) => {
    const shape = [dy!.shape[0] as number, a.height, a.width, weight!.shape[1] as number];
    const data = new Float64Array(numel(shape));
    eachProduct(shape, weight!.shape, a, (y, i, w) => {
      data[i]! += (dy!.data[y] as number) * (weight!.data[w] as number);
    });
    return [{ data, shape }];
  },
  samples: [
    ...samples.map((sample) => ({
      name: sample.name,
      inputs: [dyOf(sample), sample.inputs[1]],
      attrs: {
        stride: sample.stride,
        padding: sample.padding,
        height: sample.inputs[0]!.shape[1] as number,
        width: sample.inputs[0]!.shape[2] as number,
      },
      dtypes,
    })),
    {
      name: 'f32 gradient',
      inputs: [{ shape: [1, 4, 6, 17], dtype: 'f32' as const }, { shape: [17, 10, 3, 3] }],
      attrs: { padding: 1, height: 4, width: 6 },
      dtypes: ['bf16'] as const,
    },
  ],
  bench: [
    {
      name: 'decoder, 4 images',
      inputs: [benchX, benchWeight],
      attrs: { padding: 1, height: 28, width: 28 },
      dtypes: benchDtypes,
      flops,
    },
  ],
});

export const conv2dBwdWeightCard = defineOp({
  name: 'conv2d_bwd_weight',
  inputs: ['x', 'dy'],
  attrs: weightAttrs,
  mixedDtypes: true,
  shape: (specs, a) => {
    const [x, dy] = specs as [TensorSpec, TensorSpec];
    const shape = [dy.shape[3] ?? 0, x.shape[3] ?? 0, a.kernelHeight, a.kernelWidth];
    const expected = outputShape(x.shape, shape, a);
    if (!expected || !sameShape(expected, dy.shape) || !gradientFits(dy.dtype, x.dtype))
      return rejectShape('conv2d_bwd_weight', `x and dy [B, H', W', O] of a weight [${shape.join(', ')}]`, specs);
    return [{ shape, dtype: x.dtype }];
  },
  reference: ([x, dy], a) => {
    const shape = [dy!.shape[3] as number, x!.shape[3] as number, a.kernelHeight, a.kernelWidth];
    const data = new Float64Array(numel(shape));
    eachProduct(x!.shape, shape, a, (y, i, w) => {
      data[w]! += (dy!.data[y] as number) * (x!.data[i] as number);
    });
    return [{ data, shape }];
  },
  samples: [
    ...samples.map((sample) => ({
      name: sample.name,
      inputs: [sample.inputs[0], dyOf(sample)],
      attrs: {
        stride: sample.stride,
        padding: sample.padding,
        kernelHeight: sample.inputs[1]!.shape[2] as number,
        kernelWidth: sample.inputs[1]!.shape[3] as number,
      },
      dtypes,
    })),
    {
      name: 'f32 gradient',
      inputs: [{ shape: [1, 4, 6, 10] }, { shape: [1, 4, 6, 17], dtype: 'f32' as const }],
      attrs: { padding: 1, kernelHeight: 3, kernelWidth: 3 },
      dtypes: ['bf16'] as const,
    },
  ],
  bench: [
    {
      name: 'decoder, 4 images',
      inputs: [benchX, { shape: [4, 28, 28, 512] }],
      attrs: { padding: 1, kernelHeight: 3, kernelWidth: 3 },
      dtypes: benchDtypes,
      flops,
    },
  ],
});

export interface Conv2dOptions {
  /** [O]. */
  readonly bias?: Tensor | undefined;
  /** Pixels between two windows; default 1. */
  readonly stride?: number;
  /** Zeros around the map, fewer than the kernel is wide; default 0. */
  readonly padding?: number;
  /** Write f32 where x is bf16. */
  readonly f32Out?: boolean;
}

/**
 * Cross-correlation as in PyTorch, on pixel-major maps: x [B, H, W, C] with weight [O, C, kh, kw] -> [B, H', W', O], H' =
 * floor((H + 2 padding - kh) / stride) + 1. Needs one copy of at most 32 MiB of pictures with their border (more only for a
 * single larger picture), never an unfolded one. Differentiable; results repeat bit for bit.
 * @throws E_OPTION for shapes, dtypes or options that do not fit
 */
export function conv2d(x: Tensor, weight: Tensor, { bias, ...options }: Conv2dOptions = {}): Tensor {
  return run(conv2dCard, [x, weight, bias], options)[0] as Tensor;
}
