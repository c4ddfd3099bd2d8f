/** Matrix products in the roles of the encoders, few rows, gradients, cosine maps (kernels.md section 1). */
import {
  type Activation,
  cosineLogits,
  l2Normalise,
  linear,
  linearBwdInput,
  linearBwdWeight,
  linearPacked,
  type PackedLinear,
  packLinear,
  quickGelu,
  type Tensor,
} from '#lib/engine/index.js';
import type { Bench, GpuCase, Prepared, Ratio, Target } from './case.js';

interface Product {
  readonly role: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly activation?: Activation;
  /** Residual stream in f32, as in the encoder. */
  readonly residual?: boolean;
  readonly bias?: boolean;
  readonly tier?: 2;
  readonly target?: Target;
  /** Against the library's plain product, with a separate activation where there is one. */
  readonly ratio?: Ratio;
}

type Operands = readonly [Tensor, Tensor, Tensor, Tensor | undefined];

function prepare(
  b: Bench,
  { m, n, k, bias, residual }: Product,
  call: (x: Tensor, w: PackedLinear, bias?: Tensor, residual?: Tensor) => Tensor,
): Prepared {
  const sets = b.rotated(() => [
    b.normal([m, k]),
    packLinear(b.normal([n, k], 'bf16', k ** -0.5), { bf16: true }).bytes,
    b.normal([n], 'f32'),
    ...(residual ? [b.normal([m, n], 'f32')] : []),
  ]);
  return {
    call: (turn) => {
      const [x, bytes, shift, stream] = sets(turn) as readonly Tensor[] as Operands;
      return call(x, { n, k, bytes }, bias ? shift : undefined, stream);
    },
  };
}

function product(bench: Bench, wanted: Product): GpuCase {
  const { m, n, k } = bench.tiny ? { m: 20, n: 48, k: 32 } : wanted;
  const { role, activation, residual, tier, target, ratio } = wanted;
  const sized = { ...wanted, m, n, k };
  return {
    group: 'gemm',
    name: `${role}, ${wanted.m} x ${wanted.n} x ${wanted.k}${tier ? `, tier ${tier}` : ''}`,
    shape: `${m} x ${n} x ${k}`,
    dtype: 'bf16',
    cost: { flops: 2 * m * n * k, bytes: 2 * (m * k + k * n) + m * n * (residual ? 8 : 2) },
    target,
    tier,
    cublaslt: ratio && {
      ...ratio,
      build: (b) =>
        prepare(b, { ...sized, residual: false, bias: false }, (x, w) => {
          const y = linearPacked(x, w, { bf16Out: true });
          return activation ? quickGelu(y) : y;
        }),
    },
    torch: tier
      ? undefined
      : { spec: { kind: 'linear', m, n, k, activation: activation ?? 'none', bias: Boolean(wanted.bias) } },
    build: (b) =>
      prepare(b, sized, (x, w, bias, stream) =>
        linearPacked(x, w, { bias, residual: stream, activation, bf16Out: !residual }),
      ),
  };
}

/** Rows of windows: M-tiles that fill whole waves of 132 multiprocessors. */
function roles(bench: Bench, width: number, m: number): GpuCase[] {
  const plain: Ratio = { accept: 0.85, goal: 0.95 };
  const shapes = [
    { role: 'qkv', n: 3 * width, k: width },
    { role: 'out', n: width, k: width, residual: true },
    { role: 'fc1', n: 4 * width, k: width },
    { role: 'fc2', n: width, k: 4 * width, residual: true },
  ];
  return shapes.flatMap(({ role, residual, ...sizes }) => [
    product(bench, { role: `${role} plain`, m, ...sizes, ratio: plain }),
    product(bench, {
      role: `${role} fused`,
      m,
      ...sizes,
      bias: true,
      residual,
      ...(role === 'fc1' && { activation: 'quick_gelu' as const, ratio: { accept: 1.1, goal: 1.1 } }),
    }),
  ]);
}

/** Few rows: the weight's bytes decide. */
function skinny(bench: Bench, m: number, n: number, k: number): GpuCase {
  return product(bench, {
    role: 'few rows',
    m,
    n,
    k,
    bias: true,
    target: { unit: 'share of floor', accept: 0.7, goal: 0.7 },
  });
}

