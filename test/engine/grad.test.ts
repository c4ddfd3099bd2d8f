/** The tape: what is differentiated, what is not, and that nothing stays behind. */
import t from 'tap';
import {
  add,
  assign,
  backward,
  cast,
  checkpoint,
  concat,
  exp,
  fill,
  freeze,
  gather,
  keep,
  matmul,
  mean,
  mul,
  noGrad,
  Parameter,
  pathRule,
  requireGrad,
  retain,
  scope,
  softmax,
  square,
  stopGradient,
  sub,
  sum,
  Tensor,
} from '#lib/engine/index.js';
import { heldBytes, liveBytes } from '../helpers/memory.js';

const list = async (tensor: Tensor | undefined): Promise<number[]> => Array.from(await (tensor as Tensor).data());
const leaf = (values: number[], shape: number[] = [values.length]) => requireGrad(Tensor.from(values, shape));
const close = (a: readonly number[], b: readonly number[], within = 1e-6) =>
  a.length === b.length && a.every((x, i) => Math.abs(x - (b[i] as number)) <= within);

t.setTimeout(300_000);

t.test('sums of paths, repeated use, intermediates', async (t) => {
  const x = leaf([1, 2, 3]);
  const y = mul(x, x); // x^2
  const z = add(mul(y, x), add(y, y)); // x^3 + 2 x^2
  const grads = backward(sum(z), { wrt: [x, y] });
  t.same(await list(grads.get(x)), [7, 20, 39], '3 x^2 + 4 x');
  t.same(await list(grads.get(y)), [3, 4, 5], 'x + 2');
  t.equal(grads.get(z), undefined, 'not asked for');
  t.equal(grads.get(Tensor.from([1])), undefined);

  const same = leaf([2]);
  t.same(await list(backward(sum(add(same, same))).get(same)), [2], 'one tensor as both inputs');
  t.same(await list(backward(sum(sub(same, same))).get(same)), [0]);
  t.same(await list(backward(sum(concat([same, same, same], 0))).get(same)), [3]);
  const all = backward(sum(mul(x, same)));
  t.same(await list(all.get(x)), [2, 2, 2]);
  t.same(await list(all.get(same)), [6], 'every leaf without wrt');
});

t.test('views', async (t) => {
  const x = leaf([1, 2, 3, 4, 5, 6], [2, 3]);
  const parts = [
    x.permute(1, 0).reshape(6).slice(0, 1, 3), // 4, 2
    x.slice(1, 1, 2).expand(2, 5).contiguous().reshape(-1), // 2 and 5, five times
    x.select(0, 1), // 4 5 6
    x.transpose(0, 1).select(0, -1), // 3 6
  ];
  const grads = backward(sum(concat(parts, 0)), { wrt: [x] });
  t.same(await list(grads.get(x)), [0, 6, 1, 2, 6, 2]);
  const twice = x.reshape(3, 2).permute(1, 0);
  t.same(await list(backward(sum(mul(twice, twice)), { wrt: [x] }).get(x)), [2, 4, 6, 8, 10, 12]);
  t.same(
    await list(
      backward(x.slice(0, 1, 1).reshape(0, 3).expand(2, 0, 3).reshape(0), { wrt: [x], grad: fill([0], 1) }).get(x),
    ),
    [0, 0, 0, 0, 0, 0],
    'an empty view',
  );
});

