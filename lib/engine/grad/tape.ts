/**
 * Define-by-run differentiation. Ops record a node when an input needs a gradient; `backward` walks the nodes in
 * reverse order of creation, sums into a map and frees saved tensors as it goes.
 */
import { WordmaskError } from '../../util/errors.js';
import type { Attrs, OpCard } from '../card.js';
import { currentContext, noGrad, runInContext } from '../context.js';
import { isFloat } from '../dtype.js';
import { add } from '../ops/math/add.js';
import { fill } from '../ops/shape/fill.js';
import { adopt, ownedTensors, scope } from '../scope.js';
import { sameShape, specText } from '../shapes.js';
import { Parameter, type Tensor } from '../tensor.js';
import { GradNode, GradValue, type TakeSum } from './node.js';

class OpNode extends GradNode {
  readonly sources: readonly (GradValue | undefined)[];
  private inputs: (Tensor | undefined)[];
  private results: Tensor[];

  constructor(
    private readonly card: OpCard,
    inputs: readonly (Tensor | undefined)[],
    outputs: readonly Tensor[],
    private readonly attrs: Attrs,
  ) {
    super();
    this.sources = inputs.map((tensor) => tensor?.gradValue);
    this.inputs = inputs.map((tensor) => tensor && savedHandle(tensor));
    this.results = outputs.map(savedHandle);
  }

  backward(grads: readonly (Tensor | undefined)[], take: TakeSum): (readonly [GradValue, Tensor])[] {
    const { card, inputs, results: outputs, attrs } = this;
    const takeSum = (i: number) => {
      const source = this.sources[i];
      // A value that is two of the inputs has its sum made by the walk.
      return source && this.sources.filter((other) => other === source).length === 1 ? take(source) : undefined;
    };
    const thunks = card.grad?.({ inputs, outputs, attrs, grads, takeSum }) ?? [];
    const found: (readonly [GradValue, Tensor])[] = [];
    this.sources.forEach((source, i) => {
      const thunk = source && thunks[i];
      if (!source || !thunk) return;
      const grad = thunk();
      const input = inputs[i] as Tensor;
      if (!sameShape(grad.shape, input.shape) || grad.dtype !== input.dtype) {
        throw new WordmaskError(
          'E_INTERNAL',
          `${card.name}: gradient of input ${i} is ${grad.dtype}[${grad.shape.join(', ')}], the input ${input.dtype}[${input.shape.join(', ')}]`,
        );
      }
      found.push([source, grad]);
    });
    return found;
  }

  release(): void {
    this.released = true;
    for (const tensor of [...this.inputs, ...this.results]) tensor?.dispose();
    this.inputs = [];
    this.results = [];
  }
}

/** A handle that belongs to the tape: no scope frees it. */
function savedHandle(tensor: Tensor): Tensor {
  const handle = tensor.detach();
  handle.owner?.tensors.delete(handle);
  handle.owner = undefined;
  return handle;
}

export function recordOp(
  card: OpCard,
  inputs: readonly (Tensor | undefined)[],
  outputs: readonly Tensor[],
  attrs: Attrs,
): void {
  register(new OpNode(card, inputs, outputs, attrs), outputs);
}

function register(node: GradNode, outputs: readonly Tensor[]): void {
  for (const tensor of outputs) tensor.gradValue = node.addOutput();
  currentContext().scope?.nodes.add(node);
}

/** Marks a tensor as a leaf whose gradient is wanted; `false` takes the mark away. @throws E_USAGE for integers */
export function requireGrad<T extends Tensor>(tensor: T, required = true): T {
  if (required && !isFloat(tensor.dtype))
    throw new WordmaskError('E_USAGE', `requireGrad: ${specText(tensor)} has no gradient: only float tensors have`);
  if (required && !tensor.gradValue) tensor.gradValue = new GradValue(undefined, 0);
  else if (!required) tensor.gradValue = undefined;
  return tensor;
}

/** The same values, cut off from the tape. */
export function stopGradient(tensor: Tensor): Tensor {
  return tensor.detach();
}

