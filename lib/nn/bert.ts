/**
 * BERT's post-norm transformer (Devlin et al. 2018, arXiv 1810.04805) with optional cross-attention between self-attention and
 * feed-forward half, as matching models and text decoders have it: h = LN(h + attn(h)); h = LN(h + cross(h, image));
 * h = LN(h + ffn(h)).
 */
import { add, attention, attentionMaps, gather, layerNorm, mlp, scope, Tensor } from '../engine/index.js';
import type { Activation, Compute, Linear } from './linear.js';
import type { TensorMaps } from './tensor-maps.js';
import type { Norm } from './transformer.js';

export interface BertSizes {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly ffn: number;
  readonly activation: Activation;
  readonly eps: number;
}

export interface BertAttention {
  /** Query, key and value of one input [3D, D]; or three maps. */
  readonly qkv?: Linear;
  readonly q?: Linear;
  readonly k?: Linear;
  readonly v?: Linear;
  readonly out: Linear;
  readonly norm: Norm;
}

export interface BertLayer {
  readonly self: BertAttention;
  readonly cross?: BertAttention;
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly norm: Norm;
}

export interface BertEmbeddings {
  /** [V, D] */
  readonly words: Tensor;
  /** [positions, D] */
  readonly positions: Tensor;
  /** [types, D] */
  readonly types?: Tensor;
  readonly norm: Norm;
}

/** Which keys count: the first ones of each row (i32 [B]), or a term added to the logits [B, 1, 1, L]. */
export interface KeyMask {
  readonly keyLengths?: Tensor;
  readonly bias?: Tensor;
}

/** The first `lengths[i]` keys of row i, with `front` keys before them that all count. */
export function lengthMask(lengths: ArrayLike<number>, front = 0): KeyMask {
  return { keyLengths: Tensor.from(Int32Array.from(lengths, (length) => front + length)) };
}

/** What a cross-attention worked with: q [B, A, T, d], k and v [B, A, K, d], and what came out [B, T, D]. */
export interface CrossParts {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly mask: KeyMask;
  readonly context: Tensor;
}

export interface BertTaps {
  /** [B, A, T, T] */
  selfAttention?(map: Tensor): void;
  /** [B, A, T, K] */
  crossAttention?(map: Tensor): void;
  /** The result takes the context's place. */
  context?(parts: CrossParts): Tensor;
}

export interface BertLayerOptions {
  readonly heads: number;
  readonly eps: number;
  readonly activation: Activation;
  readonly compute: Compute;
  readonly causal?: boolean;
  readonly mask?: KeyMask;
  /** Picture tokens [B, K, D'] for the layer's cross-attention; without them it is left out. */
  readonly image?: Tensor;
  readonly imageMask?: KeyMask;
  readonly taps?: BertTaps;
}

/** x [B, T, D] f32 -> [B, T, D] f32. */
export function bertLayer(x: Tensor, weights: BertLayer, options: BertLayerOptions): Tensor {
  const { eps, activation, compute, image } = options;
  return scope(() => {
    let h = finish(selfContext(x, weights.self, options), x, weights.self, eps);
    if (weights.cross && image) h = finish(crossContext(h, image, weights.cross, options), h, weights.cross, eps);
    const [first, second] = [weights.fc1.dense, weights.fc2.dense];
    const narrow = compute === 'bf16' ? ({ compute, out: 'f32' } as const) : {};
    const fed =
      first && second
        ? mlp(h, first, second, { activation, residual: h, ...narrow })
        : weights.fc2.forward(weights.fc1.forward(h, { activation }), { residual: h, out: 'f32' });
    return layerNorm(fed, weights.norm.gain, weights.norm.bias, eps);
  });
}

function finish(context: Tensor, x: Tensor, { out, norm }: BertAttention, eps: number): Tensor {
  return layerNorm(out.forward(context, { residual: x, out: 'f32' }), norm.gain, norm.bias, eps);
}

function selfContext(x: Tensor, weights: BertAttention, options: BertLayerOptions): Tensor {
  const { heads, causal, mask, taps } = options;
  const width = x.shape[2] as number;
  const joined = weights.qkv?.forward(x);
  const [q, k, v] = [weights.q, weights.k, weights.v].map((map, i) =>
    splitHeads(joined ? joined.slice(2, i * width, (i + 1) * width) : (map as Linear).forward(x), heads),
  ) as [Tensor, Tensor, Tensor];
  return attend(q, k, v, { ...mask, causal }, taps?.selfAttention);
}

function crossContext(h: Tensor, image: Tensor, weights: BertAttention, options: BertLayerOptions): Tensor {
  const { heads, imageMask: mask = {}, taps } = options;
  const q = splitHeads((weights.q as Linear).forward(h), heads);
  const [k, v] = [weights.k, weights.v].map((map) => splitHeads((map as Linear).forward(image), heads)) as [
    Tensor,
    Tensor,
  ];
  const context = attend(q, k, v, mask, taps?.crossAttention);
  return taps?.context?.({ q, k, v, mask, context }) ?? context;
}

/** [B, L, D] -> [B, A, L, d] */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch = 0, length = 0, width = 0] = x.shape;
  return x.reshape(batch, length, heads, width / heads).permute(0, 2, 1, 3);
}

