/** Resizing of images (u8 `[H, W, C]`) and maps (`[..., H, W]`) in the ten modes of kernels.md P1, with gradients. */
import { show, WordmaskError } from '../../../util/errors.js';
import { nearest } from '../../../util/nearest.js';
import { defineOp, type RefArray, type SampleInput, type TensorSpec } from '../../card.js';
import { isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { numel, rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { type Axis, byteSample, floatTaps } from './resize-reference.js';

/** The position in this list is the number the kernel takes (native/cpu/image/resize.h). */
export const resizeModes = [
  'torch_bilinear',
  'torch_bicubic',
  'torch_nearest',
  'torch_nearest_exact',
  'pil_bilinear',
  'pil_bicubic',
  'pil_nearest',
  'opencv_linear',
  'opencv_nearest',
  'opencv_area',
] as const;
export type ResizeMode = (typeof resizeModes)[number];

export interface ResizeOptions {
  readonly width: number;
  readonly height: number;
  readonly mode: ResizeMode;
  /** Torch bilinear and bicubic alone; default false. */
  readonly alignCorners?: boolean;
  /** Factor used for coordinates in place of out / in, e.g. (n + 0.1) / g; a number for both axes. Torch modes alone. */
  readonly scale?: number | { readonly x: number; readonly y: number };
}

const attrs = { width: 1, height: 1, mode: 0, alignCorners: false, scaleX: 0, scaleY: 0 };
type ResizeAttrs = typeof attrs;
const modeNumber = (mode: ResizeMode): number => resizeModes.indexOf(mode);

function resizedShape(op: string, x: TensorSpec, a: ResizeAttrs): number[] {
  const mode = resizeModes[a.mode];
  if (!mode) throw new WordmaskError('E_OPTION', `${op}: mode must be 0..${resizeModes.length - 1}, got ${a.mode}`);
  for (const [name, side] of [
    ['width', a.width],
    ['height', a.height],
  ] as const) {
    if (!Number.isInteger(side) || side < 1)
      throw new WordmaskError('E_OPTION', `${op}: ${name} must be a whole number from 1, got ${side}`);
  }
  if (x.dtype === 'u8') {
    if (x.shape.length !== 3 || mode.startsWith('torch'))
      rejectShape(op, `u8[H, W, C] with a pil or opencv mode (mode is ${mode})`, [x]);
    return [a.height, a.width, x.shape[2] as number];
  }
  const takes = isFloat(x.dtype)
    ? mode.startsWith('torch') || mode === 'opencv_linear' || mode.endsWith('nearest')
    : mode.includes('nearest');
  if (x.shape.length < 2 || !takes)
    rejectShape(op, `a map [..., H, W] with a torch mode, opencv_linear or a nearest mode (mode is ${mode})`, [x]);
  return [...x.shape.slice(0, -2), a.height, a.width];
}

function axes(
  h: number,
  w: number,
  a: { width: number; height: number; scaleX: number; scaleY: number },
): [y: Axis, x: Axis] {
  return [
    { size: h, out: a.height, scale: a.scaleY },
    { size: w, out: a.width, scale: a.scaleX },
  ];
}

function resizeImageReference(x: RefArray, a: ResizeAttrs): RefArray {
  const [h, w, channels] = x.shape as [number, number, number];
  const [ya, xa] = axes(h, w, a);
  const data = new Float64Array(a.height * a.width * channels);
  for (let i = 0; i < data.length; i++) {
    const c = i % channels;
    const pixel = Math.floor(i / channels);
    const at = (row: number, column: number): number => x.data[(row * w + column) * channels + c] as number;
    data[i] = byteSample(
      resizeModes[a.mode] as string,
      at,
      ya,
      xa,
      channels,
      Math.floor(pixel / a.width),
      pixel % a.width,
    );
  }
  return { data, shape: [a.height, a.width, channels] };
}

/** Calls visit(output, input, weight) for every contribution of one plane. */
function eachTap(
  mode: string,
  ya: Axis,
  xa: Axis,
  alignCorners: boolean,
  visit: (out: number, input: number, weight: number) => void,
): void {
  for (let i = 0; i < ya.out; i++) {
    for (let j = 0; j < xa.out; j++) {
      for (const [r, v] of floatTaps(mode, ya, alignCorners, i)) {
        for (const [c, u] of floatTaps(mode, xa, alignCorners, j)) visit(i * xa.out + j, r * xa.size + c, v * u);
      }
    }
  }
}

function resizeMapReference(x: RefArray, a: ResizeAttrs): RefArray {
  const [h, w] = x.shape.slice(-2) as [number, number];
  const shape = [...x.shape.slice(0, -2), a.height, a.width];
  const data = new Float64Array(numel(shape));
  const [ya, xa] = axes(h, w, a);
  for (let p = 0; p < numel(x.shape.slice(0, -2)); p++) {
    eachTap(resizeModes[a.mode] as string, ya, xa, a.alignCorners, (out, input, weight) => {
      data[p * a.height * a.width + out] =
        (data[p * a.height * a.width + out] as number) + weight * (x.data[p * h * w + input] as number);
    });
  }
  return { data, shape };
}

const image = (h: number, w: number, c = 3): SampleInput => ({
  shape: [h, w, c],
  dtype: 'u8',
  fill: { integers: [0, 255] },
});
const map = (...shape: number[]): SampleInput => ({ shape });

export const resizeCard = defineOp({
  // `image` repeats that x is u8: a reference array has no dtype.
  name: 'resize',
  inputs: ['x'],
  attrs: { ...attrs, image: false as boolean },
  shape: ([x], a) => {
    if ((x!.dtype === 'u8') !== a.image)
      rejectShape('resize', `u8[H, W, C] where image is set, another dtype where not (image is ${a.image})`, [x]);
    return [{ shape: resizedShape('resize', x!, a), dtype: x!.dtype }];
  },
  grad: ({ inputs, grads, attrs: a }) => {
    const [h, w] = inputs[0]!.shape.slice(-2) as [number, number];
    if (a.image || !resizeModes[a.mode]?.startsWith('torch')) return [undefined];
    return [() => resizeBwd(grads[0] as Tensor, h, w, a)];
  },
  reference: ([x], a) => [a.image ? resizeImageReference(x!, a) : resizeMapReference(x!, a)],
  samples: [
    ...(['torch_bilinear', 'torch_bicubic', 'torch_nearest', 'torch_nearest_exact'] as const).flatMap((mode) => [
      { name: `${mode} up`, inputs: [map(2, 3, 5, 7)], attrs: { width: 16, height: 9, mode: modeNumber(mode) } },
      {
        name: `${mode} down, one axis kept`,
        inputs: [map(3, 13, 6)],
        attrs: { width: 6, height: 5, mode: modeNumber(mode) },
      },
    ]),
    {
      name: 'bilinear, corners aligned',
      inputs: [map(2, 5, 4)],
      attrs: { width: 11, height: 1, mode: 0, alignCorners: true },
    },
    {
      name: 'bicubic, corners aligned',
      inputs: [map(6, 3)],
      attrs: { width: 5, height: 13, mode: 1, alignCorners: true },
    },
    {
      name: 'bicubic with the position table rule',
      inputs: [map(3, 14, 14)],
      attrs: { width: 28, height: 21, mode: 1, scaleX: 28.1 / 14, scaleY: 21.1 / 14 },
    },
    {
      name: 'bilinear by fours, half precision',
      inputs: [map(2, 3, 5)],
      attrs: { width: 12, height: 7, mode: 0 },
      dtypes: ['bf16', 'f16'],
    },
    {
      name: 'bicubic, half precision',
      inputs: [map(2, 6, 5)],
      attrs: { width: 9, height: 4, mode: 1 },
      dtypes: ['bf16', 'f16'],
    },
    { name: 'several blocks of columns', inputs: [map(2, 3, 5)], attrs: { width: 300, height: 2, mode: 0 } },
    { name: 'from one pixel', inputs: [map(2, 1, 1)], attrs: { width: 3, height: 2, mode: 0 } },
    { name: 'no planes', inputs: [map(0, 4, 4)], attrs: { width: 3, height: 2, mode: 0 } },
    {
      name: 'opencv linear map',
      inputs: [map(1, 7, 10)],
      attrs: { width: 13, height: 4, mode: modeNumber('opencv_linear') },
      grad: false,
    },
    {
      name: 'labels',
      inputs: [{ shape: [5, 9], dtype: 'i32', fill: { integers: [0, 900] } }],
      attrs: { width: 14, height: 3, mode: modeNumber('opencv_nearest') },
    },
    ...(
      ['pil_bilinear', 'pil_bicubic', 'pil_nearest', 'opencv_linear', 'opencv_nearest', 'opencv_area'] as const
    ).flatMap((mode) => [
      {
        name: `${mode} image up`,
        inputs: [image(9, 14)],
        attrs: { width: 33, height: 17, mode: modeNumber(mode), image: true },
      },
      {
        name: `${mode} image down`,
        inputs: [image(31, 47)],
        attrs: { width: 11, height: 10, mode: modeNumber(mode), image: true },
      },
      {
        name: `${mode} image mixed, grey`,
        inputs: [image(8, 40, 1)],
        attrs: { width: 13, height: 19, mode: modeNumber(mode), image: true },
      },
      {
        name: `${mode} image, two channels, several blocks`,
        inputs: [image(6, 200, 2)],
        attrs: { width: 150, height: 5, mode: modeNumber(mode), image: true },
      },
    ]),
    {
      name: 'opencv_area by whole factors',
      inputs: [image(12, 15, 4)],
      attrs: { width: 5, height: 4, mode: modeNumber('opencv_area'), image: true },
    },
    {
      name: 'opencv_area by two',
      inputs: [image(6, 10)],
      attrs: { width: 5, height: 3, mode: modeNumber('opencv_area'), image: true },
    },
  ],
  bench: [
    {
      name: 'photo 4000x6000 to 336x504',
      inputs: [image(4000, 6000)],
      attrs: { width: 504, height: 336, mode: modeNumber('opencv_linear'), image: true },
    },
    {
      name: 'photo 4000x6000 to 336x504, Pillow bicubic',
      inputs: [image(4000, 6000)],
      attrs: { width: 504, height: 336, mode: modeNumber('pil_bicubic'), image: true },
    },
    {
      name: 'photo 375x500 to 448x597',
      inputs: [image(375, 500)],
      attrs: { width: 597, height: 448, mode: modeNumber('opencv_linear'), image: true },
    },
    {
      name: 'scores 171x28x37 to 448x597',
      inputs: [map(171, 28, 37)],
      attrs: { width: 597, height: 448, mode: 0 },
      dtypes: ['f32'],
    },
    {
      name: 'position table 768x14x14 to 28x37',
      inputs: [map(768, 14, 14)],
      attrs: { width: 37, height: 28, mode: 1 },
      dtypes: ['f32'],
    },
  ],
});

const bwdAttrs = { inHeight: 1, inWidth: 1, mode: 0, alignCorners: false, scaleX: 0, scaleY: 0 };

export const resizeBwdCard = defineOp({
  name: 'resize_bwd',
  inputs: ['dy'],
  attrs: bwdAttrs,
  shape: ([dy], a) => {
    if (!isFloat(dy!.dtype) || dy!.shape.length < 2 || !resizeModes[a.mode]?.startsWith('torch'))
      rejectShape('resize_bwd', 'a floating map [..., H, W] and a torch mode', [dy]);
    return [{ shape: [...dy!.shape.slice(0, -2), a.inHeight, a.inWidth], dtype: dy!.dtype }];
  },
  reference: ([dy], a) => {
    const [height, width] = dy!.shape.slice(-2) as [number, number];
    const planes = dy!.shape.slice(0, -2);
    const data = new Float64Array(numel(planes) * a.inHeight * a.inWidth);
    const [ya, xa] = axes(a.inHeight, a.inWidth, { width, height, scaleX: a.scaleX, scaleY: a.scaleY });
    for (let p = 0; p < numel(planes); p++) {
      eachTap(resizeModes[a.mode] as string, ya, xa, a.alignCorners, (out, input, weight) => {
        const k = p * a.inHeight * a.inWidth + input;
        data[k] = (data[k] as number) + weight * (dy!.data[p * height * width + out] as number);
      });
    }
    return [{ data, shape: [...planes, a.inHeight, a.inWidth] }];
  },
  samples: [
    { name: 'bilinear up', inputs: [map(2, 9, 16)], attrs: { inHeight: 5, inWidth: 7, mode: 0 } },
    {
      name: 'bilinear down, corners aligned',
      inputs: [map(1, 3, 4)],
      attrs: { inHeight: 8, inWidth: 11, mode: 0, alignCorners: true },
    },
    { name: 'bicubic', inputs: [map(3, 7, 10)], attrs: { inHeight: 4, inWidth: 13, mode: 1 } },
    {
      name: 'bicubic with the position table rule',
      inputs: [map(2, 9, 140)],
      attrs: { inHeight: 4, inWidth: 35, mode: 1, scaleX: 140.1 / 35, scaleY: 9.1 / 4 },
    },
    {
      name: 'bilinear, half precision',
      inputs: [map(2, 9, 16)],
      attrs: { inHeight: 5, inWidth: 7, mode: 0 },
      dtypes: ['bf16', 'f16'],
    },
    { name: 'nearest', inputs: [map(3, 7, 10)], attrs: { inHeight: 4, inWidth: 13, mode: 2 } },
    { name: 'nearest exact', inputs: [map(7, 10)], attrs: { inHeight: 4, inWidth: 3, mode: 3 } },
  ],
});

/** Gradient of `resize` with respect to its input of inHeight x inWidth, for the torch modes. */
export function resizeBwd(
  dy: Tensor,
  inHeight: number,
  inWidth: number,
  a: Omit<ResizeAttrs, 'width' | 'height'>,
): Tensor {
  return run(resizeBwdCard, [dy], {
    inHeight,
    inWidth,
    mode: a.mode,
    alignCorners: a.alignCorners,
    scaleX: a.scaleX,
    scaleY: a.scaleY,
  })[0] as Tensor;
}

/**
 * x resized to height x width: a u8 image `[H, W, C]` (pil and opencv modes) or maps `[..., H, W]` (torch modes,
 * `opencv_linear`, the nearest modes; nearest also on i32 labels). u8 results equal those of the library the mode is named
 * after, floating ones within 1e-6. Differentiable in the torch modes.
 * @throws E_OPTION for an unknown mode, a side below 1 or a mode that does not take x
 */
export function resize(x: Tensor, { width, height, mode, alignCorners = false, scale = 0 }: ResizeOptions): Tensor {
  const number = modeNumber(mode);
  if (number < 0) {
    const guess = nearest(String(mode), resizeModes);
    throw new WordmaskError(
      'E_OPTION',
      `resize: unknown mode ${show(mode)}${guess ? `, did you mean '${guess}'?` : ''} (known: ${resizeModes.join(', ')})`,
      { details: { mode } },
    );
  }
  const [scaleX, scaleY] = typeof scale === 'number' ? [scale, scale] : [scale.x, scale.y];
  return run(resizeCard, [x], {
    width,
    height,
    mode: number,
    alignCorners,
    scaleX,
    scaleY,
    image: x.dtype === 'u8',
  })[0] as Tensor;
}
