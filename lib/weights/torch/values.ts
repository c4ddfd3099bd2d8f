/** What a checkpoint's pickle can hold once it is read as data: plain values, containers, and records of tensors. */
import type { FileDtype } from '../safetensors-header.js';

export type Pickled =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | List
  | Tuple
  | Dict
  | Name
  | StorageRef
  | TensorRef
  | Inert;

/** Containers know how deep they are nested: what is built inside out can be no deeper than its parts say. */
abstract class Container {
  depth = 1;

  /** Takes note of a part. */
  protected holds(part: Pickled): void {
    if (part instanceof Container && part.depth >= this.depth) this.depth = part.depth + 1;
  }
}

export class List extends Container {
  readonly items: Pickled[] = [];

  append(items: readonly Pickled[]): void {
    for (const item of items) {
      this.items.push(item);
      this.holds(item);
    }
  }
}

export class Tuple extends Container {
  constructor(readonly items: readonly Pickled[]) {
    super();
    for (const item of items) this.holds(item);
  }
}

export class Dict extends Container {
  readonly entries = new Map<Pickled, Pickled>();

  set(key: Pickled, value: Pickled): void {
    this.entries.set(key, value);
    this.holds(key);
    this.holds(value);
  }
}

/** A name of a Python module that a pickle mentions; what it stands for is decided by `globals.ts`, never looked up. */
export class Name {
  constructor(readonly text: string) {}
}

/** Something a checkpoint carries beside its tensors and that is of no use here: kept as a mere mark. */
export class Inert {
  constructor(readonly name: string) {}
}

/** Element types of PyTorch, by the name safetensors gives them; C128 has none there. */
export type TorchDtype = FileDtype | 'C128';

/** A run of bytes of the archive: `data/<key>`. */
export class StorageRef {
  constructor(
    readonly key: string,
    /** Undefined for a storage without type: the tensor says it. */
    readonly dtype: TorchDtype | undefined,
    /** Elements, of a storage without type bytes. */
    readonly count: number,
  ) {}
}

/** A view of a storage, in elements. */
export class TensorRef {
  constructor(
    readonly storage: StorageRef,
    readonly dtype: TorchDtype,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly stride: readonly number[],
  ) {}
}
