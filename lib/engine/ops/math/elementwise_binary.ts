/** a op b with NumPy broadcasting: add, sub, mul, div, maximum, minimum, and the comparisons equal, less, greater. */
import { defineOp, type Fill, type GradContext, type OpCard, type Sample } from '../../card.js';
import type { DType } from '../../dtype.js';
import { run } from '../../run.js';
import { broadcastShapes, rejectShape } from '../../shapes.js';
import { Tensor } from '../../tensor.js';
import { refAt, refFill } from '../reference.js';
import { fill } from '../shape/fill.js';
import { neg, scaleShift } from './elementwise_unary.js';
import { sumTo } from './sum_to.js';
import { where } from './where.js';

type BinaryGrad = (ctx: { a: Tensor; b: Tensor; y: Tensor; dy: Tensor }) => readonly [() => Tensor, () => Tensor];

const narrow: readonly DType[] = ['f32', 'f64', 'bf16', 'f16'];
function samplesOf(left: Fill, right: Fill): Sample[] {
  const a = (...shape: number[]) => ({ shape, fill: left });
  const b = (...shape: number[]) => ({ shape, fill: right });
  return [
    { name: 'same shape, ragged', inputs: [a(3, 7, 5), b(3, 7, 5)], dtypes: narrow },
    { name: 'over a buffer block', inputs: [a(3, 1031), b(3, 1031)], dtypes: narrow },
    { name: 'row', inputs: [a(5, 197), b(197)], dtypes: narrow },
    { name: 'row of whole vectors', inputs: [a(2, 3, 24), b(3, 24)], dtypes: narrow },
    { name: 'column of whole vectors', inputs: [a(5, 16), b(5, 1)], dtypes: narrow },
    { name: 'column', inputs: [a(5, 97), b(5, 1)] },
    { name: 'outer', inputs: [a(3, 1, 5), b(7, 1)] },
    { name: 'scalar left', inputs: [a(), b(4, 33)] },
    { name: 'scalar right', inputs: [a(4, 33), b(1, 1)] },
    { name: 'both scalar', inputs: [a(), b()] },
    { name: 'empty', inputs: [a(0, 5), b(5)] },
  ];
}
// Halves and wholes: no pair so close that a central difference steps over the kink.
const apart = samplesOf({ integers: [-3, 3] }, { values: [0.5, -1.5, 2.5, -0.5] });
const bench = [
  {
    name: 'B/16 residual, 8 images',
    inputs: [{ shape: [8, 197, 768] }, { shape: [8, 197, 768], fill: 'positive' }],
    dtypes: ['f32', 'bf16'],
  },
  {
    name: 'B/16 bias, 8 images',
    inputs: [{ shape: [8, 197, 768] }, { shape: [768], fill: 'positive' }],
    dtypes: ['f32'],
  },
] as const;

function binaryCard(
  name: string,
  f: (a: number, b: number) => number,
  grad: BinaryGrad,
  samples = samplesOf('normal', 'positive'),
): OpCard<Record<never, never>> {
  return defineOp({
    name,
    inputs: ['a', 'b'],
    attrs: {},
    shape: ([a, b]) => [
      {
        shape: broadcastShapes(a!.shape, b!.shape) ?? rejectShape(name, 'shapes that broadcast', [a, b]),
        dtype: a!.dtype,
      },
    ],
    grad: ({ inputs: [a, b], outputs: [y], grads: [dy] }: GradContext<Record<never, never>>) => {
      const [da, db] = grad({ a: a!, b: b!, y: y!, dy: dy! });
      return [() => sumTo(da(), a!.shape), () => sumTo(db(), b!.shape)];
    },
    reference: ([a, b]) => [
      refFill(broadcastShapes(a!.shape, b!.shape) as number[], (index) => f(refAt(a!, index), refAt(b!, index))),
    ],
    samples,
    bench,
  });
}

const nothing = (like: Tensor) => fill([], 0, like.dtype, like.device);

export const addCard = binaryCard(
  'add',
  (a, b) => a + b,
  ({ dy }) => [() => dy, () => dy],
);
export const subCard = binaryCard(
  'sub',
  (a, b) => a - b,
  ({ dy }) => [() => dy, () => neg(dy)],
);
export const mulCard = binaryCard(
  'mul',
  (a, b) => a * b,
  ({ a, b, dy }) => [() => mul(dy, b), () => mul(dy, a)],
);
export const divCard = binaryCard(
  'div',
  (a, b) => a / b,
  ({ b, y, dy }) => [() => div(dy, b), () => neg(div(mul(dy, y), b))],
);
// Where both are equal the gradient goes to a.
export const maximumCard = binaryCard(
  'maximum',
  Math.max,
  ({ a, b, dy }) => [() => where(less(a, b), nothing(dy), dy), () => where(less(a, b), dy, nothing(dy))],
  apart,
);
export const minimumCard = binaryCard(
  'minimum',
  Math.min,
  ({ a, b, dy }) => [() => where(greater(a, b), nothing(dy), dy), () => where(greater(a, b), dy, nothing(dy))],
  apart,
);

