/** Work for tests of Programs: an attention layer with views, strided operands and two outputs. */
import { add, attention, layerNorm, matmul, scope, softmax, Tensor } from '#lib/engine/index.js';

/** Numbers that differ by seed. */
export const noise = (seed: number, count: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed * 12.9898 + i * 7.233) * 0.7);

export interface Layer {
  readonly gain: Tensor;
  readonly bias: Tensor;
  readonly maps: Tensor;
}

/** Tokens [n, L, 8] -> without the first token [n, L - 1, 8] (a view), and a distribution [n, L, 8]. */
export function layer({ gain, bias, maps }: Layer, x: Tensor): { patches: Tensor; share: Tensor } {
  return scope(() => {
    const [n = 0, length = 0, width = 0] = x.shape;
    const normed = layerNorm(x, gain, bias, 1e-5).reshape(n * length, width);
    const heads = (i: number) =>
      matmul(normed, maps.select(0, i).transpose(0, 1))
        .reshape(n, length, 2, width / 2)
        .permute(0, 2, 1, 3);
    const mixed = attention(heads(0), heads(1), heads(2)).permute(0, 2, 1, 3).reshape(n, length, width);
    const out = add(x, mixed);
    return { patches: out.slice(1, 1), share: softmax(out) };
  });
}

layer.weights = (): Layer => ({
  gain: Tensor.from(noise(90, 8)),
  bias: Tensor.from(noise(91, 8)),
  maps: Tensor.from(noise(92, 192), [3, 8, 8]),
});

export async function outputsOf({ patches, share }: { patches: Tensor; share: Tensor }): Promise<Float32Array[]> {
  return [(await patches.data()) as Float32Array, (await share.data()) as Float32Array];
}
