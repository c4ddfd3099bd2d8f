/**
 * Tensor: a strided window on native storage. Values are immutable; views share storage; every method that computes
 * queues an op and returns at once. Freed by `dispose`, by the end of the enclosing `scope`, or by the garbage collector.
 */
import { addon, type NativeMapped, type NativeStorage } from '../binding/addon.js';
import { show, WordmaskError } from '../util/errors.js';
import { currentContext, isolated, type ScopeFrame, spoilRecording } from './context.js';
import { deviceName, deviceNumber } from './device-table.js';
import { type DType, dtypeBytes, dtypeCode, dtypeOfArray, dtypes, type TypedArray, viewAs } from './dtype.js';
import type { GradValue } from './grad/node.js';
import { recordExpand, recordMove, recordPermute, recordReshape, recordSlice } from './grad/views.js';
import { cast } from './ops/math/cast.js';
import { assign, copy } from './ops/shape/copy.js';
import { checkShape, contiguousStrides, normaliseAxis, numel, sameShape, viewStrides } from './shapes.js';

/** Storage shared by views, with the count of handles on it. */
export interface StorageRef {
  readonly native: NativeStorage;
  handles: number;
  /** Number of the device that holds it. */
  readonly device: number;
}

export interface HostArray {
  readonly data: TypedArray;
  readonly shape: readonly number[];
  readonly stride?: readonly number[];
  readonly offset?: number;
}

export class Tensor {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  readonly dtype: DType;
  readonly #device: number;
  /** Identity on the tape; undefined where no gradient is needed. */
  gradValue: GradValue | undefined;
  /** The open scope that frees it; set by the engine alone. */
  owner: ScopeFrame | undefined;
  #ref: StorageRef | undefined;

  /** For the engine: use `Tensor.from` and ops. */
  constructor(ref: StorageRef, dtype: DType, shape: readonly number[], strides?: readonly number[], offset = 0) {
    this.shape = Object.freeze([...shape]);
    this.strides = strides ?? contiguousStrides(shape);
    this.offset = offset;
    this.dtype = dtype;
    this.#ref = ref;
    this.#device = ref.device;
    ref.handles++;
    this.owner = currentContext().scope;
    this.owner?.tensors.add(this);
  }

  /** Copies a host array (typed array with shape, or an ndarray of any stride) to a device; default that of `onDevice`, else the CPU. */
  static from(data: TypedArray | readonly number[], shape?: readonly number[], dtype?: DType, device?: string): Tensor {
    const array = Array.isArray(data) ? viewAsNumbers(data as readonly number[], dtype ?? 'f32') : (data as TypedArray);
    const type = dtype ?? dtypeOfArray(array);
    const dims = shape ?? [array.length];
    checkLength('Tensor.from', array, dims, type);
    return new Tensor(
      made(device, (at) => addon().fromHost(array, at)),
      type,
      dims,
    );
  }

  /** Like `from` without the copy, for arrays that nobody else holds or will ever change. */
  static lend(array: TypedArray, shape: readonly number[], dtype: DType = dtypeOfArray(array)): Tensor {
    checkLength('Tensor.lend', array, shape, dtype);
    return new Tensor(
      made(undefined, (at) => addon().lend(array, at)),
      dtype,
      shape,
    );
  }

  /** A tensor over bytes of a mapped file, read on use. The offset must be a multiple of the element size. */
  static fromMapped(mapped: NativeMapped, byteOffset: number, dtype: DType, shape: readonly number[]): Tensor {
    checkShape('a mapped tensor', shape);
    if (!Number.isSafeInteger(byteOffset) || byteOffset < 0)
      throw new WordmaskError(
        'E_USAGE',
        `a mapped tensor: the byte offset must be a whole number from 0 on, got ${show(byteOffset)}`,
      );
    const bytes = dtypeBytes(dtype);
    return new Tensor(
      made(undefined, (at) => addon().fromMapped(mapped, byteOffset, numel(shape) * bytes, bytes, at)),
      dtype,
      shape,
    );
  }

