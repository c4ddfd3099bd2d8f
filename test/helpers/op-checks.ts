/** Running a sample of an op card and comparing it with the card's reference, on any device. */
import {
  type Attrs,
  type DType,
  isFloat,
  numel,
  type OpCard,
  type RefArray,
  run,
  type Sample,
  Tensor,
} from '#lib/engine/index.js';
import { fromHost, makeInput, relL2, toHost } from './samples.js';

const defaults: Partial<Record<DType, number>> = { f32: 1e-5, f64: 1e-12, bf16: 4e-3, f16: 1e-3 };
/** What a check reports to: a test of tap, or a counter where there is none. */
export interface Checks {
  ok(value: unknown, message: string): boolean;
  equal(found: unknown, wanted: unknown, message: string): boolean;
  same(found: unknown, wanted: unknown, message: string): boolean;
}

export interface Prepared {
  refs: (RefArray | undefined)[];
  made: (ReturnType<typeof makeInput> | undefined)[];
  make(strided: boolean): (Tensor | undefined)[];
}

export function prepare(card: OpCard, sample: Sample, float: DType): Prepared {
  const made = sample.inputs.map((input, i) => input && makeInput(`${card.name}/${sample.name}/${i}`, input, float));
  return {
    refs: made.map((m) => m?.ref),
    made,
    make: (strided) =>
      made.map((m) => m && (strided ? stridedTensor(m.ref, m.dtype) : Tensor.from(m.host, m.ref.shape, m.dtype))),
  };
}

/** The same values behind an offset and permuted, gappy strides. */
export function stridedTensor(ref: RefArray, dtype: DType): Tensor {
  const rank = ref.shape.length;
  if (rank === 0 || numel(ref.shape) === 0) return Tensor.from(toHost(ref.data, dtype), ref.shape, dtype);
  // Stored with axes reversed and one spare row in front of the (then) first axis.
  const reversed = [...ref.shape].reverse();
  const stored = [(reversed[0] as number) + 1, ...reversed.slice(1)];
  const values = new Float64Array(numel(stored)).fill(7);
  const index = new Array<number>(rank).fill(0);
  for (let i = 0; i < ref.data.length; i++) {
    let at = (index[rank - 1] as number) + 1;
    for (let axis = rank - 2; axis >= 0; axis--) at = at * (ref.shape[axis] as number) + (index[axis] as number);
    values[at] = ref.data[i] as number;
    for (let axis = rank - 1; axis >= 0; axis--) {
      index[axis] = (index[axis] as number) + 1;
      if (index[axis] !== ref.shape[axis]) break;
      index[axis] = 0;
    }
  }
  const base = Tensor.from(toHost(values, dtype), stored, dtype);
  return base.slice(0, 1).permute(...reversed.map((_, i) => rank - 1 - i));
}

export async function outputsOf(
  card: OpCard,
  inputs: (Tensor | undefined)[],
  attrs: Partial<Attrs>,
): Promise<{ dtype: DType; shape: readonly number[]; bytes: Uint8Array; values: Float64Array }[]> {
  const tensors = run(card, inputs, attrs);
  return Promise.all(
    tensors.map(async (tensor) => {
      const data = await tensor.data();
      return {
        dtype: tensor.dtype,
        shape: tensor.shape,
        bytes: new Uint8Array(data.buffer),
        values: fromHost(data, tensor.dtype),
      };
    }),
  );
}

export function limitOf(card: OpCard, float: DType, output: DType): number {
  if (!isFloat(output)) return 0;
  // A narrower output dtype than the inputs' has that dtype's rounding.
  const type = (defaults[output] as number) > (defaults[float] as number) ? output : float;
  return card.tolerance?.[type] ?? defaults[type] ?? 0;
}

export function check(
  t: Checks,
  card: OpCard,
  label: string,
  float: DType,
  actual: { dtype: DType; shape: readonly number[]; values: Float64Array }[],
  expected: readonly RefArray[],
): void {
  t.equal(actual.length, expected.length, `${label}: number of outputs`);
  actual.forEach((output, i) => {
    const want = expected[i] as RefArray;
    t.same(output.shape, want.shape, `${label}: shape of output ${i}`);
    const error = relL2(output.values, want.data);
    const limit = limitOf(card, float, output.dtype);
    t.ok(error <= limit, `${label}: output ${i} relL2 ${error.toExponential(2)} <= ${limit}`);
  });
}
