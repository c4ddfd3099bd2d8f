/** The activations that linear layers fuse, their codes (native/cpu/math/gemm_kernels.h) and f64 forms. */

import { show, WordmaskError } from '../../../util/errors.js';
import type { RefArray } from '../../card.js';

export const activations = ['none', 'quick_gelu', 'gelu', 'relu', 'gelu_tanh'] as const;
/** `quick_gelu` is x sigmoid(1.702 x), `gelu` the erf form, `gelu_tanh` its tanh approximation. */
export type Activation = (typeof activations)[number];

export function activationCode(name: Activation = 'none'): number {
  const code = activations.indexOf(name);
  if (code < 0)
    throw new WordmaskError('E_OPTION', `activation must be one of ${activations.join(', ')}, got ${show(name)}`);
  return code;
}

/** erfc in f64: a series of positive terms near zero, Lentz's continued fraction beyond. */
export function erfcReference(x: number): number {
  if (x < 0) return 2 - erfcReference(-x);
  if (x < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; term > sum * 1e-18; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  let fraction = x;
  for (let n = 60; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction);
}

function activationReference(code: number, x: number): number {
  switch (activations[code]) {
    case 'quick_gelu':
      return x / (1 + Math.exp(-1.702 * x));
    case 'gelu':
      return 0.5 * x * erfcReference(-x / Math.SQRT2);
    case 'relu':
      return Math.max(x, 0);
    case 'gelu_tanh':
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    default:
      return x;
  }
}

/** act(scale x W^T + bias) + residual in f64, for x [..., K] and weight [N, K]. */
export function linearReference(
  x: RefArray,
  weight: RefArray,
  bias: RefArray | undefined,
  residual: RefArray | undefined,
  activation: number,
  scale = 1,
): RefArray {
  const [n, k] = weight.shape as [number, number];
  const shape = [...x.shape.slice(0, -1), n];
  const rows = x.shape.slice(0, -1).reduce((product, d) => product * d, 1);
  const data = new Float64Array(rows * n);
  for (let m = 0; m < rows; m++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += (x.data[m * k + i] as number) * (weight.data[j * k + i] as number);
      const z = sum * scale + (bias?.data[j] ?? 0);
      data[m * n + j] = activationReference(activation, z) + (residual?.data[m * n + j] ?? 0);
    }
  }
  return { data, shape };
}
