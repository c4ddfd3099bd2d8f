import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import type { Tensor } from '../../tensor.js';
import { checkScores, emptyState, queryClasses, type ScoreOptions, scoreAttrs } from './score_update.js';
import {
  boxesOf,
  checkMerge,
  type MergeOptions,
  mergeAttrs,
  mergeCases,
  packMerge,
  sixWindows,
} from './window_upsample.js';
import { updateReference, upsampleReference } from './window-reference.js';

const classesFor = (queries: number) => queryClasses(...Array.from({ length: queries }, (_, s) => (s * 2) % 3));

export const windowMergeCard = defineOp({
  name: 'window_merge',
  inputs: ['state', 'logits', 'boxes', 'query_class'],
  attrs: { ...mergeAttrs, ...scoreAttrs },
  inPlace: true,
  shape: ([state, logits, boxes, classes], a) => {
    checkMerge('window_merge', logits!, boxes!, a);
    checkScores('window_merge', state!, classes!, logits!.shape[1] as number, a.rows, a.outW, a);
    return [{ shape: state!.shape, dtype: 'f32' }];
  },
  reference: ([state, logits, boxes, classes], a) => [
    updateReference(state!, upsampleReference(logits!, boxes!, a), classes!, a),
  ],
  samples: Object.entries(mergeCases).map(([name, { logits, boxes, attrs }]) => ({
    name,
    inputs: [emptyState(attrs.rows, attrs.outW), { shape: logits, dtype: 'f32' }, boxes, classesFor(logits[1])],
    attrs: { ...attrs, scale: 3, second: true, moment: true },
  })),
  bench: [
    {
      name: '500x375, 171 queries, six windows of 224',
      inputs: [
        { shape: [6, 375, 500], dtype: 'f32' },
        { shape: [6, 171, 14, 14], dtype: 'f32' },
        sixWindows,
        queryClasses(...Array.from({ length: 171 }, (_, i) => i)),
      ],
      attrs: { canvasH: 336, canvasW: 448, winH: 224, winW: 224, outH: 375, outW: 500, rows: 375, scale: 40 },
      flops: 171 * 375 * 500 * 24,
    },
    {
      name: '500x375, 171 queries, two windows of 448',
      inputs: [
        { shape: [6, 375, 500], dtype: 'f32' },
        { shape: [2, 171, 28, 28], dtype: 'f32' },
        boxesOf(0, 0, 448, 448, 0, 149, 448, 597),
        queryClasses(...Array.from({ length: 171 }, (_, i) => i)),
      ],
      attrs: { canvasH: 448, canvasW: 597, winH: 448, winW: 448, outH: 375, outW: 500, rows: 375, scale: 40 },
      flops: 171 * 375 * 500 * 24,
    },
  ],
});

/**
 * `windowUpsample` and `scoreUpdate` in one pass, with the same bits and without the volume between them: state f32
 * `[6 + 2k, rows, W]` (changed in place), logits f32 `[N, S, h, w]`, boxes i32 `[N, 4]`, queryClass i32 `[S]`.
 */
export function windowMerge(
  state: Tensor,
  logits: Tensor,
  boxes: Tensor,
  queryClass: Tensor,
  merge: MergeOptions,
  scores: ScoreOptions,
): Tensor {
  return run(windowMergeCard, [state, logits, boxes, queryClass], { ...packMerge(merge), ...scores })[0] as Tensor;
}
