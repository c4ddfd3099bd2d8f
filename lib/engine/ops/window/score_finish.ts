import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type RefArray, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { noScore, scorePlanes } from './window-reference.js';

const attrs = {
  scale: 1,
  threshold: 0,
  marginThreshold: 0,
  background: -1,
  nothing: 255,
  labelBits: 8,
  topk: 0,
  score: false as boolean,
  margin: false as boolean,
  entropy: false as boolean,
};
type FinishAttrs = typeof attrs;

function outputSpecs(rows: number, width: number, a: FinishAttrs): TensorSpec[] {
  const plane = (wanted: boolean): TensorSpec[] => (wanted ? [{ shape: [rows, width], dtype: 'f32' }] : []);
  const top: TensorSpec[] = [
    { shape: [a.topk, rows, width], dtype: 'i32' },
    { shape: [a.topk, rows, width], dtype: 'f32' },
  ];
  return [
    { shape: [rows, width], dtype: a.labelBits === 8 ? 'u8' : 'i32' },
    ...plane(a.score),
    ...plane(a.margin),
    ...plane(a.entropy),
    ...(a.topk ? top : []),
  ];
}

function finishReference(state: RefArray, a: FinishAttrs): RefArray[] {
  const [, rows, width] = state.shape as [number, number, number];
  const n = rows * width;
  const planes = Array.from({ length: scorePlanes + 2 * a.topk }, (_, k) => state.data.subarray(k * n, (k + 1) * n));
  const read = (k: number, i: number): number => planes[k]?.[i] as number;
  const p = (x: number, i: number): number =>
    x <= noScore || !read(1, i) ? 0 : Math.exp(a.scale * (x - read(2, i))) / read(1, i);
  const each = (f: (i: number) => number): RefArray => ({
    data: Float64Array.from({ length: n }, (_, i) => f(i)),
    shape: [rows, width],
  });
  const tops = (f: (k: number, i: number) => number): RefArray => ({
    data: Float64Array.from({ length: a.topk * n }, (_, i) => f(Math.floor(i / n), i % n)),
    shape: [a.topk, rows, width],
  });
  const score = each((i) => p(read(0, i), i));
  const margin = each((i) => p(read(0, i), i) - p(read(4, i), i));
  const labels = each((i) => {
    const kept =
      read(3, i) >= 0 &&
      (score.data[i] as number) >= a.threshold &&
      !(a.marginThreshold > 0 && (margin.data[i] as number) < a.marginThreshold);
    if (kept) return read(3, i);
    return a.background >= 0 ? a.background : a.nothing;
  });
  return [
    labels,
    ...(a.score ? [score] : []),
    ...(a.margin ? [margin] : []),
    ...(a.entropy ? [each((i) => (read(1, i) ? Math.max(Math.log(read(1, i)) - read(5, i) / read(1, i), 0) : 0))] : []),
    ...(a.topk
      ? [tops((k, i) => read(scorePlanes + a.topk + k, i)), tops((k, i) => p(read(scorePlanes + k, i), i))]
      : []),
  ];
}

// Five pixels: clear, close, another query leads, a single class, nothing.
const state = (topk: number) => {
  const rows = [
    [2, 1, 0.5, 3, noScore],
    [1.2, 2.1, 2.5, 1, 0],
    [2, 1, 1.5, 3, noScore],
    [0, 3, 2, 1, -1],
    [0.5, 0.9, 0.25, noScore, noScore],
    [-0.3, -0.7, -0.9, 0, 0],
    [2, 1, 0.5, 3, noScore],
    [0.5, 0.9, 0.25, noScore, noScore],
    [0, 3, 2, 1, -1],
    [1, 2, 0, -1, -1],
  ];
  return {
    shape: [scorePlanes + 2 * topk, 1, 5],
    dtype: 'f32',
    fill: { values: rows.slice(0, scorePlanes + 2 * topk).flat() },
  } as const;
};

