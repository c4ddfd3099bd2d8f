/**
 * PyTorch checkpoints of the zip form (torch.save since 1.6) as a source of tensors: the pickle is read as data, the storages
 * lie in the archive as they are. Strided views are gathered, small integers widened; nothing is ever executed.
 */
import type { FileHandle } from 'node:fs/promises';
import { show } from '../../util/errors.js';
import { guardDisk, openRegular } from '../../util/files.js';
import { inSlices, Slices } from '../../util/slices.js';
import type { ZipEntry } from '../../util/zip-directory.js';
import { weightsError } from '../header-scanner.js';
import { decodeTensor, engineDtype } from '../safetensors.js';
import {
  type SafetensorsDtype,
  safetensorsDtypes,
  safetensorsLimits,
  type TensorEntry,
} from '../safetensors-header.js';
import type { TensorFile } from '../tensor-file.js';
import { Archive, archiveLimits } from './archive.js';
import { dtypeBytes } from './globals.js';
import { namedTensors } from './state-dict.js';
import { pickleLimits, unpickle } from './unpickler.js';
import type { TensorRef, TorchDtype } from './values.js';

interface Located {
  readonly ref: TensorRef;
  /** `data/<key>`. */
  readonly storage: string;
  /** Element type in the file; the entry's where small integers are widened. */
  readonly dtype: TorchDtype;
}

/** Integers that the engine has no type for, read as i32. */
const widened: Partial<Record<TorchDtype, SafetensorsDtype>> = { I16: 'I32', I8: 'I32', U16: 'I32' };

export class TorchFile implements TensorFile {
  /** Ranges lie in the file as it is, `dataOffset` is 0. Tensors of types that the engine does not know are left out. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly dataOffset = 0;
  /** All tensors with their element types, those that the engine does not know among them. */
  readonly stored: ReadonlyMap<string, { readonly dtype: TorchDtype; readonly shape: readonly number[] }>;

  /** The storage that was inflated last. */
  #unpacked: { readonly storage: string; readonly bytes: Buffer } | undefined;

  private constructor(
    private readonly archive: Archive,
    private readonly located: ReadonlyMap<string, Located>,
    tensors: ReadonlyMap<string, TensorEntry>,
    private readonly mapped: ReadonlySet<string>,
    private readonly handle: FileHandle,
  ) {
    this.tensors = tensors;
    this.stored = new Map([...located].map(([name, { ref }]) => [name, { dtype: ref.dtype, shape: ref.shape }]));
  }

