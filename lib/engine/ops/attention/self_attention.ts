/**
 * Attention of a short sequence over itself, from rows that hold query, key and value side by side: the form of training,
 * where the three come from one product and their gradients go back into one. `attention` has all other forms.
 */
import { addon } from '../../../binding/addon.js';
import { defineOp, type RefArray, type TensorSpec } from '../../card.js';
import { type DType, isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

const attrs = { heads: 1, scale: 1, causal: false };
type SelfAttentionAttrs = typeof attrs;
type Refs = readonly (RefArray | undefined)[];

function check(op: string, specs: readonly (TensorSpec | undefined)[], { heads }: SelfAttentionAttrs): number[] {
  const [qkv, lengths, starts] = specs;
  const [batch = 0, length = 0, width = 0] = qkv!.shape;
  const fits =
    qkv!.shape.length === 3 &&
    isFloat(qkv!.dtype) &&
    Number.isInteger(heads) &&
    heads >= 1 &&
    width % (3 * heads) === 0 &&
    (!lengths || (lengths.dtype === 'i32' && sameShape(lengths.shape, [batch]))) &&
    (!starts ||
      (starts.dtype === 'i32' && starts.shape.length === 1 && starts.shape[0] !== 0 && batch === 1 && !lengths));
  if (!fits)
    rejectShape(op, `qkv [B, L, 3 * ${heads} * d] and keyLengths i32 [B] or, with B = 1, starts i32 [S + 1]`, specs);
  return [batch, length, width / 3];
}

interface Head {
  /** First row of the sequence, over all samples, and its rows. */
  readonly first: number;
  readonly length: number;
  readonly d: number;
  /** Column of the head in each of the three parts, and their width. */
  readonly column: number;
  readonly width: number;
  /** q, k, v (part 0, 1, 2) of token i, component c. */
  at(part: number, i: number, c: number): number;
  /** Probabilities [L, L]. */
  readonly p: number[][];
}

function* headsOf([qkv, lengths, starts]: Refs, { heads, scale, causal }: SelfAttentionAttrs): Generator<Head> {
  const [batch, rows, triple] = qkv!.shape as [number, number, number];
  const width = triple / 3;
  const d = width / heads;
  for (let s = 0; s < (starts ? starts.data.length - 1 : batch); s++) {
    const first = starts ? (starts.data[s] as number) : s * rows;
    const length = starts ? (starts.data[s + 1] as number) - first : rows;
    const keys = lengths ? (lengths.data[s] as number) : length;
    const tokens = [...Array(length).keys()];
    for (let h = 0; h < heads; h++) {
      const at = (part: number, i: number, c: number) =>
        qkv!.data[(first + i) * triple + part * width + h * d + c] as number;
      const p = tokens.map((i) => {
        const scores = tokens.map((j) => {
          let dot = 0;
          for (let c = 0; c < d; c++) dot += at(0, i, c) * at(1, j, c);
          return j < keys && (!causal || j <= i) ? dot * scale : Number.NEGATIVE_INFINITY;
        });
        const top = Math.max(...scores);
        const e = scores.map((x) => (x === Number.NEGATIVE_INFINITY ? 0 : Math.exp(x - top)));
        const mass = e.reduce((a, x) => a + x, 0);
        return e.map((x) => (mass === 0 ? 0 : x / mass));
      });
      yield { first, length, d, column: h * d, width, at, p };
    }
  }
}

function forwardReference(inputs: Refs, a: SelfAttentionAttrs): RefArray[] {
  const [batch, length, triple] = inputs[0]!.shape as [number, number, number];
  const data = new Float64Array((batch * length * triple) / 3);
  for (const { first, length: rows, d, column, width, at, p } of headsOf(inputs, a))
    for (let i = 0; i < rows; i++)
      for (let c = 0; c < d; c++)
        data[(first + i) * width + column + c] = (p[i] as number[]).reduce((s, x, j) => s + x * at(2, j, c), 0);
  return [{ data, shape: [batch, length, triple / 3] }];
}

function backwardReference([qkv, lengths, starts, dOut]: Refs, a: SelfAttentionAttrs): RefArray[] {
  const data = new Float64Array(qkv!.data.length);
  for (const { first, length, d, column, width, at, p } of headsOf([qkv, lengths, starts], a)) {
    const up = (i: number, c: number) => dOut!.data[(first + i) * width + column + c] as number;
    const add = (part: number, i: number, c: number, x: number) => {
      data[(first + i) * 3 * width + part * width + column + c]! += x;
    };
    for (let i = 0; i < length; i++) {
      const row = p[i] as number[];
      const dp = row.map((_, j) => {
        let s = 0;
        for (let c = 0; c < d; c++) s += up(i, c) * at(2, j, c);
        return s;
      });
      const shift = row.reduce((s, x, j) => s + x * (dp[j] as number), 0);
      row.forEach((x, j) => {
        const ds = a.scale * x * ((dp[j] as number) - shift);
        for (let c = 0; c < d; c++) {
          add(0, i, c, ds * at(1, j, c));
          add(1, j, c, ds * at(0, i, c));
          add(2, j, c, x * up(i, c));
        }
      });
    }
  }
  return [{ data, shape: qkv!.shape }];
}

const lengths = (...values: number[]) => ({ shape: [values.length], dtype: 'i32', fill: { values } }) as const;
const all = ['f32', 'f64', 'bf16'] as const;
const tuned = ['f32', 'bf16'] as const;
const cases = [
  { name: 'ragged', shape: [2, 7, 3 * 2 * 5], attrs: { heads: 2, scale: 0.4 }, dtypes: all },
  { name: 'causal', shape: [2, 9, 3 * 3 * 4], attrs: { heads: 3, scale: 0.5, causal: true }, dtypes: all },
  {
    name: 'lengths, one of them 0',
    shape: [3, 6, 3 * 4],
    lengths: lengths(6, 0, 4),
    attrs: { heads: 1, scale: 0.5 },
    dtypes: all,
  },
  { name: 'heads of 64, 33 tokens', shape: [2, 33, 3 * 2 * 64], attrs: { heads: 2, scale: 0.125 }, dtypes: tuned },
  {
    name: 'heads of 32, 100 tokens, causal, lengths',
    shape: [2, 100, 3 * 32],
    lengths: lengths(100, 41),
    attrs: { heads: 1, scale: 0.2, causal: true },
    dtypes: tuned,
  },
  {
    name: 'sequences behind one another, one of them empty',
    shape: [1, 12, 3 * 2 * 3],
    starts: lengths(0, 5, 5, 12),
    attrs: { heads: 2, scale: 0.5, causal: true },
    dtypes: all,
  },
  {
    name: 'sequences behind one another, heads of 32',
    shape: [1, 60, 3 * 64],
    starts: lengths(0, 17, 18, 60),
    attrs: { heads: 2, scale: 0.2 },
    dtypes: tuned,
  },
  {
    name: 'sequences of more than a tile',
    shape: [1, 200, 3 * 32],
    starts: lengths(0, 130, 131, 200),
    attrs: { heads: 1, scale: 0.2, causal: true },
    dtypes: tuned,
  },
  { name: 'heads of 96, 17 tokens', shape: [1, 17, 3 * 96], attrs: { heads: 1, scale: 0.1 }, dtypes: tuned },
  { name: 'no samples', shape: [0, 3, 6], attrs: { heads: 1, scale: 1 }, dtypes: all },
] as const;

const bench = (backward: boolean) =>
  [33, 20].map((length) => ({
    name: `tiny, 128 x ${length}`,
    inputs: [{ shape: [128, length, 384] }, undefined, ...(backward ? [{ shape: [128, length, 128] }] : [])],
    attrs: { heads: 2, scale: 0.125 },
    dtypes: ['bf16'] as const,
    flops: (backward ? 10 : 4) * 128 * 2 * length * length * 64,
  }));

export const selfAttentionCard = defineOp({
  name: 'self_attention',
  inputs: ['qkv', 'keyLengths?', 'starts?'],
  attrs,
  shape: (specs, a) => [{ shape: check('self_attention', specs, a), dtype: specs[0]!.dtype }],
  grad: ({ inputs: [qkv, keyLengths, starts], attrs: a, grads: [dy] }) => [
    () => run(selfAttentionBwdCard, [qkv, keyLengths, starts, dy], a)[0] as Tensor,
  ],
  reference: forwardReference,
  samples: cases.map((c) => ({
    name: c.name,
    inputs: [{ shape: c.shape }, 'lengths' in c ? c.lengths : undefined, 'starts' in c ? c.starts : undefined],
    attrs: c.attrs,
    dtypes: c.dtypes,
  })),
  bench: bench(false),
});

export const selfAttentionBwdCard = defineOp({
  name: 'self_attention_bwd',
  inputs: ['qkv', 'keyLengths?', 'starts?', 'dOut'],
  attrs,
  shape: (specs, a) => {
    const shape = check('self_attention_bwd', specs, a);
    if (!sameShape(specs[3]!.shape, shape)) rejectShape('self_attention_bwd', `dOut [${shape.join(', ')}]`, specs);
    return [{ shape: specs[0]!.shape, dtype: specs[0]!.dtype }];
  },
  reference: backwardReference,
  // Differences of nearly equal sums of rounded operands: kernels.md asks for 1e-2 from bf16.
  tolerance: { bf16: 1e-2 },
  samples: cases.map((c) => ({
    name: c.name,
    inputs: [
      { shape: c.shape },
      'lengths' in c ? c.lengths : undefined,
      'starts' in c ? c.starts : undefined,
      { shape: [c.shape[0], c.shape[1], c.shape[2] / 3] },
    ],
    attrs: c.attrs,
    dtypes: c.dtypes,
  })),
  bench: bench(true),
});

export interface SelfAttentionOptions {
  readonly heads: number;
  /** Factor of the similarity; default 1 / sqrt(d). */
  readonly scale?: number;
  /** Token i sees tokens 0..i. */
  readonly causal?: boolean | undefined;
  /** Tokens from this index on are seen by none: i32 [B]. */
  readonly keyLengths?: Tensor | undefined;
  /** With B = 1: sequences of any lengths behind one another, sequence s the rows starts[s] .. starts[s + 1] - 1: i32 [S + 1]. */
  readonly starts?: Tensor | undefined;
}

/**
 * softmax(scale q k^T) v for rows qkv [B, L, 3 D], D = heads * d: query, key and value side by side, each with its heads side
 * by side. Result [B, L, D] in the same dtype.
 * @throws E_OPTION when shapes and options do not go together; starts that do not rise from 0 to L fail the result
 */
export function selfAttention(qkv: Tensor, options: SelfAttentionOptions): Tensor {
  const { heads, scale, causal, keyLengths, starts } = options;
  const d = (qkv.shape.at(-1) ?? 0) / (3 * heads);
  const values = { heads, scale: scale ?? 1 / Math.sqrt(d), causal: causal ?? false };
  return run(selfAttentionCard, [qkv, keyLengths, starts], values)[0] as Tensor;
}

/** Whether a device has a tuned kernel for sequences of a length: where not, `attention` on views is the faster form. */
export function prefersSelfAttention(dtype: DType, length: number, headSize: number, device: string): boolean {
  // Kernels of devices read heads side by side wherever `attention` would need them apart.
  if (device !== 'cpu') return headSize % 32 === 0;
  if (headSize % 32 !== 0 || length > 256) return false;
  const tier = addon().cpuTier();
  return dtype === 'bf16' ? tier === 'avx512bf16' : dtype === 'f32' && tier.startsWith('avx512');
}
