/**
 * Programs: work of repeating shape, recorded once and queued from then on as one command (native/core/program.h). A CUDA device
 * replays it as a graph. Shapes, attributes and everything that the ops read besides the inputs are part of the recording.
 */
import { addon, type NativeProgram, type NativeStorage } from '../binding/addon.js';
import { WordmaskError } from '../util/errors.js';
import { currentContext, type Recording, runInContext } from './context.js';
import { type DType, dtypeCode } from './dtype.js';
import { reportNow } from './run.js';
import { Tensor } from './tensor.js';

/** What a Program gives, by name. */
export type Outputs = Readonly<Record<string, Tensor | undefined>>;

/** Where an output lies in its storage. */
interface Place {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

export class Program<T extends Outputs = Outputs> {
  #native: NativeProgram | undefined;
  readonly #device: number;
  readonly #places: readonly Place[];
  /** Bytes of what lies between inputs and outputs. */
  readonly bytes: number;

  private constructor(native: NativeProgram, device: number, outputs: Outputs) {
    this.#native = native;
    this.#device = device;
    this.#places = tensorsOf(outputs).map(({ name, tensor: { dtype, shape, strides, offset } }) => ({
      name,
      dtype,
      shape,
      strides,
      offset,
    }));
    this.bytes = addon().programBytes(native);
  }

  /**
   * Runs `fn`, which must be synchronous, and records the ops it queues on the device of the inputs.
   * @param inputs contiguous, each on a storage of its own
   * @returns what `fn` returned, and the Program unless `fn` did what none can repeat: read values, move them to another device,
   *   work in place, return something that its ops did not make
   */
  static record<T extends Outputs>(
    name: string,
    inputs: readonly Tensor[],
    fn: () => T,
  ): { readonly outputs: T; readonly program?: Program<T> } {
    const device = inputs[0]?.storage.device ?? currentContext().device ?? 0;
    const native = addon().programBegin(name, storagesOf(inputs), meta(inputs), device);
    const recording: Recording = { native, device, open: true };
    let program: Program<T> | undefined;
    try {
      const outputs = runInContext({ recording, grad: false }, fn);
      const made = tensorsOf(outputs).map(({ tensor }) => tensor);
      if (recording.open && ended(native, made)) program = new Program<T>(native, device, outputs);
      return { outputs, program };
    } finally {
      recording.open = false;
      if (!program) addon().programFree(native);
    }
  }

  /**
   * Queues the recorded ops on other inputs of the same shapes and dtypes.
   * @throws E_USAGE for inputs that do not fit, E_DISPOSED
   */
  run(inputs: readonly Tensor[]): T {
    if (!this.#native) throw new WordmaskError('E_DISPOSED', 'a program was run after dispose()');
    const { token } = currentContext();
    const made = addon().programRun(this.#native, storagesOf(inputs), meta(inputs), token);
    const outputs = this.#places.map(
      ({ dtype, shape, strides, offset }, i) =>
        new Tensor(
          { native: made[i] as NativeStorage, handles: 0, device: this.#device },
          dtype,
          shape,
          strides,
          offset,
        ),
    );
    reportNow(outputs);
    return Object.fromEntries(this.#places.map(({ name }, i) => [name, outputs[i]])) as T;
  }

  /** Gives up what it holds; runs that are queued go on. Harmless twice. */
  dispose(): void {
    if (this.#native) addon().programFree(this.#native);
    this.#native = undefined;
  }
}

/** False where an output is none of the Program's. */
function ended(native: NativeProgram, outputs: readonly Tensor[]): boolean {
  try {
    addon().programEnd(native, storagesOf(outputs), meta(outputs));
    return true;
  } catch {
    return false;
  }
}

function tensorsOf(outputs: Outputs): { name: string; tensor: Tensor }[] {
  return Object.entries(outputs).flatMap(([name, tensor]) => (tensor ? [{ name, tensor }] : []));
}

const storagesOf = (tensors: readonly Tensor[]) => tensors.map((tensor) => tensor.storage.native);

const meta = (tensors: readonly Tensor[]) =>
  Float64Array.from(
    tensors.flatMap(({ rank, dtype, offset, shape, strides }) => [
      rank,
      dtypeCode(dtype),
      offset,
      ...shape,
      ...strides,
    ]),
  );

/** Programs kept at once, and the bytes between their inputs and outputs. */
const mostPrograms = 16;
const mostBytes = 512 << 20;
/** Keys remembered of work that was seen once. */
const mostSeen = 256;

/**
 * Programs of one owner by key, the least recently used go first. Work is recorded when its key comes a second time: shapes that
 * come once cost nothing.
 */
export class Programs {
  readonly #kept = new Map<string, Program>();
  /** True where no Program can be made. */
  readonly #seen = new Map<string, boolean>();

  constructor(private readonly name: string) {}

  /**
   * `fn(inputs)`, or the Program that was recorded of it under this key. The key says everything that `fn` depends on besides shapes,
   * dtypes and device of the inputs. Where a tape records, `fn` is simply called.
   */
  run<T extends Outputs>(key: string, inputs: readonly Tensor[], fn: (inputs: readonly Tensor[]) => T): T {
    const { grad, recording } = currentContext();
    if (grad || recording || !inputs.every((tensor) => tensor.isContiguous)) return fn(inputs);
    const full = `${inputs.map(({ device, dtype, shape }) => `${device}:${dtype}[${shape}]`)} ${key}`;
    const known = this.#kept.get(full) as Program<T> | undefined;
    if (known) {
      this.#kept.delete(full);
      this.#kept.set(full, known);
      return known.run(inputs);
    }
    const impossible = this.#seen.get(full);
    if (impossible !== false) {
      if (impossible === undefined) this.#remember(full, false);
      return fn(inputs);
    }
    const { outputs, program } = Program.record(this.name, inputs, () => fn(inputs));
    if (program) this.#keep(full, program);
    else this.#remember(full, true);
    return outputs;
  }

  #remember(key: string, impossible: boolean): void {
    this.#seen.set(key, impossible);
    if (this.#seen.size > mostSeen) this.#seen.delete(this.#seen.keys().next().value as string);
  }

  #keep(key: string, program: Program): void {
    this.#kept.set(key, program);
    let bytes = [...this.#kept.values()].reduce((sum, kept) => sum + kept.bytes, 0);
    for (const [oldest, kept] of this.#kept) {
      if (this.#kept.size <= mostPrograms && bytes <= mostBytes) break;
      bytes -= kept.bytes;
      kept.dispose();
      this.#kept.delete(oldest);
    }
  }

  dispose(): void {
    for (const program of this.#kept.values()) program.dispose();
    this.#kept.clear();
    this.#seen.clear();
  }
}