  /**
   * Opens a checkpoint and reads all but the tensors' bytes.
   * @throws E_PICKLE_FORBIDDEN when the pickle asks for anything but plain values and tensors (opcode or name in the message);
   * E_WEIGHTS for a damaged or forged archive; E_DISK
   */
  static async open(path: string, options: { signal?: AbortSignal } = {}): Promise<TorchFile> {
    const { signal } = options;
    const handle = await openRegular(path, 'E_WEIGHTS');
    try {
      const archive = await Archive.open(path, handle, signal);
      await checkByteOrder(archive, signal);
      const refs = namedTensors(path, await readPickle(archive, signal));
      const located = new Map<string, Located>();
      for (const [name, ref] of refs) located.set(name, locate(archive, name, ref));
      return await guardDisk('read', path, () => TorchFile.#arrange(archive, located, handle, signal));
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  static async #arrange(
    archive: Archive,
    located: ReadonlyMap<string, Located>,
    handle: FileHandle,
    signal?: AbortSignal,
  ): Promise<TorchFile> {
    const tensors = new Map<string, TensorEntry>();
    const mapped = new Set<string>();
    const begins = new Map<string, number>();
    for (const [name, { ref, storage, dtype }] of located) {
      const known = widened[dtype] ?? dtype;
      if (!(safetensorsDtypes as readonly string[]).includes(known)) continue;
      const entry = archive.entries.get(storage);
      if (!entry) continue;
      const begin = begins.get(storage) ?? (await archive.contentAt(storage, entry, signal));
      begins.set(storage, begin);
      const first = begin + ref.offset * dtypeBytes[dtype];
      const bytes = elements(ref.shape) * dtypeBytes[dtype];
      tensors.set(name, { dtype: known as SafetensorsDtype, shape: ref.shape, begin: first, end: first + bytes });
      if (known === dtype && entry.method === 0 && isContiguous(ref)) mapped.add(name);
    }
    return new TorchFile(archive, located, tensors, mapped, handle);
  }

  get path(): string {
    return this.archive.path;
  }

  get fileBytes(): number {
    return this.archive.bytes;
  }

  inPlace(name: string): boolean {
    return this.mapped.has(name);
  }

  async read(name: string, options: { signal?: AbortSignal } = {}): Promise<Uint8Array> {
    const entry = this.tensors.get(name);
    if (!entry) throw weightsError(this.path, `holds no tensor ${show(name)} of a type that is read`, { tensor: name });
    const { dtype } = this.located.get(name) as Located;
    const raw = await this.readStored(name, options);
    return widened[dtype] === undefined ? raw : widen(raw, dtype);
  }

  /** The bytes of a tensor in the element type of the file, in row-major order. @throws as `read` */
  async readStored(name: string, { signal }: { signal?: AbortSignal } = {}): Promise<Uint8Array> {
    const { ref, storage, dtype } = this.located.get(name) as Located;
    const entry = this.archive.entries.get(storage);
    if (!entry) throw weightsError(this.path, `lacks the storage ${show(storage)} of tensor ${show(name)}`);
    const width = dtypeBytes[dtype];
    const first = ref.offset * width;
    const length = elements(ref.shape) === 0 ? 0 : (lastElement(ref) - ref.offset + 1) * width;
    const span = await this.#span(storage, entry, first, length, signal);
    return isContiguous(ref) ? span : gather(span, ref, width, signal);
  }

  /** Bytes of a storage. A stored one that is wanted whole is checked against its sum. */
  async #span(storage: string, entry: ZipEntry, first: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    if (entry.method === 0)
      return length === entry.size
        ? this.archive.read(storage, entry, signal)
        : this.archive.readPart(storage, entry, first, length, signal);
    // Many tensors may look into one storage: it is not unpacked for each of them.
    if (this.#unpacked?.storage !== storage)
      this.#unpacked = { storage, bytes: await this.archive.read(storage, entry, signal) };
    return Buffer.from(this.#unpacked.bytes.subarray(first, first + length));
  }

  async readArray(name: string, options: { signal?: AbortSignal } = {}): ReturnType<TensorFile['readArray']> {
    const bytes = await this.read(name, options);
    const { dtype, shape } = this.tensors.get(name) as TensorEntry;
    const data = decodeTensor(bytes, dtype, `${this.path}: tensor ${show(name)}`);
    return { data, dtype: engineDtype(dtype), shape: [...shape] };
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function readPickle(archive: Archive, signal?: AbortSignal) {
  const entry = archive.entries.get('data.pkl');
  if (!entry || entry.size > pickleLimits.bytes)
    throw weightsError(
      archive.path,
      `its pickle has ${entry?.size} bytes, the limit is ${pickleLimits.bytes}: save the state dictionary alone`,
      { value: entry?.size, limit: pickleLimits.bytes },
    );
  const reader = unpickle(archive.path, await archive.read('data.pkl', entry, signal));
  for (const slices = new Slices(signal); ; ) {
    const step = reader.next();
    if (step.done) return step.value;
    if (slices.due) await slices.pause();
  }
}

async function checkByteOrder(archive: Archive, signal?: AbortSignal): Promise<void> {
  const entry = archive.entries.get('byteorder');
  if (!entry || entry.size > 16) return;
  const order = (await archive.read('byteorder', entry, signal)).toString('latin1').trim();
  if (order !== 'little')
    throw weightsError(
      archive.path,
      `was saved in byte order ${show(order)}, little is read: save it again on a common machine`,
      { value: order },
    );
}

/** Checks a tensor against the storage it looks into. @throws E_WEIGHTS */
function locate(archive: Archive, name: string, ref: TensorRef): Located {
  const { storage, dtype, shape, stride } = ref;
  const wrong = (reason: string): Error =>
    weightsError(archive.path, `tensor ${show(name)} ${reason}`, { tensor: name, shape, stride });
  if (shape.length > safetensorsLimits.rank)
    throw wrong(`has ${shape.length} dimensions, the limit is ${safetensorsLimits.rank}`);
  const entry = archive.entries.get(`data/${storage.key}`);
  if (!entry) throw wrong(`lies in data/${storage.key}, which the archive does not hold`);
  const width = dtypeBytes[dtype];
  const bytes = storage.dtype === undefined ? storage.count : storage.count * dtypeBytes[storage.dtype];
  if (bytes !== entry.size)
    throw wrong(`lies in data/${storage.key} of ${entry.size} bytes, which is said to have ${bytes}`);
  const count = elements(shape);
  const last = lastElement(ref);
  if (count > 0 && !(Number.isSafeInteger(last) && (last + 1) * width <= bytes))
    throw wrong(`of shape [${shape.join(', ')}] reaches to element ${last}, its storage has ${bytes / width}`);
  if (count > 0 && !(count * width <= archiveLimits.expansion * Math.max(archive.bytes, 1 << 16)))
    throw wrong(`of shape [${shape.join(', ')}] is more than ${archiveLimits.expansion} times as large as the file`);
  return { ref, storage: `data/${storage.key}`, dtype };
}

/** The last element of its storage that a tensor with elements looks at. */
function lastElement({ offset, shape, stride }: TensorRef): number {
  return offset + shape.reduce((sum, d, k) => sum + (d - 1) * (stride[k] as number), 0);
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, d) => product * d, 1);
}

function isContiguous({ shape, stride }: TensorRef): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] as number;
    if (size !== 1 && stride[axis] !== expected) return elements(shape) === 0;
    expected *= size;
  }
  return true;
}

/** Copies a strided view, whose first element stands first in `bytes`, into row-major order. */
async function gather(bytes: Buffer, ref: TensorRef, width: number, signal?: AbortSignal): Promise<Uint8Array> {
  const { shape, stride } = ref;
  const out = Buffer.alloc(elements(shape) * width);
  await inSlices(
    elements(shape),
    1 << 15,
    (begin, end) => {
      for (let k = begin; k < end; k++) {
        let at = 0;
        for (let axis = shape.length - 1, rest = k; axis >= 0; axis--) {
          const size = shape[axis] as number;
          at += (rest % size) * (stride[axis] as number);
          rest = Math.floor(rest / size);
        }
        bytes.copy(out, k * width, at * width, (at + 1) * width);
      }
    },
    signal,
  );
  return out;
}

/** Small integers as i32, little-endian like everything in the file. */
function widen(bytes: Uint8Array, dtype: TorchDtype): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.byteLength / dtypeBytes[dtype];
  const out = new Int32Array(count);
  for (let k = 0; k < count; k++)
    out[k] =
      dtype === 'I8' ? view.getInt8(k) : dtype === 'I16' ? view.getInt16(2 * k, true) : view.getUint16(2 * k, true);
  return new Uint8Array(out.buffer);
}
