/** Scopes: what they free, what survives, across await and side by side. */
import t from 'tap';
import { add, adopt, fill, keep, mul, retain, scope, sync, Tensor } from '#lib/engine/index.js';
import { collectGarbage, heldBytes, liveBytes } from '../helpers/memory.js';

const list = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data());
const count = (n: number) => Array.from({ length: n }, (_, i) => i);

t.setTimeout(300_000);

t.test('scopes', async (t) => {
  const before = await heldBytes();
  const outer = Tensor.from([1, 2, 3]);
  let inner: Tensor | undefined;
  let kept: Tensor | undefined;
  const result = scope(() => {
    inner = add(outer, 1);
    kept = keep(mul(inner, 2));
    return { list: [mul(inner, 3)], map: new Map([['a', inner.slice(0, 1)]]), plain: 5 };
  });
  t.ok(inner?.disposed && !kept?.disposed && !outer.disposed);
  t.same(await list(result.list[0] as Tensor), [6, 9, 12]);
  t.same(await list(result.map.get('a') as Tensor), [3, 4]);
  t.same(await list(kept as Tensor), [4, 6, 8]);
  for (const tensor of [outer, kept, ...result.list, ...result.map.values()]) tensor?.dispose();

  const odd = scope(() => {
    const bare = Object.assign(Object.create(null), { a: fill([1], 1) }) as { a: Tensor };
    let deep: unknown = fill([1], 2);
    for (let i = 0; i < 20; i++) deep = [deep];
    const loop: unknown[] = [bare, deep, new Set([fill([1], 3)])];
    for (let i = 0; i < 1000; i++) loop.push(loop);
    return loop;
  });
  const [bare, deep, set] = odd as [{ a: Tensor }, unknown[], Set<Tensor>];
  const found = [bare.a, deep.flat(Number.POSITIVE_INFINITY)[0] as Tensor, ...set];
  t.same(await Promise.all(found.map((tensor) => tensor.item())), [1, 2, 3], 'sets, bare objects, any depth, loops');
  for (const tensor of found) tensor.dispose();

  t.throws(
    () =>
      scope(() => {
        inner = fill([10], 1);
        throw new RangeError('mine');
      }),
    RangeError,
  );
  t.ok(inner?.disposed, 'an exception closes the scope');
  await t.rejects(
    scope(async () => {
      inner = fill([10], 1);
      await sync();
      throw new RangeError('mine');
    }),
    RangeError,
  );
  t.ok(inner?.disposed, 'a rejection closes the scope');

  const nested = scope(() => {
    const made = scope(() => fill([4], 2));
    const moved = scope(() => keep(fill([4], 3)));
    const handle = retain(made);
    return { sum: scope(() => add(made, moved)), handle };
  });
  t.same(await list(nested.sum), [5, 5, 5, 5]);
  nested.sum.dispose();
  nested.handle.dispose();

  scope(() => {
    const orphan = retain(fill([4], 1));
    t.notOk(orphan.disposed);
    adopt(orphan);
    inner = orphan;
  });
  t.ok(inner?.disposed, 'an adopted tensor goes with the scope');
  t.equal(await liveBytes(), before, 'nothing is left');
});

t.test('scopes across await and side by side', async (t) => {
  const before = await heldBytes();
  const seen: Tensor[] = [];
  const request = (n: number, turns: number) =>
    scope(async () => {
      let x = fill([64], n);
      for (let i = 0; i < turns; i++) {
        x = add(x, 1);
        seen.push(x);
        await (i % 2 ? new Promise((resolve) => setImmediate(resolve)) : sync());
        const [first] = await x.data();
        if (first !== n + i + 1) throw new Error(`request ${n} sees ${first} in turn ${i}`);
      }
      return x;
    });
  const results = await Promise.all(count(20).map((n) => request(n * 100, 2 + (n % 7))));
  t.same(
    (await Promise.all(results.map((x) => x.data()))).map(([v]) => v),
    count(20).map((n) => n * 100 + 2 + (n % 7)),
  );
  t.equal(seen.filter((x) => !x.disposed).length, 20, 'only results are left');
  for (const x of results) x.dispose();
  t.equal(await liveBytes(), before);

  const disposedInside = scope(async () => {
    const x = fill([8], 1);
    await scope(async () => {
      await sync();
      x.dispose();
    });
    return x.disposed;
  });
  t.ok(await disposedInside, 'an inner scope may dispose of an outer tensor');
});

t.test('a scope forgets what was disposed of inside an inner one', async (t) => {
  await scope(async () => {
    const held: WeakRef<Tensor>[] = [];
    for (let i = 0; i < 100; i++) {
      const x = fill([1], i);
      scope(() => x.dispose());
      held.push(new WeakRef(x));
    }
    // A weak reference holds its target until the job that made it ends.
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    t.ok(held.filter((ref) => ref.deref()).length < 5);
  });
});
