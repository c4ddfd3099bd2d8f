/** Attention forward, backward, across and as maps (kernels.md section 2). */
import {
  type AttentionOptions,
  attention,
  attentionBwdCard,
  attentionCam,
  attentionMaps,
  type DType,
  maskBits,
  run,
  type Tensor,
} from '#lib/engine/index.js';
import type { Bench, GpuCase, Target } from './case.js';

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly tokens: number;
  readonly d: number;
}

const small: Sizes = { batch: 2, heads: 2, tokens: 17, d: 32 };
const text = ({ batch, heads, tokens, d }: Sizes) => `${batch} x ${heads} x ${tokens} x ${d}`;
const flops = ({ batch, heads, tokens, d }: Sizes, products: number) => 2 * products * batch * heads * tokens ** 2 * d;
const bytes = ({ batch, heads, tokens, d }: Sizes, tensors: number, size: number) =>
  tensors * batch * heads * tokens * d * size;
const tflops = (accept?: number, goal?: number): Target => ({ unit: 'TFLOP/s', accept, goal });

/** Query, key and value as views of one product [B, T, 3, A, d], as the encoder has them. */
function joint(bench: Bench, { batch, heads, tokens, d }: Sizes, dtype: DType): readonly [Tensor, Tensor, Tensor] {
  const rows = bench.normal([batch, tokens, 3, heads, d], dtype);
  return [0, 1, 2].map((i) => rows.select(2, i).permute(0, 2, 1, 3)) as [Tensor, Tensor, Tensor];
}

interface Forward {
  readonly name?: string;
  readonly dtype?: DType;
  readonly target?: Target;
  readonly tier?: 1 | 2;
  readonly options?: AttentionOptions;
  /** Products of T x T x d; 2 but where there are two softmaxes. */
  readonly products?: number;
  /** PyTorch runs it too; at most 1025 tokens it must not be faster. */
  readonly torch?: boolean;
}

function forward(bench: Bench, wanted: Sizes, more: Forward): GpuCase {
  const sizes = bench.tiny ? { ...small, tokens: more.options?.gaussian ? 17 : small.tokens } : wanted;
  const { dtype = 'bf16', options = {}, products = 2 } = more;
  const grid = bench.tiny ? { sigma: 5, height: 4, width: 4 } : options.gaussian;
  const settings = options.gaussian ? { ...options, gaussian: grid } : options;
  return {
    group: 'attention',
    name: [text(wanted), more.name, dtype === 'f32' && 'f32', more.tier && `tier ${more.tier}`]
      .filter(Boolean)
      .join(', '),
    shape: text(sizes),
    dtype,
    cost: { flops: flops(sizes, products), bytes: bytes(sizes, 4, dtype === 'f32' ? 4 : 2) },
    target: more.target,
    tier: more.tier,
    torch: more.torch
      ? {
          accept: sizes.tokens <= 1025 && !more.tier ? 1 : undefined,
          spec: { kind: 'attention', ...sizes, dtype, causal: options.causal ?? false },
        }
      : undefined,
    build: (b) => {
      const inputs = b.rotated(() => joint(b, sizes, dtype));
      return { call: (turn) => attention(...(inputs(turn) as [Tensor, Tensor, Tensor]), settings) };
    },
  };
}

function backward(bench: Bench, wanted: Sizes, target: Target): GpuCase {
  const sizes = bench.tiny ? small : wanted;
  const { batch, heads, tokens, d } = sizes;
  return {
    group: 'attention',
    name: `${text(wanted)}, backward`,
    shape: text(sizes),
    dtype: 'bf16',
    cost: { flops: flops(sizes, 5), bytes: bytes(sizes, 7, 2) },
    target,
    torch: { spec: { kind: 'attention', ...sizes, dtype: 'bf16', causal: false, backward: true } },
    build: (b) => {
      const inputs = b.rotated(() => [...joint(b, sizes, 'bf16'), b.normal([batch, tokens, heads, d])]);
      return {
        call: (turn) => {
          const [q, k, v, up] = inputs(turn);
          return run(attentionBwdCard, [q, k, v, ...Array(6).fill(undefined), up], { scale: d ** -0.5 });
        },
      };
    },
  };
}

/** Object queries over pixels with a bit mask: the decoder of Mask2Former. */
function cross(bench: Bench, images: number, us: number): GpuCase {
  const [heads, queries, keys, d] = bench.tiny ? [2, 5, 40, 8] : [8, 100, 4096, 32];
  const shape = `${images} x ${heads} x ${queries} over ${keys} x ${d}, bit mask`;
  return {
    group: 'cross-attention',
    name: `${images} images, 100 over 4096`,
    shape,
    dtype: 'bf16',
    cost: {
      flops: 4 * images * heads * queries * keys * d,
      bytes: 2 * images * heads * d * (2 * queries + 2 * keys) + images * queries * (keys / 8),
    },
    target: { unit: 'us', accept: us, goal: us },
    torch: { spec: { kind: 'cross', batch: images, heads, queries, keys, d, dtype: 'bf16' } },
    build: (b) => {
      const inputs = b.rotated(() => [
        b.normal([images, heads, queries, d]),
        b.normal([images, heads, keys, d]),
        b.normal([images, heads, keys, d]),
        maskBits(b.normal([images, queries, keys], 'f32')),
      ]);
      return {
        call: (turn) => {
          const [q, k, v, mask] = inputs(turn) as Tensor[] as [Tensor, Tensor, Tensor, Tensor];
          return attention(q, k, v, { mask, rescue: true });
        },
      };
    },
  };
}

