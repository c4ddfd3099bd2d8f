import { WordmaskError } from '../../../util/errors.js';
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { queryClasses } from './score_update.js';

const scores = (...shape: number[]) => ({ shape, dtype: 'f32' }) as const;

export const classProbabilitiesCard = defineOp({
  name: 'class_probabilities',
  inputs: ['logits', 'query_class'],
  attrs: { scale: 1, classes: 1, renormalise: false as boolean },
  shape: ([logits, classes], a) => {
    if (
      logits!.dtype !== 'f32' ||
      logits!.shape.length !== 3 ||
      classes!.dtype !== 'i32' ||
      classes!.shape.join() !== String(logits!.shape[0])
    ) {
      rejectShape('class_probabilities', 'logits f32[S, H, W] and query classes i32[S]', [logits, classes]);
    }
    if (!Number.isInteger(a.classes) || a.classes < 0)
      throw new WordmaskError(
        'E_OPTION',
        `class_probabilities: classes must be a whole number from 0, got ${a.classes}`,
      );
    return [{ shape: [a.classes, logits!.shape[1] as number, logits!.shape[2] as number], dtype: 'f32' }]; // [Q, H, W]
  },
  reference: ([logits, classes], a) => {
    const [queries, h, w] = logits!.shape as [number, number, number];
    const data = new Float64Array(a.classes * h * w);
    for (let i = 0; i < h * w; i++) {
      const x = Array.from({ length: queries }, (_, s) => a.scale * (logits!.data[s * h * w + i] as number));
      const terms = x.map((v) => Math.exp(v - Math.max(...x)));
      const sum = terms.reduce((p, q) => p + q, 0);
      terms.forEach((term, s) => {
        const c = classes!.data[s] as number;
        if (c >= 0) data[c * h * w + i] = Math.max(data[c * h * w + i] as number, term / sum);
      });
      if (!a.renormalise) continue;
      let total = 0;
      for (let c = 0; c < a.classes; c++) total += data[c * h * w + i] as number;
      for (let c = 0; c < a.classes; c++) data[c * h * w + i] = (data[c * h * w + i] as number) / total;
    }
    return [{ data, shape: [a.classes, h, w] }];
  },
  samples: [
    { name: 'one query a class', inputs: [scores(4, 3, 7), queryClasses(0, 1, 2, 3)], attrs: { classes: 4, scale: 3 } },
    {
      name: 'synonyms, a word that does not compete',
      inputs: [scores(6, 5, 19), queryClasses(0, 0, 2, -1, 1, 2)],
      attrs: { classes: 3 },
    },
    {
      name: 'renormalised, a class without queries',
      inputs: [scores(5, 2, 33), queryClasses(3, 0, 0, 1, 1)],
      attrs: { classes: 4, renormalise: true },
    },
    {
      name: 'blocks of pixels',
      inputs: [scores(4, 7, 41), queryClasses(2, -1, 2, 0)],
      attrs: { classes: 3, scale: 2 },
    },
    { name: 'no pixels', inputs: [scores(2, 0, 5), queryClasses(0, 1)], attrs: { classes: 2 } },
  ],
  bench: [
    {
      name: '171 queries, 375x500',
      inputs: [scores(171, 375, 500), queryClasses(...Array.from({ length: 171 }, (_, i) => i))],
      attrs: { classes: 171, scale: 40 },
    },
  ],
});

/**
 * logits f32 `[S, H, W]`, queryClass i32 `[S]` -> f32 `[Q, H, W]`: softmax of scale * logits over all S queries, then the largest
 * of each class, with `renormalise` divided by its sum over classes. Classes of -1 count in the softmax alone.
 */
export function classProbabilities(
  logits: Tensor,
  queryClass: Tensor,
  options: { scale: number; classes: number; renormalise?: boolean },
): Tensor {
  return run(classProbabilitiesCard, [logits, queryClass], { renormalise: false, ...options })[0] as Tensor;
}
