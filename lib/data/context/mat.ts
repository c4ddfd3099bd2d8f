/**
 * Reader of MATLAB 5 files (MathWorks, "MAT-File Format", version 5), for numeric matrices of two dimensions: PASCAL Context keeps
 * its 459 labels in one named LabelMap. Plain and zlib-compressed elements, either byte order; sizes are checked before they are used.
 */
import { promisify } from 'node:util';
import { constants, inflate, inflateSync } from 'node:zlib';
import { checkImageSize, imageLimits } from '../../image/limits.js';
import { isWordmaskError, show, WordmaskError } from '../../util/errors.js';
import { abortable } from '../../util/slices.js';

const inflateAll = promisify(inflate);

const headerBytes = 128;
const [miMatrix, miCompressed] = [14, 15];
/** Numeric element types: bytes a value, reader. */
const numbers: Readonly<
  Record<number, readonly [bytes: number, read: (view: DataView, at: number, little: boolean) => number]>
> = {
  1: [1, (view, at) => view.getInt8(at)],
  2: [1, (view, at) => view.getUint8(at)],
  3: [2, (view, at, little) => view.getInt16(at, little)],
  4: [2, (view, at, little) => view.getUint16(at, little)],
  5: [4, (view, at, little) => view.getInt32(at, little)],
  6: [4, (view, at, little) => view.getUint32(at, little)],
  7: [4, (view, at, little) => view.getFloat32(at, little)],
  9: [8, (view, at, little) => view.getFloat64(at, little)],
  12: [8, (view, at, little) => Number(view.getBigInt64(at, little))],
  13: [8, (view, at, little) => Number(view.getBigUint64(at, little))],
};
/** Compressed bytes that surely hold an element's first ones. */
const peekBytes = 256;
const mostMatrixBytes = 8 * 64_000_000 + 4096;

export interface MatMatrix {
  readonly width: number;
  readonly height: number;
  /** Value in column `x` of row `y`. */
  at(x: number, y: number): number;
}

const corrupt = (problem: string, cause?: unknown): WordmaskError =>
  new WordmaskError('E_IMAGE_CORRUPT', `damaged MAT file: ${problem}`, { cause });
const refused = (problem: string): WordmaskError => new WordmaskError('E_IMAGE_FORMAT', problem);

/**
 * The matrix of that name.
 * @throws E_IMAGE_FORMAT for other files and where there is no such matrix, E_IMAGE_CORRUPT, E_IMAGE_SIZE
 */
export async function readMatMatrix(bytes: Uint8Array, name: string, signal?: AbortSignal): Promise<MatMatrix> {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, headerBytes)).toString('latin1');
  if (text.startsWith('MATLAB 7.3')) throw refused('this MAT file is of version 7.3 (HDF5): save it as version 7');
  const order = text.slice(126, 128);
  if (bytes.length < headerBytes || (order !== 'IM' && order !== 'MI'))
    throw refused('not a MAT file of version 5: its header is missing');
  const little = order === 'IM';
  const names: string[] = [];
  for (let at = headerBytes; at + 8 <= bytes.length; ) {
    signal?.throwIfAborted();
    const element = elementAt(bytes, at, little);
    const { type, data } = element.type === miCompressed ? await unpacked(element.data, little, signal) : element;
    if (type === miMatrix) {
      const parts = partsOf(data, little);
      if (parts.name === name) return toMatrix(parts, little);
      names.push(parts.name);
    }
    // Compressed elements are not padded.
    at = element.type === miCompressed ? element.end : at + 8 * Math.ceil((element.end - at) / 8);
  }
  throw refused(`this MAT file has no matrix ${show(name)}${names.length > 0 ? `, only ${names.join(', ')}` : ''}`);
}

interface Element {
  readonly type: number;
  readonly data: Uint8Array;
  /** First byte behind the data, without padding. */
  readonly end: number;
}

/** A tag of eight bytes and data behind it, or both in eight bytes for up to four bytes of data. */
function elementAt(bytes: Uint8Array, at: number, little: boolean): Element {
  if (at + 8 > bytes.length) throw corrupt(`an element begins at byte ${at} of ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = view.getUint32(at, little);
  const small = first >>> 16;
  const [type, length, begin] =
    small > 0 ? [first & 0xffff, small, at + 4] : [first, view.getUint32(at + 4, little), at + 8];
  if ((small > 4 && small > 0) || length > bytes.length - begin)
    throw corrupt(`an element at byte ${at} claims ${length} bytes, ${bytes.length - begin} are left`);
  return { type, data: bytes.subarray(begin, begin + length), end: small > 0 ? at + 8 : begin + length };
}

async function unpacked(data: Uint8Array, little: boolean, signal?: AbortSignal): Promise<Element> {
  try {
    // What the element says of its own size, before its bytes are made room for.
    const head = inflateSync(data.subarray(0, peekBytes), { finishFlush: constants.Z_SYNC_FLUSH });
    if (head.length < 8) throw corrupt('a compressed element is cut short');
    const size = 8 + viewOf(head).getUint32(4, little);
    if (size > mostMatrixBytes)
      throw new WordmaskError(
        'E_IMAGE_SIZE',
        `a compressed element of a MAT file claims ${size} bytes; the limit is ${mostMatrixBytes}`,
      );
    return elementAt(await abortable(inflateAll(data, { maxOutputLength: size + 8 }), signal), 0, little);
  } catch (cause) {
    if (signal?.aborted || isWordmaskError(cause)) throw cause;
    throw corrupt('a compressed element cannot be inflated', cause);
  }
}

interface Parts {
  readonly name: string;
  readonly dimensions: readonly number[];
  readonly complex: boolean;
  /** Numeric class 6 to 15; others are cells, structures, text, sparse matrices. */
  readonly arrayClass: number;
  readonly values: Element | undefined;
}

/** Flags, dimensions, name and values of a matrix. */
function partsOf(data: Uint8Array, little: boolean): Parts {
  const elements: Element[] = [];
  for (let at = 0; at + 8 <= data.length && elements.length < 4; ) {
    const element = elementAt(data, at, little);
    elements.push(element);
    at += 8 * Math.ceil((element.end - at) / 8);
  }
  const [flags, sizes, name, values] = elements;
  if (!flags || flags.data.length < 4 || !sizes || !name) throw corrupt('a matrix lacks its flags, size or name');
  const bits = viewOf(flags.data).getUint32(0, little);
  const dimensions = Array.from({ length: sizes.data.length >> 2 }, (_, i) =>
    viewOf(sizes.data).getInt32(4 * i, little),
  );
  const text = Buffer.from(name.data).toString('latin1');
  return { name: text, dimensions, complex: (bits & 0x800) !== 0, arrayClass: bits & 0xff, values };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function toMatrix({ name, dimensions, complex, arrayClass, values }: Parts, little: boolean): MatMatrix {
  const [height = 0, width = 0] = dimensions;
  if (dimensions.length !== 2 || complex || arrayClass < 6 || arrayClass > 15)
    throw refused(`${name} is no plain numeric matrix (${dimensions.join(' x ')}, class ${arrayClass})`);
  checkImageSize(width, height, imageLimits(), name);
  const kind = values && numbers[values.type];
  if (!values || !kind) throw corrupt(`${name} has values of type ${show(values?.type)}`);
  const [size, read] = kind;
  if (values.data.length < size * width * height)
    throw corrupt(`${name} has ${values.data.length} of ${size * width * height} bytes`);
  const view = viewOf(values.data);
  // The file goes column by column.
  return { width, height, at: (x, y) => read(view, size * (x * height + y), little) };
}
