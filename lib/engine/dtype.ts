/** Element types of tensors, their spellings and their host arrays. The numbers are those of native/core/dtype.h. */
import { show, WordmaskError } from '../util/errors.js';

export const dtypes = ['f32', 'bf16', 'f16', 'f64', 'i32', 'u8', 'bool'] as const;
export type DType = (typeof dtypes)[number];

/** bf16 and f16 travel as their 16-bit patterns. */
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;

const bytesPerElement: Record<DType, number> = { f32: 4, bf16: 2, f16: 2, f64: 8, i32: 4, u8: 1, bool: 1 };
const arrayTypes = {
  f32: Float32Array,
  bf16: Uint16Array,
  f16: Uint16Array,
  f64: Float64Array,
  i32: Int32Array,
  u8: Uint8Array,
  bool: Uint8Array,
} as const;

export function dtypeBytes(dtype: DType): number {
  return bytesPerElement[dtype];
}

export function dtypeCode(dtype: DType): number {
  return dtypes.indexOf(dtype);
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'f32' || dtype === 'bf16' || dtype === 'f16' || dtype === 'f64';
}

/** A typed array over the given bytes, of the class that carries `dtype` on the host. */
export function viewAs(dtype: DType, buffer: ArrayBuffer, byteOffset = 0, length?: number): TypedArray {
  return new arrayTypes[dtype](buffer, byteOffset, length ?? (buffer.byteLength - byteOffset) / bytesPerElement[dtype]);
}

const spellings: Record<string, DType> = {
  fp32: 'f32',
  float32: 'f32',
  fp16: 'f16',
  float16: 'f16',
  bfloat16: 'bf16',
  fp64: 'f64',
  float64: 'f64',
  int32: 'i32',
  uint8: 'u8',
};

/** Accepts either spelling of a dtype option (`fp32` or `f32`). @throws E_OPTION */
export function parseDType(value: string): DType {
  const dtype = spellings[value] ?? value;
  if ((dtypes as readonly string[]).includes(dtype)) return dtype as DType;
  throw new WordmaskError('E_OPTION', `dtype must be one of ${dtypes.join(', ')}, got ${show(value)}`, {
    details: { value },
  });
}

/** The dtype a host array carries when none is named. Uint16Array is ambiguous (bf16 or f16) and must be named. */
export function dtypeOfArray(array: TypedArray): DType {
  if (array instanceof Float32Array) return 'f32';
  if (array instanceof Float64Array) return 'f64';
  if (array instanceof Int32Array) return 'i32';
  if (array instanceof Uint8Array) return 'u8';
  throw new WordmaskError('E_USAGE', `a ${array.constructor.name} needs a dtype ('bf16' or 'f16' for Uint16Array)`);
}
