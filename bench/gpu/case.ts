/** What a case of the device bench is: shapes, cost, target (kernels.md), and how its work is queued. */
import { cast, type DType, dtypeBytes, numel, randomNormal, randomUniform, Tensor } from '#lib/engine/index.js';

/** What must be done at least; the floor of a case is the longest of these at the measured peaks. */
export interface Cost {
  readonly flops?: number;
  /** Bytes that must come from or go to memory, each once. */
  readonly bytes?: number;
}

export type Unit = 'TFLOP/s' | 'us' | 'ms' | 'share of floor' | 'times floor' | 'per second';

/** Figures of kernels.md: `accept` is the release gate, `goal` the aim. */
export interface Target {
  readonly unit: Unit;
  readonly accept?: number;
  readonly goal?: number;
}

/** How many times faster than a yardstick the case must be. */
export interface Ratio {
  readonly accept?: number;
  readonly goal?: number;
}

export interface Prepared {
  /** Queues the work once (or, with `waits`, resolves when it is done). `turn` counts the calls. */
  call(turn: number): unknown;
  /** The call is asynchronous by itself: timed one after another, from call to result. */
  readonly waits?: boolean;
  /** Milliseconds by stage of the last call, where it tells. */
  stages?(): Readonly<Record<string, number>>;
  close?(): unknown;
}

export interface GpuCase {
  readonly group: string;
  readonly name: string;
  readonly shape: string;
  readonly dtype: DType;
  readonly cost: Cost;
  /** Windows, images or pairs of one call, for 'per second'. */
  readonly items?: number;
  readonly target?: Target;
  /** The kernels' tier is held to this one. */
  readonly tier?: 1 | 2;
  /** The same work through cuBLASLt, in a process that asks the module for it. */
  readonly cublaslt?: Ratio & { build(bench: Bench): Prepared };
  /** The same work for bench/gpu/torch_cases.py, by its own names. */
  readonly torch?: Ratio & { readonly spec: Readonly<Record<string, unknown>> };
  /** Needs gradients recorded. */
  readonly trains?: boolean;
  build(bench: Bench): Prepared | Promise<Prepared>;
}

export const idOf = (c: GpuCase): string => `${c.group}: ${c.name}`;

/** Beyond any L2 (60 MB on Hopper): inputs that are used in turn never meet themselves in a cache. */
const rotatedBytes = 160 << 20;
const mostCopies = 64;

/** Where a case makes its inputs: on the device, without the host. */
export class Bench {
  #seed = 1;

  constructor(
    readonly device: string,
    /** Shapes are those of a smoke test. */
    readonly tiny: boolean,
  ) {}

  normal(shape: readonly number[], dtype: DType = 'bf16', deviation = 1): Tensor {
    return randomNormal(shape, { seed: this.#seed++, dtype, deviation });
  }

  /** Noise of 0 to 255. */
  bytes(shape: readonly number[]): Tensor {
    return cast(randomUniform(shape, { seed: this.#seed++, low: 0, high: 256 }), 'u8');
  }

  ints(values: ArrayLike<number>, shape: readonly number[] = [values.length]): Tensor {
    return Tensor.from(Int32Array.from(values), shape);
  }

  /** Sets of inputs, as many as exceed the caches together; `turn` chooses one. */
  rotated<T extends readonly Tensor[]>(make: () => T): (turn: number) => T {
    const first = make();
    const bytes = first.reduce((sum, t) => sum + numel(t.shape) * dtypeBytes(t.dtype), 0);
    // Random numbers take the CPU longer than what is measured.
    const most = this.tiny || this.device === 'cpu' ? 2 : mostCopies;
    const copies = Math.min(most, Math.ceil(rotatedBytes / Math.max(1, bytes)));
    const sets = [first, ...Array.from({ length: copies - 1 }, make)];
    return (turn) => sets[turn % sets.length] as T;
  }
}
