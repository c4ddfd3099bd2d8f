/** What the rest of the package needs of a file that holds tensors, whatever its format. */
import type { DType, TypedArray } from '../engine/dtype.js';
import type { TensorEntry } from './safetensors-header.js';

export interface TensorFile {
  readonly path: string;
  readonly fileBytes: number;
  /** Byte of the file from which `begin` and `end` of the entries count. */
  readonly dataOffset: number;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Whether a tensor's bytes stand in the file as its entry says, so that they can be mapped; else they have to be read. */
  inPlace(name: string): boolean;
  /** The bytes of one tensor in row-major order, in a buffer of their own. @throws E_WEIGHTS, E_DISK, `signal.reason` */
  read(name: string, options?: { signal?: AbortSignal }): Promise<Uint8Array>;
  /** One tensor as a host array: bf16 and f16 as 16-bit patterns, I64 narrowed. @throws as `read`, and E_WEIGHTS out of range */
  readArray(
    name: string,
    options?: { signal?: AbortSignal },
  ): Promise<{ data: TypedArray; dtype: DType; shape: number[] }>;
  close(): Promise<void>;
}
