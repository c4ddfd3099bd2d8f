/**
 * Pre-norm transformer block (ViT, arXiv 2010.11929, section 3.1; CLIP's towers): x += attn(ln1 x); x += mlp(ln2 x).
 * The attention variants of dense-CLIP methods are parameters of the same block: what is compared with what, an additive
 * Gaussian window, and whether residual and MLP are kept.
 */
import {
  attention,
  attentionMaps,
  gather,
  layerNorm,
  mlp,
  prefersSelfAttention,
  scope,
  selfAttention,
  type Tensor,
} from '../engine/index.js';
import type { Activation, Compute, Linear } from './linear.js';

/** `v` is the identity (each token keeps its own value); `gauss` replaces similarity by the window alone. */
export type AttentionKind = 'qk' | 'v' | 'qq+kk' | 'qq' | 'kk' | 'kk+gauss' | 'gauss';

export interface Norm {
  readonly gain: Tensor;
  readonly bias: Tensor;
}

export interface BlockWeights {
  readonly norm1: Norm;
  /** One map for all three [3D, D], or three. */
  readonly qkv?: Linear;
  readonly q?: Linear;
  readonly k?: Linear;
  readonly v?: Linear;
  /** Beside three: the same as one map [3D, D], put together at each use. For training, where one product beats three. */
  readonly joint?: Linear;
  readonly out: Linear;
  readonly norm2: Norm;
  readonly fc1: Linear;
  readonly fc2: Linear;
}

export interface BlockOptions {
  readonly heads: number;
  readonly activation: Activation;
  readonly eps: number;
  /** Dtype between the maps; the residual stream is always f32. */
  readonly compute: Compute;
  readonly causal?: boolean;
  /** Valid keys per sample, i32 [B]. */
  readonly keyLengths?: Tensor;
  /** Sequences behind one another in x [1, R, D]: i32 [S + 1], rows starts[s] .. starts[s + 1] - 1. Needs `joint` weights. */
  readonly starts?: Tensor;
  readonly attention?: AttentionKind;
  /** Patch grid [h, w] behind the class token, and the window's deviation in patches; for the Gaussian kinds. */
  readonly grid?: readonly [number, number];
  readonly sigma?: number;
  /** Default true: keep x in x + attn(...). Without it the block ends after the attention unless `ffn` is set. */
  readonly residual?: boolean;
  /** Default true: run the MLP half. */
  readonly ffn?: boolean;
  /** Receives the attention map [B, A, L, L] (two-softmax kinds: row sums 2). */
  readonly onAttention?: (map: Tensor) => void;
  /** Receives ln1 x [B, L, D] in front of the attention; its result takes the place. */
  readonly onNormed?: (normed: Tensor) => Tensor;
}

type ReadOptions = Pick<BlockOptions, 'heads' | 'activation' | 'eps' | 'compute' | 'keyLengths'>;

/** x [B, L, D] f32 -> [B, L, D] f32. */
export function transformerBlock(x: Tensor, weights: BlockWeights, options: BlockOptions): Tensor {
  const { residual = true, ffn = true, compute, eps } = options;
  return scope(() => {
    const plain = layerNorm(x, weights.norm1.gain, weights.norm1.bias, eps, { bf16Out: compute === 'bf16' });
    const mixed = attend(options.onNormed?.(plain) ?? plain, weights, options);
    const y = weights.out.forward(mixed, { residual: residual ? x : undefined, out: 'f32' }); // [B, L, D]
    return ffn ? feedForward(y, weights, options) : y;
  });
}

/** y + mlp(ln2 y) for y [..., D]. */
function feedForward(y: Tensor, weights: BlockWeights, { compute, eps, activation }: ReadOptions): Tensor {
  const normed = layerNorm(y, weights.norm2.gain, weights.norm2.bias, eps, { bf16Out: compute === 'bf16' });
  const [first, second] = [weights.fc1.dense, weights.fc2.dense];
  if (first && second) {
    return mlp(normed, first, second, {
      activation,
      residual: y,
      ...(compute === 'bf16' ? { compute, out: 'f32' } : {}),
    });
  }
  return weights.fc2.forward(weights.fc1.forward(normed, { activation }), { residual: y, out: 'f32' });
}

/**
 * A tower's last block where one token of each sample is read: queries, output map and MLP run for that token alone, which
 * leaves a sixth of the block's work. Same values as `transformerBlock` at that token.
 * @param x [B, L, D] f32
 * @param rows where each sample's token lies in x seen as [B * L, D]: i32 [B]
 * @returns `token` [B, D] f32; `values` = W_v ln1 x [B, L, D], the value path before its output map
 */
