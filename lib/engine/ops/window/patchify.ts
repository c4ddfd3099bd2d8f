/** Pictures cut into patches: the input rows of a patch embedding, and their gradient. */
import { defineOp, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { numel, rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

interface Grid {
  b: number;
  c: number;
  h: number;
  w: number;
  rows: number;
  columns: number;
}

function gridOf(shape: readonly number[], patch: number): Grid {
  const [b = 0, c = 0, h = 0, w = 0] = shape;
  return { b, c, h, w, rows: Math.floor(h / patch), columns: Math.floor(w / patch) };
}

function rowsShape({ b, c, rows, columns }: Grid, patch: number): number[] {
  return [b, rows * columns, c * patch * patch]; // [B, h*w, C*p*p]
}

/** visit(index of the patch value, index of the pixel) for every pixel that a patch covers */
function visitPixels(
  { b, c, h, w, rows, columns }: Grid,
  patch: number,
  visit: (row: number, pixel: number) => void,
): void {
  let at = 0;
  for (let image = 0; image < b; image++)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++)
        for (let channel = 0; channel < c; channel++)
          for (let y = 0; y < patch; y++)
            for (let x = 0; x < patch; x++)
              visit(at++, ((image * c + channel) * h + i * patch + y) * w + j * patch + x);
}

export const patchifyCard = defineOp({
  name: 'patchify',
  inputs: ['pixels'],
  attrs: { patch: 16 },
  shape: (specs, { patch }) => {
    const pixels = specs[0] as TensorSpec;
    if (pixels.shape.length !== 4 || !Number.isInteger(patch) || patch < 1)
      rejectShape('patchify', `pixels [B, C, H, W] and a patch size from 1 (it is ${patch})`, specs);
    return [{ shape: rowsShape(gridOf(pixels.shape, patch), patch), dtype: pixels.dtype }];
  },
  grad: ({ inputs: [pixels], grads: [dy], attrs: { patch } }) => {
    const [, c, h, w] = pixels!.shape as [number, number, number, number];
    return [() => run(patchifyBwdCard, [dy], { patch, c, h, w })[0] as Tensor];
  },
  reference: ([pixels], { patch }) => {
    const grid = gridOf(pixels!.shape, patch);
    const shape = rowsShape(grid, patch);
    const data = new Float64Array(numel(shape));
    visitPixels(grid, patch, (row, pixel) => {
      data[row] = pixels!.data[pixel] as number;
    });
    return [{ data, shape }];
  },
  samples: [
    {
      name: 'remainder dropped',
      inputs: [{ shape: [2, 3, 7, 10] }],
      attrs: { patch: 3 },
      dtypes: ['f32', 'f64', 'bf16'],
    },
    { name: 'exact', inputs: [{ shape: [1, 2, 8, 4] }], attrs: { patch: 4 } },
    { name: 'smaller than a patch', inputs: [{ shape: [1, 3, 5, 9] }], attrs: { patch: 6 } },
    { name: 'no images', inputs: [{ shape: [0, 3, 4, 4] }], attrs: { patch: 2 } },
  ],
  bench: [{ name: 'B/16, 8 images', inputs: [{ shape: [8, 3, 224, 224] }], attrs: { patch: 16 } }],
});

export const patchifyBwdCard = defineOp({
  name: 'patchify_bwd',
  inputs: ['dy'],
  attrs: { patch: 16, c: 0, h: 0, w: 0 },
  shape: ([dy], { patch, c, h, w }) => {
    const shape = [dy!.shape[0] as number, c, h, w]; // [B, C, H, W]
    if (dy!.shape.length !== 3 || rowsShape(gridOf(shape, patch), patch).join() !== dy!.shape.join())
      rejectShape('patchify_bwd', `patches of ${patch} that fit pixels [B, ${c}, ${h}, ${w}]`, [dy]);
    return [{ shape, dtype: dy!.dtype }];
  },
  reference: ([dy], { patch, c, h, w }) => {
    const shape = [dy!.shape[0] as number, c, h, w];
    const data = new Float64Array(numel(shape));
    visitPixels(gridOf(shape, patch), patch, (row, pixel) => {
      data[pixel] = dy!.data[row] as number;
    });
    return [{ data, shape }];
  },
  samples: [
    { name: 'zeros in the remainder', inputs: [{ shape: [2, 6, 27] }], attrs: { patch: 3, c: 3, h: 7, w: 10 } },
    { name: 'exact', inputs: [{ shape: [1, 2, 32] }], attrs: { patch: 4, c: 2, h: 8, w: 4 } },
  ],
});

/**
 * pixels [B, C, H, W] -> [B, h*w, C*p*p], patches row by row, each in the order of a convolution weight [C, p, p]; rows and
 * columns of pixels that fill no patch are dropped. Any dtype. @throws E_OPTION
 */
export function patchify(pixels: Tensor, patch: number): Tensor {
  return run(patchifyCard, [pixels], { patch })[0] as Tensor;
}
