/** What the op test cannot see: the functions around the card, results that do not depend on the batch, refusals. */
import t from 'tap';
import {
  attention,
  attentionMaps,
  backward,
  maskBits,
  omega,
  requireGrad,
  scope,
  sumTo,
  Tensor,
} from '#lib/engine/index.js';
import { relL2, seeded, toHost } from '../helpers/samples.js';

function random(key: string, shape: number[], dtype: 'f32' | 'bf16' | 'f64' = 'f32'): Tensor {
  const next = seeded(key);
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.from(
    toHost(
      Float64Array.from({ length: size }, () => next() * 4 - 2),
      dtype,
    ),
    shape,
    dtype,
  );
}

const bytes = async (x: Tensor) => Buffer.from((await x.contiguous().data()).buffer);

t.test('views of packed QKV, and the next projection reads rows for free', async (t) => {
  await scope(async () => {
    const packed = random('packed', [2, 70, 3, 4, 16]);
    const [q, k, v] = [0, 1, 2].map((i) => packed.select(2, i).permute(0, 2, 1, 3)) as [Tensor, Tensor, Tensor];
    const out = attention(q, k, v);
    t.same(out.shape, [2, 4, 70, 16]);
    t.equal(out.permute(0, 2, 1, 3).isContiguous, true);
    const same = attention(q.contiguous(), k.contiguous(), v.contiguous());
    t.ok((await bytes(out)).equals(await bytes(same)), 'strides do not change a bit');
  });
});

for (const dtype of ['f32', 'bf16'] as const) {
  t.test(`a row's bits depend on its own keys alone (${dtype})`, async (t) => {
    await scope(async () => {
      const [q, k, v] = ['q', 'k', 'v'].map((name) => random(name, [3, 2, 301, 32], dtype)) as [Tensor, Tensor, Tensor];
      const all = attention(q, k, v);
      const one = [q, k, v].map((x) => x.slice(0, 1, 2)) as [Tensor, Tensor, Tensor];
      t.ok((await bytes(attention(...one))).equals(await bytes(all.slice(0, 1, 2))), 'alone or in a batch');
      const some = attention(q.slice(2, 77, 180), k, v);
      t.ok((await bytes(some)).equals(await bytes(all.slice(2, 77, 180))), 'whatever other queries there are');
      const lengths = Tensor.from(Int32Array.of(301, 263, 9));
      const padded = attention(q, k, v, { keyLengths: lengths });
      const short = attention(q.slice(0, 1, 2), k.slice(0, 1, 2).slice(2, 0, 263), v.slice(0, 1, 2).slice(2, 0, 263));
      t.ok((await bytes(padded.slice(0, 1, 2))).equals(await bytes(short)), 'padding keys leave no trace');
    });
  });
}

t.test('maps', async (t) => {
  await scope(async () => {
    const [q, k, v] = ['a', 'b', 'c'].map((name) => random(name, [1, 2, 13, 8])) as [Tensor, Tensor, Tensor];
    const naclip = attentionMaps(q, k, v, { source: 'kk', gaussian: { sigma: 5, height: 3, width: 4 } });
    const bias = Tensor.from(omega(3, 4, 5), [1, 1, 13, 13]);
    const dense = attentionMaps(q, k, v, { source: 'kk', bias });
    t.ok(
      relL2(await naclip.probabilities.data(), await dense.probabilities.data()) < 1e-6,
      'the gaussian term is omega',
    );
    t.same(naclip.lse?.shape, [1, 2, 13]);
    const sclip = attentionMaps(q, k, v, { source: 'qq+kk' });
    t.equal(sclip.lse, undefined);
    const sums = await sumTo(sclip.probabilities, [1, 2, 13, 1]).data();
    t.ok(
      sums.every((sum) => Math.abs(sum - 2) < 1e-5),
      'rows of two softmaxes sum to 2',
    );
  });
});

