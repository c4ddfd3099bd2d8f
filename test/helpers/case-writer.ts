/** Writes op cases for the native case runner; the layout is that of test/native/case_format.md. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type DType, dtypeCode, type TypedArray } from '#lib/engine/dtype.js';

export interface CaseInput {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Elements; contiguous when left out. */
  readonly stride?: readonly number[];
  /** First element of the view in `data`. */
  readonly offset?: number;
  /** The whole storage, in the array class that carries `dtype`. */
  readonly data: TypedArray;
}

export interface CaseOutput {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Relative L2; 0: every element equal; negative: not compared. */
  readonly tolerance: number;
  /** Of the reference; may be left out when the output is not compared. */
  readonly expected?: Float64Array;
}

export interface OpCase {
  readonly title: string;
  readonly op: string;
  /** In the card's order, flags as 0 or 1. */
  readonly attrs: readonly number[];
  /** Undefined: an optional input that is not given. */
  readonly inputs: readonly (CaseInput | undefined)[];
  readonly outputs: readonly CaseOutput[];
}

const int32 = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);
const int64 = (values: readonly number[]): Uint8Array => new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
const float64 = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Float64Array.from(values).buffer);

function text(value: string): Uint8Array[] {
  const bytes = new TextEncoder().encode(value);
  return [int32(bytes.length), bytes];
}

function contiguousStride(shape: readonly number[]): number[] {
  const stride: number[] = new Array(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) stride[i] = (stride[i + 1] ?? 1) * (shape[i + 1] ?? 1);
  return stride;
}

function encodeInput(input: CaseInput | undefined): Uint8Array[] {
  if (input === undefined) return [int32(-1)];
  const { dtype, shape, data } = input;
  return [
    int32(shape.length),
    int32(dtypeCode(dtype)),
    int64(shape),
    int64(input.stride ?? contiguousStride(shape)),
    int64([input.offset ?? 0, data.byteLength]),
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  ];
}

function encodeOutput({ dtype, shape, tolerance, expected }: CaseOutput): Uint8Array[] {
  const head = [int32(shape.length), int32(dtypeCode(dtype)), int64(shape), float64([tolerance])];
  if (tolerance < 0) return head;
  const numel = shape.reduce((product, size) => product * size, 1);
  if (expected?.length !== numel) throw new Error(`expected has ${expected?.length} values for ${numel} elements`);
  return [...head, float64(expected)];
}

/** One record. */
export function encodeCase({ title, op, attrs, inputs, outputs }: OpCase): Uint8Array {
  return Buffer.concat([
    new TextEncoder().encode('WMCASE1\n'),
    ...text(title),
    ...text(op),
    int32(attrs.length),
    float64(attrs),
    int32(inputs.length),
    ...inputs.flatMap(encodeInput),
    int32(outputs.length),
    ...outputs.flatMap(encodeOutput),
  ]);
}

/** Replaces `file` (usually `build/cases/<op>.bin`) with these cases. */
export function writeCases(file: string, cases: readonly OpCase[]): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, Buffer.concat(cases.map(encodeCase)));
}
