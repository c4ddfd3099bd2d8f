/** NaN and infinity in weights, found when a model is loaded instead of as a black mask later. */
import { isFloat } from '../engine/dtype.js';
import { firstNonFinite } from '../engine/ops/math/first_non_finite.js';
import type { Tensor } from '../engine/tensor.js';
import { show, WordmaskError } from '../util/errors.js';

const kinds = ['', 'NaN', 'Infinity', '-Infinity'];

/**
 * Checks tensors of any device and dtype; integers pass.
 * @param file named in the error
 * @throws E_WEIGHTS_VALUE naming the first bad tensor, the index in it and the value
 */
export async function checkFinite(file: string, tensors: Iterable<readonly [string, Tensor]>): Promise<void> {
  // All checks are queued before the first is awaited, so the queue never runs empty.
  const checks = [...tensors]
    .filter(([, tensor]) => isFloat(tensor.dtype))
    .map(([name, tensor]) => {
      const result = firstNonFinite(tensor);
      return { name, shape: tensor.shape, result, values: result.data() };
    });
  try {
    for (const { name, shape, values } of checks) {
      const [at = -1, kind = 0] = (await values) as Float64Array;
      if (at < 0) continue;
      const index = unravel(at, shape);
      throw new WordmaskError(
        'E_WEIGHTS_VALUE',
        `${file}: tensor ${show(name)} holds ${kinds[kind]} at [${index.join(', ')}]: the file is damaged or its training failed; fetch it again or open it with checkWeights: false`,
        { details: { file, tensor: name, index, value: kinds[kind] } },
      );
    }
  } finally {
    await Promise.allSettled(checks.map(({ values }) => values));
    for (const { result } of checks) result.dispose();
  }
}

function unravel(at: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  for (let rest = at, axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] as number;
    index.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return index;
}
