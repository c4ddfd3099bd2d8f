/** y = a y + b x on a flat buffer: running averages of weights, sums of gradients, Muon's momentum and step. */
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import type { Tensor } from '../../tensor.js';
import { checkFlat, eachElement, samplePartSizes, sampleParts, samplePartTotal, sampleSizes } from './flat.js';

const attrs = { a: 1, b: 1 };

export const blendCard = defineOp({
  name: 'blend',
  inputs: ['y', 'sizes', '...parts?'],
  attrs,
  inPlace: 'all',
  shape: (specs) => [checkFlat('blend', specs, specs[1]!, 2)],
  reference: ([y, sizes, ...parts], { a, b }) => {
    const data = y!.data.slice();
    eachElement(sizes!, parts, (x, i) => {
      data[i] = (a === 0 ? 0 : a * (data[i] as number)) + b * x;
    });
    return [{ data, shape: y!.shape }];
  },
  samples: [
    {
      name: 'average',
      inputs: [{ shape: [samplePartTotal] }, sampleSizes(...samplePartSizes), ...sampleParts],
      attrs: { a: 0.99, b: 0.01 },
    },
    {
      name: 'a = 0 does not read y',
      inputs: [{ shape: [19], fill: { values: [Number.NaN] } }, sampleSizes(3, 16), { shape: [3] }, { shape: [4, 4] }],
      attrs: { a: 0, b: -2 },
    },
    {
      name: 'parts of whole vectors',
      inputs: [{ shape: [2116] }, sampleSizes(64, 2052), { shape: [64] }, { shape: [2052] }],
      attrs: { a: 0.5, b: 2 },
    },
    {
      name: 'many parts',
      inputs: [
        { shape: [3 * 150] },
        sampleSizes(...new Array<number>(150).fill(3)),
        ...new Array(150).fill({ shape: [3] }),
      ],
      attrs: { a: 0.5, b: 2 },
    },
    { name: 'empty', inputs: [{ shape: [0] }, sampleSizes(0), { shape: [0] }] },
  ],
  bench: [
    {
      name: '8 Mi elements',
      inputs: [{ shape: [1 << 23] }, sampleSizes(1 << 23), { shape: [1 << 23] }],
      attrs: { a: 0.999, b: 0.001 },
      bytes: 12 * 2 ** 23,
    },
  ],
});

/**
 * y = a y + b x in place: y [N] flat, x its parts of `sizes` elements each, i32 [G]. Where a part is undefined, y stays.
 * With a = 0 the old y is not read. For optimisers alone. @throws E_OPTION
 */
export function blend(
  y: Tensor,
  sizes: Tensor,
  parts: readonly (Tensor | undefined)[],
  { a, b }: { readonly a: number; readonly b: number },
): void {
  run(blendCard, [y, sizes, ...parts], { a, b })[0]?.dispose();
}
