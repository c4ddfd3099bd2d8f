/** y = f(x) element by element, and the fused gradients <name>_bwd(saved, dy) = dy f'. */
import { defineOp, type GradContext, type OpCard, type Sample, type SampleInput } from '../../card.js';
import type { DType } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refMap, refNormalCdf } from '../reference.js';
import { div, mul } from './elementwise_binary.js';

type AB = { a: number; b: number };
type None = Record<never, never>;
type UnaryGrad = (x: Tensor, y: Tensor, dy: Tensor) => Tensor;

const floats: readonly DType[] = ['f32', 'f64', 'bf16', 'f16'];

function unarySamples(fill: SampleInput['fill'], attrs: Partial<AB>): Sample<AB>[] {
  return [
    { name: 'ragged', inputs: [{ shape: [3, 7, 5], fill }], attrs, dtypes: floats },
    { name: 'over a buffer block', inputs: [{ shape: [2, 1031], fill }], attrs, dtypes: floats },
    { name: 'scalar', inputs: [{ shape: [], fill }], attrs },
    { name: 'empty', inputs: [{ shape: [0, 4], fill }], attrs },
  ];
}

const vit = { name: 'B/16 MLP, 8 images', inputs: [{ shape: [8, 197, 3072] }], dtypes: ['f32', 'bf16'] } as const;

function unaryCard(
  name: string,
  f: (x: number) => number,
  grad: UnaryGrad,
  fill: SampleInput['fill'] = 'normal',
  tolerance?: OpCard['tolerance'],
): OpCard<None> {
  return defineOp<None>({
    name,
    inputs: ['x'],
    attrs: {},
    shape: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
    grad: ({ inputs: [x], outputs: [y], grads: [dy] }) => [() => grad(x!, y!, dy!)],
    reference: ([x]) => [refMap(x!, f)],
    samples: unarySamples(fill, {}) as unknown as Sample<None>[],
    bench: [{ ...vit, inputs: [{ shape: [8, 197, 3072], fill }] }],
    tolerance,
  });
}

/** dy f'(saved); the slope is given to the reference as a function of what is saved. */
function slopeCard(
  name: string,
  slope: (saved: number) => number,
  fill: SampleInput['fill'] = 'normal',
  tolerance?: OpCard['tolerance'],
): OpCard<None> {
  return defineOp<None>({
    name: `${name}_bwd`,
    inputs: ['saved', 'dy'],
    attrs: {},
    shape: ([x, dy]) =>
      sameShape(x!.shape, dy!.shape)
        ? [{ shape: x!.shape, dtype: x!.dtype }]
        : rejectShape(`${name}_bwd`, 'two equal shapes', [x, dy]),
    reference: ([x, dy]) => [
      { data: x!.data.map((value, i) => slope(value) * (dy!.data[i] as number)), shape: x!.shape },
    ],
    samples: [
      { name: 'ragged', inputs: [{ shape: [3, 7, 5], fill }, { shape: [3, 7, 5] }], dtypes: floats },
      { name: 'over a buffer block', inputs: [{ shape: [1031], fill }, { shape: [1031] }] },
      { name: 'empty', inputs: [{ shape: [0], fill }, { shape: [0] }] },
    ],
    bench: [
      { name: vit.name, inputs: [{ shape: [8, 197, 3072], fill }, { shape: [8, 197, 3072] }], dtypes: ['f32', 'bf16'] },
    ],
    tolerance,
  });
}

const call = (card: OpCard<None>, ...inputs: Tensor[]): Tensor => run(card, inputs)[0] as Tensor;

const sigmoidOf = (x: number) => 1 / (1 + Math.exp(-x));
const normalDensity = (x: number) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
const tanhInner = (x: number) => 2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
const gatedSlope = (x: number, u: number, du: number) => sigmoidOf(u) + x * sigmoidOf(u) * (1 - sigmoidOf(u)) * du;