t.test('what the loss must be', async (t) => {
  const x = leaf([1, 2]);
  t.throws(() => backward(mul(x, 2)), {
    code: 'E_USAGE',
    message: /one element, got shape \[2\].*sum\(\) or mean\(\)/,
  });
  t.throws(() => backward(Tensor.scalar(1)), { code: 'E_USAGE', message: /nothing that requires a gradient/ });
  t.throws(() => backward(sum(x), { wrt: [Tensor.from([1])] }), { code: 'E_USAGE', message: /wrt.*f32\[1\]/ });
  t.throws(() => backward(mul(x, 2), { grad: fill([3], 1) }), { code: 'E_USAGE', message: /f32\[2\].*f32\[3\]/ });
  t.throws(() => backward(mul(x, 2), { grad: fill([2], 1, 'f64') }), { code: 'E_USAGE' });
  t.same(await list(backward(mul(x, 2), { grad: Tensor.from([1, 10]) }).get(x)), [2, 20]);
  const loss = sum(exp(x));
  backward(loss).dispose();
  t.throws(() => backward(loss), { code: 'E_USAGE', message: /walked before/ });
  t.throws(() => requireGrad(Tensor.from(Int32Array.of(1))), { code: 'E_USAGE' });
  t.throws(() => assign(x, fill([2], 1)), { code: 'E_USAGE', message: /noGrad/ }, 'changed under the tape');
  t.same(await list(x), [1, 2], 'refused before it ran');
  const mixed = noGrad(() => cast(x, 'f64'));
  t.throws(() => add(mixed, x), { code: 'E_OPTION' });
});

t.test('noGrad, stopGradient, detach', async (t) => {
  const x = leaf([1, 2, 3]);
  t.notOk(noGrad(() => mul(x, 2)).requiresGrad);
  t.notOk(
    (
      await noGrad(async () => {
        await Promise.resolve();
        return mul(x, 2);
      })
    ).requiresGrad,
    'across await',
  );
  t.ok(mul(x, 2).requiresGrad);
  t.notOk(noGrad(() => x.slice(0, 1)).requiresGrad, 'views too');
  t.same(await list(backward(sum(mul(stopGradient(x), x)), { wrt: [x] }).get(x)), [1, 2, 3]);
  t.notOk(mul(x.detach(), 2).requiresGrad);
  const soft = softmax(x);
  t.throws(() => backward(sum(mul(soft, 1)), { wrt: [soft.detach()] }), { code: 'E_USAGE' });
});

t.test('checkpoint', async (t) => {
  const w1 = leaf([0.1, -0.2, 0.3, 0.4, 0.5, -0.6], [2, 3]);
  const w2 = leaf(
    [1, 2, 3, 4, 5, 6].map((v) => v / 10),
    [3, 2],
  );
  const block = (x: Tensor) => square(matmul(softmax(matmul(x, w1)), w2));
  const run = async (wrap: (fn: (x: Tensor) => Tensor, x: Tensor) => Tensor) => {
    const x = leaf([1, -1, 0.5, 2], [2, 2]);
    const first = wrap(block, x);
    const middle = exp(first);
    const loss = mean(wrap((y) => wrap(block, mul(y, 0.5)), middle));
    const grads = backward(loss, { wrt: [x, w1, w2, middle] });
    return Promise.all([x, w1, w2, middle].map((v) => list(grads.get(v))));
  };
  const plain = await run((fn, x) => fn(x));
  const replayed = await run((fn, x) => checkpoint(fn, x));
  t.same(replayed, plain, 'same bytes as without, nested, with parameters captured by the closure');

  const constant = Tensor.from([1, 2, 3, 4], [2, 2]);
  const captured = sum(checkpoint((x: Tensor) => matmul(x, w1), constant));
  t.same(
    await list(backward(captured, { wrt: [w1] }).get(w1)),
    [4, 4, 4, 6, 6, 6],
    'no input needs a gradient, the closure does',
  );

  const x = leaf([1, 2]);
  const [a, b] = checkpoint((v: Tensor) => [mul(v, 2), mul(v, 3)], x) as [Tensor, Tensor];
  t.same(await list(backward(sum(mul(a, b))).get(x)), [12, 24], 'several outputs');
  const [used] = checkpoint((v: Tensor) => [mul(v, 2), mul(v, 3)], x) as [Tensor, Tensor];
  t.same(await list(backward(sum(used)).get(x)), [2, 2], 'one of several outputs');
  const through = checkpoint((v: Tensor) => v, x);
  t.not(through, x, 'an input handed through gets its own handle');
  t.same(await list(backward(sum(mul(through, x))).get(x)), [2, 4]);
  const outer = mul(x, 5);
  t.same(
    await list(backward(sum(checkpoint((v: Tensor) => mul(v, outer), x)), { wrt: [x, outer] }).get(x)),
    [10, 20],
    'a captured intermediate',
  );
  t.throws(
    () =>
      backward(
        sum(
          checkpoint(() => {
            throw new RangeError('mine');
          }, x),
        ),
      ),
    RangeError,
  );
  await scope(async () => {
    const before = await liveBytes();
    const thin = checkpoint((v: Tensor) => sum(exp(exp(v.expand(4096, 2)))), x);
    t.ok((await liveBytes()) - before < 4096, 'intermediates are not kept for the scope around it');
    t.ok(Number.isFinite(await thin.item()));
  });
});

