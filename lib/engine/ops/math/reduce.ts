/** sum, mean, max and min over chosen axes. */
import { defineOp, type GradContext, type OpCard, type RefArray, type Sample, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { normaliseAxis, numel, rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refFill, unravel } from '../reference.js';
import { cast } from './cast.js';
import { div, equal, mul } from './elementwise_binary.js';
import { scaleShift } from './elementwise_unary.js';

/** axes: bit mask of the axes to reduce. */
const attrs = { axes: 0, keepDims: false };
type ReduceAttrs = typeof attrs;

const isReduced = (a: ReduceAttrs, axis: number) => ((a.axes >> axis) & 1) === 1;
const keptShape = (shape: readonly number[], a: ReduceAttrs) => shape.map((d, i) => (isReduced(a, i) ? 1 : d));
const outputShape = (shape: readonly number[], a: ReduceAttrs) =>
  a.keepDims ? keptShape(shape, a) : shape.filter((_, i) => !isReduced(a, i));

function reduceShape(name: string, needsElements: boolean) {
  return ([x]: readonly (TensorSpec | undefined)[], a: ReduceAttrs): TensorSpec[] => {
    const { shape, dtype } = x as TensorSpec;
    if (!Number.isInteger(a.axes) || a.axes < 0 || a.axes >= 2 ** shape.length)
      rejectShape(name, `a tensor with all axes of mask ${a.axes}`, [x]);
    const out = outputShape(shape, a);
    if (needsElements && numel(out) > 0 && numel(shape) === 0)
      rejectShape(name, 'at least one element to choose from', [x]);
    return [{ shape: out, dtype }];
  };
}

/** join(values of each output element) */
function reduceReference(join: (values: number[]) => number) {
  return ([x]: readonly (RefArray | undefined)[], a: ReduceAttrs): RefArray[] => {
    const { data, shape } = x as RefArray;
    const groups = new Map<string, number[]>();
    data.forEach((value, i) => {
      const key = unravel(i, shape)
        .filter((_, axis) => !isReduced(a, axis))
        .join();
      const group = groups.get(key);
      if (group) group.push(value);
      else groups.set(key, [value]);
    });
    const kept = refFill(
      shape.filter((_, i) => !isReduced(a, i)),
      (index) => join(groups.get(index.join()) ?? []),
    );
    return [{ data: kept.data, shape: outputShape(shape, a) }];
  };
}

const samples: Sample<ReduceAttrs>[] = [
  { name: 'last axis', inputs: [{ shape: [5, 197] }], attrs: { axes: 0b10 }, dtypes: ['f32', 'f64', 'bf16', 'f16'] },
  {
    name: 'first axis, several parts',
    inputs: [{ shape: [301, 19] }],
    attrs: { axes: 0b01 },
    dtypes: ['f32', 'f64', 'bf16'],
  },
  { name: 'last axis, several parts', inputs: [{ shape: [2, 17000] }], attrs: { axes: 0b10 }, grad: false },
  {
    name: 'columns in eights',
    inputs: [{ shape: [150, 264] }],
    attrs: { axes: 0b01 },
    dtypes: ['f32', 'bf16'],
    grad: false,
  },
  { name: 'middle axis, kept', inputs: [{ shape: [3, 7, 5] }], attrs: { axes: 0b010, keepDims: true } },
  { name: 'two apart', inputs: [{ shape: [3, 4, 5, 6] }], attrs: { axes: 0b1010 } },
  { name: 'all', inputs: [{ shape: [3, 1, 37] }], attrs: { axes: 0b111 } },
  { name: 'none', inputs: [{ shape: [3, 5] }], attrs: { axes: 0 } },
  { name: 'no rows', inputs: [{ shape: [0, 5] }], attrs: { axes: 0b10 } },
];
const bench = [
  { name: 'rows of B/16, 8 images', inputs: [{ shape: [8 * 197, 768] }], attrs: { axes: 0b10 } },
  { name: 'columns of B/16, 8 images', inputs: [{ shape: [8 * 197, 768] }], attrs: { axes: 0b01 } },
];

/** The output's gradient spread over x's shape. */
function spread({ inputs: [x], grads: [dy], attrs: a }: GradContext<ReduceAttrs>): Tensor {
  return dy!.reshape(keptShape(x!.shape, a)).expand(x!.shape);
}

/** Shared evenly among the elements that reach the extreme. */
function extremeGrad(ctx: GradContext<ReduceAttrs>): Tensor {
  const {
    inputs: [x],
    outputs: [y],
    grads: [dy],
    attrs: a,
  } = ctx;
  const shape = keptShape(x!.shape, a);
  const hit = cast(equal(x!, y!.reshape(shape)), x!.dtype);
  const count = run(sumCard, [hit], { axes: a.axes, keepDims: true })[0] as Tensor;
  return mul(hit, div(dy!.reshape(shape), count));
}

export const sumCard: OpCard<ReduceAttrs> = defineOp({
  name: 'sum',
  inputs: ['x'],
  attrs,
  shape: reduceShape('sum', false),
  grad: (ctx) => [() => spread(ctx)],
  reference: reduceReference((values) => values.reduce((s, v) => s + v, 0)),
  samples: [
    ...samples,
    { name: 'of nothing', inputs: [{ shape: [0, 5] }], attrs: { axes: 0b01 } },
    { name: 'long, compensated', inputs: [{ shape: [17, 3, 211], fill: 'unit' }], attrs: { axes: 0b101 } },
  ],
  bench,
});

export const meanCard: OpCard<ReduceAttrs> = defineOp({
  name: 'mean',
  inputs: ['x'],
  attrs,
  shape: reduceShape('mean', false),
  grad: (ctx) => [() => scaleShift(spread(ctx), ctx.outputs[0]!.size / Math.max(ctx.inputs[0]!.size, 1), 0)],
  reference: reduceReference((values) => values.reduce((s, v) => s + v, 0) / values.length),
  samples,
  bench,
});

export const maxCard: OpCard<ReduceAttrs> = defineOp({
  name: 'max',
  inputs: ['x'],
  attrs,
  shape: reduceShape('max', true),
  grad: (ctx) => [() => extremeGrad(ctx)],
  reference: reduceReference((values) => Math.max(...values)),
  samples,
  bench,
});

export const minCard: OpCard<ReduceAttrs> = defineOp({
  name: 'min',
  inputs: ['x'],
  attrs,
  shape: reduceShape('min', true),
  grad: (ctx) => [() => extremeGrad(ctx)],
  reference: reduceReference((values) => Math.min(...values)),
  samples,
  bench,
});

function reduce(
  card: OpCard<ReduceAttrs>,
  x: Tensor,
  axes: number | readonly number[] | undefined,
  keepDims: boolean,
): Tensor {
  const list = axes === undefined ? [...x.shape.keys()] : [axes].flat();
  const mask = list.reduce<number>((bits, axis) => bits | (1 << normaliseAxis(card.name, axis, x.rank)), 0);
  return run(card, [x], { axes: mask, keepDims })[0] as Tensor;
}

/** Sum over one axis, several, or (default) all; `keepDims` leaves them with size 1. Any float dtype, summed in f32 or wider. */
export function sum(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  return reduce(sumCard, x, axes, keepDims);
}

/** Mean, as `sum`; of nothing it is NaN. */
export function mean(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  return reduce(meanCard, x, axes, keepDims);
}

/** Largest value, as `sum`; NaN where there is one. Ties share the gradient. @throws E_OPTION for no elements */
export function max(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  return reduce(maxCard, x, axes, keepDims);
}

/** Smallest value, as `max`. */
export function min(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  return reduce(minCard, x, axes, keepDims);
}
