import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { scope } from '../../scope.js';
import { normaliseAxis, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refAt, refFill } from '../reference.js';

const maxInputs = 64;

export const concatCard = defineOp({
  name: 'concat',
  inputs: ['...xs'],
  attrs: { axis: 0 },
  shape: (specs, { axis }) => {
    const [first, ...rest] = specs as readonly TensorSpec[];
    const others = (spec: TensorSpec) => spec.shape.filter((_, i) => i !== axis);
    const fits =
      first &&
      axis >= 0 &&
      axis < first.shape.length &&
      specs.length <= maxInputs &&
      rest.every(
        (spec) =>
          spec.dtype === first.dtype &&
          spec.shape.length === first.shape.length &&
          sameShape(others(spec), others(first)),
      );
    if (!fits)
      rejectShape('concat', `1 to ${maxInputs} tensors of one dtype that differ along axis ${axis} alone`, specs);
    const total = (specs as readonly TensorSpec[]).reduce((sum, spec) => sum + (spec.shape[axis] as number), 0);
    return [{ shape: first.shape.map((d, i) => (i === axis ? total : d)), dtype: first.dtype }];
  },
  grad: ({ inputs, grads: [dy], attrs: { axis } }) => {
    let end = 0;
    return inputs.map((x) => {
      const begin = end;
      end += x!.shape[axis] as number;
      const stop = end;
      return () => dy!.slice(axis, begin, stop);
    });
  },
  reference: (xs, { axis }) => {
    const total = xs.reduce((sum, x) => sum + (x!.shape[axis] as number), 0);
    return [
      refFill(
        xs[0]!.shape.map((d, i) => (i === axis ? total : d)),
        (index) => {
          let at = index[axis] as number;
          let i = 0;
          while (at >= (xs[i]!.shape[axis] as number)) at -= xs[i++]!.shape[axis] as number;
          return refAt(
            xs[i]!,
            index.map((k, d) => (d === axis ? at : k)),
          );
        },
      ),
    ];
  },
  samples: [
    {
      name: 'tokens',
      inputs: [{ shape: [2, 1, 5] }, { shape: [2, 7, 5] }, { shape: [2, 3, 5] }],
      attrs: { axis: 1 },
      dtypes: ['f32', 'f64', 'bf16', 'f16'],
    },
    { name: 'rows', inputs: [{ shape: [3, 9] }, { shape: [0, 9] }, { shape: [2, 9] }], attrs: { axis: 0 } },
    {
      name: 'columns, u8',
      inputs: [
        { shape: [5, 3], dtype: 'u8' },
        { shape: [5, 4], dtype: 'u8' },
      ],
      attrs: { axis: 1 },
      dtypes: ['f32'],
    },
    {
      name: 'more rows than a block takes',
      inputs: [{ shape: [2, 130, 16] }, { shape: [2, 3, 16] }, { shape: [2, 0, 16] }, { shape: [2, 64, 16] }],
      attrs: { axis: 1 },
      dtypes: ['f32', 'bf16'],
    },
    { name: 'one input', inputs: [{ shape: [4, 3] }], attrs: { axis: 1 } },
    { name: 'empty', inputs: [{ shape: [0, 3] }, { shape: [0, 2] }], attrs: { axis: 1 } },
  ],
  bench: [
    {
      name: 'class token to patches, 8 images',
      inputs: [{ shape: [8, 1, 768] }, { shape: [8, 196, 768] }],
      attrs: { axis: 1 },
      dtypes: ['f32', 'bf16'],
    },
  ],
});

/** The tensors one behind the other along an axis: at least one, of one dtype (any), equal along the other axes. @throws E_OPTION */
export function concat(xs: readonly Tensor[], axis: number): Tensor {
  if (xs.length === 0) throw new WordmaskError('E_OPTION', 'concat: needs at least one tensor');
  if (xs.length > maxInputs) return inLevels(xs, axis);
  return run(concatCard, xs, { axis: normaliseAxis('concat', axis, (xs[0] as Tensor).rank) })[0] as Tensor;
}

/** More tensors than one call takes: groups of them first. */
function inLevels(xs: readonly Tensor[], axis: number): Tensor {
  return scope(() => {
    const groups = Array.from({ length: Math.ceil(xs.length / maxInputs) }, (_, i) =>
      concat(xs.slice(i * maxInputs, (i + 1) * maxInputs), axis),
    );
    return concat(groups, axis);
  });
}
