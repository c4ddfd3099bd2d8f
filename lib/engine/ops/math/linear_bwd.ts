/** Gradients of linear: towards its input, and towards weight and bias in one pass over the rows. */
import { defineOp, type RefArray, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { numel, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

type Spec = TensorSpec | undefined;

const isNarrow = (spec: Spec) => spec!.dtype === 'f32' || spec!.dtype === 'bf16';

/** Two factors of one dtype or, with `bf16`, each in f32 or bf16. */
export function canMultiply(a: Spec, b: Spec, bf16: boolean): boolean {
  return bf16 ? isNarrow(a) && isNarrow(b) : a!.dtype === b!.dtype;
}

const outputType = (spec: TensorSpec) => (spec.dtype === 'f64' ? 'f64' : 'f32');

const inputAttrs = { bf16: false, bf16Out: false };
const weightAttrs = { bf16: false };

export const linearBwdInputCard = defineOp({
  name: 'linear_bwd_input',
  inputs: ['dz', 'weight', 'gate?'],
  attrs: inputAttrs,
  mixedDtypes: true,
  shape: ([dz, weight, gate], { bf16, bf16Out }) => {
    const shape = [...dz!.shape.slice(0, -1), weight!.shape[1] as number]; // [..., K]
    const fits =
      dz!.shape.length > 0 &&
      weight!.shape.length === 2 &&
      dz!.shape.at(-1) === weight!.shape[0] &&
      canMultiply(dz, weight, bf16) &&
      !(bf16Out && dz!.dtype === 'f64') &&
      (!gate || (sameShape(gate.shape, shape) && canMultiply(dz, gate, bf16)));
    if (!fits)
      rejectShape('linear_bwd_input', 'dz [..., N], weight [N, K] and gate [..., K], f32 or bf16', [dz, weight, gate]);
    return [{ shape, dtype: bf16Out ? 'bf16' : outputType(dz as TensorSpec) }];
  },
  reference: ([dz, weight, gate]) => {
    const [n, k] = weight!.shape as [number, number];
    const rows = numel(dz!.shape.slice(0, -1));
    const data = new Float64Array(rows * k);
    for (let r = 0; r < rows; r++)
      for (let j = 0; j < n; j++)
        for (let i = 0; i < k; i++)
          data[r * k + i]! += (dz!.data[r * n + j] as number) * (weight!.data[j * k + i] as number);
    if (gate) for (let i = 0; i < data.length; i++) data[i]! *= gate.data[i] as number;
    return [{ data, shape: [...dz!.shape.slice(0, -1), k] }];
  },
  samples: [
    { name: 'ragged', inputs: [{ shape: [2, 9, 50] }, { shape: [50, 21] }], dtypes: ['f32', 'f64'] },
    {
      name: 'bf16 throughout',
      inputs: [{ shape: [19, 50] }, { shape: [50, 65] }],
      attrs: { bf16: true, bf16Out: true },
      dtypes: ['bf16'],
    },
    {
      name: 'bf16, odd N, f32 out',
      inputs: [{ shape: [19, 33] }, { shape: [33, 65] }],
      attrs: { bf16: true },
      dtypes: ['bf16'],
    },
    {
      name: 'gate',
      inputs: [{ shape: [2, 9, 33] }, { shape: [33, 65] }, { shape: [2, 9, 65] }],
      dtypes: ['f32', 'f64'],
    },
    {
      name: 'gate, bf16',
      inputs: [{ shape: [19, 34] }, { shape: [34, 81] }, { shape: [19, 81] }],
      attrs: { bf16: true, bf16Out: true },
      dtypes: ['bf16'],
    },
    {
      name: 'gate, whole lines of 16 bytes',
      inputs: [{ shape: [70, 72] }, { shape: [72, 136] }, { shape: [70, 136] }],
      attrs: { bf16: true, bf16Out: true },
      dtypes: ['bf16'],
    },
    {
      name: 'gate, two blocks of N',
      inputs: [{ shape: [9, 801] }, { shape: [801, 50] }, { shape: [9, 50] }],
      dtypes: ['f32'],
    },
    { name: 'no rows', inputs: [{ shape: [0, 5] }, { shape: [5, 3] }] },
  ],
  bench: [
    {
      name: 'tiny fc1, 128 pairs',
      inputs: [
        { shape: [4224, 512], dtype: 'bf16' },
        { shape: [512, 128], dtype: 'f32' },
      ],
      attrs: { bf16: true, bf16Out: true },
      dtypes: ['bf16'],
      flops: 2 * 4224 * 512 * 128,
    },
  ],
});

export const linearBwdWeightCard = defineOp({
  name: 'linear_bwd_weight',
  inputs: ['dz', 'x'],
  attrs: weightAttrs,
  mixedDtypes: true,
  shape: ([dz, x], { bf16 }) => {
    const fits =
      dz!.shape.length > 0 &&
      x!.shape.length > 0 &&
      sameShape(dz!.shape.slice(0, -1), x!.shape.slice(0, -1)) &&
      canMultiply(dz, x, bf16);
    if (!fits) rejectShape('linear_bwd_weight', 'dz [..., N] and x [..., K], both f32 or bf16', [dz, x]);
    const [n, k] = [dz!.shape.at(-1) as number, x!.shape.at(-1) as number];
    const dtype = outputType(dz as TensorSpec);
    return [
      { shape: [n, k], dtype },
      { shape: [n], dtype },
    ];
  },
  reference: ([dz, x]) => {
    const [n, k] = [dz!.shape.at(-1) as number, x!.shape.at(-1) as number];
    const weight = new Float64Array(n * k);
    const bias = new Float64Array(n);
    for (let r = 0; r < numel(dz!.shape.slice(0, -1)); r++)
      for (let j = 0; j < n; j++) {
        const g = dz!.data[r * n + j] as number;
        bias[j]! += g;
        for (let i = 0; i < k; i++) weight[j * k + i]! += g * (x!.data[r * k + i] as number);
      }
    return [
      { data: weight, shape: [n, k] },
      { data: bias, shape: [n] },
    ] satisfies RefArray[];
  },
  // Outputs are f32: bf16 operands cost nothing, but for sums that cancel.
  tolerance: { bf16: 1e-5 },
  samples: [
    { name: 'ragged', inputs: [{ shape: [2, 9, 21] }, { shape: [2, 9, 50] }], dtypes: ['f32', 'f64', 'bf16'] },
    {
      name: 'several bands and parts, odd rows',
      inputs: [{ shape: [519, 149] }, { shape: [519, 531] }],
      attrs: { bf16: true },
      dtypes: ['bf16'],
    },
    { name: 'parts of rows', inputs: [{ shape: [1100, 24] }, { shape: [1100, 136] }], dtypes: ['f32', 'bf16'] },
    { name: 'one row', inputs: [{ shape: [7] }, { shape: [5] }], dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'no rows', inputs: [{ shape: [0, 5] }, { shape: [0, 3] }], dtypes: ['f32', 'f64', 'bf16'] },
  ],
  bench: [
    {
      name: 'tiny fc1, 128 pairs',
      inputs: [{ shape: [4224, 512] }, { shape: [4224, 128] }],
      attrs: { bf16: true },
      dtypes: ['bf16'],
      flops: 2 * 4224 * 512 * 128,
    },
  ],
});

export interface LinearBwdInputOptions {
  bf16: boolean;
  bf16Out: boolean;
  /** [..., K]: multiplies the result; the slopes of an activation in front of the map, say. */
  gate?: Tensor;
}

/** dz W [..., K], the gradient of linear's input, in bf16 or f32 (f64 for f64). */
export function linearBwdInput(dz: Tensor, weight: Tensor, { gate, ...types }: LinearBwdInputOptions): Tensor {
  return run(linearBwdInputCard, [dz, weight, gate], types)[0] as Tensor;
}

/** dz^T x [N, K] and the column sums of dz [N], in f32 (f64 for f64). */
export function linearBwdWeight(dz: Tensor, x: Tensor, attrs: { bf16: boolean }): { weight: Tensor; bias: Tensor } {
  const [weight, bias] = run(linearBwdWeightCard, [dz, x], attrs) as [Tensor, Tensor];
  return { weight, bias };
}
