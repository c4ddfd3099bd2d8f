/** Reading safetensors files. Opening reads the header alone; tensor bytes are mapped by the engine or read one by one. */
import type { FileHandle } from 'node:fs/promises';
import type { DType, TypedArray } from '../engine/dtype.js';
import { viewAs } from '../engine/dtype.js';
import { show } from '../util/errors.js';
import { guardDisk, openRegular, readFully } from '../util/files.js';
import { Slices } from '../util/slices.js';
import { weightsError } from './header-scanner.js';
import {
  elementBytes,
  headerLength,
  parseHeader,
  type SafetensorsDtype,
  type SafetensorsHeader,
  type TensorEntry,
} from './safetensors-header.js';
import type { TensorFile } from './tensor-file.js';

export {
  elementBytes,
  type SafetensorsDtype,
  safetensorsDtypes,
  safetensorsLimits,
  type TensorEntry,
} from './safetensors-header.js';

/** The engine's dtype of a file's dtype. I64 becomes i32 and must be narrowed with a range check (`decodeTensor`). */
export function engineDtype(dtype: SafetensorsDtype): DType {
  return engineDtypes[dtype];
}

const engineDtypes: Record<SafetensorsDtype, DType> = {
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
  F64: 'f64',
  I64: 'i32',
  I32: 'i32',
  U8: 'u8',
  BOOL: 'bool',
};

/** An open file: its checked header, and a handle for reading single tensors. */
export class SafetensorsFile implements TensorFile {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;

  constructor(
    readonly path: string,
    header: SafetensorsHeader,
    readonly fileBytes: number,
    /** Byte of the file at which the data section begins; a tensor lies at dataOffset + begin. */
    readonly dataOffset: number,
    private readonly handle: FileHandle,
  ) {
    this.tensors = header.tensors;
    this.metadata = header.metadata;
  }

  /** The entry of a tensor. @throws E_WEIGHTS when the file has none of that name */
  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry) return entry;
    throw weightsError(this.path, `holds no tensor ${show(name)}`, { tensor: name });
  }

  inPlace(): boolean {
    return true;
  }

  /** The bytes of one tensor, in a buffer of their own. @throws E_WEIGHTS when the file became shorter, E_DISK */
  async read(name: string, options: { signal?: AbortSignal } = {}): Promise<Uint8Array> {
    const { begin, end } = this.entry(name);
    const bytes = new Uint8Array(end - begin);
    const read = await guardDisk('read', this.path, () =>
      readFully(this.handle, bytes, this.dataOffset + begin, options.signal),
    );
    if (read !== bytes.length)
      throw weightsError(this.path, `tensor ${show(name)} ends early: the file was changed while in use`, {
        tensor: name,
      });
    return bytes;
  }

  /** One tensor as a host array: bf16 and f16 as 16-bit patterns, I64 narrowed. @throws as `read`, and E_WEIGHTS out of range */
  async readArray(
    name: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<{ data: TypedArray; dtype: DType; shape: number[] }> {
    const { dtype, shape } = this.entry(name);
    const data = decodeTensor(await this.read(name, options), dtype, `${this.path}: tensor ${show(name)}`);
    return { data, dtype: engineDtype(dtype), shape: [...shape] };
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

export interface OpenOptions {
  signal?: AbortSignal;
}

/**
 * Opens a file and checks its whole header; no tensor is read.
 * @throws E_WEIGHTS naming file, tensor, value and limit; E_DISK; `signal.reason` on abort
 */
export async function openSafetensors(path: string, options: OpenOptions = {}): Promise<SafetensorsFile> {
  const { signal } = options;
  signal?.throwIfAborted();
  const handle = await openRegular(path, 'E_WEIGHTS');
  try {
    const { size } = await handle.stat();
    const prefix = new Uint8Array(8);
    const read = await guardDisk('read', path, () => readFully(handle, prefix, 0, signal));
    const length = headerLength(path, prefix.subarray(0, read), size);
    const bytes = new Uint8Array(length);
    await guardDisk('read', path, () => readFully(handle, bytes, 8, signal));
    const header = await inSlices(parseHeader(path, bytes, size - 8 - length), signal);
    return new SafetensorsFile(path, header, size, 8 + length, handle);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Parses a whole file that is already in memory. @throws E_WEIGHTS */
export function parseSafetensors(bytes: Uint8Array, name = 'safetensors'): SafetensorsHeader & { dataOffset: number } {
  const length = headerLength(name, bytes.subarray(0, 8), bytes.length);
  const parser = parseHeader(name, bytes.subarray(8, 8 + length), bytes.length - 8 - length);
  for (;;) {
    const step = parser.next();
    if (step.done) return { ...step.value, dataOffset: 8 + length };
  }
}

/** Runs a parser to its end, letting the event loop turn now and then. */
async function inSlices<T>(parser: Generator<void, T>, signal?: AbortSignal): Promise<T> {
  for (const slices = new Slices(signal); ; ) {
    const step = parser.next();
    if (step.done) return step.value;
    if (slices.due) await slices.pause();
  }
}

/** Host array of a tensor's bytes; `bytes` is used in place where its alignment allows. @throws E_WEIGHTS for I64 beyond i32 */
export function decodeTensor(bytes: Uint8Array, dtype: SafetensorsDtype, what: string): TypedArray {
  const aligned = bytes.byteOffset % elementBytes(dtype) === 0 ? bytes : new Uint8Array(bytes);
  const buffer = aligned.buffer as ArrayBuffer;
  if (dtype !== 'I64')
    return viewAs(engineDtype(dtype), buffer, aligned.byteOffset, aligned.byteLength / elementBytes(dtype));
  const wide = new BigInt64Array(buffer, aligned.byteOffset, aligned.byteLength / 8);
  return narrowInt64(wide, what);
}

/** @throws E_WEIGHTS naming the first value outside the range of i32 */
export function narrowInt64(wide: BigInt64Array, what: string): Int32Array {
  const narrow = new Int32Array(wide.length);
  for (let i = 0; i < wide.length; i++) {
    const value = Number(wide[i]);
    if (value < -2147483648 || value > 2147483647) {
      throw weightsError(what, `has the value ${wide[i]} at index ${i}, beyond the 32-bit range`, {
        value: String(wide[i]),
        index: i,
      });
    }
    narrow[i] = value;
  }
  return narrow;
}
