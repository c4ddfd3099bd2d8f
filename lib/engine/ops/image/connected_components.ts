/** Regions of equal label in a label map: numbers, areas and boxes, and the removal of small ones. Integer exact. */
import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type RefArray, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

function isMap(spec: TensorSpec): boolean {
  return (spec.dtype === 'u8' || spec.dtype === 'i32') && spec.shape.length === 2;
}

function wholeNumber(op: string, name: string, value: number, low: number): void {
  if (!Number.isInteger(value) || value < low)
    throw new WordmaskError('E_OPTION', `${op}: ${name} must be a whole number from ${low}, got ${value}`);
}

/** Flood fill from every pixel that has no number yet. */
function componentsReference(labels: RefArray, connectivity: number, nothing: number): RefArray[] {
  const [h, w] = labels.shape as [number, number];
  const data = new Float64Array(h * w);
  let count = 0;
  for (let start = 0; start < data.length; start++) {
    if (data[start] || labels.data[start] === nothing) continue;
    data[start] = ++count;
    const queue = [start];
    for (const i of queue) {
      for (const [dy, dx] of [
        [0, 1],
        [0, -1],
        [1, 0],
        [-1, 0],
        [1, 1],
        [1, -1],
        [-1, 1],
        [-1, -1],
      ].slice(0, connectivity) as [number, number][]) {
        const [y, x] = [Math.floor(i / w) + dy, (i % w) + dx];
        const k = y * w + x;
        if (y < 0 || x < 0 || y >= h || x >= w || data[k] || labels.data[k] !== labels.data[start]) continue;
        data[k] = count;
        queue.push(k);
      }
    }
  }
  return [
    { data, shape: [h, w] },
    { data: Float64Array.of(count), shape: [1] },
  ];
}

const labelMap = (h: number, w: number, classes: number, dtype: 'u8' | 'i32' = 'u8') =>
  ({ shape: [h, w], dtype, fill: { integers: [0, classes - 1] } }) as const;
const tall = { shape: [40, 3], dtype: 'u8', fill: { values: [1, 0, 1, 1, 1, 1] } } as const;

export const connectedComponentsCard = defineOp({
  name: 'connected_components',
  inputs: ['labels'],
  attrs: { connectivity: 4, nothing: -1 },
  shape: ([labels], a) => {
    if (!isMap(labels!)) rejectShape('connected_components', 'u8[H, W] or i32[H, W]', [labels]);
    if (a.connectivity !== 4 && a.connectivity !== 8)
      throw new WordmaskError('E_OPTION', `connected_components: connectivity must be 4 or 8, got ${a.connectivity}`);
    return [
      { shape: labels!.shape, dtype: 'i32' },
      { shape: [1], dtype: 'i32' },
    ];
  },
  reference: ([labels], a) => componentsReference(labels!, a.connectivity, a.nothing < 0 ? Number.NaN : a.nothing),
  samples: [
    { name: 'four neighbours', inputs: [labelMap(13, 17, 3)] },
    { name: 'eight neighbours', inputs: [labelMap(11, 19, 4, 'i32')], attrs: { connectivity: 8 } },
    { name: 'a label left out', inputs: [labelMap(9, 9, 3)], attrs: { nothing: 2 } },
    { name: 'joined further down', inputs: [tall], attrs: { nothing: 0 } },
    { name: 'several tiles', inputs: [labelMap(37, 70, 2)] },
    { name: 'several tiles, eight neighbours', inputs: [labelMap(35, 67, 3)], attrs: { connectivity: 8, nothing: 1 } },
    { name: 'one region of many tiles', inputs: [{ shape: [33, 65], dtype: 'u8', fill: { values: [4] } }] },
    { name: 'empty', inputs: [labelMap(0, 5, 2)] },
  ],
  bench: [{ name: 'noise 1024x2048', inputs: [labelMap(1024, 2048, 19)] }],
});

export const segmentStatsCard = defineOp({
  name: 'segment_stats',
  inputs: ['components'],
  attrs: { n: 0 },
  shape: ([components], { n }) => {
    if (components!.dtype !== 'i32' || components!.shape.length !== 2)
      rejectShape('segment_stats', 'i32[H, W]', [components]);
    wholeNumber('segment_stats', 'n', n, 0);
    return [
      { shape: [n], dtype: 'i32' },
      { shape: [n, 4], dtype: 'i32' },
      { shape: [n], dtype: 'i32' },
    ];
  },
  reference: ([components], { n }) => {
    const w = components!.shape[1] as number;
    const area = new Float64Array(n);
    const box = new Float64Array(4 * n);
    const first = new Float64Array(n);
    for (let k = 0; k < n; k++) {
      const pixels = [...components!.data.keys()].filter((i) => components!.data[i] === k + 1);
      area[k] = pixels.length;
      first[k] = pixels[0] ?? -1;
      if (!pixels.length) continue;
      const xs = pixels.map((i) => i % w);
      const ys = pixels.map((i) => Math.floor(i / w));
      box.set(
        [
          Math.min(...xs),
          Math.min(...ys),
          Math.max(...xs) - Math.min(...xs) + 1,
          Math.max(...ys) - Math.min(...ys) + 1,
        ],
        4 * k,
      );
    }
    return [
      { data: area, shape: [n] },
      { data: box, shape: [n, 4] },
      { data: first, shape: [n] },
    ];
  },
  samples: [
    {
      name: 'random numbers, one absent, one too high',
      inputs: [{ shape: [7, 12], dtype: 'i32', fill: { integers: [0, 5] } }],
      attrs: { n: 4 },
    },
    {
      name: 'numbers that do not occur',
      inputs: [{ shape: [2, 3], dtype: 'i32', fill: { values: [0, 2, 2, 0, 0, 2] } }],
      attrs: { n: 3 },
    },
    {
      name: 'runs longer than a step, a row longer than a segment',
      inputs: [
        {
          shape: [2, 1100],
          dtype: 'i32',
          fill: { values: Array.from({ length: 2200 }, (_, i) => (i > 400 && i < 1500 ? 3 : Math.floor(i / 47) % 4)) },
        },
      ],
      attrs: { n: 4 },
    },
    { name: 'none', inputs: [labelMap(4, 4, 2, 'i32')] },
  ],
});

