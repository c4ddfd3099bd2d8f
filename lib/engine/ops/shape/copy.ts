import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { broadcastShapes, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refAt, refFill } from '../reference.js';

export const copyCard = defineOp({
  name: 'copy',
  inputs: ['x'],
  attrs: {},
  shape: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  grad: ({ grads: [dy] }) => [() => dy!],
  reference: ([x]) => [x!],
  samples: [
    { name: 'ragged', inputs: [{ shape: [3, 7, 5] }], dtypes: ['f32', 'f64', 'bf16', 'f16'] },
    { name: 'tiles', inputs: [{ shape: [2, 67, 45] }], dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'u8', inputs: [{ shape: [9, 33, 10], dtype: 'u8' }], dtypes: ['f32'] },
    { name: 'i32', inputs: [{ shape: [37, 41], dtype: 'i32', fill: { integers: [-99, 99] } }], dtypes: ['f32'] },
    { name: 'scalar', inputs: [{ shape: [] }] },
    { name: 'empty', inputs: [{ shape: [3, 0] }] },
  ],
  bench: [{ name: 'B/16 tokens, 8 images', inputs: [{ shape: [8, 197, 768] }], dtypes: ['f32', 'bf16'] }],
});

/** A contiguous copy. Any dtype. */
export function copy(x: Tensor): Tensor {
  return run(copyCard, [x])[0] as Tensor;
}

export const assignCard = defineOp({
  name: 'assign',
  inputs: ['target', 'source'],
  attrs: {},
  inPlace: true,
  shape: ([target, source]) => {
    const joint = broadcastShapes(target!.shape, source!.shape);
    if (!joint || !sameShape(joint, target!.shape) || target!.dtype !== source!.dtype)
      rejectShape('assign', "a source of the target's dtype that broadcasts to it", [target, source]);
    return [{ shape: target!.shape, dtype: target!.dtype }];
  },
  reference: ([target, source]) => [refFill(target!.shape, (index) => refAt(source!, index))],
  samples: [
    { name: 'same shape', inputs: [{ shape: [3, 7] }, { shape: [3, 7] }], dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'broadcast', inputs: [{ shape: [3, 7] }, { shape: [7] }] },
  ],
});

/** Writes `source` into the memory of `target` (contiguous, same dtype; the source broadcasts). For parameters alone. @throws E_OPTION */
export function assign(target: Tensor, source: Tensor): void {
  run(assignCard, [target, source])[0]?.dispose();
}
