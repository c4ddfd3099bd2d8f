import { show, WordmaskError } from '../../../util/errors.js';
import { defineOp, type RefArray } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refAt, refFill } from '../reference.js';

const attrs = {
  before0: 0,
  before1: 0,
  before2: 0,
  before3: 0,
  before4: 0,
  before5: 0,
  before6: 0,
  before7: 0,
  after0: 0,
  after1: 0,
  after2: 0,
  after3: 0,
  after4: 0,
  after5: 0,
  after6: 0,
  after7: 0,
};
type PadAttrs = typeof attrs;

const before = (a: PadAttrs, axis: number) => a[`before${axis}` as keyof PadAttrs];
const after = (a: PadAttrs, axis: number) => a[`after${axis}` as keyof PadAttrs];

/** x at `origin` in zeros of `shape`. */
export function refPlace(x: RefArray, shape: readonly number[], origin: readonly number[]): RefArray {
  return refFill(shape, (index) => {
    const source = index.map((k, axis) => k - (origin[axis] as number));
    return source.every((k, axis) => k >= 0 && k < (x.shape[axis] as number)) ? refAt(x, source) : 0;
  });
}

export const padCard = defineOp({
  name: 'pad',
  inputs: ['x'],
  attrs,
  shape: ([x], a) => {
    const sizes = Object.values(a);
    const beyond = [...Array(8).keys()].some(
      (axis) => axis >= x!.shape.length && before(a, axis) + after(a, axis) !== 0,
    );
    if (beyond || sizes.some((n) => !Number.isInteger(n) || n < 0))
      rejectShape('pad', `whole numbers from 0 for existing axes, not ${show(sizes)}`, [x]);
    return [{ shape: x!.shape.map((d, i) => before(a, i) + d + after(a, i)), dtype: x!.dtype }];
  },
  grad: ({ inputs: [x], grads: [dy], attrs: a }) => [
    () => x!.shape.reduce((g, d, i) => (g.shape[i] === d ? g : g.slice(i, before(a, i), before(a, i) + d)), dy!),
  ],
  reference: ([x], a) => [
    refPlace(
      x!,
      x!.shape.map((d, i) => before(a, i) + d + after(a, i)),
      x!.shape.map((_, i) => before(a, i)),
    ),
  ],
  samples: [
    {
      name: 'map border',
      inputs: [{ shape: [2, 3, 5] }],
      attrs: { before1: 1, after1: 2, before2: 3 },
      dtypes: ['f32', 'f64', 'bf16'],
    },
    {
      name: 'whole vectors',
      inputs: [{ shape: [2, 3, 5, 8] }],
      attrs: { before1: 2, before2: 1, after3: 8 },
      dtypes: ['f32', 'bf16'],
    },
    { name: 'first axis', inputs: [{ shape: [3, 7] }], attrs: { after0: 2 } },
    { name: 'u8', inputs: [{ shape: [4, 4, 3], dtype: 'u8' }], attrs: { before0: 1, after1: 1 }, dtypes: ['f32'] },
    { name: 'nothing to add', inputs: [{ shape: [3, 7] }] },
    { name: 'around nothing', inputs: [{ shape: [0, 2] }], attrs: { before0: 2 } },
  ],
});

/** x with zeros before and after: one [before, after] pair an axis, `[[1, 1], [0, 2]]`. Any dtype. @throws E_OPTION */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[]): Tensor {
  if (widths.length !== x.rank)
    throw new WordmaskError('E_OPTION', `pad: needs ${x.rank} [before, after] pairs, one an axis, got ${show(widths)}`);
  const given = widths.flatMap(([b, e], axis) => [
    [`before${axis}`, b],
    [`after${axis}`, e],
  ]);
  return run(padCard, [x], Object.fromEntries(given) as Partial<PadAttrs>)[0] as Tensor;
}
