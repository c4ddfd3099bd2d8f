/** Writing safetensors files: laid out so that all tensors are aligned and equal content gives equal bytes. */
import type { DType, TypedArray } from '../engine/dtype.js';
import { show, WordmaskError } from '../util/errors.js';
import { writeFileAtomic } from '../util/files.js';
import { elementBytes, type FileDtype, type TensorEntry } from './safetensors-header.js';

const fileDtypes: Record<DType, FileDtype> = {
  f32: 'F32',
  f16: 'F16',
  bf16: 'BF16',
  f64: 'F64',
  i32: 'I32',
  u8: 'U8',
  bool: 'BOOL',
};

type HostArray = TypedArray | BigInt64Array;

export interface TensorToWrite {
  /** Needed for Uint16Array (`bf16` or `f16`) and for `bool`; else told from the array. */
  readonly dtype?: DType | FileDtype;
  readonly shape: readonly number[];
  /** The values, or a function that fetches them when their turn comes (so that a checkpoint is never in memory as a whole). */
  readonly data: HostArray | (() => HostArray | Promise<HostArray>);
}

export interface WriteOptions {
  metadata?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
}

interface Planned {
  name: string;
  entry: Omit<TensorEntry, 'dtype'> & { readonly dtype: FileDtype };
  data: TensorToWrite['data'];
}

/**
 * Writes tensors as a safetensors file (atomically: the old file stays whole on failure), or returns the bytes when `path`
 * is null. Tensors are laid out by element size, widest first, then by name, so that all are aligned and equal content gives
 * equal bytes. @throws E_USAGE for a tensor whose data do not fit its shape, E_DISK, `signal.reason`
 */
export async function writeSafetensors(
  path: null,
  tensors: Iterable<readonly [string, TensorToWrite]>,
  options?: WriteOptions,
): Promise<Uint8Array>;
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, TensorToWrite]>,
  options?: WriteOptions,
): Promise<void>;
export async function writeSafetensors(
  path: string | null,
  tensors: Iterable<readonly [string, TensorToWrite]>,
  options: WriteOptions = {},
): Promise<Uint8Array | void> {
  const plan = layOut(tensors);
  const content = pieces(plan, headerBytes(plan, options.metadata));
  if (path !== null) return writeFileAtomic(path, content, { signal: options.signal });
  const parts: Uint8Array[] = [];
  for await (const part of content) parts.push(part);
  return Buffer.concat(parts);
}

function layOut(tensors: Iterable<readonly [string, TensorToWrite]>): Planned[] {
  const seen = new Set<string>();
  const sized = [...tensors].map(([name, tensor]) => {
    if (seen.has(name) || name === '__metadata__') throw usage(name, 'is given twice or has a reserved name');
    seen.add(name);
    const dtype = dtypeToWrite(name, tensor);
    if (!tensor.shape.every((d) => Number.isSafeInteger(d) && d >= 0))
      throw usage(name, `has the shape [${tensor.shape.join(', ')}]`);
    const bytes = tensor.shape.reduce((product, d) => product * d, elementBytes(dtype));
    if (typeof tensor.data !== 'function') checkData(name, tensor.data, bytes);
    return { name, dtype, shape: [...tensor.shape], bytes, data: tensor.data };
  });
  sized.sort((a, b) => elementBytes(b.dtype) - elementBytes(a.dtype) || (a.name < b.name ? -1 : 1));
  let at = 0;
  return sized.map(({ name, dtype, shape, bytes, data }) => {
    const entry = { dtype, shape, begin: at, end: at + bytes };
    at += bytes;
    return { name, entry, data };
  });
}

function dtypeToWrite(name: string, { dtype, data }: TensorToWrite): FileDtype {
  if (dtype !== undefined) return dtype in fileDtypes ? fileDtypes[dtype as DType] : (dtype as FileDtype);
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof Float64Array) return 'F64';
  if (data instanceof Int32Array) return 'I32';
  if (data instanceof BigInt64Array) return 'I64';
  if (data instanceof Uint8Array) return 'U8';
  throw usage(name, 'needs a dtype');
}

function checkData(name: string, data: HostArray, bytes: number): void {
  if (data.byteLength !== bytes)
    throw usage(name, `has ${data.byteLength} bytes of data, its shape and dtype need ${bytes}`);
}

function usage(name: string, text: string): WordmaskError {
  return new WordmaskError('E_USAGE', `writeSafetensors: tensor ${show(name)} ${text}`, { details: { tensor: name } });
}

function headerBytes(plan: readonly Planned[], metadata?: Readonly<Record<string, string>>): Uint8Array {
  const parts = plan.map(
    ({ name, entry }) =>
      `${JSON.stringify(name)}:{"dtype":"${entry.dtype}","shape":[${entry.shape.join(',')}],"data_offsets":[${entry.begin},${entry.end}]}`,
  );
  if (metadata) parts.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  const text = Buffer.from(`{${parts.join(',')}}`, 'utf8');
  const padded = Math.ceil(text.length / 8) * 8; // keeps the widest elements aligned in a mapping
  const bytes = Buffer.alloc(8 + padded, 0x20);
  bytes.writeBigUInt64LE(BigInt(padded), 0);
  text.copy(bytes, 8);
  return bytes;
}

async function* pieces(plan: readonly Planned[], header: Uint8Array): AsyncGenerator<Uint8Array> {
  yield header;
  for (const { name, entry, data } of plan) {
    const values = typeof data === 'function' ? await data() : data;
    checkData(name, values, entry.end - entry.begin);
    yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  }
}
