/** Layers by path, dropout by name. */
import t from 'tap';
import { add, backward, checkpoint, gelu, mean, mul, requireGrad, square, sum, Tensor } from '#lib/engine/index.js';
import { dropout, dropPath } from '#lib/nn/dropout.js';
import { Parameters } from '#lib/nn/module.js';
import { Random } from '#lib/util/random.js';

const values = async (tensor: Tensor | undefined) => Array.from(await (tensor as Tensor).data());

t.test('parameters have paths, starts of their own, and gradients', async (t) => {
  const build = (order: boolean) => {
    const tree = Parameters.start(new Random(4));
    const block = tree.at('blocks').at(1);
    const layers = order
      ? { fc: block.linear('fc', 6, 4), conv: tree.conv2d('conv', 3, 6, 3) }
      : { conv: tree.conv2d('conv', 3, 6, 3), fc: block.linear('fc', 6, 4) };
    const norm = block.norm('norm', 6);
    const table = tree.embedding('table', 7, 3);
    return { tree, table, norm, ...layers };
  };
  const { tree, fc, conv, norm, table } = build(true);
  t.same([...tree.all.keys()].sort(), [
    'blocks.1.fc.bias',
    'blocks.1.fc.weight',
    'blocks.1.norm.bias',
    'blocks.1.norm.weight',
    'conv.bias',
    'conv.weight',
    'table.weight',
  ]);
  t.same(tree.all.get('conv.weight')?.shape, [6, 3, 3, 3]);
  const other = build(false);
  for (const [path, tensor] of tree.all) t.same(await values(other.tree.all.get(path)), await values(tensor), path);
  t.ok((await values(tree.all.get('conv.bias'))).every((x) => Math.abs(x) <= 27 ** -0.5));

  const x = table.forward(Tensor.from(Int32Array.of(0, 3, 6, 6, 1, 2, 2, 5, 4), [1, 3, 3])); // [1, 3, 3, 3]
  const y = fc.forward(norm.forward(conv.forward(x)), { activation: 'gelu' });
  t.same(y.shape, [1, 3, 3, 4]);
  const grads = backward(mean(square(y)));
  for (const [path, tensor] of tree.all)
    t.ok(
      (await values(grads.get(tensor))).some((g) => g !== 0),
      path,
    );
  t.throws(() => tree.at('blocks').linear('1.fc', 6, 4), { code: 'E_USAGE', message: /blocks\.1\.fc\.weight/ });
  tree.dispose();
  t.equal(tree.all.size, 0);
});

t.test('dropout: the share, the mean, the gradient', async (t) => {
  const random = new Random(2).fork('step 3');
  const x = requireGrad(Tensor.from(new Float32Array(40_000).fill(2), [200, 200]));
  const y = dropout(x, 0.25, random);
  const dropped = await values(y);
  t.same([...new Set(dropped)].sort(), [0, Math.fround(2 / 0.75)]);
  const share = dropped.filter((v) => v === 0).length / dropped.length;
  t.ok(Math.abs(share - 0.25) < 0.01, `share ${share}`); // deviation 0.002
  const slopes = await values(backward(sum(y)).get(x));
  t.ok(
    slopes.every((g, i) => (g === 0) === (dropped[i] === 0)),
    'the gradient has the same holes',
  );
  // `same` on arrays of this length takes minutes to say no.
  const repeats = async (stream: Random) => (await values(dropout(x, 0.25, stream))).every((v, i) => v === dropped[i]);
  t.ok(await repeats(random), 'a function of the stream');
  random.uniform();
  t.ok(await repeats(random), 'not of what was drawn from it');
  t.notOk(await repeats(random.fork('other')));
  t.throws(() => dropout(x, 1, random), { code: 'E_OPTION' });
});

t.test('drop-path: whole samples', async (t) => {
  const x = Tensor.from(
    Float32Array.from({ length: 60 }, (_, i) => i + 1),
    [20, 3],
  );
  const y = await values(dropPath(x, 0.5, new Random(1)));
  const kept = Array.from({ length: 20 }, (_, b) => y[3 * b] !== 0);
  t.ok(kept.includes(true) && kept.includes(false));
  t.same(
    y,
    Array.from({ length: 60 }, (_, i) => (kept[Math.floor(i / 3)] ? 2 * (i + 1) : 0)),
  );
});

t.test('dropout under checkpoint repeats itself', async (t) => {
  const weight = requireGrad(
    Tensor.from(
      Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)),
      [8, 8],
    ),
  );
  const random = new Random(6);
  const block = (x: Tensor) =>
    add(x, dropPath(dropout(gelu(mul(x, weight)), 0.4, random.fork('a')), 0.3, random.fork('b')));
  const x = () =>
    requireGrad(
      Tensor.from(
        Float32Array.from({ length: 64 }, (_, i) => Math.cos(i)),
        [8, 8],
      ),
    );
  const [plain, replayed] = [x(), x()];
  const expected = backward(mean(square(block(plain))));
  const actual = backward(mean(square(checkpoint(block, replayed))));
  t.same(await values(actual.get(weight)), await values(expected.get(weight)));
  t.same(await values(actual.get(replayed)), await values(expected.get(plain)));
});
