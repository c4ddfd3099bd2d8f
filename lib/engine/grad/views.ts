/** Gradients of views: reshape, permute, slice, expand; and of moves between devices. */
import { currentContext } from '../context.js';
import { sumTo } from '../ops/math/sum_to.js';
import { sliceBwd } from '../ops/shape/slice_bwd.js';
import type { Tensor } from '../tensor.js';
import { GradNode, type GradValue } from './node.js';

class ViewNode extends GradNode {
  readonly sources: readonly GradValue[];
  constructor(
    source: GradValue,
    private readonly back: (grad: Tensor) => Tensor,
  ) {
    super();
    this.sources = [source];
  }
  backward(grads: readonly (Tensor | undefined)[]): (readonly [GradValue, Tensor])[] {
    return [[this.sources[0] as GradValue, this.back(grads[0] as Tensor)]];
  }
  release(): void {}
}

function record(source: Tensor, view: Tensor, back: (grad: Tensor) => Tensor): void {
  const context = currentContext();
  if (!context.grad || !source.gradValue) return;
  const node = new ViewNode(source.gradValue, back);
  view.gradValue = node.addOutput();
  context.scope?.nodes.add(node);
}

export function recordReshape(source: Tensor, view: Tensor): void {
  const { shape } = source;
  record(source, view, (grad) => grad.reshape(shape));
}

export function recordMove(source: Tensor, moved: Tensor): void {
  const { device } = source;
  record(source, moved, (grad) => grad.to(device));
}

export function recordPermute(source: Tensor, view: Tensor, order: readonly number[]): void {
  const inverse = order.map((_, axis) => order.indexOf(axis));
  record(source, view, (grad) => grad.permute(...inverse));
}

export function recordSlice(source: Tensor, view: Tensor, axis: number, begin: number): void {
  const length = source.shape[axis] as number;
  record(source, view, (grad) => sliceBwd(grad, axis, begin, length));
}

export function recordExpand(source: Tensor, view: Tensor): void {
  const { shape } = source;
  record(source, view, (grad) => sumTo(grad, shape));
}
