/** NumPy's .npy files: one array, versions 1 to 3 of the header, little-endian, C or Fortran order on reading. */
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited, writeFileAtomic } from '../util/files.js';
import { narrowInt64 } from './safetensors.js';

export type NpyArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array
  | Uint16Array
  | Uint32Array;

export interface Npy {
  readonly data: NpyArray;
  readonly shape: number[];
  /** The file's own type, e.g. `<f4`; `<f2` comes as its 16-bit patterns, `<i8` narrowed to 32 bits, `|b1` as bytes. */
  readonly type: string;
}

const headerLimit = 65_536;
const fileLimit = 2 ** 32;

const readers: Readonly<
  Record<string, { readonly bytes: number; readonly make: (buffer: ArrayBuffer, what: string) => NpyArray }>
> = {
  '<f4': { bytes: 4, make: (b) => new Float32Array(b) },
  '<f8': { bytes: 8, make: (b) => new Float64Array(b) },
  '<f2': { bytes: 2, make: (b) => new Uint16Array(b) },
  '<i4': { bytes: 4, make: (b) => new Int32Array(b) },
  '<i2': { bytes: 2, make: (b) => new Int16Array(b) },
  '<u4': { bytes: 4, make: (b) => new Uint32Array(b) },
  '<u2': { bytes: 2, make: (b) => new Uint16Array(b) },
  '<i8': { bytes: 8, make: (b, what) => narrowInt64(new BigInt64Array(b), what) },
  '|i1': { bytes: 1, make: (b) => new Int8Array(b) },
  '|u1': { bytes: 1, make: (b) => new Uint8Array(b) },
  '|b1': { bytes: 1, make: (b) => new Uint8Array(b) },
};

/** @param what named in errors @throws E_WEIGHTS for anything that is not exactly one array of a known type */
export function parseNpy(bytes: Uint8Array, what = 'npy'): Npy {
  const { type, fortran, shape, offset } = parseHeader(bytes, what);
  const reader = Object.hasOwn(readers, type) ? readers[type] : undefined;
  if (!reader) throw fail(what, `holds the type ${show(type)} (readable: ${Object.keys(readers).join(', ')})`);
  const size = shape.reduce((product, d) => product * d, reader.bytes);
  if (!Number.isSafeInteger(size) || size !== bytes.length - offset) {
    throw fail(
      what,
      `is ${type}[${shape.join(', ')}], which takes ${size} bytes, but ${bytes.length - offset} follow the header`,
      { value: bytes.length - offset, limit: size },
    );
  }
  // A copy: aligned whatever the header's length, and not tied to the file's buffer.
  const data = reader.make(new Uint8Array(bytes.subarray(offset)).buffer, what);
  return { data: fortran && shape.length > 1 ? toRowMajor(data, shape) : data, shape, type };
}