function comparisonCard(name: string, f: (a: number, b: number) => boolean): OpCard<Record<never, never>> {
  const close = { integers: [-2, 2] } as const;
  return defineOp({
    name,
    inputs: ['a', 'b'],
    attrs: {},
    shape: ([a, b]) => {
      if (a!.dtype !== b!.dtype) rejectShape(name, 'one dtype', [a, b]);
      return [
        {
          shape: broadcastShapes(a!.shape, b!.shape) ?? rejectShape(name, 'shapes that broadcast', [a, b]),
          dtype: 'bool',
        },
      ];
    },
    reference: ([a, b]) => [
      refFill(broadcastShapes(a!.shape, b!.shape) as number[], (index) =>
        f(refAt(a!, index), refAt(b!, index)) ? 1 : 0,
      ),
    ],
    samples: [
      {
        name: 'floats',
        inputs: [
          { shape: [4, 33], fill: close },
          { shape: [4, 33], fill: close },
        ],
        dtypes: narrow,
      },
      {
        name: 'broadcast',
        inputs: [
          { shape: [3, 1, 5], fill: close },
          { shape: [7, 1], fill: close },
        ],
      },
      {
        name: 'i32',
        inputs: [
          { shape: [5, 9], dtype: 'i32', fill: close },
          { shape: [], dtype: 'i32', fill: close },
        ],
        dtypes: ['f32'],
      },
      {
        name: 'u8',
        inputs: [
          { shape: [5, 9], dtype: 'u8', fill: { integers: [0, 3] } },
          { shape: [9], dtype: 'u8', fill: { integers: [0, 3] } },
        ],
        dtypes: ['f32'],
      },
      { name: 'empty', inputs: [{ shape: [0] }, { shape: [1] }] },
    ],
  });
}

export const equalCard = comparisonCard('equal', (a, b) => a === b);
export const lessCard = comparisonCard('less', (a, b) => a < b);
export const greaterCard = comparisonCard('greater', (a, b) => a > b);

/** a + b. Shapes broadcast; both of one float dtype; a number takes the tensor's dtype. @throws E_OPTION */
export function add(a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number' ? scaleShift(a, 1, b) : (run(addCard, [a, b])[0] as Tensor);
}

/** a - b, as `add`. */
export function sub(a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number' ? scaleShift(a, 1, -b) : (run(subCard, [a, b])[0] as Tensor);
}

/** a b, as `add`. */
export function mul(a: Tensor, b: Tensor | number): Tensor {
  return typeof b === 'number' ? scaleShift(a, b, 0) : (run(mulCard, [a, b])[0] as Tensor);
}

/** a / b, as `add`. */
export function div(a: Tensor, b: Tensor | number): Tensor {
  return run(divCard, [a, operand(b, a)])[0] as Tensor;
}

/** The larger of a and b, element by element; NaN where either is NaN. */
export function maximum(a: Tensor, b: Tensor | number): Tensor {
  return run(maximumCard, [a, operand(b, a)])[0] as Tensor;
}

/** The smaller of a and b, element by element; NaN where either is NaN. */
export function minimum(a: Tensor, b: Tensor | number): Tensor {
  return run(minimumCard, [a, operand(b, a)])[0] as Tensor;
}

/** a == b as a bool tensor. Any dtype, the same on both sides. */
export function equal(a: Tensor, b: Tensor | number): Tensor {
  return run(equalCard, [a, operand(b, a)])[0] as Tensor;
}

/** a < b as a bool tensor. */
export function less(a: Tensor, b: Tensor | number): Tensor {
  return run(lessCard, [a, operand(b, a)])[0] as Tensor;
}

/** a > b as a bool tensor. */
export function greater(a: Tensor, b: Tensor | number): Tensor {
  return run(greaterCard, [a, operand(b, a)])[0] as Tensor;
}

function operand(value: Tensor | number, like: Tensor): Tensor {
  return value instanceof Tensor ? value : fill([], value, like.dtype, like.device);
}
