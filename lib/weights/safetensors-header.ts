/**
 * The header of a safetensors file: 8 bytes little-endian length, then a JSON object of tensor name -> { dtype, shape,
 * data_offsets } and an optional `__metadata__` of strings. Parsed from bytes by a scanner of exactly this grammar, because
 * JSON.parse keeps the last of two equal keys and would block on a large header; the scanner can be driven in slices.
 */
import { show } from '../util/errors.js';
import { Scanner, weightsError } from './header-scanner.js';

/** Sizes in bits of the element types that the format knows. */
const knownDtypes: ReadonlyMap<string, number> = new Map([
  ['BOOL', 8],
  ['U8', 8],
  ['I8', 8],
  ['F8_E4M3', 8],
  ['F8_E5M2', 8],
  ['F8_E8M0', 8],
  ['I16', 16],
  ['U16', 16],
  ['F16', 16],
  ['BF16', 16],
  ['I32', 32],
  ['U32', 32],
  ['F32', 32],
  ['F64', 64],
  ['I64', 64],
  ['U64', 64],
  ['C64', 64],
  ['F4', 4],
  ['F6_E2M3', 6],
  ['F6_E3M2', 6],
]);

/** Element types that this package reads. I64 is narrowed to i32 with a range check. */
export const safetensorsDtypes = ['F32', 'F16', 'BF16', 'F64', 'I64', 'I32', 'U8', 'BOOL'] as const;
export type SafetensorsDtype = (typeof safetensorsDtypes)[number];
/** Element types of whole bytes that can be written. */
export type FileDtype = SafetensorsDtype | 'I8' | 'I16' | 'U16' | 'U32' | 'U64' | 'C64' | 'F8_E4M3' | 'F8_E5M2';

export const safetensorsLimits = { headerBytes: 100_000_000, tensors: 200_000, rank: 8, nameBytes: 4096 } as const;

