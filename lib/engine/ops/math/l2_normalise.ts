/** Scaling of rows and maps: l2_normalise and min_max_scale. */
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { numel, rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { refRows } from '../reference.js';
import { cast } from './cast.js';
import { add, div, equal, mul, sub } from './elementwise_binary.js';
import { max, min, sum } from './reduce.js';

const norm = (row: number[]) => Math.sqrt(row.reduce((s, v) => s + v * v, 0));

export const l2NormaliseCard = defineOp({
  name: 'l2_normalise',
  inputs: ['x'],
  attrs: { eps: 1e-12 },
  shape: ([x]) =>
    x!.shape.length > 0 ? [{ shape: x!.shape, dtype: x!.dtype }] : rejectShape('l2_normalise', 'x [..., D]', [x]),
  grad: ({ inputs: [x], grads: [dy], attrs }) => [() => run(l2NormaliseBwdCard, [x, dy], attrs)[0] as Tensor],
  reference: ([x], { eps }) => [refRows(x!, (row) => row.map((v) => v / Math.max(norm(row), eps)))],
  samples: [
    { name: 'rows', inputs: [{ shape: [2, 5, 33] }], dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'below eps', inputs: [{ shape: [3, 7] }], attrs: { eps: 100 } },
    { name: 'zero row', inputs: [{ shape: [2, 4], fill: { values: [0, 0, 0, 0, 3, 0, 4, 0] } }], grad: false },
    { name: 'one column', inputs: [{ shape: [4, 1], fill: 'positive' }] },
    { name: 'no rows', inputs: [{ shape: [0, 5] }] },
  ],
  bench: [{ name: 'patch features of B/16, 8 images', inputs: [{ shape: [8, 196, 512] }], dtypes: ['f32', 'bf16'] }],
});

export const l2NormaliseBwdCard = defineOp({
  name: 'l2_normalise_bwd',
  inputs: ['x', 'dy'],
  attrs: { eps: 1e-12 },
  shape: ([x, dy]) =>
    sameShape(x!.shape, dy!.shape)
      ? [{ shape: x!.shape, dtype: x!.dtype }]
      : rejectShape('l2_normalise_bwd', 'two equal shapes', [x, dy]),
  reference: ([x, dy], { eps }) => {
    const width = x!.shape.at(-1) as number;
    return [
      refRows(x!, (row, r) => {
        const up = [...dy!.data.subarray(r * width, (r + 1) * width)];
        const n = norm(row);
        const along = n > eps ? row.reduce((s, v, i) => s + v * (up[i] as number), 0) / n ** 3 : 0;
        return up.map((g, i) => g / Math.max(n, eps) - (row[i] as number) * along);
      }),
    ];
  },
  samples: [
    { name: 'rows', inputs: [{ shape: [2, 5, 33] }, { shape: [2, 5, 33] }], dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'below eps', inputs: [{ shape: [3, 7] }, { shape: [3, 7] }], attrs: { eps: 100 } },
    { name: 'no rows', inputs: [{ shape: [0, 5] }, { shape: [0, 5] }] },
  ],
});

/** x / max(|x|, eps) over the last axis. Any float dtype, computed in f32 or wider. */
export function l2Normalise(x: Tensor, eps = 1e-12): Tensor {
  return run(l2NormaliseCard, [x], { eps })[0] as Tensor;
}

export const minMaxScaleCard = defineOp({
  name: 'min_max_scale',
  inputs: ['x'],
  attrs: { dims: 2, eps: 0 },
  shape: ([x], { dims }) => {
    if (!Number.isInteger(dims) || dims < 1 || dims > x!.shape.length)
      rejectShape('min_max_scale', `at least ${dims} axes (dims from 1)`, [x]);
    return [{ shape: x!.shape, dtype: x!.dtype }];
  },
  grad: ({ inputs: [x], outputs: [y], grads: [dy], attrs: { dims, eps } }) => [
    () => {
      const axes = Array.from({ length: dims }, (_, i) => x!.rank - dims + i);
      const low = min(x!, axes, true);
      const high = max(x!, axes, true);
      const share = (hit: Tensor) => div(hit, sum(hit, axes, true));
      const atLow = share(cast(equal(x!, low), x!.dtype));
      const atHigh = share(cast(equal(x!, high), x!.dtype));
      const range = add(sub(high, low), eps);
      // dy/dmin = (y - 1) / range and dy/dmax = -y / range, up to eps, which enters the range alone.
      const toRange = sum(mul(dy!, y!), axes, true);
      const toLow = sub(toRange, sum(dy!, axes, true));
      const numerator = add(dy!, sub(mul(atLow, toLow), mul(atHigh, toRange)));
      return div(numerator, range);
    },
  ],
  reference: ([x], { dims, eps }) => {
    const size = numel(x!.shape.slice(-dims));
    const rows = refRows({ data: x!.data, shape: [size === 0 ? 0 : x!.data.length / size, size] }, (map) => {
      const low = Math.min(...map);
      const range = Math.max(...map) - low;
      return map.map((v) => (range === 0 ? 0 : (v - low) / (range + eps)));
    });
    return [{ data: rows.data, shape: x!.shape }];
  },
  samples: [
    { name: 'maps', inputs: [{ shape: [3, 7, 5] }], dtypes: ['f32', 'f64', 'bf16'] },
    { name: 'rows', inputs: [{ shape: [3, 1031] }], attrs: { dims: 1, eps: 1e-3 } },
    { name: 'constant map', inputs: [{ shape: [1, 2, 2], fill: { values: [3] } }], grad: false },
    { name: 'no maps', inputs: [{ shape: [0, 3, 3] }] },
  ],
});

/** (x - min) / (max - min + eps) of each map of the last `dims` axes; a constant map becomes 0. */
export function minMaxScale(x: Tensor, { dims = 2, eps = 0 }: { dims?: number; eps?: number } = {}): Tensor {
  return run(minMaxScaleCard, [x], { dims, eps })[0] as Tensor;
}