export const filterSmallCard = defineOp({
  name: 'filter_small',
  inputs: ['labels', 'components', 'area'],
  attrs: { minArea: 0, replacement: 255 },
  shape: ([labels, components, area], a) => {
    const ok =
      isMap(labels!) &&
      components!.dtype === 'i32' &&
      components!.shape.join() === labels!.shape.join() &&
      area!.dtype === 'i32' &&
      area!.shape.length === 1;
    if (!ok)
      rejectShape('filter_small', 'labels u8|i32[H, W], components i32[H, W], area i32[n]', [labels, components, area]);
    if (labels!.dtype === 'u8' && !(a.replacement >= 0 && a.replacement <= 255))
      throw new WordmaskError('E_OPTION', `filter_small: replacement must fit 8 bits, got ${a.replacement}`);
    return [{ shape: labels!.shape, dtype: labels!.dtype }];
  },
  reference: ([labels, components, area], a) => [
    {
      data: labels!.data.map((label, i) =>
        (area!.data[(components!.data[i] as number) - 1] ?? Infinity) < a.minArea ? a.replacement : label,
      ),
      shape: labels!.shape,
    },
  ],
  samples: [
    {
      name: 'u8',
      inputs: [
        labelMap(6, 7, 9),
        { shape: [6, 7], dtype: 'i32', fill: { integers: [0, 5] } },
        { shape: [4], dtype: 'i32', fill: { values: [3, 9, 1, 5] } },
      ],
      attrs: { minArea: 5 },
    },
    {
      name: 'i32',
      inputs: [
        labelMap(5, 3, 900, 'i32'),
        { shape: [5, 3], dtype: 'i32', fill: { integers: [1, 2] } },
        { shape: [2], dtype: 'i32', fill: { values: [1, 2] } },
      ],
      attrs: { minArea: 2, replacement: 65535 },
    },
    {
      name: 'u8 by fours',
      inputs: [
        labelMap(4, 7, 9),
        { shape: [4, 7], dtype: 'i32', fill: { integers: [-1, 4] } },
        { shape: [3], dtype: 'i32', fill: { values: [3, 9, 1] } },
      ],
      attrs: { minArea: 4, replacement: 200 },
    },
  ],
});

export interface Components {
  /** i32 `[H, W]`: 1, 2, ... in the order of each region's first pixel, 0 for pixels of the label left out. */
  readonly components: Tensor;
  /** i32 `[1]`: how many. */
  readonly count: Tensor;
}

/**
 * Regions of equal label: labels u8 or i32 `[H, W]`. connectivity 4 (default) or 8; `nothing` is a label that forms no regions.
 * @throws E_OPTION
 */
export function connectedComponents(
  labels: Tensor,
  options: { connectivity?: 4 | 8; nothing?: number } = {},
): Components {
  const [components, count] = run(connectedComponentsCard, [labels], options) as [Tensor, Tensor];
  return { components, count };
}

export interface SegmentStats {
  /** Pixels of each region, i32 `[n]`. */
  readonly area: Tensor;
  /** x, y, width, height, i32 `[n, 4]`; zeros where a number does not occur. */
  readonly bbox: Tensor;
  /** Index of the first pixel, i32 `[n]`; -1 where a number does not occur. */
  readonly first: Tensor;
}

/** Measures of regions 1..n of a component map i32 `[H, W]`; other numbers are left out. */
export function segmentStats(components: Tensor, n: number): SegmentStats {
  const [area, bbox, first] = run(segmentStatsCard, [components], { n }) as [Tensor, Tensor, Tensor];
  return { area, bbox, first };
}

/** Labels with `replacement` wherever the component has fewer than minArea pixels (area i32 `[n]` of segmentStats). */
export function filterSmall(
  labels: Tensor,
  components: Tensor,
  area: Tensor,
  options: { minArea: number; replacement: number },
): Tensor {
  return run(filterSmallCard, [labels, components, area], options)[0] as Tensor;
}
