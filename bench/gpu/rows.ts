/** Norms, elementwise ops, softmax, optimiser, convolution and the copy that all of them are measured by (kernels.md 3, 6). */
import {
  adamwStep,
  add,
  argmax,
  conv2d,
  copy,
  l2Normalise,
  layerNorm,
  numel,
  Programs,
  quickGelu,
  run,
  softmax,
  type Tensor,
} from '#lib/engine/index.js';
import { layerNormBwdCard } from '#lib/engine/ops/math/layer_norm.js';
import type { Bench, GpuCase, Target } from './case.js';

const ofCopy: Target = { unit: 'share of floor', accept: 0.85, goal: 0.85 };

/** An op of rows [M, D] that reads and writes each once. */
function rows(
  bench: Bench,
  name: string,
  shape: readonly number[],
  tiny: readonly number[],
  more: {
    dtype?: 'bf16' | 'f32';
    /** Bytes an element, read and written. */
    each: number;
    target?: Target;
    torch?: Record<string, unknown>;
    op(x: Tensor, width: Tensor): unknown;
  },
): GpuCase {
  const sized = bench.tiny ? tiny : shape;
  const { dtype = 'bf16', each, target, torch, op } = more;
  return {
    group: 'rows',
    name,
    shape: sized.join(' x '),
    dtype,
    cost: { bytes: numel(sized) * each },
    target,
    torch: torch && { spec: { ...torch, shape: sized, dtype } },
    build: (b) => {
      const width = b.normal([sized.at(-1) as number], 'f32');
      const sets = b.rotated(() => [b.normal(sized, dtype)] as const);
      return { call: (turn) => op(sets(turn)[0], width) };
    },
  };
}

/** 28 x 10 windows of B/16. */
const tokens = [55160, 768] as const;

function adamw(bench: Bench): GpuCase {
  const n = bench.tiny ? 1000 : 86 * 2 ** 20;
  return {
    group: 'rows',
    name: 'AdamW of 86 Mi parameters with a bf16 copy',
    shape: String(n),
    dtype: 'f32',
    cost: { bytes: 30 * n },
    target: { unit: 'share of floor', accept: 0.8, goal: 0.8 },
    torch: { spec: { kind: 'adamw', n } },
    build: (b) => {
      const group = {
        parameters: b.normal([n], 'f32'),
        moments: b.normal([2, n], 'f32', 0.01),
        half: b.normal([n]),
        sizes: b.ints([n]),
      };
      const gradient = b.normal([n], 'f32', 0.01);
      const numbers = { scale: 1, beta1: 0.9, beta2: 0.999, keep: 1, rate: 1e-6, correction: 1, eps: 1 };
      return { call: () => adamwStep(group, [gradient], numbers) };
    },
  };
}

function decoderConvolution(bench: Bench): GpuCase {
  const [images, side, width] = bench.tiny ? [1, 5, 16] : [64, 28, 512];
  const pixels = images * side * side;
  return {
    group: 'rows',
    name: 'convolution 3x3, 512 to 512, 64 maps of 28 x 28',
    shape: `${images} x ${side} x ${side} x ${width}`,
    dtype: 'bf16',
    cost: { flops: 18 * pixels * width ** 2, bytes: 4 * pixels * width + 18 * width ** 2 },
    target: { unit: 'share of floor', accept: 0.5, goal: 0.5 },
    torch: { spec: { kind: 'conv', images, side, width } },
    build: (b) => {
      const sets = b.rotated(() => [b.normal([images, side, side, width]), b.normal([width, width, 3, 3])] as const);
      return { call: (turn) => conv2d(...sets(turn), { padding: 1 }) };
    },
  };
}

export function rowsCases(bench: Bench): GpuCase[] {
  const small = [9, 32] as const;
  return [
    rows(bench, 'layer norm, bf16 to bf16', tokens, small, {
      each: 4,
      target: ofCopy,
      torch: { kind: 'layer_norm' },
      op: (x, w) => layerNorm(x, w, w),
    }),
    rows(bench, 'layer norm, f32 stream to bf16', tokens, small, {
      dtype: 'f32',
      each: 6,
      target: ofCopy,
      op: (x, w) => layerNorm(x, w, w, 1e-5, { bf16Out: true }),
    }),
    rows(bench, 'layer norm backward', tokens, small, {
      each: 6,
      op: (x, w) => run(layerNormBwdCard, [x, w, x]),
    }),
    rows(bench, 'L2 normalise', tokens, small, { each: 4, op: (x) => l2Normalise(x) }),
    rows(bench, 'QuickGELU alone', [55160, 3072], small, { each: 4, target: ofCopy, op: (x) => quickGelu(x) }),
    rows(bench, 'softmax of rows of 4096', [16384, 4096], small, {
      each: 4,
      torch: { kind: 'softmax' },
      op: (x) => softmax(x),
    }),
    rows(bench, 'argmax over 171 planes of 500 x 375', [171, 375, 500], [5, 6, 7], {
      dtype: 'f32',
      each: 4,
      op: (x) => argmax(x, 0),
    }),
    adamw(bench),
    decoderConvolution(bench),
    launches(false),
    launches(true),
  ];
}

/** What a launch costs: as many small ops as a short encoder has, queued one by one and as one recorded Program. */
function launches(recorded: boolean): GpuCase {
  const count = 90;
  const chain = (x: Tensor) => ({
    out: Array(count)
      .fill(1)
      .reduce<Tensor>((y) => add(y, 1), x),
  });
  return {
    group: 'launches',
    name: `${count} additions of 4 KB${recorded ? ' as a Program' : ', one by one'}`,
    shape: `${count} x 1024`,
    dtype: 'f32',
    cost: { bytes: 8192 * count },
    items: count,
    build: (b) => {
      const x = b.normal([1024], 'f32');
      const programs = new Programs('launches');
      return {
        call: () => (recorded ? programs.run('chain', [x], ([y]) => chain(y as Tensor)) : chain(x)),
        close: () => programs.dispose(),
      };
    },
  };
}

/** The rate at which memory is read and written. */
export function copyCase(bench: Bench): GpuCase {
  const n = bench.tiny ? 1 << 14 : bench.device === 'cpu' ? 1 << 26 : 1 << 29;
  return {
    group: 'peak',
    name: 'copy',
    shape: `${n} bf16`,
    dtype: 'bf16',
    cost: { bytes: 4 * n },
    torch: { spec: { kind: 'copy', n } },
    build: (b) => {
      const x = b.normal([n]);
      return { call: () => copy(x) };
    },
  };
}