function parseHeader(
  bytes: Uint8Array,
  what: string,
): { type: string; fortran: boolean; shape: number[]; offset: number } {
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (bytes.length < 10 || magic.some((byte, i) => bytes[i] !== byte))
    throw fail(what, 'is no .npy file (its first bytes are not "\\x93NUMPY")');
  const version = bytes[6] as number;
  if (version < 1 || version > 3 || bytes[7] !== 0)
    throw fail(what, `has the format version ${version}.${bytes[7]}, known are 1.0 to 3.0`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (version > 1 && bytes.length < 12) throw fail(what, 'ends inside its header');
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = version === 1 ? 10 : 12;
  if (length > headerLimit || start + length > bytes.length)
    throw fail(what, `says that its header has ${length} bytes (limit ${headerLimit}, the file has ${bytes.length})`, {
      value: length,
      limit: headerLimit,
    });
  const text = Buffer.from(bytes.subarray(start, start + length)).toString('latin1');
  return { ...parseDict(text, what), offset: start + length };
}

/** The header is a Python literal with exactly three keys. */
function parseDict(text: string, what: string): { type: string; fortran: boolean; shape: number[] } {
  const dict =
    /^\{\s*((?:'(?:descr|fortran_order|shape)'\s*:\s*(?:'[^']{1,16}'|True|False|\([0-9,\s]*\))\s*,?\s*){3})\}\s*$/.exec(
      text,
    );
  const type = /'descr'\s*:\s*'([^']*)'/.exec(dict?.[1] ?? '')?.[1];
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(dict?.[1] ?? '')?.[1];
  const list = /'shape'\s*:\s*\(([0-9,\s]*)\)/.exec(dict?.[1] ?? '')?.[1];
  if (
    type === undefined ||
    fortran === undefined ||
    list === undefined ||
    !/^\s*$|^\s*\d+\s*,\s*$|^\s*\d+(\s*,\s*\d+)+\s*,?\s*$/.test(list)
  ) {
    throw fail(what, `has the header ${show(text)}, which is not { descr, fortran_order, shape }`);
  }
  const shape = list
    .split(',')
    .filter((part) => part.trim() !== '')
    .map(Number);
  if (shape.length > 32 || !shape.every(Number.isSafeInteger))
    throw fail(what, `has a shape that is too large: (${list})`);
  return { type, fortran: fortran === 'True', shape };
}

function toRowMajor(data: NpyArray, shape: readonly number[]): NpyArray {
  const result = data.slice();
  const index = new Array<number>(shape.length).fill(0);
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, d) => product * d, 1));
  for (let i = 0; i < result.length; i++) {
    let at = 0;
    for (let axis = 0; axis < shape.length; axis++) at += (index[axis] as number) * (strides[axis] as number);
    result[i] = data[at] as number;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = (index[axis] as number) + 1;
      if (index[axis] !== shape[axis]) break;
      index[axis] = 0;
    }
  }
  return result;
}

/** The bytes of a .npy file, version 1.0, C order. @throws E_USAGE when data and shape do not fit */
export function encodeNpy(data: NpyArray, shape: readonly number[]): Uint8Array {
  const count = shape.reduce((product, d) => product * d, 1);
  if (count !== data.length)
    throw new WordmaskError('E_USAGE', `encodeNpy: ${data.length} values do not fill the shape [${shape.join(', ')}]`);
  const list = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const dict = `{'descr': '${typeOf(data)}', 'fortran_order': False, 'shape': (${list}), }`;
  const length = Math.ceil((10 + dict.length + 1) / 64) * 64 - 10; // the data begin at a multiple of 64
  const header = Buffer.alloc(10 + length, 0x20);
  header.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  header.writeUInt16LE(length, 8);
  header.write(dict, 10, 'latin1');
  header[9 + length] = 0x0a;
  return Buffer.concat([header, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}

function typeOf(data: NpyArray): string {
  if (data instanceof Float32Array) return '<f4';
  if (data instanceof Float64Array) return '<f8';
  if (data instanceof Int32Array) return '<i4';
  if (data instanceof Int16Array) return '<i2';
  if (data instanceof Uint32Array) return '<u4';
  if (data instanceof Uint16Array) return '<u2';
  return data instanceof Int8Array ? '|i1' : '|u1';
}

/** @throws E_WEIGHTS for a malformed file, E_DISK */
export async function readNpy(path: string, options: { signal?: AbortSignal } = {}): Promise<Npy> {
  return parseNpy(await readFileLimited(path, { ...options, limit: fileLimit, code: 'E_WEIGHTS' }), path);
}

export async function writeNpy(
  path: string,
  data: NpyArray,
  shape: readonly number[],
  options: { signal?: AbortSignal } = {},
): Promise<void> {
  await writeFileAtomic(path, encodeNpy(data, shape), options);
}

function fail(what: string, text: string, details: Record<string, unknown> = {}): WordmaskError {
  return new WordmaskError('E_WEIGHTS', `${what} ${text}`, { details: { file: what, ...details } });
}
