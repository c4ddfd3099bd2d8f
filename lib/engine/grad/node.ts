/** Nodes of the tape: what connects a value that needs a gradient with the values it was made from. */
import type { Tensor } from '../tensor.js';

/** Identity of a differentiable value, shared by all handles on it. A leaf has no node. */
export class GradValue {
  constructor(
    readonly node: GradNode | undefined,
    readonly index: number,
  ) {}
}

/** Hands over a value's gradient so far; whoever takes it puts it into the gradient it returns. */
export type TakeSum = (value: GradValue) => Tensor | undefined;

let counter = 0;

export abstract class GradNode {
  /** Order of creation: backward visits nodes from the highest on, so every consumer comes before its producer. */
  readonly id = counter++;
  readonly outputs: GradValue[] = [];

  addOutput(): GradValue {
    const value = new GradValue(this, this.outputs.length);
    this.outputs.push(value);
    return value;
  }

  /** Values this node was made from, for reachability. */
  abstract readonly sources: readonly (GradValue | undefined)[];

  /** Set by `release`: what backward needs is gone. */
  released = false;

  /** Gradients of the sources, given those of the outputs. Called at most once, then `release`. */
  abstract backward(grads: readonly (Tensor | undefined)[], takeSum: TakeSum): (readonly [GradValue, Tensor])[];

  /** Lets go of saved tensors. Idempotent. */
  abstract release(): void;
}
