/**
 * The decoder of MGCA (mgca.md section 2.2, after TCL's gated blocks): nearest enlargement by 2, then twice
 * u + tanh(g) Conv3x3(GELU(LN(u))). Gates start at 0, so that it begins as the enlargement alone. Maps are pixel-major.
 */
import {
  add,
  cast,
  conv2d,
  gelu,
  isolated,
  layerNorm,
  mul,
  randomBlocks,
  randomUniform,
  scope,
  Tensor,
  tanh,
  upsampleNearest,
} from '../../engine/index.js';

const eps = 1e-5;
const kernel = 3;
const blocks = [1, 2];

/** Names and shapes of the decoder's tensors for an embedding width: 4,721,666 numbers at 512. */
export function decoderTensors(width: number): Map<string, readonly number[]> {
  return new Map(
    blocks.flatMap((i) => [
      [`decoder.block${i}.norm.weight`, [width]],
      [`decoder.block${i}.norm.bias`, [width]],
      [`decoder.block${i}.conv.weight`, [width, width, kernel, kernel]],
      [`decoder.block${i}.conv.bias`, [width]],
      [`decoder.block${i}.gate`, []],
    ]),
  );
}

/** Starting values: norms the identity, gates 0, convolutions as PyTorch's (uniform within fan-in^-1/2). */
export function initialDecoder(width: number, seed: number): Map<string, Tensor> {
  const bound = (width * kernel * kernel) ** -0.5;
  const tensors = new Map<string, Tensor>();
  isolated(() => {
    let offset = 0;
    for (const [name, shape] of decoderTensors(width)) {
      const size = shape.reduce((product, d) => product * d, 1);
      if (name.includes('.conv.')) {
        tensors.set(name, randomUniform(shape, { seed, offset, low: -bound, high: bound }));
        offset += randomBlocks(shape);
      } else {
        tensors.set(name, Tensor.from(new Float32Array(size).fill(name.endsWith('norm.weight') ? 1 : 0), shape));
      }
    }
  });
  return tensors;
}

/** Features [n, h, w, D] -> pixel embeddings [n, 2h, 2w, D], f32; with `bf16` the convolutions multiply in bf16. */
export function decode(features: Tensor, tensors: ReadonlyMap<string, Tensor>, compute: 'f32' | 'bf16'): Tensor {
  return scope(() => blocks.reduce((u, i) => block(u, i, tensors, compute), upsampleNearest(features)));
}

function block(u: Tensor, i: number, tensors: ReadonlyMap<string, Tensor>, compute: 'f32' | 'bf16'): Tensor {
  return scope(() => {
    const part = (name: string) => tensors.get(`decoder.block${i}.${name}`) as Tensor;
    const narrow = compute === 'bf16';
    const hidden = gelu(layerNorm(u, part('norm.weight'), part('norm.bias'), eps, { bf16Out: narrow }));
    const weight = narrow ? cast(part('conv.weight'), 'bf16') : part('conv.weight');
    const bias = narrow ? cast(part('conv.bias'), 'bf16') : part('conv.bias');
    const change = conv2d(hidden, weight, { bias, padding: 1, f32Out: true }); // [n, h, w, D]
    return add(u, mul(change, tanh(part('gate'))));
  });
}