/** What backward found, by tensor. Owns its tensors: dispose() frees those that were not taken over by a scope. */
export class Grads {
  constructor(private readonly found: Map<GradValue, Tensor>) {}
  get(tensor: Tensor): Tensor | undefined {
    return tensor.gradValue && this.found.get(tensor.gradValue);
  }
  [ownedTensors](): Iterable<Tensor> {
    return this.found.values();
  }
  dispose(): void {
    for (const tensor of this.found.values()) tensor.dispose();
    this.found.clear();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

export interface BackwardOptions {
  /** Tensors whose gradients are wanted: leaves or intermediates. Default: every leaf that requires a gradient. */
  readonly wrt?: readonly Tensor[];
  /** Gradient of the loss itself; needed where it has more than one element. */
  readonly grad?: Tensor;
}

/**
 * Gradients of a scalar loss. Each part of the tape can be walked once: its saved tensors are freed on the way.
 * @throws E_USAGE when the loss is not scalar, depends on nothing that requires a gradient, or was walked before
 */
export function backward(loss: Tensor, options: BackwardOptions = {}): Grads {
  const value = loss.gradValue;
  if (!value) throw new WordmaskError('E_USAGE', 'backward: the loss depends on nothing that requires a gradient');
  if (loss.size !== 1 && !options.grad) {
    throw new WordmaskError(
      'E_USAGE',
      `backward: the loss must have one element, got shape [${loss.shape.join(', ')}]; reduce it with sum() or mean(), or pass { grad }`,
    );
  }
  if (options.grad && (!sameShape(options.grad.shape, loss.shape) || options.grad.dtype !== loss.dtype)) {
    throw new WordmaskError(
      'E_USAGE',
      `backward: grad must be as the loss, ${specText(loss)}, got ${specText(options.grad)}`,
    );
  }
  const wanted = options.wrt && new Set(options.wrt.map(wantedValue));
  return runInContext({ grad: false, device: loss.storage.device }, () => {
    const seed = options.grad?.detach() ?? fill(loss.shape, 1, loss.dtype);
    return new Grads(walk([[value, seed]], wanted, -1));
  });
}

function wantedValue(tensor: Tensor): GradValue {
  if (!tensor.gradValue)
    throw new WordmaskError(
      'E_USAGE',
      `backward: a tensor in wrt (${tensor instanceof Parameter ? tensor.name : tensor.dtype}[${tensor.shape.join(', ')}]) does not require a gradient`,
    );
  return tensor.gradValue;
}

/** Values made by nodes with an id up to `floor` count as leaves. Without `wanted`, all leaves are returned. */
function walk(
  seeds: (readonly [GradValue, Tensor])[],
  wanted: ReadonlySet<GradValue> | undefined,
  floor: number,
): Map<GradValue, Tensor> {
  const sums = new Map<GradValue, Tensor>();
  const pending = new Map<number, GradNode>();
  const accumulate = ([value, grad]: readonly [GradValue, Tensor]) => {
    const before = sums.get(value);
    sums.set(value, before ? add(before, grad) : grad);
    if (before) {
      before.dispose();
      grad.dispose();
    }
    if (value.node && value.node.id > floor) pending.set(value.node.id, value.node);
  };
  const drop = (value: GradValue) => {
    sums.get(value)?.dispose();
    sums.delete(value);
  };
  try {
    seeds.forEach(accumulate);
    while (pending.size > 0) {
      const node = pending.get(Math.max(...pending.keys())) as GradNode;
      pending.delete(node.id);
      stepBack(
        node,
        node.outputs.map((value) => sums.get(value)),
        sums,
      ).forEach(accumulate);
      for (const value of node.outputs) if (!wanted?.has(value)) drop(value);
    }
  } catch (error) {
    for (const value of [...sums.keys()]) drop(value);
    throw error;
  }
  if (wanted) for (const value of [...sums.keys()]) if (!wanted.has(value)) drop(value);
  return sums;
}

/** Gradients of a node's sources, each a tensor of its own; whatever else was computed on the way is freed. */
function stepBack(
  node: GradNode,
  grads: readonly (Tensor | undefined)[],
  sums: Map<GradValue, Tensor>,
): (readonly [GradValue, Tensor])[] {
  if (node.released) {
    throw new WordmaskError(
      'E_USAGE',
      'backward: this part of the tape is gone, it was walked before or its scope has ended: compute the loss again, or add losses up before backward()',
    );
  }
  const taken = new Set(grads);
  const takeSum = (value: GradValue) => {
    const sum = sums.get(value);
    sums.delete(value);
    // In the care of the scope below.
    return sum && adopt(sum);
  };
  const found = scope(() =>
    node.backward(grads, takeSum).map(([value, grad]) => {
      const own = taken.has(grad) ? grad.detach() : grad;
      taken.add(own);
      return [value, own] as const;
    }),
  );
  node.release();
  return found;
}

class CheckpointNode extends GradNode {
  readonly sources: readonly (GradValue | undefined)[];
  private inputs: Tensor[];

  constructor(
    private readonly fn: (...xs: Tensor[]) => Tensor | Tensor[],
    xs: readonly Tensor[],
  ) {
    super();
    this.sources = xs.map((x) => x.gradValue);
    this.inputs = xs.map(savedHandle);
  }

  backward(grads: readonly (Tensor | undefined)[]): (readonly [GradValue, Tensor])[] {
    const inner = this.inputs.map((x, i) => (this.sources[i] ? requireGrad(x.detach()) : x.detach()));
    const floor = new MarkerNode().id;
    const outputs = runInContext({ grad: true }, () => [this.fn(...inner)].flat() as Tensor[]);
    const seeds = outputs.flatMap((output, i) =>
      output.gradValue && grads[i] ? [[output.gradValue, (grads[i] as Tensor).detach()] as const] : [],
    );
    const sums = walk(seeds, undefined, floor);
    const found: (readonly [GradValue, Tensor])[] = [];
    inner.forEach((x, i) => {
      const grad = x.gradValue && sums.get(x.gradValue);
      if (grad) found.push([this.sources[i] as GradValue, grad]);
      if (x.gradValue) sums.delete(x.gradValue);
    });
    for (const tensor of [...inner, ...outputs]) tensor.dispose();
    return [...found, ...sums];
  }

  release(): void {
    this.released = true;
    for (const tensor of this.inputs) tensor.dispose();
    this.inputs = [];
  }
}

/** Takes an id only: separates what a replay records from what was there before. */
class MarkerNode extends GradNode {
  readonly sources = [];
  backward(): never {
    throw new WordmaskError('E_INTERNAL', 'a marker has no gradient');
  }
  release(): void {}
}

/**
 * Runs `fn(...xs)` without keeping its intermediates; backward runs it again. `fn` must compute the same both times
 * (random ops inside use fixed counters) and may capture parameters.
 */
export function checkpoint<R extends Tensor | Tensor[]>(fn: (...xs: Tensor[]) => R, ...xs: Tensor[]): R {
  // A value that `fn` hands through gets a handle of its own: the input keeps its place on the tape.
  const own = (tensor: Tensor) => (xs.includes(tensor) || tensor.gradValue ? tensor.detach() : tensor);
  const result = noGrad(() => scope(() => fn(...xs)));
  const outputs = Array.isArray(result) ? result.map(own) : own(result);
  if (currentContext().grad) register(new CheckpointNode(fn, xs), [outputs].flat());
  return outputs as R;
}
