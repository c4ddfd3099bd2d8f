/** Small cases of every source and logit term, shared by attention and attention_bwd. */

import type { SampleInput } from '../../card.js';
import type { DType } from '../../dtype.js';
import type { AttentionTermAttrs } from './shapes.js';

export interface TermSample {
  readonly name: string;
  readonly inputs: readonly (SampleInput | undefined)[];
  readonly attrs: Partial<AttentionTermAttrs>;
  readonly dtypes?: readonly DType[];
  /** False: LSE is undefined (two softmaxes) or has rows of -infinity. */
  readonly lse?: boolean;
  /** False: the term has no gradient at these values (a threshold), or the case is too large. */
  readonly grad?: boolean;
}

const all: readonly DType[] = ['f32', 'f64', 'bf16', 'f16'];
const blocks: readonly DType[] = ['f32', 'bf16'];

function qkv(batch: number, heads: number, nq: number, nk: number, d: number, dv = d): SampleInput[] {
  return [{ shape: [batch, heads, nq, d] }, { shape: [batch, heads, nk, d] }, { shape: [batch, heads, nk, dv] }];
}

const none = undefined;
const grid = { sigma: 1.5, gridHeight: 3, gridWidth: 4 };

export const termSamples: readonly TermSample[] = [
  { name: 'plain', inputs: qkv(2, 3, 7, 9, 5), attrs: { scale: 0.45 }, dtypes: all },
  { name: 'tokens 197', inputs: qkv(1, 2, 197, 197, 64), attrs: { scale: 0.125 }, dtypes: all, grad: false },
  { name: 'several key tiles', inputs: qkv(1, 1, 70, 530, 16, 24), attrs: { scale: 0.25 }, dtypes: all, grad: false },
  { name: 'one token', inputs: qkv(1, 1, 1, 1, 1), attrs: {} },
  { name: 'no queries', inputs: qkv(2, 1, 0, 3, 4), attrs: {} },
  { name: 'no keys', inputs: qkv(1, 2, 3, 0, 4), attrs: {}, lse: false },
  { name: 'negative scale', inputs: qkv(1, 1, 4, 6, 3), attrs: { scale: -0.7 } },
  { name: 'kk', inputs: qkv(1, 2, 6, 6, 8), attrs: { source: 1, scale: 0.35 }, dtypes: all },
  { name: 'qq', inputs: qkv(1, 2, 6, 6, 8), attrs: { source: 2, scale: 0.35 } },
  { name: 'vv', inputs: qkv(1, 2, 6, 6, 8), attrs: { source: 3, scale: 0.35 } },
  { name: 'qq plus kk', inputs: qkv(2, 2, 7, 7, 8), attrs: { source: 4, scale: 0.35 }, dtypes: all, lse: false },
  { name: 'causal', inputs: qkv(2, 1, 11, 11, 4), attrs: { causal: true, scale: 0.5 } },
  { name: 'gaussian grid', inputs: qkv(1, 2, 13, 13, 8), attrs: { source: 1, scale: 0.35, ...grid }, dtypes: all },
  {
    name: 'gaussian over key tiles',
    inputs: qkv(1, 1, 291, 291, 4),
    attrs: { scale: 0.5, sigma: 5, gridHeight: 17, gridWidth: 17 },
    grad: false,
  },
  { name: 'nonly', inputs: qkv(3, 2, 13, 13, 4), attrs: { scale: 0.5, nonly: true, ...grid } },
  { name: 'nonly kk', inputs: qkv(2, 2, 14, 14, 4), attrs: { source: 1, scale: 0.5, nonly: true, ...grid } },
  {
    name: 'dense bias',
    inputs: [...qkv(2, 3, 5, 17, 4), { shape: [2, 3, 5, 17] }],
    attrs: { scale: 0.5 },
    dtypes: all,
  },
  {
    name: 'bias shared by heads and queries',
    inputs: [...qkv(2, 3, 5, 17, 4), { shape: [2, 1, 1, 17] }],
    attrs: { scale: 0.5 },
  },
  { name: 'bias shared by images', inputs: [...qkv(2, 3, 5, 17, 4), { shape: [1, 3, 5, 17] }], attrs: { scale: 0.5 } },
  // Without the self column a term that is the same for all keys would have no effect, and no gradient to compare.
  {
    name: 'bias shared by keys',
    attrs: { scale: 0.5 },
    inputs: [
      ...qkv(2, 3, 5, 17, 4),
      { shape: [2, 1, 5, 1] },
      none,
      none,
      { shape: [2, 3, 5, 4] },
      { shape: [2, 3, 5, 4] },
    ],
  },
  {
    name: 'bit mask',
    inputs: [...qkv(2, 2, 5, 19, 4), none, { shape: [2, 5, 3], dtype: 'u8' }],
    attrs: { scale: 0.5 },
  },
  {
    name: 'blocked rows',
    inputs: [
      ...qkv(1, 2, 3, 12, 4),
      none,
      { shape: [1, 3, 2], dtype: 'u8', fill: { values: [255, 255, 1, 0, 254, 255] } },
    ],
    attrs: { scale: 0.5 },
    lse: false,
  },
  {
    name: 'rescued rows',
    inputs: [
      ...qkv(1, 2, 3, 12, 4),
      none,
      { shape: [1, 3, 2], dtype: 'u8', fill: { values: [255, 255, 1, 0, 254, 255] } },
    ],
    attrs: { scale: 0.5, rescue: true },
  },
  {
    name: 'maft class tokens',
    inputs: [...qkv(2, 2, 9, 9, 4), none, none, { shape: [2, 1, 3, 6], fill: 'unit', grad: false }],
    attrs: { scale: 0.5, classTokens: 3, classMode: 1 },
  },
  {
    name: 'san class tokens',
    inputs: [...qkv(2, 2, 10, 10, 4), none, none, { shape: [2, 2, 3, 6] }],
    attrs: { scale: 0.5, classTokens: 3, classMode: 2 },
  },
  {
    name: 'san masks shared by heads',
    inputs: [...qkv(1, 2, 10, 10, 4), none, none, { shape: [1, 1, 3, 6] }],
    attrs: { scale: 0.5, classTokens: 3, classMode: 2 },
  },
  {
    name: 'self column and bias',
    attrs: { scale: 0.5 },
    dtypes: all,
    inputs: [
      ...qkv(1, 2, 5, 11, 4, 6),
      { shape: [1, 2, 5, 11] },
      none,
      none,
      { shape: [1, 2, 5, 4] },
      { shape: [1, 2, 5, 6] },
    ],
  },
  {
    name: 'self column of blocked rows',
    attrs: { scale: 0.5 },
    inputs: [
      ...qkv(1, 1, 3, 8, 4),
      none,
      { shape: [1, 3, 1], dtype: 'u8', fill: { values: [255, 7, 0] } },
      none,
      { shape: [1, 1, 3, 4] },
      { shape: [1, 1, 3, 4] },
    ],
  },
  {
    name: 'key lengths',
    inputs: [
      ...qkv(3, 2, 4, 9, 4),
      none,
      none,
      none,
      none,
      none,
      { shape: [3], dtype: 'i32', fill: { values: [9, 4, 1] } },
    ],
    attrs: { scale: 0.5 },
  },
  {
    name: 'no length',
    inputs: [
      ...qkv(2, 1, 4, 9, 4),
      none,
      none,
      none,
      none,
      none,
      { shape: [2], dtype: 'i32', fill: { values: [0, 5] } },
    ],
    attrs: { scale: 0.5 },
    lse: false,
  },
  // Several blocks of rows and of keys, in the narrow type whose kernels differ from those of f32.
  { name: 'causal over blocks', inputs: qkv(1, 2, 140, 140, 16), attrs: { causal: true, scale: 0.25 }, dtypes: blocks },
  {
    name: 'bias and bit mask over blocks',
    inputs: [...qkv(1, 2, 70, 150, 8), { shape: [1, 2, 70, 150] }, { shape: [1, 70, 19], dtype: 'u8' }],
    attrs: { scale: 0.35 },
    dtypes: blocks,
  },
  {
    name: 'gaussian grid over blocks',
    inputs: qkv(2, 1, 82, 82, 8),
    attrs: { source: 1, scale: 0.35, sigma: 5, gridHeight: 9, gridWidth: 9 },
    dtypes: blocks,
  },
  {
    name: 'nonly over blocks',
    inputs: qkv(2, 2, 82, 82, 8),
    attrs: { scale: 0.35, nonly: true, sigma: 2, gridHeight: 9, gridWidth: 9 },
    dtypes: blocks,
  },
  {
    name: 'maft class tokens over blocks',
    inputs: [...qkv(1, 2, 80, 80, 8), none, none, { shape: [1, 1, 5, 75], fill: 'unit', grad: false }],
    attrs: { scale: 0.35, classTokens: 5, classMode: 1 },
    dtypes: blocks,
  },
  {
    name: 'san class tokens over blocks',
    inputs: [...qkv(1, 2, 80, 80, 8), none, none, { shape: [1, 2, 5, 74] }],
    attrs: { scale: 0.35, classTokens: 5, classMode: 2 },
    dtypes: blocks,
  },
  {
    name: 'self column over blocks',
    inputs: [...qkv(1, 2, 70, 90, 8, 16), none, none, none, { shape: [1, 2, 70, 8] }, { shape: [1, 2, 70, 16] }],
    attrs: { scale: 0.35 },
    dtypes: blocks,
  },
  {
    name: 'key lengths over blocks',
    inputs: [
      ...qkv(2, 1, 66, 130, 8),
      none,
      none,
      none,
      none,
      none,
      { shape: [2], dtype: 'i32', fill: { values: [130, 67] } },
    ],
    attrs: { scale: 0.35 },
    dtypes: blocks,
  },
  {
    name: 'few queries over many keys',
    inputs: [
      ...qkv(1, 2, 5, 1100, 8),
      { shape: [1, 1, 1, 1100] },
      none,
      none,
      { shape: [1, 2, 5, 8] },
      { shape: [1, 2, 5, 8] },
    ],
    attrs: { scale: 0.35 },
    dtypes: blocks,
  },
  {
    name: 'qq plus kk over blocks',
    inputs: qkv(1, 1, 70, 70, 8),
    attrs: { source: 4, scale: 0.35 },
    dtypes: blocks,
    lse: false,
  },
  { name: 'heads of 80', inputs: qkv(1, 1, 9, 70, 80), attrs: { scale: 0.11 }, dtypes: blocks },
  { name: 'heads of 128', inputs: qkv(1, 1, 70, 40, 128), attrs: { scale: 0.09 }, dtypes: blocks },
  { name: 'heads of 200', inputs: qkv(1, 1, 10, 40, 200), attrs: { scale: 0.07 }, dtypes: blocks },
];
