/** Cost formulas of kernels.md section 4 for ops whose floor is not simply FLOP or bytes of inputs and outputs. */
import type { Peaks } from '../harness.js';

interface Cost {
  readonly flops: number;
  /** Bytes that must move, each once a pass. */
  readonly bytes: number;
}

type Formula = (shapes: readonly (readonly number[])[], attrs: Readonly<Record<string, unknown>>) => Cost;

const formulas: Readonly<Record<string, Formula>> = {
  // P5: every step reads a row of 8 weights a dilation and C masks a pixel, and writes C masks.
  pamr: ([, masks = []], attrs) => {
    const [classes = 0, height = 0, width = 0] = masks;
    const [iterations, neighbours] = [Number(attrs.iterations), 8 * Number(attrs.count)];
    const pixels = height * width;
    return {
      flops: 2 * iterations * neighbours * classes * pixels,
      bytes: iterations * pixels * 4 * (2 * classes + neighbours),
    };
  },
  // P3: the logits once, the running state of each pixel read and written. Two interpolations of 2 x 3 operations and the
  // running softmax of about 12 for each query and pixel.
  window_merge: ([state = [], logits = []]) => {
    const pixels = (state[1] ?? 0) * (state[2] ?? 0);
    return {
      flops: 24 * (logits[1] ?? 0) * pixels,
      bytes: 4 * logits.reduce((n, d) => n * d, 1) + 2 * 4 * (state[0] ?? 0) * pixels,
    };
  },
};

/** Columns for a line: the floor by the formula on this machine, in milliseconds. */
export function formulaColumns(
  name: string,
  shapes: readonly (readonly number[])[],
  attrs: Readonly<Record<string, unknown>>,
  peaks: Peaks,
  threads: number,
): Record<string, number> {
  const cost = formulas[name]?.(shapes, attrs);
  if (!cost) return {};
  const [arithmetic, memory] = [cost.flops / 1e6 / (peaks.f32 * threads), cost.bytes / 1e6 / peaks.copy];
  return {
    'formula GFLOP': cost.flops / 1e9,
    'formula GB': cost.bytes / 1e9,
    'floor ms': Math.max(arithmetic, memory),
  };
}