export const scoreFinishCard = defineOp({
  name: 'score_finish',
  inputs: ['state'],
  attrs,
  shape: ([s], a) => {
    if (s!.dtype !== 'f32' || s!.shape.length !== 3 || s!.shape[0] !== scorePlanes + 2 * a.topk)
      rejectShape('score_finish', `a state f32[${scorePlanes + 2 * a.topk}, rows, W]`, [s]);
    if (![8, 16, 32].includes(a.labelBits))
      throw new WordmaskError('E_OPTION', `score_finish: labelBits must be 8, 16 or 32, got ${a.labelBits}`);
    if (a.labelBits === 8 && (a.nothing > 255 || a.background > 255))
      throw new WordmaskError(
        'E_OPTION',
        `score_finish: background ${a.background} and nothing ${a.nothing} do not fit 8 bits`,
      );
    return outputSpecs(s!.shape[1] as number, s!.shape[2] as number, a);
  },
  reference: ([s], a) => finishReference(s!, a),
  samples: [
    { name: 'labels alone', inputs: [state(0)], attrs: { scale: 2 } },
    { name: 'every plane', inputs: [state(0)], attrs: { scale: 2, score: true, margin: true, entropy: true } },
    {
      name: 'threshold to a background class',
      inputs: [state(0)],
      attrs: { scale: 2, threshold: 0.45, background: 7, score: true },
    },
    {
      name: 'threshold to nothing, wide labels',
      inputs: [state(0)],
      attrs: { threshold: 0.3, nothing: 65535, labelBits: 16 },
    },
    { name: 'margin', inputs: [state(0)], attrs: { marginThreshold: 0.2, margin: true } },
    { name: 'top 2', inputs: [state(2)], attrs: { topk: 2, score: true } },
  ],
});

export interface FinishOptions {
  /** As in scoreUpdate. */
  readonly scale: number;
  /** Pixels whose winner's probability is below become background (default 0: never). */
  readonly threshold?: number;
  /** Pixels whose winner leads by less become background (default 0: never). */
  readonly marginThreshold?: number;
  /** Class written there; -1 (default) writes `nothing`. */
  readonly background?: number;
  /** Label that means nothing; default the highest of labelBits (of i32 for 32). */
  readonly nothing?: number;
  /** 8: u8 labels; 16 and 32: i32 labels (there is no 16-bit tensor; the caller narrows). */
  readonly labelBits?: 8 | 16 | 32;
  readonly topk?: number;
  readonly score?: boolean;
  readonly margin?: boolean;
  readonly entropy?: boolean;
}

export interface FinishedScores {
  /** u8 or i32 `[rows, W]`. */
  readonly labels: Tensor;
  /** Probability of the winner before any threshold, f32 `[rows, W]`: softmax over all queries, then the best of a class. */
  readonly score?: Tensor;
  /** That minus the probability of the best other class. */
  readonly margin?: Tensor;
  /** Of the softmax over all queries, in nats. */
  readonly entropy?: Tensor;
  /** Classes i32 and probabilities f32 `[k, rows, W]`, falling; class -1 where there are fewer. */
  readonly topk?: { readonly classes: Tensor; readonly probabilities: Tensor };
}

/** Reads a running best: labels and the planes asked for. Pixels for which no query competed become background. */
export function scoreFinish(s: Tensor, options: FinishOptions): FinishedScores {
  const bits = options.labelBits ?? 8;
  const highest = { 8: 255, 16: 65535, 32: 2 ** 31 - 1 }[bits];
  const outputs = run(scoreFinishCard, [s], { ...options, labelBits: bits, nothing: options.nothing ?? highest });
  let next = 0;
  const take = (): Tensor => outputs[next++] as Tensor;
  return {
    labels: take(),
    ...(options.score ? { score: take() } : {}),
    ...(options.margin ? { margin: take() } : {}),
    ...(options.entropy ? { entropy: take() } : {}),
    ...(options.topk ? { topk: { classes: take(), probabilities: take() } } : {}),
  };
}