export function readBlock(
  x: Tensor,
  weights: BlockWeights,
  rows: Tensor,
  options: ReadOptions,
): { token: Tensor; values: Tensor } {
  const [batch = 0, length = 0, width = 0] = x.shape;
  const { heads, compute, eps } = options;
  return scope(() => {
    const normed = layerNorm(x, weights.norm1.gain, weights.norm1.bias, eps, { bf16Out: compute === 'bf16' });
    const pick = (t: Tensor) => gather(t.reshape(batch * length, width), rows); // [B, D]
    const split = (t: Tensor, count: number) => t.reshape(batch, count, heads, width / heads).permute(0, 2, 1, 3);
    const values = project(2, normed, weights); // [B, L, D]
    const mixed = attention(
      split(project(0, pick(normed), weights), 1),
      split(project(1, normed, weights), length),
      split(values, length),
      { scale: 1 / Math.sqrt(width / heads), keyLengths: options.keyLengths },
    ); // [B, A, 1, d]
    const merged = mixed.permute(0, 2, 1, 3).reshape(batch, width);
    const y = weights.out.forward(merged, { residual: pick(x), out: 'f32' }); // [B, D]
    return { token: feedForward(y, weights, options), values };
  });
}

/**
 * As `readBlock` for sequences behind one another.
 * @param x [1, R, D] f32
 * @param rows where each sequence's token lies: i32 [S]
 * @returns [S, D] f32
 */
export function readPackedBlock(
  x: Tensor,
  weights: BlockWeights,
  rows: Tensor,
  options: ReadOptions & Pick<BlockOptions, 'starts' | 'causal'>,
): Tensor {
  const width = x.shape.at(-1) as number;
  const { heads, compute, eps, starts, causal } = options;
  return scope(() => {
    const normed = layerNorm(x, weights.norm1.gain, weights.norm1.bias, eps, { bf16Out: compute === 'bf16' });
    const mixed = selfAttention((weights.joint as Linear).forward(normed), { heads, causal, starts }); // [1, R, D]
    const pick = (t: Tensor) => gather(t.reshape(-1, width), rows); // [S, D]
    const y = weights.out.forward(pick(mixed), { residual: pick(x), out: 'f32' });
    return feedForward(y, weights, options);
  });
}

/** Query (0), key (1) or value (2) of x [..., D]. */
function project(index: 0 | 1 | 2, x: Tensor, weights: BlockWeights): Tensor {
  if (!weights.qkv) return ([weights.q, weights.k, weights.v][index] as Linear).forward(x);
  const width = x.shape.at(-1) as number;
  return weights.qkv.forward(x).slice(x.rank - 1, index * width, (index + 1) * width);
}

/** Attention before the output map: [B, L, D]. */
function attend(x: Tensor, weights: BlockWeights, options: BlockOptions): Tensor {
  const kind = options.attention ?? 'qk';
  if (kind === 'v') return weights.v ? weights.v.forward(x) : thirds(x, weights)[2];
  const [batch = 0, length = 0, width = 0] = x.shape;
  const { heads, causal, keyLengths, compute, starts } = options;
  const plain = kind === 'qk' && !options.onAttention ? weights.joint : undefined;
  if (plain && (starts || prefersSelfAttention(compute, length, width / heads, x.device)))
    return selfAttention(plain.forward(x), { heads, causal, keyLengths, starts });
  const [q, k, v] = projections(x, weights, kind).map((t) =>
    t?.reshape(batch, length, options.heads, width / options.heads).permute(0, 2, 1, 3),
  ); // [B, A, L, d]
  const [h, w] = options.grid ?? [0, 0];
  const gaussian = kind === 'kk+gauss' || kind === 'gauss';
  const terms = {
    source: kind === 'kk+gauss' ? 'kk' : kind === 'gauss' ? 'qk' : kind,
    scale: 1 / Math.sqrt(width / options.heads),
    causal: options.causal ?? false,
    keyLengths: options.keyLengths,
    gaussian: gaussian ? { height: h, width: w, sigma: options.sigma ?? 5 } : undefined,
    nonly: kind === 'gauss',
  } as const;
  const merge = (out: Tensor) => out.permute(0, 2, 1, 3).reshape(batch, length, width); // [B, L, D]
  if (!options.onAttention) return merge(attention(q as Tensor, k as Tensor, v as Tensor, terms));
  const { output, probabilities } = attentionMaps(q as Tensor, k as Tensor, v as Tensor, terms);
  options.onAttention(probabilities);
  return merge(output);
}

/** q, k, v [B, L, D]; where the kind does not need one of them, another stands in its place. */
function projections(x: Tensor, weights: BlockWeights, kind: AttentionKind): [Tensor, Tensor, Tensor] {
  if (weights.qkv) return thirds(x, weights);
  const v = (weights.v as Linear).forward(x);
  const q = kind === 'kk' || kind === 'kk+gauss' ? undefined : (weights.q as Linear).forward(x);
  const k = kind === 'qq' ? undefined : (weights.k as Linear).forward(x);
  return [(q ?? k) as Tensor, (k ?? q) as Tensor, v];
}

function thirds(x: Tensor, weights: BlockWeights): [Tensor, Tensor, Tensor] {
  const joined = (weights.qkv as Linear).forward(x); // [B, L, 3D]
  const width = (joined.shape[2] as number) / 3;
  return [joined.slice(2, 0, width), joined.slice(2, width, 2 * width), joined.slice(2, 2 * width, 3 * width)];
}