function gradients(bench: Bench): GpuCase[] {
  const [m, n, k] = bench.tiny ? [20, 48, 32] : [5516, 3072, 768];
  const common = {
    group: 'gemm',
    shape: `${m} x ${n} x ${k}`,
    dtype: 'bf16',
    cost: { flops: 2 * m * n * k, bytes: 2 * m * n + 2 * m * k + 4 * n * k },
  } as const;
  return [
    {
      ...common,
      name: 'fc1 gradient of weight and bias, 5516 x 3072 x 768',
      build: (b) => {
        const sets = b.rotated(() => [b.normal([m, n]), b.normal([m, k])] as const);
        return { call: (turn) => linearBwdWeight(...sets(turn), { bf16: true }) };
      },
    },
    {
      ...common,
      name: 'fc1 gradient of the input, 5516 x 3072 x 768',
      build: (b) => {
        const sets = b.rotated(() => [b.normal([m, n]), b.normal([n, k])] as const);
        return { call: (turn) => linearBwdInput(...sets(turn), { bf16: true, bf16Out: true }) };
      },
    },
  ];
}

/** Maps of 15 windows against names, and of one picture against very many. */
function cosine(bench: Bench, windows: number, names: number): GpuCase {
  const [n, p, d, s] = bench.tiny ? [2, 9, 16, 5] : [windows, 196, 512, names];
  return {
    group: 'cosine logits',
    name: `${windows} windows, ${names} names`,
    shape: `${n} x ${p} x ${d} by ${s}`,
    dtype: 'bf16',
    cost: { flops: 2 * n * p * d * s, bytes: 2 * n * p * d + 4 * s * d + 4 * n * p * s },
    torch: { spec: { kind: 'cosine', n, p, d, s } },
    build: (b) => {
      const sets = b.rotated(() => [b.normal([n, p, d]), l2Normalise(b.normal([s, d], 'f32'))] as const);
      return { call: (turn) => cosineLogits(...sets(turn)) };
    },
  };
}

export function gemmCases(bench: Bench): GpuCase[] {
  return [
    // 28 windows of 197 tokens, 16 of 257, 7 of 577, 4 of 1025.
    ...roles(bench, 768, 5516),
    ...roles(bench, 1024, 4112),
    product(bench, { role: 'fc1 plain', m: 55160, n: 3072, k: 768, ratio: { accept: 0.85, goal: 0.95 } }),
    product(bench, { role: 'fc1 plain', m: 4039, n: 4096, k: 1024, ratio: { accept: 0.85, goal: 0.95 } }),
    product(bench, { role: 'fc1 plain', m: 4100, n: 4096, k: 1024, ratio: { accept: 0.85, goal: 0.95 } }),
    product(bench, { role: 'fc1 plain', m: 5516, n: 3072, k: 768, tier: 2, ratio: { accept: 0.6, goal: 0.6 } }),
    skinny(bench, 16, 3072, 768),
    skinny(bench, 100, 768, 768),
    skinny(bench, 197, 2304, 768),
    skinny(bench, 77, 3072, 768),
    ...gradients(bench),
    cosine(bench, 15, 21),
    cosine(bench, 15, 171),
    cosine(bench, 1, 10_000),
  ];
}

/** What a device does at most: products and copies so large that nothing else counts. */
export function peakCases(bench: Bench): GpuCase[] {
  const side = bench.tiny ? 64 : bench.device === 'cpu' ? 2048 : 8192;
  const plain = (b: Bench): Prepared => {
    const [x, w] = [b.normal([side, side]), b.normal([side, side])];
    return { call: () => linear(x, w) };
  };
  return [
    {
      group: 'peak',
      name: 'product',
      shape: `${side} x ${side} x ${side}`,
      dtype: 'bf16',
      cost: { flops: 2 * side ** 3, bytes: 6 * side ** 2 },
      cublaslt: { build: plain },
      torch: { spec: { kind: 'linear', m: side, n: side, k: side, activation: 'none', bias: false } },
      build: plain,
    },
  ];
}
