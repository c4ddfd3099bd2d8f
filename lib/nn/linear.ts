/** Affine maps: dense (trainable, packed at each call) or packed once for inference. */
import {
  type Activation,
  concat,
  type DType,
  linear,
  linearPacked,
  type MlpMap,
  type PackedLinear,
  packLinear,
  scope,
  type Tensor,
} from '../engine/index.js';

export type { Activation } from '../engine/index.js';

export interface ForwardOptions {
  readonly activation?: Activation;
  /** Added to the result: the residual stream. */
  readonly residual?: Tensor;
  /** Dtype of the result; default that of the layer. */
  readonly out?: DType;
}

export type Compute = 'f32' | 'bf16';

export interface Linear {
  /** The map's tensors, where gradients flow to them. */
  readonly dense?: MlpMap;
  /** x [..., K] -> activation(x W^T + b) + residual [..., N]. */
  forward(x: Tensor, options?: ForwardOptions): Tensor;
  dispose(): void;
}

/**
 * Weight [N, K] (or [N, ...], flattened at use) and bias [N] as they are: gradients flow to them. With `compute` bf16 the f32
 * masters are rounded at each use and the product runs in bf16 (sums in f32); gradients come back to the masters as f32.
 */
export function denseLinear(weight: Tensor, bias?: Tensor, compute: Compute = 'f32'): Linear {
  const rows = weight.shape[0] as number;
  return {
    dense: { weight, bias },
    forward: (x, { activation, residual, out = compute } = {}) => {
      const matrix = weight.rank === 2 ? weight : weight.reshape(rows, weight.size / rows);
      if (compute === 'f32') return linear(x, matrix, { bias, activation, residual });
      return linear(x, matrix, { bias, activation, residual, compute, out: out === 'bf16' ? 'bf16' : 'f32' });
    },
    dispose: () => {
      weight.dispose();
      bias?.dispose();
    },
  };
}

/** Several maps of one input as one: their weights [N_i, K] and biases [N_i] are put together at each use -> [..., sum N_i]. */
export function joinedLinear(parts: readonly { weight: Tensor; bias: Tensor }[], compute: Compute = 'f32'): Linear {
  const joined = (name: 'weight' | 'bias') =>
    concat(
      parts.map((part) => part[name]),
      0,
    );
  return {
    forward: (x, options) => scope(() => denseLinear(joined('weight'), joined('bias'), compute).forward(x, options)),
    dispose: () => {},
  };
}

/** A copy of the weight [N, K] in the layout of the fastest kernel; the weight itself may be disposed. */
export function packedLinear(weight: Tensor, bias: Tensor | undefined, compute: Compute): Linear {
  const packed: PackedLinear = packLinear(weight, { bf16: compute === 'bf16' });
  return {
    forward: (x, { activation, residual, out = compute } = {}) =>
      linearPacked(x, packed, { bias, activation, residual, bf16Out: out === 'bf16' }),
    dispose: () => {
      packed.bytes.dispose();
      bias?.dispose();
    },
  };
}