function attend(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  terms: KeyMask & { causal?: boolean },
  tap?: (map: Tensor) => void,
): Tensor {
  const [batch = 0, , length = 0] = q.shape;
  const merge = (out: Tensor) => out.permute(0, 2, 1, 3).reshape(batch, length, -1); // [B, T, D]
  if (!tap) return merge(attention(q, k, v, terms));
  const { output, probabilities } = attentionMaps(q, k, v, terms);
  tap(probabilities);
  return merge(output);
}

/** Token ids of several texts, on the host, and what of them counts. */
export interface TextBatch {
  /** [B, L], row by row. */
  readonly ids: Int32Array;
  readonly batch: number;
  readonly length: number;
  readonly mask: KeyMask;
  /** Where the mask is by length: the lengths. */
  readonly lengths?: readonly number[];
  /** Segment of each token; 0 by default. */
  readonly types?: Int32Array;
}

/** Words, positions and segments, normed: [B, L, D]. `place` of each token, default its index. */
export function embedWords(
  text: TextBatch,
  embeddings: BertEmbeddings,
  eps: number,
  place: (text: TextBatch) => Int32Array = (t) => t.ids.map((_, i) => i % t.length),
): Tensor {
  const { ids, batch, length } = text;
  const rows = (table: Tensor, index: Int32Array) => gather(table, Tensor.from(index, [batch, length], 'i32'));
  return scope(() => {
    let x = add(rows(embeddings.words, ids), rows(embeddings.positions, place(text)));
    if (embeddings.types) x = add(x, rows(embeddings.types, text.types ?? new Int32Array(ids.length)));
    return layerNorm(x, embeddings.norm.gain, embeddings.norm.bias, eps);
  });
}

const attentionNames = (at: string) => ({
  parts: ['query', 'key', 'value'].map((part) => `${at}.self.${part}`) as [string, string, string],
  out: `${at}.output.dense`,
  norm: `${at}.output.LayerNorm`,
});

/** Layer `at` (`text_encoder.encoder.layer.7`) of a checkpoint; `cross` also its cross-attention. */
export function bertLayerFrom(maps: TensorMaps, at: string, cross: boolean): BertLayer {
  const self = attentionNames(`${at}.attention`);
  const other = attentionNames(`${at}.crossattention`);
  const tail = ({ out, norm }: { out: string; norm: string }) => ({ out: maps.dense(out), norm: maps.norm(norm) });
  const [q, k, v] = other.parts;
  return {
    self: { qkv: maps.joined(self.parts, 'dense'), ...tail(self) },
    ...(cross ? { cross: { q: maps.dense(q), k: maps.dense(k), v: maps.dense(v), ...tail(other) } } : {}),
    fc1: maps.dense(`${at}.intermediate.dense`),
    fc2: maps.dense(`${at}.output.dense`),
    norm: maps.norm(`${at}.output.LayerNorm`),
  };
}

export function bertEmbeddingsFrom(maps: TensorMaps, at: string): BertEmbeddings {
  const types = `${at}.token_type_embeddings.weight`;
  return {
    words: maps.get(`${at}.word_embeddings.weight`),
    positions: maps.get(`${at}.position_embeddings.weight`),
    ...(maps.has(types) ? { types: maps.get(types) } : {}),
    norm: maps.norm(`${at}.LayerNorm`),
  };
}

/** Adds name -> shape of a layer's tensors; `keyWidth` is the width of what its cross-attention looks at. */
export function wantBertLayer(
  wanted: Map<string, readonly number[]>,
  at: string,
  { width, ffn }: Pick<BertSizes, 'width' | 'ffn'>,
  keyWidth?: number,
): void {
  const map = (name: string, rows: number, columns: number) => {
    wanted.set(`${name}.weight`, [rows, columns]);
    wanted.set(`${name}.bias`, [rows]);
  };
  const norm = (name: string) => {
    wanted.set(`${name}.weight`, [width]);
    wanted.set(`${name}.bias`, [width]);
  };
  for (const [name, from] of [
    ['attention', width],
    ['crossattention', keyWidth],
  ] as const) {
    if (from === undefined) continue;
    const { parts, out, norm: after } = attentionNames(`${at}.${name}`);
    map(parts[0], width, width);
    map(parts[1], width, from);
    map(parts[2], width, from);
    map(out, width, width);
    norm(after);
  }
  map(`${at}.intermediate.dense`, ffn, width);
  map(`${at}.output.dense`, width, ffn);
  norm(`${at}.output.LayerNorm`);
}

export function wantBertEmbeddings(
  wanted: Map<string, readonly number[]>,
  at: string,
  sizes: { readonly width: number; readonly vocabulary: number; readonly positions: number; readonly types: number },
): void {
  const { width, vocabulary, positions, types } = sizes;
  wanted.set(`${at}.word_embeddings.weight`, [vocabulary, width]);
  wanted.set(`${at}.position_embeddings.weight`, [positions, width]);
  if (types > 0) wanted.set(`${at}.token_type_embeddings.weight`, [types, width]);
  wanted.set(`${at}.LayerNorm.weight`, [width]);
  wanted.set(`${at}.LayerNorm.bias`, [width]);
}