export interface TensorEntry {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Byte range in the data section, which begins at the file's `dataOffset`. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

export function elementBytes(dtype: FileDtype): number {
  return (knownDtypes.get(dtype) as number) / 8;
}

/**
 * The length field of a file of `fileBytes` bytes, checked. `prefix` holds the file's first 8 bytes.
 * @throws E_WEIGHTS
 */
export function headerLength(path: string, prefix: Uint8Array, fileBytes: number): number {
  if (prefix.length < 8 || fileBytes < 10) {
    throw weightsError(path, `has ${fileBytes} bytes, a safetensors file at least 10: it is empty or truncated`, {
      value: fileBytes,
    });
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(safetensorsLimits.headerBytes)) {
    throw weightsError(
      path,
      `says that its header has ${length} bytes, the limit is ${safetensorsLimits.headerBytes}: this is not a safetensors file, or it is damaged`,
      { value: String(length), limit: safetensorsLimits.headerBytes },
    );
  }
  if (length < 2n || Number(length) > fileBytes - 8) {
    throw weightsError(
      path,
      `says that its header has ${length} bytes, but ${fileBytes - 8} bytes follow the length: it is truncated or damaged`,
      { value: Number(length), limit: fileBytes - 8 },
    );
  }
  return Number(length);
}

/**
 * Parses and checks a header. A generator that yields every so many entries, so that the caller can let the event loop turn.
 * @param dataBytes bytes of the data section; the tensors must cover them exactly, without gap or overlap
 * @throws E_WEIGHTS naming file, tensor, value and limit
 */
export function* parseHeader(path: string, bytes: Uint8Array, dataBytes: number): Generator<void, SafetensorsHeader> {
  const scanner = new Scanner(path, bytes);
  const tensors = new Map<string, TensorEntry>();
  let metadata: Map<string, string> | undefined;
  // The format wants the brace first, without blanks.
  if (bytes[0] !== 0x7b) scanner.fail(`does not begin with "{"`);
  scanner.expect('{');
  let first = true;
  for (let count = 0; !scanner.take('}'); first = false) {
    if (!first) scanner.expect(',');
    const name = scanner.string(safetensorsLimits.nameBytes);
    scanner.expect(':');
    if (name === '__metadata__') {
      if (metadata) scanner.fail('holds the key "__metadata__" twice');
      metadata = yield* readMetadata(scanner);
      continue;
    }
    if (tensors.has(name)) scanner.fail(`names the tensor ${show(name)} twice`, name);
    if (++count > safetensorsLimits.tensors) {
      throw weightsError(path, `holds more than ${safetensorsLimits.tensors} tensors`, {
        limit: safetensorsLimits.tensors,
      });
    }
    tensors.set(name, readEntry(scanner, name));
    if (count % 1024 === 0) yield;
  }
  scanner.end();
  yield;
  checkCover(path, tensors, dataBytes);
  return { tensors, metadata: metadata ?? new Map() };
}

function* readMetadata(scanner: Scanner): Generator<void, Map<string, string>> {
  const metadata = new Map<string, string>();
  scanner.expect('{');
  for (let first = true; !scanner.take('}'); first = false) {
    if (!first) scanner.expect(',');
    const key = scanner.string();
    scanner.expect(':');
    if (!scanner.at('"')) scanner.fail(`gives the metadata key ${show(key)} a value that is not a string`);
    if (metadata.has(key)) scanner.fail(`holds the metadata key ${show(key)} twice`);
    metadata.set(key, scanner.string());
    if (metadata.size > safetensorsLimits.tensors)
      scanner.fail(`holds more than ${safetensorsLimits.tensors} metadata keys`);
    if (metadata.size % 1024 === 0) yield;
  }
  return metadata;
}

function readEntry(scanner: Scanner, name: string): TensorEntry {
  let dtype: SafetensorsDtype | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  scanner.expect('{', name);
  for (let first = true; !scanner.take('}'); first = false) {
    if (!first) scanner.expect(',', name);
    const key = scanner.string();
    scanner.expect(':', name);
    if ((key === 'dtype' && dtype) || (key === 'shape' && shape) || (key === 'data_offsets' && offsets)) {
      scanner.fail(`tensor ${show(name)} holds the key ${show(key)} twice`, name);
    }
    if (key === 'dtype') dtype = readDtype(scanner, name);
    else if (key === 'shape') shape = scanner.integers(name, key, safetensorsLimits.rank);
    else if (key === 'data_offsets') offsets = scanner.integers(name, key, 2);
    else
      scanner.fail(`tensor ${show(name)} has the unknown key ${show(key)} (allowed: dtype, shape, data_offsets)`, name);
  }
  if (!dtype || !shape || !offsets) {
    const missing = [dtype ? '' : 'dtype', shape ? '' : 'shape', offsets ? '' : 'data_offsets']
      .filter(Boolean)
      .join(', ');
    return scanner.fail(`tensor ${show(name)} lacks ${missing}`, name);
  }
  return checkEntry(scanner, name, dtype, shape, offsets);
}

function readDtype(scanner: Scanner, name: string): SafetensorsDtype {
  if (!scanner.at('"')) scanner.fail(`tensor ${show(name)} has a dtype that is not a string`, name);
  const value = scanner.string(64);
  if ((safetensorsDtypes as readonly string[]).includes(value)) return value as SafetensorsDtype;
  const kind = knownDtypes.has(value) ? 'which this package does not read' : 'which the format does not know';
  return scanner.fail(
    `tensor ${show(name)} has the dtype ${show(value)}, ${kind} (readable: ${safetensorsDtypes.join(', ')})`,
    name,
    { value },
  );
}

function checkEntry(
  scanner: Scanner,
  name: string,
  dtype: SafetensorsDtype,
  shape: number[],
  offsets: number[],
): TensorEntry {
  const [begin, end] = offsets;
  if (offsets.length !== 2 || begin === undefined || end === undefined) {
    return scanner.fail(`tensor ${show(name)} has ${offsets.length} data_offsets, it needs 2`, name);
  }
  if (begin > end)
    scanner.fail(`tensor ${show(name)} begins at byte ${begin}, behind its end ${end}`, name, { value: [begin, end] });
  let bytes = elementBytes(dtype);
  for (const dimension of shape) {
    bytes *= dimension;
    if (bytes > Number.MAX_SAFE_INTEGER) {
      scanner.fail(
        `tensor ${show(name)} of shape [${shape.join(', ')}] has more bytes than can be counted (limit ${Number.MAX_SAFE_INTEGER})`,
        name,
        { value: shape, limit: Number.MAX_SAFE_INTEGER },
      );
    }
  }
  if (bytes !== end - begin) {
    scanner.fail(
      `tensor ${show(name)} is ${dtype}[${shape.join(', ')}], which takes ${bytes} bytes, but its offsets ${begin}..${end} span ${end - begin}`,
      name,
      { value: end - begin, limit: bytes },
    );
  }
  return { dtype, shape, begin, end };
}

/** The tensors must cover [0, dataBytes) without gap or overlap: anything else hides data or lets two names share it. */
function checkCover(path: string, tensors: ReadonlyMap<string, TensorEntry>, dataBytes: number): void {
  const sorted = [...tensors].sort((a, b) => a[1].begin - b[1].begin || a[1].end - b[1].end);
  let at = 0;
  let previous = '';
  for (const [name, { begin, end }] of sorted) {
    if (end > dataBytes)
      throw weightsError(
        path,
        `tensor ${show(name)} ends at byte ${end}, but the data section has ${dataBytes} bytes: the file is truncated or damaged`,
        { tensor: name, value: end, limit: dataBytes },
      );
    if (begin < at)
      throw weightsError(
        path,
        `tensor ${show(name)} at bytes ${begin}..${end} overlaps tensor ${show(previous)}, which ends at ${at}`,
        { tensor: name, value: begin, limit: at },
      );
    if (begin > at)
      throw weightsError(path, `tensor ${show(name)} begins at byte ${begin}, leaving a hole behind byte ${at}`, {
        tensor: name,
        value: begin,
        limit: at,
      });
    at = end;
    previous = name;
  }
  if (at !== dataBytes)
    throw weightsError(path, `the tensors end at byte ${at}, but the data section has ${dataBytes} bytes`, {
      value: at,
      limit: dataBytes,
    });
}
