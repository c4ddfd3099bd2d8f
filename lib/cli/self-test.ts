/**
 * A few operations of a back end with results known in advance, at sizes that reach the vector kernels and their ragged
 * ends. For `wordmask doctor`: it tells a broken build, processor or driver from a wrong model.
 */
import { layerNorm, linear, noGrad, onDevice, scope, softmax, Tensor } from '../engine/index.js';
import { attention, connectedComponents, denseCrf, pamr, resize } from '../post/arrays.js';

export interface Check {
  readonly device: string;
  readonly name: string;
  readonly ok: boolean;
  /** Largest difference from the known result. */
  readonly error?: number;
  readonly ms: number;
  /** Why it failed. */
  readonly reason?: string;
}

interface Case {
  readonly name: string;
  readonly tolerance: number;
  run(): Promise<{ actual: ArrayLike<number>; expected: (index: number) => number; count: number }>;
}

const filled = (count: number, value: (index: number) => number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => value(i));

async function computed(fn: () => Tensor): Promise<ArrayLike<number>> {
  return noGrad(() => scope(async () => (await fn().contiguous().toArray()).data));
}

/** Whole numbers small enough that every partial sum is exact in f32, in any order. */
function matrixProduct(): Case {
  const [m, n, k] = [37, 70, 131];
  const x = (i: number, p: number): number => ((i * 3 + p) % 7) - 3;
  const w = (j: number, p: number): number => ((j * 5 + p * 2) % 9) - 4;
  const sum = (i: number, j: number): number => {
    let total = 0;
    for (let p = 0; p < k; p++) total += x(i, p) * w(j, p);
    return total;
  };
  return {
    name: 'matrix product',
    tolerance: 0,
    run: async () => ({
      actual: await computed(() =>
        linear(
          Tensor.from(
            filled(m * k, (at) => x(Math.floor(at / k), at % k)),
            [m, k],
          ),
          Tensor.from(
            filled(n * k, (at) => w(Math.floor(at / k), at % k)),
            [n, k],
          ),
        ),
      ),
      expected: (at) => sum(Math.floor(at / n), at % n),
      count: m * n,
    }),
  };
}

const cases: readonly Case[] = [
  matrixProduct(),
  {
    // e^ln(c) = c: the probabilities are c / (1 + 2 + ... + 35).
    name: 'softmax',
    tolerance: 1e-6,
    run: async () => ({
      actual: await computed(() =>
        softmax(
          Tensor.from(
            filled(3 * 35, (at) => Math.log((at % 35) + 1)),
            [3, 35],
          ),
        ),
      ),
      expected: (at) => ((at % 35) + 1) / 630,
      count: 105,
    }),
  },
  {
    // 0, 1, ..., 32 has mean 16 and variance (33^2 - 1) / 12.
    name: 'layer norm',
    tolerance: 1e-5,
    run: async () => ({
      actual: await computed(() =>
        layerNorm(
          Tensor.from(
            filled(5 * 33, (at) => at % 33),
            [5, 33],
          ),
          undefined,
          undefined,
          0,
        ),
      ),
      expected: (at) => ((at % 33) - 16) / Math.sqrt(1088 / 12),
      count: 165,
    }),
  },
  {
    // Equal keys get equal weight: every row is the mean of the values.
    name: 'attention',
    tolerance: 1e-5,
    run: async () => {
      const shape = [1, 2, 53, 32];
      const same = { data: filled(2 * 53 * 32, () => 0.25), shape };
      const values = { data: filled(2 * 53 * 32, (at) => Math.floor(at / 32) % 53), shape };
      const { data } = await attention(same, same, values);
      return { actual: data, expected: () => 26, count: 2 * 53 * 32 };
    },
  },
  {
    // A ramp stays a ramp when its corners are kept.
    name: 'resize',
    tolerance: 1e-5,
    run: async () => {
      const ramp = { data: filled(5 * 9, (at) => at % 9), shape: [5, 9] };
      const { data } = await resize(ramp, { width: 33, height: 10, mode: 'torch_bilinear', alignCorners: true });
      return { actual: data, expected: (at) => (at % 33) / 4, count: 330 };
    },
  },
  {
    // On a picture of one colour the refinement averages neighbours: a constant map stays as it is.
    name: 'PAMR',
    tolerance: 1e-5,
    run: async () => {
      const guide = { data: filled(3 * 20 * 27, () => 0.5), shape: [3, 20, 27] };
      const masks = { data: filled(2 * 20 * 27, (at) => (at < 540 ? 0.75 : 0.25)), shape: [2, 20, 27] };
      const { data } = await pamr(guide, masks, { iterations: 3 });
      return { actual: data, expected: (at) => (at < 540 ? 0.75 : 0.25), count: 1080 };
    },
  },
  {
    // Without iterations the marginals are the softmax of the unaries.
    name: 'dense CRF',
    tolerance: 1e-5,
    run: async () => {
      const image = { data: new Uint8Array(11 * 13 * 3), width: 13, height: 11 };
      const unary = { data: filled(2 * 143, (at) => (at < 143 ? 0 : Math.log(3))), shape: [2, 11, 13] };
      const { data } = await denseCrf(image, unary, { iterations: 0, bilateral: { sxy: 10, srgb: 5, compat: 3 } });
      return { actual: data, expected: (at) => (at < 143 ? 0.75 : 0.25), count: 286 };
    },
  },
  {
    // Columns of alternating labels: each is one piece.
    name: 'connected components',
    tolerance: 0,
    run: async () => {
      const labels = { data: Int32Array.from({ length: 7 * 19 }, (_, at) => (at % 19) % 2), shape: [7, 19] };
      const { data } = await connectedComponents(labels, { connectivity: 4 });
      return { actual: data, expected: (at) => (at % 19) + 1, count: 133 };
    },
  },
];

/** The cases on a device; default the CPU. */
export function selfTest(device = 'cpu'): Promise<Check[]> {
  return onDevice(device, () => runCases(device));
}

async function runCases(device: string): Promise<Check[]> {
  const checks: Check[] = [];
  for (const { name, tolerance, run } of cases) {
    const started = performance.now();
    const took = (): number => Math.round((performance.now() - started) * 10) / 10;
    try {
      const { actual, expected, count } = await run();
      const error = largestError(actual, expected, count);
      checks.push({
        device,
        name,
        ok: error <= tolerance,
        error,
        ms: took(),
        ...(error > tolerance && { reason: `differs by ${error}, allowed is ${tolerance}` }),
      });
    } catch (error) {
      checks.push({ device, name, ok: false, ms: took(), reason: (error as Error).message });
    }
  }
  return checks;
}

function largestError(actual: ArrayLike<number>, expected: (index: number) => number, count: number): number {
  if (actual.length !== count) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < count; i++) {
    const error = Math.abs((actual[i] as number) - expected(i));
    if (!(error <= worst)) worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
  }
  return worst;
}
