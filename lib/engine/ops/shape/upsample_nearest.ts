/** Nearest-neighbour enlargement of pixel-major maps by a whole factor. */
import { defineOp, type RefArray, type TensorSpec } from '../../card.js';
import { isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refAt, refFill, unravel } from '../reference.js';

const attrs = { factor: 2 };
const mostFactor = 64;

function checked(op: string, spec: TensorSpec, factor: number): readonly [number, number, number, number] {
  if (spec.shape.length !== 4 || !Number.isInteger(factor) || factor < 1 || factor > mostFactor)
    rejectShape(op, `a map [B, H, W, C] and a whole factor from 1 to ${mostFactor}`, [spec]);
  return spec.shape as unknown as readonly [number, number, number, number];
}

const dtypes = ['f32', 'f64', 'bf16'] as const;

export const upsampleNearestCard = defineOp({
  name: 'upsample_nearest',
  inputs: ['x'],
  attrs,
  shape: ([x], { factor }) => {
    const [b, h, w, c] = checked('upsample_nearest', x!, factor);
    return [{ shape: [b, h * factor, w * factor, c], dtype: x!.dtype }];
  },
  grad: ({ grads: [dy], attrs: a }) => [() => run(upsampleNearestBwdCard, [dy], a)[0] as Tensor],
  reference: ([x], { factor }) => {
    const [b = 0, h = 0, w = 0, c = 0] = x!.shape;
    return [
      refFill([b, h * factor, w * factor, c], ([i = 0, y = 0, z = 0, k = 0]) =>
        refAt(x!, [i, Math.floor(y / factor), Math.floor(z / factor), k]),
      ),
    ];
  },
  samples: [
    { name: 'twice', inputs: [{ shape: [2, 3, 5, 7] }], dtypes },
    { name: 'three times', inputs: [{ shape: [1, 2, 3, 4] }], attrs: { factor: 3 }, dtypes },
    { name: 'whole vectors', inputs: [{ shape: [2, 3, 2, 16] }], dtypes },
    { name: 'once', inputs: [{ shape: [1, 2, 3, 4] }], attrs: { factor: 1 } },
    { name: 'no images', inputs: [{ shape: [0, 2, 3, 4] }] },
  ],
  bench: [{ name: '14x14 features, 16 images', inputs: [{ shape: [16, 14, 14, 512] }], dtypes: ['f32', 'bf16'] }],
});

export const upsampleNearestBwdCard = defineOp({
  name: 'upsample_nearest_bwd',
  inputs: ['dy'],
  attrs,
  shape: ([dy], { factor }) => {
    const [b, h, w, c] = checked('upsample_nearest_bwd', dy!, factor);
    if (h % factor !== 0 || w % factor !== 0 || !isFloat(dy!.dtype))
      rejectShape('upsample_nearest_bwd', `a float map whose sides are multiples of ${factor}`, [dy]);
    return [{ shape: [b, h / factor, w / factor, c], dtype: dy!.dtype }];
  },
  reference: ([dy], { factor }) => {
    const [b = 0, h = 0, w = 0, c = 0] = dy!.shape;
    const shape = [b, h / factor, w / factor, c];
    const out: RefArray = refFill(shape, () => 0);
    dy!.data.forEach((value, at) => {
      const [i = 0, y = 0, z = 0, k = 0] = unravel(at, dy!.shape);
      const [row, column] = [Math.floor(y / factor), Math.floor(z / factor)];
      out.data[((i * (shape[1] as number) + row) * (shape[2] as number) + column) * c + k]! += value;
    });
    return [out];
  },
  samples: [
    { name: 'twice', inputs: [{ shape: [2, 6, 10, 7] }], dtypes },
    { name: 'three times', inputs: [{ shape: [1, 6, 9, 4] }], attrs: { factor: 3 }, dtypes },
    { name: 'whole vectors', inputs: [{ shape: [2, 4, 6, 16] }], dtypes },
    { name: 'no images', inputs: [{ shape: [0, 4, 6, 4] }] },
  ],
  bench: [{ name: '28x28 gradients, 16 images', inputs: [{ shape: [16, 28, 28, 512] }], dtypes: ['f32', 'bf16'] }],
});

/** Every pixel of x [B, H, W, C] repeated `factor` times in both directions: [B, fH, fW, C]. Any dtype. @throws E_OPTION */
export function upsampleNearest(x: Tensor, factor = 2): Tensor {
  return run(upsampleNearestCard, [x], { factor })[0] as Tensor;
}