t.test('freeze', async (t) => {
  const parameters = new Map<string, Tensor>();
  for (const name of ['body.0.weight', 'body.0.bias', 'body.1.weight', 'head.weight', 'head.prompt']) {
    const parameter = new Parameter(Tensor.from([1, 2]).storage, 'f32', [2]);
    parameter.name = name;
    parameters.set(name, parameter);
  }
  const trainable = () => [...parameters].filter(([, tensor]) => tensor.requiresGrad).map(([name]) => name);
  const model = { parameters };
  freeze(model, ['!**']);
  t.equal(trainable().length, 5);
  freeze(model, ['**', '!head.**']);
  t.same(trainable(), ['head.weight', 'head.prompt']);
  freeze(model, ['**', '!**.prompt', '!body.*.bias']);
  t.same(trainable(), ['body.0.bias', 'head.prompt']);
  freeze(model, ['**', '!head.*', '!body.*.bias', 'head.w*']);
  t.same(trainable(), ['body.0.bias', 'head.prompt'], 'the last match decides');
  t.throws(() => freeze(model, ['!body.*']), { code: 'E_OPTION' }, '* does not cross a dot');
});

t.test('** stands for any number of segments, none included', (t) => {
  const paths = ['bias', 'a.bias', 'a.b.c.bias', 'abias', 'a.b.x'];
  const taken = (...patterns: string[]) => paths.filter((path) => pathRule('test', patterns, paths)(path) === true);
  t.same(taken('**.bias'), ['bias', 'a.bias', 'a.b.c.bias']);
  t.same(taken('a.**'), ['a.bias', 'a.b.c.bias', 'a.b.x']);
  t.same(taken('a.**.bias'), ['a.bias', 'a.b.c.bias']);
  t.same(taken('**'), paths);
  t.same(taken('**.b.**'), ['a.b.c.bias', 'a.b.x']);
  t.same(taken('**', '!**.bias', 'a.*'), ['a.bias', 'abias', 'a.b.x']);
  t.same(taken('a**'), ['a.bias', 'a.b.c.bias', 'abias', 'a.b.x'], 'beside other text it crosses dots');
  t.end();
});

t.test('a pattern that matches nothing', (t) => {
  const model = { parameters: new Map([['a.b', Tensor.from([1])]]) };
  t.throws(() => freeze(model, ['**', '!a.c']), { code: 'E_OPTION', message: /'!a\.c' matches no parameter.*a\.b/ });
  t.notOk((model.parameters.get('a.b') as Tensor).requiresGrad);
  t.end();
});

t.test('a step changes what trains and not one frozen byte', async (t) => {
  const make = (seed: number) =>
    Tensor.from(
      Array.from({ length: 12 }, (_, i) => Math.sin(seed + i)),
      [3, 4],
    );
  const parameters = new Map([
    ['a', make(1)],
    ['b', make(2)],
    ['c', make(3)],
  ]);
  freeze({ parameters }, ['**', '!b']);
  const before = await Promise.all(
    [...parameters.values()].map(async (p) => Buffer.from((await p.data()).buffer).toString('hex')),
  );
  for (let step = 0; step < 5; step++) {
    scope(() => {
      const [a, b, c] = [...parameters.values()] as [Tensor, Tensor, Tensor];
      const loss = mean(square(matmul(softmax(matmul(a, b, { transposeB: true })), c)));
      const grads = backward(loss);
      t.equal(grads.get(a), undefined);
      noGrad(() => assign(b, sub(b, mul(grads.get(b) as Tensor, 0.5))));
    });
  }
  const after = await Promise.all(
    [...parameters.values()].map(async (p) => Buffer.from((await p.data()).buffer).toString('hex')),
  );
  t.same([after[0] === before[0], after[1] === before[1], after[2] === before[2]], [true, false, true]);
});