t.test('mask logits', async (t) => {
  await scope(async () => {
    const [q, k, v] = [random('mq', [1, 2, 3, 4]), random('mk', [1, 2, 5, 4]), random('mv', [1, 2, 5, 4])] as const;
    const masks = Tensor.from(Float32Array.of(1, -1, 2, -2, 3, -1, -1, -1, -1, -1, 0, 1, 2, 3, 4), [1, 3, 5]);
    const blocked = attentionMaps(q, k, v, { mask: maskBits(masks) });
    const rescued = attentionMaps(q, k, v, { mask: maskBits(masks), rescue: true });
    const map = (await blocked.probabilities.slice(1, 0, 1).contiguous().data()) as Float32Array;
    t.same(
      [...map.slice(0, 5)].map((p) => p > 0),
      [true, false, true, false, true],
    );
    t.same([...map.slice(5, 10)], [0, 0, 0, 0, 0], 'a blocked row has no weights');
    t.equal((await (blocked.lse as Tensor).data())[1], Number.NEGATIVE_INFINITY);
    t.same([...(await blocked.output.slice(2, 1, 2).contiguous().data())], new Array(8).fill(0), 'and gives zeros');
    const plain = attention(q.slice(2, 1, 2), k, v);
    t.ok((await bytes(rescued.output.slice(2, 1, 2))).equals(await bytes(plain)), 'unless it is rescued');
  });
});

t.test('gradients through views, maps and expanded bias', async (t) => {
  await scope(async () => {
    const [q, k, v] = ['gq', 'gk', 'gv'].map((name) => requireGrad(random(name, [2, 3, 6, 4], 'f64'))) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const bias = requireGrad(random('bias', [1, 3, 1, 6], 'f64'));
    const run = (shared: Tensor) => {
      const { output, probabilities, lse } = attentionMaps(q, k, v, { bias: shared });
      const grads = backward(sumTo(output, []), { wrt: [q, k, v, bias], grad: Tensor.from(Float64Array.of(1), []) });
      return { grads, probabilities, lse };
    };
    const direct = run(bias);
    const expanded = run(bias.expand(2, 3, 6, 6));
    for (const x of [q, v, bias]) {
      const [a, b] = [direct.grads.get(x) as Tensor, expanded.grads.get(x) as Tensor];
      t.same(a.shape, x.shape);
      t.ok(relL2(await a.contiguous().data(), await b.contiguous().data()) < 1e-12);
    }
    const maps = attentionMaps(q, k, v);
    const weights = random('weights', [2, 3, 6, 6], 'f64');
    const grads = backward(maps.probabilities, { wrt: [q, k], grad: weights });
    t.ok(
      (await (grads.get(q) as Tensor).contiguous().data()).some((x) => Math.abs(x) > 1e-3),
      'a loss on the map alone reaches q',
    );
  });
});

t.test('refusals name the op and the shapes', async (t) => {
  await scope(async () => {
    const x = random('x', [1, 2, 6, 4]);
    const y = random('y', [1, 2, 5, 4]);
    const refused: (() => unknown)[] = [
      () => attention(x, y, x),
      () => attention(x, y, y, { source: 'kk' }),
      () => attention(x, y, y, { causal: true }),
      () => attention(x, x, x, { gaussian: { sigma: 1, height: 3, width: 3 } }),
      () => attention(x, x, x, { nonly: true }),
      () => attention(x, x, x, { bias: random('b', [6, 6]) }),
      () => attention(x, x, x, { mask: random('m', [1, 6, 1]) }),
      () => attention(x, x, x, { classTokens: { mode: 'san', masks: random('c', [1, 2, 4]) } }),
      () => attention(x, x, x, { self: { key: x, value: y } }),
      () => attention(x, x, x, { keyLengths: random('l', [1]) }),
    ];
    for (const call of refused)
      t.throws(call, { name: 'WordmaskError', code: 'E_OPTION', message: /^attention: expected/ });
  });
});
