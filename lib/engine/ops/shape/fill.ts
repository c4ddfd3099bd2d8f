/** Tensors from a formula: fill and iota. */
import { defineOp } from '../../card.js';
import { onDevice } from '../../context.js';
import { type DType, dtypeCode, dtypes } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { dimAttrs, packDims, unpackDims } from '../dims.js';
import { refFill, refRound } from '../reference.js';

/** The dtype of an attribute. @throws E_OPTION */
export function dtypeAttr(op: string, code: number): DType {
  return dtypes[code] ?? rejectShape(op, `a dtype code 0..${dtypes.length - 1}, not ${code}`, []);
}

export function refStore(x: number, code: number): number {
  const dtype = dtypes[code] as DType;
  return dtype === 'i32' || dtype === 'u8' || dtype === 'bool' ? Math.trunc(x) : refRound(x, dtype);
}

const shape = (...sizes: number[]) => packDims('fill', sizes);

export const fillCard = defineOp({
  name: 'fill',
  inputs: [],
  attrs: { value: 0, dtype: 0, ...dimAttrs },
  shape: (_, a) => [{ shape: unpackDims(a), dtype: dtypeAttr('fill', a.dtype) }],
  reference: (_, a) => [refFill(unpackDims(a), () => refStore(a.value, a.dtype))],
  samples: [
    ...dtypes.map((dtype, code) => ({
      name: dtype,
      inputs: [],
      attrs: { value: dtype === 'bool' ? 1 : 7.3, dtype: code, ...shape(3, 37) },
      dtypes: ['f32'] as const,
    })),
    { name: 'scalar', inputs: [], attrs: { value: -1, ...shape() }, dtypes: ['f32'] },
    { name: 'empty', inputs: [], attrs: { value: 1, ...shape(0, 2) }, dtypes: ['f32'] },
  ],
});

/** A tensor of one value, on a device (default: that of `onDevice`). @throws E_OPTION */
export function fill(shape: readonly number[], value: number, dtype: DType = 'f32', device?: string): Tensor {
  const make = () => run(fillCard, [], { value, dtype: dtypeCode(dtype), ...packDims('fill', shape) })[0] as Tensor;
  return device === undefined ? make() : onDevice(device, make);
}

export const iotaCard = defineOp({
  name: 'iota',
  inputs: [],
  attrs: { start: 0, step: 1, dtype: 0, ...dimAttrs },
  shape: (_, a) => [{ shape: unpackDims(a), dtype: dtypeAttr('iota', a.dtype) }],
  reference: (_, a) => [refFill(unpackDims(a), (_index, i) => refStore(a.start + a.step * i, a.dtype))],
  samples: [
    { name: 'indices', inputs: [], attrs: { dtype: dtypeCode('i32'), ...shape(41) }, dtypes: ['f32'] },
    { name: 'grid', inputs: [], attrs: { start: 0.5, step: -0.25, ...shape(5, 7) }, dtypes: ['f32'] },
    { name: 'bf16', inputs: [], attrs: { dtype: dtypeCode('bf16'), ...shape(700) }, dtypes: ['f32'] },
    { name: 'empty', inputs: [], attrs: { dtype: dtypeCode('i32'), ...shape(0) }, dtypes: ['f32'] },
  ],
});

/** start, start + step, ... in row-major order. @throws E_OPTION; a value outside an integer dtype fails the result */
export function iota(shape: readonly number[], dtype: DType = 'i32', start = 0, step = 1): Tensor {
  return run(iotaCard, [], { start, step, dtype: dtypeCode(dtype), ...packDims('iota', shape) })[0] as Tensor;
}