t.test('scopes and the tape', async (t) => {
  const before = await heldBytes();
  const w = leaf([1, 2, 3]);
  const loss = scope(() => {
    const hidden = exp(mul(w, 0.5));
    return sum(mul(hidden, hidden));
  });
  t.ok(
    close(await list(backward(loss).get(w)), [1, 2, 3].map(Math.exp), 1e-4),
    'a result of a scope keeps what it was made from',
  );

  let kept: Tensor | undefined;
  let held: Tensor | undefined;
  scope(() => {
    scope(() => {
      const hidden = mul(w, w);
      kept = keep(sum(exp(hidden)));
      held = retain(hidden);
    });
    kept = keep(kept as Tensor);
  });
  t.ok(
    close(
      await list(backward(kept as Tensor, { wrt: [held as Tensor] }).get(held as Tensor)),
      [1, 4, 9].map(Math.exp),
      1e-2,
    ),
    'so do kept and retained tensors',
  );

  const gone = scope(() => ({ plain: 1, value: exp(w).gradValue }));
  const orphan = Tensor.from([1, 1, 1]);
  orphan.gradValue = gone.value;
  t.throws(
    () => backward(sum(orphan)),
    { code: 'E_USAGE', message: /scope has ended/ },
    'what nobody kept is gone, and it says so',
  );

  const inside = scope(() => {
    const grads = backward(sum(square(w)));
    return grads.get(w) as Tensor;
  });
  t.same(await list(inside), [2, 4, 6], 'a gradient may be the result of a scope');
  const all = scope(() => backward(sum(square(w))));
  t.same(await list(all.get(w)), [2, 4, 6], 'and so may all of them');
  all.dispose();
  for (const tensor of [w, loss, kept, held, orphan, inside]) tensor?.dispose();
  t.equal(await heldBytes(), before);
});

t.test('memory is flat over many steps', async (t) => {
  const w = leaf(
    Array.from({ length: 32 * 32 }, (_, i) => Math.sin(i)),
    [32, 32],
  );
  const x = fill([16, 32], 0.5);
  const step = () =>
    scope(() => {
      const h = checkpoint((v: Tensor) => softmax(matmul(v, w)), add(x, 1));
      const grads = backward(mean(square(matmul(h, w).reshape(8, 64).permute(1, 0))));
      noGrad(() => assign(w, sub(w, mul(grads.get(w) as Tensor, 0.01))));
    });
  step();
  const before = await liveBytes();
  for (let i = 0; i < 100; i++) step();
  t.equal(await liveBytes(), before, 'inside scopes');

  const loose = () => {
    const inner = mul(w, 2);
    const squares = square(inner);
    const loss = mean(squares);
    const grads = backward(loss);
    for (const tensor of [inner, squares, loss]) tensor.dispose();
    grads.dispose();
  };
  loose();
  const base = await heldBytes();
  for (let i = 0; i < 50; i++) loose();
  t.ok((await liveBytes()) - base < 3 * w.size * 4, 'without scopes backward frees what it computes itself');
  const made = softmax(matmul(x, w));
  const broken = sum(gather(made, Tensor.from(Int32Array.of(99))));
  const grads = backward(broken);
  await t.rejects(
    (grads.get(w) as Tensor).data(),
    { code: 'E_OPTION', message: /^(gather|scatter)/ },
    'a failed kernel reaches the gradients',
  );
});