/** Text tokens over patches with the probabilities as a result. */
function map(bench: Bench, wantedHeads: number): GpuCase {
  const [heads, queries, keys, d] = bench.tiny ? [2, 5, 40, 8] : [wantedHeads, 35, 2305, 64];
  return {
    group: 'attention map',
    name: `${wantedHeads} x 35 x 2305 x 64`,
    shape: `${heads} x ${queries} over ${keys} x ${d}`,
    dtype: 'bf16',
    cost: {
      flops: 4 * heads * queries * keys * d,
      bytes: 4 * heads * queries * keys + 2 * heads * d * (2 * queries + 2 * keys),
    },
    target: { unit: 'times floor', accept: 2.5, goal: 2.5 },
    build: (b) => {
      const inputs = b.rotated(() => [
        b.normal([1, heads, queries, d]),
        b.normal([1, heads, keys, d]),
        b.normal([1, heads, keys, d]),
      ]);
      return { call: (turn) => attentionMaps(...(inputs(turn) as readonly Tensor[] as [Tensor, Tensor, Tensor])) };
    },
  };
}

/** GradCAM of a matching model's text over patches: neither P nor its gradient leaves the kernel. */
function cam(bench: Bench): GpuCase {
  const [heads, queries, keys, d] = bench.tiny ? [2, 5, 40, 8] : [12, 35, 2305, 64];
  return {
    group: 'attention map',
    name: 'GradCAM 12 x 35 x 2305 x 64',
    shape: `${heads} x ${queries} over ${keys} x ${d}`,
    dtype: 'bf16',
    cost: {
      flops: 4 * heads * queries * keys * d,
      bytes: 4 * queries * keys + 2 * heads * d * (2 * queries + 2 * keys),
    },
    build: (b) => {
      const rows = (n: number) => b.normal([1, heads, n, d]);
      const inputs = b.rotated(() => [rows(queries), rows(keys), rows(keys), rows(queries)] as const);
      return { call: (turn) => attentionCam(...inputs(turn)) };
    },
  };
}

export function attentionCases(bench: Bench): GpuCase[] {
  const sizes = (batch: number, heads: number, tokens: number, d = 64): Sizes => ({ batch, heads, tokens, d });
  const torch = true;
  return [
    forward(bench, sizes(64, 12, 197), { target: tflops(250, 300), torch }),
    forward(bench, sizes(28, 12, 197), { target: tflops(250, 300), torch }),
    forward(bench, sizes(256, 12, 197), { target: tflops(250, 300), torch }),
    forward(bench, sizes(16, 16, 577), { target: tflops(330, 400), torch }),
    forward(bench, sizes(14, 12, 785), { target: tflops(350, 430), torch }),
    forward(bench, sizes(16, 16, 1025), { target: tflops(350, 430), torch }),
    forward(bench, sizes(8, 16, 2305), { target: tflops(390, 460), torch }),
    forward(bench, sizes(8, 16, 3026), { target: tflops(390, 460), torch }),
    forward(bench, sizes(4, 16, 4096), { target: tflops(410, 480), torch }),
    forward(bench, sizes(1, 16, 16384), { target: tflops(410, 480), torch }),
    forward(bench, sizes(2, 16, 4096, 128), { target: tflops(540, 620), torch }),
    forward(bench, sizes(1, 16, 16384, 128), { target: tflops(540, 620), torch }),
    forward(bench, sizes(16, 16, 577), { tier: 2, target: tflops(220, 280) }),
    forward(bench, sizes(4, 16, 577), { tier: 1, dtype: 'f32', target: tflops(12, 12) }),
    forward(bench, sizes(64, 12, 197), {
      name: 'kk and gaussian (NACLIP)',
      options: { source: 'kk', gaussian: { sigma: 5, height: 14, width: 14 } },
    }),
    forward(bench, sizes(64, 12, 197), { name: 'qq and kk (SCLIP)', options: { source: 'qq+kk' }, products: 4 }),
    forward(bench, sizes(256, 8, 77), { name: 'causal', options: { causal: true }, torch }),
    backward(bench, sizes(64, 12, 197), tflops(200, 280)),
    backward(bench, sizes(16, 16, 577), tflops(200, 280)),
    backward(bench, sizes(16, 16, 1025), tflops(260, 350)),
    backward(bench, sizes(8, 16, 2305), tflops(260, 350)),
    cross(bench, 1, 12),
    cross(bench, 16, 27),
    map(bench, 12),
    map(bench, 16),
    cam(bench),
  ];
}