const absSlope = slopeCard('abs', Math.sign);
const sigmoidSlope = slopeCard('sigmoid', (y) => y * (1 - y), 'unit');
const tanhSlope = slopeCard('tanh', (y) => 1 - y * y, 'unit');
const reluSlope = slopeCard('relu', (x) => (x > 0 ? 1 : 0));
const siluSlope = slopeCard('silu', (x) => gatedSlope(x, x, 1));
const geluSlope = slopeCard('gelu', (x) => refNormalCdf(x) + x * normalDensity(x));
const geluTanhSlope = slopeCard('gelu_tanh', (x) =>
  gatedSlope(x, tanhInner(x), 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x)),
);
const quickGeluSlope = slopeCard('quick_gelu', (x) => gatedSlope(x, 1.702 * x, 1.702));

export const negCard = unaryCard(
  'neg',
  (x) => -x,
  (_x, _y, dy) => neg(dy),
);
export const expCard = unaryCard('exp', Math.exp, (_x, y, dy) => mul(dy, y));
export const logCard = unaryCard('log', Math.log, (x, _y, dy) => div(dy, x), 'positive');
export const sqrtCard = unaryCard('sqrt', Math.sqrt, (_x, y, dy) => scaleShift(div(dy, y), 0.5, 0), 'positive');
export const rsqrtCard = unaryCard(
  'rsqrt',
  (x) => 1 / Math.sqrt(x),
  (x, y, dy) => scaleShift(div(mul(dy, y), x), -0.5, 0),
  'positive',
);
export const absCard = unaryCard('abs', Math.abs, (x, _y, dy) => call(absSlope, x, dy));
export const squareCard = unaryCard(
  'square',
  (x) => x * x,
  (x, _y, dy) => scaleShift(mul(dy, x), 2, 0),
);
export const sigmoidCard = unaryCard('sigmoid', sigmoidOf, (_x, y, dy) => call(sigmoidSlope, y, dy));
export const tanhCard = unaryCard('tanh', Math.tanh, (_x, y, dy) => call(tanhSlope, y, dy));
export const reluCard = unaryCard(
  'relu',
  (x) => Math.max(x, 0),
  (x, _y, dy) => call(reluSlope, x, dy),
);
export const siluCard = unaryCard(
  'silu',
  (x) => x * sigmoidOf(x),
  (x, _y, dy) => call(siluSlope, x, dy),
);
export const geluCard = unaryCard(
  'gelu',
  (x) => x * refNormalCdf(x),
  (x, _y, dy) => call(geluSlope, x, dy),
);
export const geluTanhCard = unaryCard(
  'gelu_tanh',
  (x) => 0.5 * x * (1 + Math.tanh(tanhInner(x) / 2)),
  (x, _y, dy) => call(geluTanhSlope, x, dy),
);
export const quickGeluCard = unaryCard(
  'quick_gelu',
  (x) => x * sigmoidOf(1.702 * x),
  (x, _y, dy) => call(quickGeluSlope, x, dy),
);

export const scaleShiftCard = defineOp<AB>({
  name: 'scale_shift',
  inputs: ['x'],
  attrs: { a: 1, b: 0 },
  shape: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  grad: ({ grads: [dy], attrs }) => [() => scaleShift(dy!, attrs.a, 0)],
  reference: ([x], { a, b }) => [refMap(x!, (v) => v * a + b)],
  samples: unarySamples('normal', { a: -1.75, b: 0.375 }),
  bench: [{ ...vit, attrs: { a: 2, b: 1 } }],
});

export const powScalarCard = defineOp({
  name: 'pow_scalar',
  inputs: ['x'],
  attrs: { exponent: 1 },
  shape: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  grad: ({ inputs: [x], grads: [dy], attrs: { exponent } }: GradContext<{ exponent: number }>) => [
    () => scaleShift(mul(dy!, powScalar(x!, exponent - 1)), exponent, 0),
  ],
  reference: ([x], { exponent }) => [refMap(x!, (v) => v ** exponent)],
  samples: [
    { name: 'cube', inputs: [{ shape: [3, 7, 5] }], attrs: { exponent: 3 }, dtypes: floats },
    { name: 'root', inputs: [{ shape: [41], fill: 'positive' }], attrs: { exponent: 0.45 } },
    { name: 'empty', inputs: [{ shape: [0] }], attrs: { exponent: 2 } },
  ],
});

