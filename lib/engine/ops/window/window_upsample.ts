import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { upsampleReference } from './window-reference.js';

export const mergeAttrs = {
  canvasH: 1,
  canvasW: 1,
  winH: 1,
  winW: 1,
  padTop: 0,
  padLeft: 0,
  outH: 1,
  outW: 1,
  row0: 0,
  rows: 1,
};
export type MergeAttrs = typeof mergeAttrs;

export interface MergeOptions {
  /** Size the boxes refer to: the network input. */
  readonly canvas: readonly [height: number, width: number];
  /** Size each low-resolution map is stretched to: the window with its padding. */
  readonly window: readonly [height: number, width: number];
  /** Where the box begins inside the stretched map; default 0, 0. */
  readonly pad?: readonly [top: number, left: number];
  /** Final size; default the canvas. */
  readonly out?: readonly [height: number, width: number];
  /** Rows of the final map to make; default all. */
  readonly row0?: number;
  readonly rows?: number;
}

export function packMerge(o: MergeOptions): MergeAttrs {
  const [outH, outW] = o.out ?? o.canvas;
  const row0 = o.row0 ?? 0;
  return {
    canvasH: o.canvas[0],
    canvasW: o.canvas[1],
    winH: o.window[0],
    winW: o.window[1],
    padTop: o.pad?.[0] ?? 0,
    padLeft: o.pad?.[1] ?? 0,
    outH,
    outW,
    row0,
    rows: o.rows ?? outH - row0,
  };
}

/** Checks what the compositor takes; the boxes' values are checked by the kernel. @throws E_OPTION */
export function checkMerge(op: string, logits: TensorSpec, boxes: TensorSpec, a: MergeAttrs): void {
  const fits =
    logits.dtype === 'f32' &&
    logits.shape.length === 4 &&
    boxes.dtype === 'i32' &&
    boxes.shape.length === 2 &&
    boxes.shape[1] === 4;
  if (!fits || logits.shape[0] !== boxes.shape[0])
    rejectShape(op, 'logits f32[N, S, h, w] and boxes i32[N, 4]', [logits, boxes]);
  for (const [name, value] of Object.entries(a)) {
    if (typeof value === 'number' && name in mergeAttrs && (!Number.isInteger(value) || value < 0)) {
      throw new WordmaskError('E_OPTION', `${op}: ${name} must be a whole number from 0, got ${value}`, {
        details: { name, value },
      });
    }
  }
  if (a.row0 + a.rows > a.outH) {
    throw new WordmaskError(
      'E_OPTION',
      `${op}: rows ${a.row0}..${a.row0 + a.rows} are outside a map of ${a.outH} rows`,
    );
  }
}

export const boxesOf = (...values: number[]) =>
  ({ shape: [values.length / 4, 4], dtype: 'i32', fill: { values } }) as const;
const scores = (...shape: number[]) => ({ shape, dtype: 'f32' }) as const;

/** Geometries the samples of window_upsample and window_merge share. */
/** The windows of 224 of a 448 x 336 picture at stride 112. */
export const sixWindows = boxesOf(
  ...[
    [0, 0, 224, 224],
    [0, 112, 224, 336],
    [0, 224, 224, 448],
    [112, 0, 336, 224],
    [112, 112, 336, 336],
    [112, 224, 336, 448],
  ].flat(),
);

export const mergeCases = {
  'four windows to another size': {
    logits: [4, 3, 3, 4],
    boxes: boxesOf(0, 0, 12, 16, 0, 9, 12, 25, 7, 0, 19, 16, 7, 9, 19, 25),
    attrs: { canvasH: 19, canvasW: 25, winH: 12, winW: 16, outH: 27, outW: 31, rows: 27 },
  },
  'one window, final size is the canvas': {
    logits: [1, 2, 4, 5],
    boxes: boxesOf(0, 0, 11, 18),
    attrs: { canvasH: 11, canvasW: 18, winH: 11, winW: 18, outH: 11, outW: 18, rows: 11 },
  },
  'padded windows, some rows, smaller': {
    logits: [2, 4, 3, 20],
    boxes: boxesOf(0, 0, 10, 33, 4, 0, 14, 33),
    attrs: { canvasH: 14, canvasW: 33, winH: 13, winW: 40, padTop: 1, padLeft: 3, outH: 9, outW: 12, row0: 3, rows: 4 },
  },
  'a wide map shrunk': {
    logits: [1, 2, 2, 50],
    boxes: boxesOf(0, 0, 6, 90),
    attrs: { canvasH: 6, canvasW: 90, winH: 6, winW: 90, outH: 6, outW: 21, rows: 6 },
  },
  'tiles of the final map, more queries than go at once': {
    logits: [3, 11, 2, 3],
    boxes: boxesOf(0, 0, 9, 30, 2, 14, 11, 44, 2, 31, 11, 61),
    attrs: { canvasH: 11, canvasW: 61, winH: 9, winW: 30, outH: 10, outW: 70, rows: 10 },
  },
  'more windows over a tile than are listed': {
    logits: [70, 1, 1, 2],
    boxes: boxesOf(...Array.from({ length: 70 }, (_, n) => [n % 3, n % 9, (n % 3) + 3, (n % 9) + 4]).flat()),
    attrs: { canvasH: 5, canvasW: 12, winH: 3, winW: 4, outH: 5, outW: 12, rows: 5 },
  },
} as const;

export const windowUpsampleCard = defineOp({
  name: 'window_upsample',
  inputs: ['logits', 'boxes'],
  attrs: mergeAttrs,
  shape: ([logits, boxes], a) => {
    checkMerge('window_upsample', logits!, boxes!, a);
    return [{ shape: [logits!.shape[1] as number, a.rows, a.outW], dtype: 'f32' }]; // [S, rows, W]
  },
  reference: ([logits, boxes], a) => [upsampleReference(logits!, boxes!, a)],
  samples: Object.entries(mergeCases).map(([name, { logits, boxes, attrs }]) => ({
    name,
    inputs: [scores(...logits), boxes],
    attrs,
  })),
});

/**
 * Rows of the merged score maps: logits f32 `[N, S, h, w]` of N windows with boxes i32 `[N, 4]` (y1, x1, y2, x2 on the canvas,
 * one size) -> f32 `[S, rows, W]`. Per window bilinear (corners not aligned) to the padded window, cut at the padding, mean over
 * covering windows, bilinear to the final size. A canvas pixel that no window covers is 0.
 * @throws E_OPTION for shapes; at the next await for a box outside the canvas
 */
export function windowUpsample(logits: Tensor, boxes: Tensor, options: MergeOptions): Tensor {
  return run(windowUpsampleCard, [logits, boxes], packMerge(options))[0] as Tensor;
}
