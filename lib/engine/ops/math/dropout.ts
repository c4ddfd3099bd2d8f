/** Dropout and drop-path: zeros at random, the rest enlarged; the gradient draws the same numbers again. */
import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type OpCard } from '../../card.js';
import { isFloat } from '../../dtype.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refPhilox } from '../shape/random.js';

/** group: neighbouring elements that are kept or dropped together. offset counts blocks of four groups. */
const attrs = { seedLow: 0, seedHigh: 0, offset: 0, rate: 0.5, group: 1 };

export const dropoutCard: OpCard<typeof attrs> = defineOp({
  name: 'dropout',
  inputs: ['x'],
  attrs,
  shape: ([x], { rate, group }) => {
    if (!isFloat(x!.dtype)) rejectShape('dropout', 'a floating tensor', [x]);
    if (!(rate >= 0 && rate < 1 && Number.isInteger(group) && group >= 1))
      throw new WordmaskError(
        'E_OPTION',
        `dropout: the rate must be from 0 on and below 1, got ${rate} (group ${group})`,
      );
    return [{ shape: x!.shape, dtype: x!.dtype }];
  },
  grad: ({ grads: [dy], attrs: a }) => [() => run(dropoutCard, [dy], a)[0] as Tensor],
  reference: ([x], { seedLow, seedHigh, offset, rate, group }) => {
    const keeps = (unit: number) => {
      const word = refPhilox(seedLow, seedHigh, offset + Math.floor(unit / 4))[unit % 4] as number;
      return (word >>> 8) * 2 ** -24 >= rate;
    };
    return [
      { shape: x!.shape, data: x!.data.map((value, i) => (keeps(Math.floor(i / group)) ? value / (1 - rate) : 0)) },
    ];
  },
  samples: [
    {
      name: 'elements',
      inputs: [{ shape: [3, 7, 5] }],
      attrs: { seedLow: 42, seedHigh: 7, rate: 0.3 },
      dtypes: ['f32', 'f64', 'bf16', 'f16'],
    },
    {
      name: 'samples, later in the stream',
      inputs: [{ shape: [9, 4, 5] }],
      attrs: { seedLow: 4000000000, offset: 2 ** 32 + 9, rate: 0.5, group: 20 },
    },
    {
      name: 'groups across tasks',
      inputs: [{ shape: [3, 11_003] }],
      attrs: { seedLow: 3, rate: 0.4, group: 11_003 },
      grad: false,
    },
    {
      name: 'groups within a vector',
      inputs: [{ shape: [7, 9, 3] }],
      attrs: { seedLow: 11, rate: 0.5, group: 3 },
      dtypes: ['f32', 'f64', 'bf16'],
    },
    { name: 'nothing dropped', inputs: [{ shape: [37] }], attrs: { rate: 0 } },
    { name: 'empty', inputs: [{ shape: [0, 3] }] },
  ],
  bench: [
    { name: 'B/16 MLP, 8 images', inputs: [{ shape: [8, 197, 3072] }], attrs: { rate: 0.1 }, dtypes: ['f32', 'bf16'] },
  ],
});

export interface DropoutOptions {
  /** Share that becomes 0, from 0 on and below 1. */
  readonly rate: number;
  /** A whole number from 0 to 2^53 - 1: the same seed drops the same places. */
  readonly seed: number;
  /** Neighbouring elements (row-major) that stay or go together; default 1. */
  readonly group?: number;
}

/** Zeros in a share of `rate` of the places, the others divided by 1 - rate. Any floating dtype. @throws E_OPTION */
export function dropout(x: Tensor, { rate, seed, group = 1 }: DropoutOptions): Tensor {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new WordmaskError('E_OPTION', `dropout: seed must be a whole number from 0 to 2^53 - 1, got ${seed}`);
  return run(dropoutCard, [x], {
    seedLow: seed % 2 ** 32,
    seedHigh: Math.floor(seed / 2 ** 32),
    rate,
    group,
  })[0] as Tensor;
}
