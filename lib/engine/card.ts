/**
 * Op cards: one declaration an op, from which the engine checks calls, the tape differentiates them, the op test
 * compares every kernel with a naive reference, and the bench measures.
 */
import type { DType } from './dtype.js';
import type { Tensor } from './tensor.js';

export interface TensorSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Ordered record: the native side receives the values in this order as a Float64Array (flags as 0 or 1). */
export type Attrs = Record<string, number | boolean>;

/** A contiguous float64 array, the currency of reference implementations. */
export interface RefArray {
  readonly data: Float64Array;
  readonly shape: readonly number[];
}

/** How a sample input is filled (seeded by sample name and input index). */
export type Fill =
  | 'normal' // mean 0, deviation 1
  | 'positive' // uniform in [0.5, 2)
  | 'unit' // uniform in [0, 1)
  | { readonly uniform: readonly [number, number] }
  | { readonly integers: readonly [number, number] } // inclusive range
  | { readonly values: readonly number[] };

export interface SampleInput {
  readonly shape: readonly number[];
  /** Absent: the float dtype under test (f32, f64, bf16 ...). */
  readonly dtype?: DType;
  readonly fill?: Fill;
  /** False: no gradient is checked for this input (default true for inputs of the dtype under test). */
  readonly grad?: boolean;
}

export interface Sample<A extends Attrs = Attrs> {
  readonly name: string;
  readonly inputs: readonly (SampleInput | undefined)[];
  readonly attrs?: Partial<A>;
  /** Float dtypes this sample runs in; default ['f32', 'f64']. A card with integer inputs alone lists none of its own. */
  readonly dtypes?: readonly DType[];
  /** False: leave out the gradient check (a kink, or too large). */
  readonly grad?: boolean;
}

export interface BenchCase<A extends Attrs = Attrs> {
  readonly name: string;
  readonly inputs: readonly (SampleInput | undefined)[];
  readonly attrs?: Partial<A>;
  readonly dtypes?: readonly DType[];
  /** Arithmetic of one call, for GFLOP/s and the share of the measured peak. */
  readonly flops?: number;
  /** Compulsory bytes of one call, for GB/s; default: all inputs and outputs once. */
  readonly bytes?: number;
}

export interface GradContext<A extends Attrs = Attrs> {
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  readonly attrs: A;
  /** Gradient of each output; undefined where the loss does not depend on it. At least one is present. */
  readonly grads: readonly (Tensor | undefined)[];
  /**
   * What input i's other uses have given its gradient so far, undefined where nothing has: a thunk that takes it returns the
   * sum, in place of an addition after it.
   */
  takeSum(i: number): Tensor | undefined;
}

export interface OpCard<A extends Attrs = Attrs> {
  /** snake_case; also the name of the native kernel files and of the bench case. */
  readonly name: string;
  /** Names for errors; a trailing '?' marks an optional input, which is passed as undefined. */
  readonly inputs: readonly string[];
  readonly attrs: A;
  /** Output shapes and dtypes, or E_OPTION that names the shapes (use `rejectShape`). */
  shape(inputs: readonly (TensorSpec | undefined)[], attrs: A): readonly TensorSpec[];
  /**
   * One thunk per input (undefined: not differentiable), called only for inputs that need a gradient. A thunk returns a
   * tensor of that input's shape and dtype. Work shared between thunks goes through `once`.
   */
  grad?(ctx: GradContext<A>): readonly ((() => Tensor) | undefined)[];
  /** Naive float64 version on contiguous arrays: the only oracle of the op. */
  reference(inputs: readonly (RefArray | undefined)[], attrs: A): readonly RefArray[];
  readonly samples: readonly Sample<A>[];
  readonly bench?: readonly BenchCase<A>[];
  /** Relative L2 per dtype of the first float input; defaults f32 1e-5, f64 1e-12, bf16 4e-3, f16 1e-3. Integer outputs are exact. */
  readonly tolerance?: Partial<Record<DType, number>>;
  /** Written with other ops, no kernel of its own. */
  readonly composite?: boolean;
  /** Why the op never runs on a device. */
  readonly hostOnly?: string;
  /** Output 0 is input 0's memory (assign); with 'all' every output is the memory of the input of its number (optimisers). */
  readonly inPlace?: boolean | 'all';
  /** Set where inputs may mix dtypes (else all float inputs must share one). */
  readonly mixedDtypes?: boolean;
}

/** Registers a card under its name; a second card of that name is a bug and throws. */
export function defineOp<A extends Attrs>(card: OpCard<A>): OpCard<A> {
  if (registry.has(card.name)) throw new Error(`op ${card.name} is defined twice`);
  registry.set(card.name, card as unknown as OpCard);
  return card;
}

const registry = new Map<string, OpCard>();

/** All cards defined so far, by name. Import ops/index.js first to have them all. */
export function opCards(): ReadonlyMap<string, OpCard> {
  return registry;
}

/** Evaluates `fn` on first use only: for work that several gradient thunks share. */
export function once<T>(fn: () => T): () => T {
  let made = false;
  let value: T;
  return () => {
    if (!made) {
      value = fn();
      made = true;
    }
    return value;
  };
}
