/** What a training step is made of beyond single ops: fused forms against plain ones, bf16 gradients against f32. */
import t, { type Test } from 'tap';
import {
  attention,
  backward,
  linear,
  mlp,
  mul,
  noGrad,
  requireGrad,
  scope,
  selfAttention,
  sum,
  Tensor,
} from '#lib/engine/index.js';
import { denseLinear, joinedLinear } from '#lib/nn/linear.js';
import { transformerBlock } from '#lib/nn/transformer.js';
import { relL2, seeded } from '../helpers/samples.js';

type Values = Record<string, Tensor>;

function draw(key: string, shape: readonly number[], deviation: number, dtype: 'f32' | 'f64' = 'f32'): Tensor {
  const random = seeded(key);
  const values = Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => (random() * 2 - 1) * deviation);
  return Tensor.from(dtype === 'f64' ? Float64Array.from(values) : Float32Array.from(values), shape);
}

/** Gradients of sum(y * weights) by name, on the host. */
async function gradients(leaves: Values, forward: (leaves: Values) => Tensor): Promise<Record<string, Float64Array>> {
  return scope(async () => {
    const held = Object.fromEntries(Object.entries(leaves).map(([name, x]) => [name, requireGrad(x.detach())]));
    const y = forward(held);
    const grads = backward(sum(mul(y, draw('upstream', y.shape, 1, y.dtype as 'f32' | 'f64'))));
    const found: Record<string, Float64Array> = {};
    for (const [name, x] of Object.entries(held))
      found[name] = Float64Array.from((await grads.get(x)?.data()) as Float32Array);
    return found;
  });
}

function compare(
  t: Test,
  found: Record<string, Float64Array>,
  want: Record<string, Float64Array>,
  limit: number,
): void {
  for (const [name, values] of Object.entries(want)) {
    const error = relL2(found[name] as Float64Array, values);
    t.ok(error <= limit, `${name}: relL2 ${error.toExponential(2)} <= ${limit}`);
    const dot = values.reduce((s, x, i) => s + x * ((found[name] as Float64Array)[i] as number), 0);
    const norms = [values, found[name] as Float64Array].map((v) => Math.sqrt(v.reduce((s, x) => s + x * x, 0)));
    t.ok(dot / ((norms[0] as number) * (norms[1] as number)) >= 0.999, `${name}: cosine`);
  }
}

t.test('mlp is two linear maps', async (t) => {
  for (const dtype of ['f64', 'f32'] as const) {
    const leaves = {
      x: draw('x', [3, 7, 10], 1, dtype),
      w1: draw('w1', [22, 10], 0.5, dtype),
      b1: draw('b1', [22], 0.5, dtype),
      w2: draw('w2', [6, 22], 0.5, dtype),
      b2: draw('b2', [6], 0.5, dtype),
      residual: draw('residual', [3, 7, 6], 1, dtype),
    };
    const fused = ({ x, w1, b1, w2, b2, residual }: Values) =>
      mlp(
        x as Tensor,
        { weight: w1 as Tensor, bias: b1 },
        { weight: w2 as Tensor, bias: b2 },
        { activation: 'gelu', residual },
      );
    const plain = ({ x, w1, b1, w2, b2, residual }: Values) =>
      linear(linear(x as Tensor, w1 as Tensor, { bias: b1, activation: 'gelu' }), w2 as Tensor, { bias: b2, residual });
    compare(t, await gradients(leaves, fused), await gradients(leaves, plain), dtype === 'f64' ? 1e-12 : 1e-5);
    await scope(async () => {
      const [a, b] = noGrad(() => [fused(leaves), plain(leaves)]) as [Tensor, Tensor];
      t.same(await a.data(), await b.data(), 'the same values without a tape');
    });
  }
});

t.test('self_attention is attention on views', async (t) => {
  const leaves = { qkv: draw('qkv', [2, 9, 3 * 2 * 8], 1) };
  const views = ({ qkv }: Values) => {
    const [q, k, v] = [0, 16, 32].map((at) =>
      (qkv as Tensor)
        .slice(2, at, at + 16)
        .reshape(2, 9, 2, 8)
        .permute(0, 2, 1, 3),
    ) as [Tensor, Tensor, Tensor];
    return attention(q, k, v, { causal: true }).permute(0, 2, 1, 3).reshape(2, 9, 16);
  };
  const found = await gradients(leaves, ({ qkv }) => selfAttention(qkv as Tensor, { heads: 2, causal: true }));
  compare(t, found, await gradients(leaves, views), 1e-5);
});

t.test('a block in bf16 has the gradients of f32', async (t) => {
  const width = 64;
  const leaves: Values = { x: draw('x', [4, 33, width], 1) };
  const map = (name: string, n: number, k: number) => {
    leaves[`${name}.weight`] = draw(`${name}.weight`, [n, k], 1.7 * k ** -0.5);
    leaves[`${name}.bias`] = draw(`${name}.bias`, [n], 0.2);
  };
  for (const name of ['q', 'k', 'v', 'out']) map(name, width, width);
  map('fc1', 4 * width, width);
  map('fc2', width, 4 * width);
  for (const name of ['norm1', 'norm2']) {
    leaves[`${name}.gain`] = draw(`${name}.gain`, [width], 1);
    leaves[`${name}.bias`] = draw(`${name}.bias`, [width], 0.2);
  }
  const forward = (compute: 'f32' | 'bf16') => (at: Values) => {
    const take = (name: string) => at[name] as Tensor;
    const dense = (name: string) => denseLinear(take(`${name}.weight`), take(`${name}.bias`), compute);
    const norm = (name: string) => ({ gain: take(`${name}.gain`), bias: take(`${name}.bias`) });
    const parts = ['q', 'k', 'v'].map((name) => ({ weight: take(`${name}.weight`), bias: take(`${name}.bias`) }));
    return transformerBlock(
      take('x'),
      {
        norm1: norm('norm1'),
        norm2: norm('norm2'),
        q: dense('q'),
        k: dense('k'),
        v: dense('v'),
        joint: joinedLinear(parts, compute),
        out: dense('out'),
        fc1: dense('fc1'),
        fc2: dense('fc2'),
      },
      { heads: 2, activation: 'gelu', eps: 1e-5, compute, causal: true },
    );
  };
  const [found, want] = [await gradients(leaves, forward('bf16')), await gradients(leaves, forward('f32'))];
  // A key's bias shifts all scores of a row alike: its gradient is rounding noise around zero.
  delete want['k.bias'];
  compare(t, found, want, 2e-2);
});
