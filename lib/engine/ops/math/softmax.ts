/** softmax and log_softmax over one axis, with temperature (kernels.md N3). */
import { defineOp, type GradContext, type OpCard, type RefArray, type Sample, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { normaliseAxis, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refAlong, refMoveAxis } from '../reference.js';

/** axis counts from 0. */
const attrs = { axis: 0, temperature: 1 };
type SoftmaxAttrs = typeof attrs;

function checked(name: string, specs: readonly (TensorSpec | undefined)[], a: SoftmaxAttrs): TensorSpec[] {
  const x = specs[0] as TensorSpec;
  if (!(a.axis >= 0 && a.axis < x.shape.length) || a.temperature === 0)
    rejectShape(name, `a tensor with axis ${a.axis} and a temperature that is not 0 (it is ${a.temperature})`, specs);
  if (specs.some((other) => !sameShape(x.shape, other!.shape) || other!.dtype !== x.dtype))
    rejectShape(name, 'y and dy alike', specs);
  return [{ shape: x.shape, dtype: x.dtype }];
}

function softmaxOf(row: number[], temperature: number): number[] {
  const top = Math.max(...row.map((v) => v / temperature));
  const exps = row.map((v) => Math.exp(v / temperature - top));
  const total = exps.reduce((s, v) => s + v, 0);
  return exps.map((v) => v / total);
}

const samples: Sample<SoftmaxAttrs>[] = [
  { name: 'rows', inputs: [{ shape: [5, 197] }], attrs: { axis: 1 }, dtypes: ['f32', 'f64', 'bf16', 'f16'] },
  { name: 'temperature', inputs: [{ shape: [3, 2, 7] }], attrs: { axis: 2, temperature: 0.07 } },
  { name: 'classes of a map', inputs: [{ shape: [2, 7, 5, 13] }], attrs: { axis: 1 }, dtypes: ['f32', 'f64', 'bf16'] },
  { name: 'first axis, wide', inputs: [{ shape: [33, 531] }], attrs: { axis: 0, temperature: 2 } },
  { name: 'large values', inputs: [{ shape: [4, 19], fill: { uniform: [80, 120] } }], attrs: { axis: 1 } },
  { name: 'one class', inputs: [{ shape: [3, 1] }], attrs: { axis: 1 } },
  { name: 'long rows', inputs: [{ shape: [2, 1288] }], attrs: { axis: 1 }, grad: false, dtypes: ['f32', 'bf16'] },
  { name: 'longer rows', inputs: [{ shape: [1, 4808] }], attrs: { axis: 1 }, grad: false, dtypes: ['f32', 'bf16'] },
  { name: 'ragged long row', inputs: [{ shape: [1, 4099] }], attrs: { axis: 1 }, grad: false },
  { name: 'first axis, long', inputs: [{ shape: [181, 35] }], attrs: { axis: 0 }, grad: false },
  { name: 'empty', inputs: [{ shape: [0, 4] }], attrs: { axis: 1 } },
];
const bench = [
  { name: 'attention rows of B/16', inputs: [{ shape: [12 * 197, 197] }], attrs: { axis: 1 }, dtypes: ['f32', 'bf16'] },
  { name: '21 classes of a 500x375 map', inputs: [{ shape: [21, 375, 500] }], attrs: { axis: 0 }, dtypes: ['f32'] },
] as const;

function forwardCard(
  name: string,
  f: (row: number[], temperature: number) => number[],
  bwd: () => OpCard<SoftmaxAttrs>,
): OpCard<SoftmaxAttrs> {
  return defineOp({
    name,
    inputs: ['x'],
    attrs,
    shape: (specs, a) => checked(name, specs, a),
    grad: ({ outputs: [y], grads: [dy], attrs: a }: GradContext<SoftmaxAttrs>) => [
      () => run(bwd(), [y, dy], a)[0] as Tensor,
    ],
    reference: ([x], a) => [refAlong(x!, a.axis, (row) => f(row, a.temperature))],
    samples,
    bench,
  });
}

/** f(y row, dy row) -> dx row before division by the temperature */
function backwardCard(name: string, f: (y: number[], dy: number[]) => number[]): OpCard<SoftmaxAttrs> {
  const pair = (shape: number[]) => [{ shape, fill: 'unit' as const }, { shape }];
  return defineOp({
    name,
    inputs: ['y', 'dy'],
    attrs,
    shape: (specs, a) => checked(name, specs, a),
    reference: ([y, dy], a) => {
      const up: RefArray = refMoveAxis(dy!, a.axis);
      const length = y!.shape[a.axis] as number;
      return [
        refAlong(y!, a.axis, (row, r) =>
          f(row, [...up.data.subarray(r * length, (r + 1) * length)]).map((v) => v / a.temperature),
        ),
      ];
    },
    samples: [
      { name: 'rows', inputs: pair([5, 197]), attrs: { axis: 1, temperature: 0.5 }, dtypes: ['f32', 'f64', 'bf16'] },
      { name: 'classes of a map', inputs: pair([2, 7, 5, 13]), attrs: { axis: 1 }, dtypes: ['f32', 'f64', 'bf16'] },
      { name: 'long rows', inputs: pair([2, 1288]), attrs: { axis: 1 }, dtypes: ['f32', 'bf16'] },
      { name: 'first axis, long', inputs: pair([181, 35]), attrs: { axis: 0 } },
      { name: 'empty', inputs: pair([3, 0]), attrs: { axis: 1 } },
    ],
    bench: [{ name: 'attention rows of B/16', inputs: pair([12 * 197, 197]), attrs: { axis: 1 } }],
  });
}

const dot = (a: number[], b: number[]) => a.reduce((s, v, i) => s + v * (b[i] as number), 0);

export const softmaxCard = forwardCard('softmax', softmaxOf, () => softmaxBwdCard);
export const logSoftmaxCard = forwardCard(
  'log_softmax',
  (row, temperature) => {
    const top = Math.max(...row.map((v) => v / temperature));
    const total = Math.log(row.reduce((s, v) => s + Math.exp(v / temperature - top), 0));
    return row.map((v) => v / temperature - top - total);
  },
  () => logSoftmaxBwdCard,
);
export const softmaxBwdCard = backwardCard('softmax_bwd', (y, dy) => {
  const inner = dot(y, dy);
  return y.map((v, i) => v * ((dy[i] as number) - inner));
});
export const logSoftmaxBwdCard = backwardCard('log_softmax_bwd', (y, dy) => {
  const total = dy.reduce((s, v) => s + v, 0);
  return y.map((v, i) => (dy[i] as number) - Math.exp(v) * total);
});

/** exp(x / temperature) along `axis`, divided by its sum. Any float dtype, computed in f32 or wider. @throws E_OPTION */
export function softmax(x: Tensor, axis = -1, temperature = 1): Tensor {
  return run(softmaxCard, [x], { axis: normaliseAxis('softmax', axis, x.rank), temperature })[0] as Tensor;
}

/** log(softmax(x)), without the loss of precision. */
export function logSoftmax(x: Tensor, axis = -1, temperature = 1): Tensor {
  return run(logSoftmaxCard, [x], { axis: normaliseAxis('log_softmax', axis, x.rank), temperature })[0] as Tensor;
}