export const clampCard = defineOp<AB>({
  name: 'clamp',
  inputs: ['x'],
  attrs: { a: 0, b: 1 },
  shape: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  grad: ({ inputs: [x], grads: [dy], attrs }) => [() => run(clampSlope, [x, dy], attrs)[0] as Tensor],
  reference: ([x], { a, b }) => [refMap(x!, (v) => Math.min(Math.max(v, a), b))],
  samples: unarySamples('normal', { a: -0.5, b: 0.75 }),
});

const clampSlope = defineOp<AB>({
  name: 'clamp_bwd',
  inputs: ['x', 'dy'],
  attrs: { a: 0, b: 1 },
  shape: ([x, dy]) =>
    sameShape(x!.shape, dy!.shape)
      ? [{ shape: x!.shape, dtype: x!.dtype }]
      : rejectShape('clamp_bwd', 'two equal shapes', [x, dy]),
  reference: ([x, dy], { a, b }) => [
    {
      data: dy!.data.map((g, i) => ((x!.data[i] as number) >= a && (x!.data[i] as number) <= b ? g : 0)),
      shape: x!.shape,
    },
  ],
  samples: [
    {
      name: 'ragged',
      inputs: [{ shape: [3, 7, 5] }, { shape: [3, 7, 5] }],
      attrs: { a: -0.5, b: 0.75 },
      dtypes: floats,
    },
  ],
});

/** -x. All functions here take any float dtype; two-byte floats compute in f32. */
export const neg = (x: Tensor): Tensor => call(negCard, x);
/** e^x */
export const exp = (x: Tensor): Tensor => call(expCard, x);
/** Natural logarithm. */
export const log = (x: Tensor): Tensor => call(logCard, x);
/** Square root. */
export const sqrt = (x: Tensor): Tensor => call(sqrtCard, x);
/** 1 / sqrt(x) */
export const rsqrt = (x: Tensor): Tensor => call(rsqrtCard, x);
/** |x|; its slope at 0 is 0. */
export const abs = (x: Tensor): Tensor => call(absCard, x);
/** x^2 */
export const square = (x: Tensor): Tensor => call(squareCard, x);
/** 1 / (1 + e^-x) */
export const sigmoid = (x: Tensor): Tensor => call(sigmoidCard, x);
/** Hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => call(tanhCard, x);
/** max(x, 0) */
export const relu = (x: Tensor): Tensor => call(reluCard, x);
/** x sigmoid(x) */
export const silu = (x: Tensor): Tensor => call(siluCard, x);
/** x Phi(x), the erf form (BERT, open_clip). */
export const gelu = (x: Tensor): Tensor => call(geluCard, x);
/** The tanh form of GELU. */
export const geluTanh = (x: Tensor): Tensor => call(geluTanhCard, x);
/** x sigmoid(1.702 x) (OpenAI's CLIP). */
export const quickGelu = (x: Tensor): Tensor => call(quickGeluCard, x);
/** a x + b for two numbers. */
export const scaleShift = (x: Tensor, a: number, b: number): Tensor => run(scaleShiftCard, [x], { a, b })[0] as Tensor;
/** x^exponent for one number. */
export const powScalar = (x: Tensor, exponent: number): Tensor => run(powScalarCard, [x], { exponent })[0] as Tensor;
/** x limited to low..high; the gradient passes where x lies inside, bounds included. */
export const clamp = (x: Tensor, low: number, high: number): Tensor =>
  run(clampCard, [x], { a: low, b: high })[0] as Tensor;
