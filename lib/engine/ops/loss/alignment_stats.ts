/**
 * What the losses of MGCA take from the similarities of every pixel with every text (arXiv 2403.03707, equations 2-7), computed
 * image by image: a tensor of images x texts x pixels is never made, forward or backward (kernels.md R3).
 */
import { defineOp, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { alignmentBwdReference, alignmentReference } from './alignment-reference.js';

const attrs = {
  positives: 1,
  negatives: 1,
  rank: 1,
  first: 0,
  temperature: 1,
  cosinePixels: false,
  detach: false,
};
export type AlignmentAttrs = typeof attrs;

const expected =
  'embeddings [B, N, D] and text [Q, D] of one dtype, positives, negatives and rank from 1 to N, first from 0 to Q - B and a temperature above 0';

function shapes(op: string, specs: readonly (TensorSpec | undefined)[], a: AlignmentAttrs): TensorSpec[] {
  const [x, text] = specs as [TensorSpec, TensorSpec];
  const [batch = 0, pixels = 0, width] = x.shape;
  const texts = text.shape[0] ?? 0;
  const within = (n: number) => Number.isInteger(n) && n >= 1 && n <= pixels;
  const fits =
    x.shape.length === 3 &&
    text.shape.length === 2 &&
    width === text.shape[1] &&
    (batch === 0 || [a.positives, a.negatives, a.rank].every(within)) &&
    Number.isInteger(a.first) &&
    a.first >= 0 &&
    a.first <= texts - batch &&
    a.temperature > 0;
  if (!fits) rejectShape(op, expected, specs);
  return [
    { shape: [batch, width as number], dtype: x.dtype },
    { shape: [batch, texts], dtype: x.dtype },
    { shape: [batch, texts], dtype: x.dtype },
  ];
}

const dtypes = ['f32', 'f64'] as const;
const samples = [
  { name: 'own texts', b: 3, n: 16, d: 8, q: 3, attrs: { positives: 6, negatives: 2, rank: 2 } },
  { name: 'more texts', b: 2, n: 33, d: 21, q: 7, attrs: { positives: 13, negatives: 1, rank: 3, first: 4 } },
  { name: 'temperature', b: 2, n: 12, d: 5, q: 4, attrs: { positives: 5, negatives: 3, rank: 1, temperature: 3 } },
  { name: 'detached', b: 2, n: 12, d: 5, q: 3, attrs: { positives: 5, negatives: 2, rank: 1, detach: true } },
  {
    name: 'cosine pixels',
    b: 2,
    n: 12,
    d: 5,
    q: 3,
    attrs: { positives: 5, negatives: 2, rank: 4, cosinePixels: true },
  },
  { name: 'width in eights', b: 2, n: 37, d: 40, q: 5, attrs: { positives: 15, negatives: 3, rank: 4, first: 2 } },
  { name: 'many pixels', b: 1, n: 300, d: 6, q: 2, attrs: { positives: 120, negatives: 15, rank: 18 } },
  { name: 'all pixels', b: 1, n: 5, d: 3, q: 2, attrs: { positives: 5, negatives: 5, rank: 5 } },
  { name: 'wide', b: 1, n: 9, d: 150, q: 2, attrs: { positives: 4, negatives: 2, rank: 2, temperature: 9 } },
  { name: 'one pixel', b: 2, n: 1, d: 4, q: 2, attrs: {} },
  { name: 'no images', b: 0, n: 4, d: 4, q: 2, attrs: {} },
];
const ties = { integers: [-1, 1] } as const;
const decoder = [{ shape: [16, 784, 512] }, { shape: [16, 512] }];
const large = [{ shape: [4, 784, 512] }, { shape: [1024, 512] }];
const counts = { positives: 314, negatives: 39, rank: 47 };

export const alignmentStatsCard = defineOp<AlignmentAttrs>({
  name: 'alignment_stats',
  inputs: ['embeddings', 'text'],
  attrs,
  shape: (specs, a) => shapes('alignment_stats', specs, a),
  grad: ({ inputs, grads, attrs: a }) => [() => run(alignmentStatsBwdCard, [...inputs, ...grads], a)[0] as Tensor],
  reference: alignmentReference,
  samples: [
    ...samples.map(({ name, b, n, d, q, attrs: a }) => ({
      name,
      inputs: [{ shape: [b, n, d] }, { shape: [q, d], grad: false }],
      attrs: a,
      dtypes,
      // Central differences move what a detached softmax holds still.
      grad: !('detach' in a),
    })),
    {
      name: 'ties',
      inputs: [
        { shape: [2, 40, 3], fill: ties },
        { shape: [3, 3], fill: ties },
      ],
      attrs: { positives: 16, negatives: 2, rank: 3 },
      dtypes,
      grad: false,
    },
  ],
  bench: [
    { name: '16 images, 16 texts', inputs: decoder, attrs: counts, flops: 2 * 16 * 16 * 784 * 512 },
    { name: '4 images, 1024 texts', inputs: large, attrs: counts, flops: 2 * 4 * 1024 * 784 * 512 },
  ],
});

export const alignmentStatsBwdCard = defineOp<AlignmentAttrs>({
  name: 'alignment_stats_bwd',
  inputs: ['embeddings', 'text', 'dregions?', 'dcosines?', 'dpixels?'],
  attrs,
  shape: (specs, a) => {
    const wanted = shapes('alignment_stats_bwd', specs, a);
    wanted.forEach((want, i) => {
      const given = specs[i + 2];
      if (given && !sameShape(given.shape, want.shape))
        rejectShape('alignment_stats_bwd', `${expected}, gradients [B, D], [B, Q] and [B, Q]`, specs);
    });
    return [specs[0] as TensorSpec];
  },
  reference: alignmentBwdReference,
  samples: [
    ...samples.map(({ name, b, n, d, q, attrs: a }) => ({
      name,
      inputs: [{ shape: [b, n, d] }, { shape: [q, d] }, { shape: [b, d] }, { shape: [b, q] }, { shape: [b, q] }],
      attrs: a,
      dtypes,
    })),
    {
      name: 'regions alone',
      inputs: [{ shape: [2, 9, 5] }, { shape: [3, 5] }, { shape: [2, 5] }],
      attrs: { positives: 4, negatives: 2, rank: 2 },
      dtypes,
    },
    {
      name: 'pixels alone',
      inputs: [{ shape: [2, 9, 5] }, { shape: [3, 5] }, undefined, undefined, { shape: [2, 3] }],
      attrs: { positives: 4, negatives: 2, rank: 2 },
      dtypes,
    },
  ],
  bench: [
    {
      name: '4 images, 1024 texts',
      inputs: [...large, { shape: [4, 512] }, { shape: [4, 1024] }, { shape: [4, 1024] }],
      attrs: counts,
      flops: 4 * 4 * 1024 * 784 * 512,
    },
  ],
});

export interface AlignmentStats {
  /** [B, D]: region embedding of each image under its own text, the sum of its pixels weighted by their probability. */
  readonly regions: Tensor;
  /** [B, Q]: cosine between the region embedding under a text and that text. */
  readonly cosines: Tensor;
  /** [B, Q]: similarity of the own text at the pixel of the given rank; of any other text at its best pixel. */
  readonly pixels: Tensor;
}

/**
 * embeddings [B, N, D] (not normalised), text [Q, D]; image i belongs to text `first` + i. A region is the `positives` most
 * probable pixels under the own text, the `negatives` most probable ones under another; among equals the lower index. With
 * `cosinePixels` the third result is chosen by and holds cosines in place of dot products. Gradients flow to the
 * embeddings: through the choice of pixels never, through their probabilities unless `detach`; text gets none.
 * @throws E_OPTION
 */
export function alignmentStats(
  embeddings: Tensor,
  text: Tensor,
  options: Pick<AlignmentAttrs, 'positives' | 'negatives' | 'rank'> & Partial<AlignmentAttrs>,
): AlignmentStats {
  const [regions, cosines, pixels] = run(alignmentStatsCard, [embeddings, text], options) as [Tensor, Tensor, Tensor];
  return { regions, cosines, pixels };
}
