/**
 * From a picture to patch features of its sliding windows: resize, window plan, patch rows, encoder. Groups of windows are put
 * together by the queue (window-queue.ts).
 * The encoder is given; this file knows neither its name nor its weights.
 */
import { concat, resize, scope, Tensor, windowPatches } from '../engine/index.js';
import { keepRatioSize } from '../image/resize-spec.js';
import { slidingWindows } from '../image/window-plan.js';
import type { DenseOptions } from './dense-options.js';

export interface DenseEncoder {
  readonly patch: number;
  readonly embed: number;
  readonly compute: 'f32' | 'bf16';
  /** Patch rows [n, P, 3*p*p] on a grid -> patch features [n, P, E], and MaskCLIP's key tokens [n, P, D] if asked. */
  encode(
    rows: Tensor,
    grid: readonly [number, number],
    options: DenseOptions,
    wantKeys: boolean,
  ): { features: Tensor; keys?: Tensor };
}

/** Where windows lie and how their maps go back: all that read-out needs besides the features. */
export interface WindowGeometry {
  /** Size of the resized picture. */
  readonly canvas: { readonly width: number; readonly height: number };
  /** Size of the picture itself. */
  readonly original: { readonly width: number; readonly height: number };
  /** y1 x1 y2 x2, row by row. */
  readonly boxes: Int32Array;
  /** Patch grid of a window, [h, w]. */
  readonly grid: readonly [number, number];
  /** Grid of a window's features and score maps, where it is not that of the patches. */
  readonly mapGrid?: readonly [number, number];
  /** Size a window's map is stretched to (the window with its padding), and where the window lies in it. */
  readonly stretched: { readonly width: number; readonly height: number; readonly top: number; readonly left: number };
  /** Pixels added: top, left, bottom, right. */
  readonly pad: readonly [number, number, number, number];
}

export interface DenseFeatures extends WindowGeometry {
  /** [N, P, E] f32, not normalised. */
  readonly features: Tensor;
  /** [N, P, D] f32, where the system smooths keys. */
  readonly keys?: Tensor;
}

export function planWindows(
  width: number,
  height: number,
  patch: number,
  options: DenseOptions,
  maxSide = Infinity,
): WindowGeometry {
  const canvas = keepRatioSize(width, height, Math.min(options.longSide, maxSide), options.shortSide);
  const whole = options.crop === 0;
  const crop = Math.max(options.crop, patch);
  const boxes = slidingWindows(
    canvas.width,
    canvas.height,
    whole ? { crop: 0 } : { crop, stride: options.stride || crop },
  ).data;
  const windowHeight = (boxes[2] as number) - (boxes[0] as number);
  const windowWidth = (boxes[3] as number) - (boxes[1] as number);
  // One step from the map to the picture: the published code pads windows alone.
  const rule = whole && options.oneStep ? 'none' : options.padToPatch;
  const pad = padding(windowHeight, windowWidth, patch, rule);
  const [top, left, bottom, right] = pad;
  const padded = { height: windowHeight + top + bottom, width: windowWidth + left + right };
  // ClearCLIP cuts the stretched map back to the window; MaskCLIP stretches the padded grid over the unpadded size.
  const stretched =
    rule === 'centre' ? { ...padded, top, left } : { width: windowWidth, height: windowHeight, top: 0, left: 0 };
  return {
    canvas,
    original: { width, height },
    boxes,
    pad,
    stretched,
    grid: [Math.floor(padded.height / patch), Math.floor(padded.width / patch)],
  };
}

/** A side smaller than one patch is always padded at its end: the convolution would give an empty grid. */
function padding(
  height: number,
  width: number,
  patch: number,
  rule: DenseOptions['padToPatch'],
): [number, number, number, number] {
  const missing = (size: number) => (rule === 'none' && size >= patch ? 0 : (patch - (size % patch)) % patch);
  const [rows, columns] = [missing(height), missing(width)];
  const [top, left] = rule === 'centre' ? [Math.floor(rows / 2), Math.floor(columns / 2)] : [0, 0];
  return [top, left, rows - top, columns - left];
}

/** u8 [H, W, 3] -> u8 [h', w', 3]: OpenCV's 8-bit bilinear (evaluation.md section 2). */
export function resizeToCanvas(image: Tensor, plan: WindowGeometry): Tensor {
  const { width, height } = plan.canvas;
  if (image.shape[0] === height && image.shape[1] === width) return image.detach();
  return resize(image, { width, height, mode: 'opencv_linear' });
}

/** Some of a picture's windows. */
export interface WindowSlice {
  /** u8 [h', w', 3] */
  readonly canvas: Tensor;
  readonly plan: WindowGeometry;
  readonly begin: number;
  readonly end: number;
}

export interface WindowFeatures {
  /** [n, P, E] */
  readonly features: Tensor;
  /** [n, P, D], where the system smooths keys. */
  readonly keys?: Tensor;
  /** Whether these are views of what several pictures share. */
  readonly shared: boolean;
}

/** Encodes windows of one size, of one picture or of several, as one batch. */
export function encodeGroup(
  encoder: DenseEncoder,
  slices: readonly WindowSlice[],
  options: DenseOptions,
): WindowFeatures[] {
  return scope(() => {
    const mean = Tensor.from(Float32Array.from(options.mean));
    const std = Tensor.from(Float32Array.from(options.std));
    const rows = slices.map((slice) => patchRows(encoder, slice, mean, std));
    const batch = rows.length === 1 ? (rows[0] as Tensor) : concat(rows, 0); // [n, P, 3*p*p]
    const grid = (slices[0] as WindowSlice).plan.grid;
    const { features, keys } = encoder.encode(batch, grid, options, options.keySmoothing > 0);
    if (slices.length === 1) return [{ features, ...(keys && { keys }), shared: false }];
    let at = 0;
    return slices.map(({ begin, end }) => {
      const from = at;
      at += end - begin;
      return { features: features.slice(0, from, at), ...(keys && { keys: keys.slice(0, from, at) }), shared: true };
    });
  });
}

/** Patch rows of one picture's windows. [n, P, 3*p*p] */
function patchRows(
  encoder: DenseEncoder,
  { canvas, plan, begin, end }: WindowSlice,
  mean: Tensor,
  std: Tensor,
): Tensor {
  const boxes = plan.boxes.slice(begin * 4, end * 4);
  return windowPatches(canvas, Tensor.from(boxes, [end - begin, 4]), mean, std, {
    height: (boxes[2] as number) - (boxes[0] as number),
    width: (boxes[3] as number) - (boxes[1] as number),
    patch: encoder.patch,
    pad: plan.pad,
    dtype: encoder.compute,
  });
}