  /**
   * Another library's tensor without a copy, on the device where it lies: an External with the tag and box of wordmask.h
   * (`wm_dlpack_box`), which is empty afterwards. The memory stays its owner's, who hears (the tensor's deleter) when the last
   * kernel that reads it has run, and must not change it before.
   * @throws E_USAGE for another value, dtype, rank or alignment, E_DISPOSED for a box that was emptied, E_DEVICE
   */
  static fromDLPack(external: unknown): Tensor {
    const device = deviceNumber(addon().dlpackDevice(external));
    const { storage, dtype, shape, strides, offset } = addon().importDlpack(external, device);
    return new Tensor({ native: storage, handles: 0, device }, dtypes[dtype] as DType, shape, strides, offset);
  }

  static scalar(value: number, dtype: DType = 'f32'): Tensor {
    return Tensor.from([value], [], dtype);
  }

  /** Full name of the device that holds it: 'cpu', 'cuda:0'. */
  get device(): string {
    return deviceName(this.#device);
  }
  get size(): number {
    return numel(this.shape);
  }
  get rank(): number {
    return this.shape.length;
  }
  get disposed(): boolean {
    return this.#ref === undefined;
  }
  get requiresGrad(): boolean {
    return this.gradValue !== undefined;
  }
  get isContiguous(): boolean {
    const expected = contiguousStrides(this.shape);
    return this.shape.every((d, i) => d === 1 || this.strides[i] === expected[i]);
  }

  /** The storage, for the engine. @throws E_DISPOSED */
  get storage(): StorageRef {
    if (!this.#ref) {
      throw new WordmaskError(
        'E_DISPOSED',
        `a ${this.dtype}[${this.shape.join(', ')}] tensor was used after dispose(): keep() it or return it from its scope`,
      );
    }
    return this.#ref;
  }

  /** Releases this handle; the memory goes once the last view and the queued work are done with it. Harmless twice. */
  dispose(): void {
    const ref = this.#ref;
    if (!ref) return;
    this.#ref = undefined;
    this.owner?.tensors.delete(this);
    this.owner = undefined;
    if (--ref.handles === 0) ref.native.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * For optimisers, which keep all parameters of a group in one buffer: copies the values to elements `offset`.. of a flat
   * tensor and is a view of them from now on, with the same place on the tape. Handles made before keep the old memory.
   */
  moveInto(flat: Tensor, offset: number): void {
    const old = this.storage;
    const strides = contiguousStrides(this.shape);
    isolated(() => {
      const source = this.contiguous();
      const target = new Tensor(flat.storage, flat.dtype, this.shape, strides, flat.offset + offset);
      assign(target, source);
      target.dispose();
      if (source !== this) source.dispose();
    });
    this.#ref = flat.storage;
    this.#ref.handles++;
    Object.assign(this as { strides: readonly number[]; offset: number }, { strides, offset: flat.offset + offset });
    if (--old.handles === 0) old.native.dispose();
  }

  /** Another handle on the same values, without a place on the tape. */
  detach(): Tensor {
    return new Tensor(this.storage, this.dtype, this.shape, this.strides, this.offset);
  }

  /** Same elements in row-major order under another shape; one size may be -1. Copies only where strides demand it. */
  reshape(...dims: number[] | [readonly number[]]): Tensor {
    const shape = resolveShape(this, (Array.isArray(dims[0]) ? dims[0] : dims) as readonly number[]);
    const strides = viewStrides(this.shape, this.strides, shape);
    if (strides) return this.reshapeView(shape, strides);
    const source = this.contiguous();
    const view = source.reshapeView(shape, contiguousStrides(shape));
    source.dispose();
    return view;
  }

  /** Axes in a new order: `permute(0, 2, 1)`. */
  permute(...axes: number[]): Tensor {
    const order = axes.map((axis) => normaliseAxis('permute', axis, this.rank));
    if (order.length !== this.rank || new Set(order).size !== order.length) {
      throw new WordmaskError('E_OPTION', `permute: needs each of ${this.rank} axes once, got ${show(axes)}`);
    }
    const pick = (list: readonly number[]) => order.map((axis) => list[axis] as number);
    const view = new Tensor(this.storage, this.dtype, pick(this.shape), pick(this.strides), this.offset);
    recordPermute(this, view, order);
    return view;
  }

  transpose(a: number, b: number): Tensor {
    const order = this.shape.map((_, i) => i);
    const [i, j] = [normaliseAxis('transpose', a, this.rank), normaliseAxis('transpose', b, this.rank)];
    [order[i], order[j]] = [j, i];
    return this.permute(...order);
  }

  /** Elements begin..end-1 along one axis; negative bounds count from the end. */
  slice(axis: number, begin: number, end?: number): Tensor {
    const at = normaliseAxis('slice', axis, this.rank);
    const length = this.shape[at] as number;
    const from = begin < 0 ? begin + length : begin;
    const to = end === undefined ? length : end < 0 ? end + length : end;
    if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to > length || from > to) {
      throw new WordmaskError('E_OPTION', `slice: ${begin}..${end ?? ''} is outside axis ${at} of length ${length}`);
    }
    const shape = this.shape.map((d, i) => (i === at ? to - from : d));
    const view = new Tensor(
      this.storage,
      this.dtype,
      shape,
      this.strides,
      this.offset + from * (this.strides[at] as number),
    );
    recordSlice(this, view, at, from);
    return view;
  }

  /** Row `index` along `axis`, that axis dropped. */
  select(axis: number, index: number): Tensor {
    const at = normaliseAxis('select', axis, this.rank);
    const row = this.slice(at, index, index === -1 ? undefined : index + 1);
    const view = row.reshapeView(
      row.shape.filter((_, i) => i !== at),
      row.strides.filter((_, i) => i !== at),
    );
    row.dispose();
    return view;
  }

  /** Repeats axes of size 1 (and missing leading axes) without a copy. */
  expand(...dims: number[] | [readonly number[]]): Tensor {
    const shape = (Array.isArray(dims[0]) ? dims[0] : dims) as readonly number[];
    checkShape('expand', shape);
    const lead = shape.length - this.rank;
    const fits = lead >= 0 && this.shape.every((d, i) => d === shape[i + lead] || d === 1);
    if (!fits)
      throw new WordmaskError(
        'E_OPTION',
        `expand: [${this.shape.join(', ')}] does not broadcast to [${shape.join(', ')}]`,
      );
    const strides = shape.map((d, i) =>
      i < lead || this.shape[i - lead] !== d ? 0 : (this.strides[i - lead] as number),
    );
    const view = new Tensor(this.storage, this.dtype, shape, strides, this.offset);
    recordExpand(this, view);
    return view;
  }

  /** This tensor, or a contiguous copy of it. */
  contiguous(): Tensor {
    return this.isContiguous ? this : copy(this);
  }

  /**
   * The same values on another device, contiguous; the tensor itself where it lies there already. Gradients come back the way.
   * @throws E_DEVICE when the device cannot be opened
   */
  to(device: string): Tensor {
    if (device === this.device) return this;
    const target = deviceNumber(device);
    const native = addon().transfer(this.storage.native, this.describe(), this.storage.device, target);
    const moved = new Tensor({ native, handles: 0, device: target }, this.dtype, this.shape);
    recordMove(this, moved);
    return moved;
  }

  /**
   * This tensor for another library, without a copy: an External with the tag and box of wordmask.h, which `fromDLPack` and
   * other add-ons take. Resolves once the values are there for every stream. The memory stays alive until the taker calls the
   * deleter, after `dispose()` too; it is read-only, since other tensors may share it.
   */
  toDLPack(): Promise<unknown> {
    return addon().exportDlpack(this.storage.native, this.describe(), this.#device);
  }

  /**
   * An External with a `wm_tensor_handle` (wordmask.h): what another add-on hands to `run` and `read` of `capi`, in call order
   * with everything queued here. It keeps the memory alive.
   */
  handle(): unknown {
    return addon().handle(this.storage.native, this.describe(), this.#device);
  }

  /** Values as a fresh typed array in row-major order. bf16 and f16 come as 16-bit patterns: `cast` to f32 first for numbers. */
  async data(): Promise<TypedArray> {
    const buffer = this.hostBuffer();
    await addon().read(this.storage.native, this.describe(), buffer, this.#device);
    return viewAs(this.dtype, buffer);
  }

  /** Like `data`, waiting on this thread: for scripts, never in a service. */
  dataSync(): TypedArray {
    const buffer = this.hostBuffer();
    addon().readSync(this.storage.native, this.describe(), buffer, this.#device);
    return viewAs(this.dtype, buffer);
  }

  /** The value of a one-element tensor as a number, whatever its dtype. @throws E_USAGE for more or fewer elements */
  async item(): Promise<number> {
    if (this.size !== 1)
      throw new WordmaskError('E_USAGE', `item(): needs one element, got shape [${this.shape.join(', ')}]`);
    if (this.dtype !== 'bf16' && this.dtype !== 'f16') return (await this.data())[0] as number;
    const half = this.detach();
    const wide = cast(half, 'f32');
    try {
      return (await wide.data())[0] as number;
    } finally {
      wide.dispose();
      half.dispose();
    }
  }

  /** Host copy as `{ data, shape }`, the shape `ndarray` takes. */
  async toArray(): Promise<{ data: TypedArray; shape: number[] }> {
    return { data: await this.data(), shape: [...this.shape] };
  }

  private reshapeView(shape: readonly number[], strides: readonly number[]): Tensor {
    const view = new Tensor(this.storage, this.dtype, shape, strides, this.offset);
    recordReshape(this, view);
    return view;
  }

  /** Room for the values on the host. A view may have more elements than any array can hold. */
  private hostBuffer(): ArrayBuffer {
    const bytes = this.size * dtypeBytes(this.dtype);
    try {
      return new ArrayBuffer(bytes);
    } catch (cause) {
      throw new WordmaskError(
        'E_OOM',
        `data(): no room for ${bytes} bytes of a ${this.dtype}[${this.shape.join(', ')}] tensor on the host`,
        { cause, details: { bytes } },
      );
    }
  }

  /** For whatever leaves the queue of this device, which no Program repeats. */
  private describe(): Float64Array {
    spoilRecording();
    return Float64Array.from([this.rank, dtypeCode(this.dtype), this.offset, ...this.shape, ...this.strides]);
  }
}

/** A tensor that training changes: the leaves of the tape, named by their path in the model. */
export class Parameter extends Tensor {
  name = '';
}

/** Storage that the add-on makes on a device. */
function made(device: string | undefined, make: (device: number) => NativeStorage): StorageRef {
  const at = device === undefined ? (currentContext().device ?? 0) : deviceNumber(device);
  return { native: make(at), handles: 0, device: at };
}

function viewAsNumbers(values: readonly number[], dtype: DType): TypedArray {
  if (dtype === 'bf16' || dtype === 'f16')
    throw new WordmaskError('E_USAGE', `plain numbers cannot be made ${dtype}: make f32 and cast()`);
  const array = viewAs(dtype, new ArrayBuffer(values.length * dtypeBytes(dtype)));
  array.set(values);
  return array;
}

function checkLength(what: string, array: TypedArray, shape: readonly number[], dtype: DType): void {
  checkShape(what, shape);
  if (array.length !== numel(shape) || array.BYTES_PER_ELEMENT !== dtypeBytes(dtype)) {
    throw new WordmaskError(
      'E_USAGE',
      `a ${dtype}[${shape.join(', ')}] tensor needs ${numel(shape)} elements of ${dtypeBytes(dtype)} bytes, got ${show(array)}`,
    );
  }
}

function resolveShape(tensor: Tensor, dims: readonly number[]): readonly number[] {
  const known = dims.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const shape = dims.map((d) => (d === -1 ? tensor.size / known : d));
  const valid = dims.filter((d) => d === -1).length <= 1 && shape.every((d) => Number.isInteger(d) && d >= 0);
  if (!valid || numel(shape) !== tensor.size) {
    throw new WordmaskError(
      'E_OPTION',
      `reshape: [${tensor.shape.join(', ')}] has ${tensor.size} elements and cannot become [${dims.join(', ')}]`,
    );
  }
  return sameShape(shape, tensor.shape) ? tensor.shape : shape;
}
