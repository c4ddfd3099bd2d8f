/**
 * The running best over queries: an f32 state `[6 + 2k, rows, W]` whose planes are best logit, softmax sum relative to the
 * running maximum, running maximum, best class, best logit of another class, entropy moment, then k logits and k classes
 * (native/cpu/window/score_state.h). Queries go in one by one, so any cut of the vocabulary gives the same bits.
 */
import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { initialState, scorePlanes, updateReference } from './window-reference.js';

export const scoreAttrs = {
  scale: 1,
  sum: true as boolean,
  second: false as boolean,
  moment: false as boolean,
  topk: 0,
};

export interface ScoreOptions {
  /** Factor before the softmax; positive. */
  readonly scale: number;
  /** Keep the softmax sum (default true): needed by thresholds, score, margin, entropy and top-k probabilities. */
  readonly sum?: boolean;
  /** Keep the best of the other classes (default false): needed by margin. */
  readonly second?: boolean;
  /** Keep the entropy moment (default false). */
  readonly moment?: boolean;
  /** Best classes to keep, 0..64 (default 0). */
  readonly topk?: number;
}

/** @throws E_OPTION when the state, the classes or the settings do not fit */
export function checkScores(
  op: string,
  state: TensorSpec,
  queryClass: TensorSpec,
  queries: number,
  rows: number,
  width: number,
  a: typeof scoreAttrs,
): void {
  const planes = scorePlanes + 2 * a.topk;
  if (
    state.dtype !== 'f32' ||
    state.shape.join() !== [planes, rows, width].join() ||
    queryClass.dtype !== 'i32' ||
    queryClass.shape.join() !== String(queries)
  ) {
    rejectShape(op, `a state f32[${planes}, ${rows}, ${width}] and query classes i32[${queries}]`, [state, queryClass]);
  }
  if (!(a.scale > 0) || a.scale === Infinity)
    throw new WordmaskError('E_OPTION', `${op}: scale must be positive and finite, got ${a.scale}`);
  if (a.moment && !a.sum) throw new WordmaskError('E_OPTION', `${op}: moment needs sum`);
}

export const emptyState = (rows: number, width: number, topk = 0) =>
  ({
    shape: [scorePlanes + 2 * topk, rows, width],
    dtype: 'f32',
    fill: { values: [...initialState(rows, width, topk)] },
  }) as const;
export const queryClasses = (...values: number[]) =>
  ({ shape: [values.length], dtype: 'i32', fill: { values } }) as const;
const scores = (...shape: number[]) => ({ shape, dtype: 'f32' }) as const;

export const scoreInitCard = defineOp({
  name: 'score_init',
  inputs: [],
  attrs: { rows: 0, width: 0, topk: 0 },
  shape: (_, a) => {
    for (const [name, value] of Object.entries(a)) {
      if (!Number.isInteger(value) || value < 0)
        throw new WordmaskError('E_OPTION', `score_init: ${name} must be a whole number from 0, got ${value}`);
    }
    if (a.topk > 64) throw new WordmaskError('E_OPTION', `score_init: topk must be 0..64, got ${a.topk}`);
    return [{ shape: [scorePlanes + 2 * a.topk, a.rows, a.width], dtype: 'f32' }];
  },
  reference: (_, a) => [
    { data: initialState(a.rows, a.width, a.topk), shape: [scorePlanes + 2 * a.topk, a.rows, a.width] },
  ],
  samples: [
    { name: 'without top k', inputs: [], attrs: { rows: 3, width: 7 } },
    { name: 'top 2', inputs: [], attrs: { rows: 2, width: 5, topk: 2 } },
  ],
});

export const scoreUpdateCard = defineOp({
  name: 'score_update',
  inputs: ['state', 'logits', 'query_class'],
  attrs: scoreAttrs,
  inPlace: true,
  shape: ([state, logits, classes], a) => {
    const [queries, rows, width] = logits!.shape as [number, number, number];
    if (logits!.dtype !== 'f32' || logits!.shape.length !== 3)
      rejectShape('score_update', 'logits f32[S, rows, W]', [state, logits, classes]);
    checkScores('score_update', state!, classes!, queries, rows, width, a);
    return [{ shape: state!.shape, dtype: 'f32' }];
  },
  reference: ([state, logits, classes], a) => [updateReference(state!, logits!, classes!, a)],
  samples: [
    {
      name: 'best alone',
      inputs: [emptyState(3, 11), scores(5, 3, 11), queryClasses(0, 1, 2, 3, 4)],
      attrs: { sum: false },
    },
    {
      name: 'softmax sum, 17 columns',
      inputs: [emptyState(2, 17), scores(7, 2, 17), queryClasses(0, 0, 1, 2, 2, 2, 3)],
      attrs: { scale: 4 },
    },
    {
      name: 'every plane, words that do not compete',
      inputs: [emptyState(3, 13), scores(6, 3, 13), queryClasses(-1, 1, 0, 0, -1, 2)],
      attrs: { scale: 2.5, second: true, moment: true },
    },
    {
      name: 'top 3 with synonyms',
      inputs: [emptyState(2, 19, 3), scores(8, 2, 19), queryClasses(3, 0, 1, 0, 3, 2, 1, 4)],
      attrs: { second: true, topk: 3 },
    },
    {
      name: 'ties keep the lowest class',
      inputs: [
        emptyState(1, 20, 2),
        { ...scores(6, 1, 20), fill: { integers: [0, 1] } },
        queryClasses(2, 0, 1, 0, 3, 1),
      ],
      attrs: { second: true, topk: 2 },
    },
    {
      name: 'blocks of pixels',
      inputs: [emptyState(9, 37), scores(5, 9, 37), queryClasses(1, 0, -1, 1, 2)],
      attrs: { scale: 3, second: true, moment: true },
    },
  ],
  bench: [
    {
      name: '171 queries, 375x500',
      inputs: [scores(6, 375, 500), scores(171, 375, 500), queryClasses(...Array.from({ length: 171 }, (_, i) => i))],
      attrs: { scale: 40, second: true },
      bytes: 171 * 375 * 500 * 4,
    },
  ],
});

/** A state that has seen no query, f32 `[6 + 2 topk, rows, width]`. */
export function scoreInit(rows: number, width: number, topk = 0): Tensor {
  return run(scoreInitCard, [], { rows, width, topk })[0] as Tensor;
}

/**
 * Takes queries into a state, in place: logits f32 `[S, rows, W]`, queryClass i32 `[S]` (-1: counts in the softmax but does not
 * compete). Of equal logits the lower class wins. The options must be the same in every call on one state.
 */
export function scoreUpdate(state: Tensor, logits: Tensor, queryClass: Tensor, options: ScoreOptions): Tensor {
  return run(scoreUpdateCard, [state, logits, queryClass], { ...options })[0] as Tensor;
}
