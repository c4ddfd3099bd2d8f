import { defineOp, type Sample } from '../../card.js';
import { type DType, dtypeCode, dtypes, isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refMap, refRound } from '../reference.js';

const limits = { i32: [-2147483648, 2147483647], u8: [0, 255] } as const;

function convert(x: number, dtype: DType): number {
  if (dtype === 'bool') return x === 0 ? 0 : 1;
  if (dtype === 'i32' || dtype === 'u8')
    return Number.isNaN(x) ? 0 : Math.min(Math.max(Math.trunc(x), limits[dtype][0]), limits[dtype][1]);
  return refRound(x, dtype);
}

const wide = { uniform: [-400, 400] } as const;
const samples: Sample<{ dtype: number }>[] = dtypes.flatMap((to) => [
  {
    name: `floats to ${to}`,
    inputs: [{ shape: [3, 37], fill: wide }],
    attrs: { dtype: dtypeCode(to) },
    dtypes: ['f32', 'f64', 'bf16', 'f16'] as const,
    grad: to === 'f64',
  },
  {
    name: `i32 to ${to}`,
    inputs: [{ shape: [37], dtype: 'i32' as const, fill: { integers: [-400, 400] as const } }],
    attrs: { dtype: dtypeCode(to) },
    dtypes: ['f32'] as const,
  },
  {
    name: `bool to ${to}`,
    inputs: [{ shape: [37], dtype: 'bool' as const }],
    attrs: { dtype: dtypeCode(to) },
    dtypes: ['f32'] as const,
  },
]);

export const castCard = defineOp({
  name: 'cast',
  inputs: ['x'],
  attrs: { dtype: 0 },
  shape: ([x], a) => [
    {
      shape: x!.shape,
      dtype: dtypes[a.dtype] ?? rejectShape('cast', `a dtype code 0..${dtypes.length - 1}, not ${a.dtype}`, [x]),
    },
  ],
  grad: ({ inputs: [x], outputs: [y], grads: [dy] }) => (isFloat(y!.dtype) ? [() => cast(dy!, x!.dtype)] : [undefined]),
  reference: ([x], a) => [refMap(x!, (v) => convert(v, dtypes[a.dtype] as DType))],
  samples: [...samples, { name: 'empty', inputs: [{ shape: [0, 3] }], attrs: { dtype: 1 } }],
  bench: [
    {
      name: 'f32 to bf16, B/16 8 images',
      inputs: [{ shape: [8, 197, 768] }],
      attrs: { dtype: dtypeCode('bf16') },
      bytes: 8 * 197 * 768 * 6,
    },
  ],
});

/**
 * x in another dtype; x itself where it has that dtype. Floats round to nearest even, floats become integers by truncation
 * and saturation (NaN gives 0), anything becomes bool by "is not zero".
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : (run(castCard, [x], { dtype: dtypeCode(dtype) })[0] as Tensor);
}
