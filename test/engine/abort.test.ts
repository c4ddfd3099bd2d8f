/** Aborting work that is queued or running on the device. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { add, fill, hostCall, matmul, scope, softmax, sync, Tensor, withSignal } from '#lib/engine/index.js';
import { heldBytes } from '../helpers/memory.js';

/** Far above what is aimed at (100 ms): only a hang or a wait for the work itself takes so long. */
const guardMs = 1000;

const heavy = (rounds: number) => {
  let x = fill([512, 512], 1 / 512);
  for (let i = 0; i < rounds; i++) x = softmax(matmul(x, x));
  return x;
};

t.setTimeout(300_000);

t.test('the promise rejects with the reason in the turn of the abort', async (t) => {
  const before = await heldBytes();
  const controller = new AbortController();
  const reason = { mine: true };
  let settled = false;
  const call = withSignal(controller.signal, () => scope(async () => heavy(2000).data()));
  const seen = call.catch((error) => {
    settled = true;
    return error;
  });
  await delay(20);
  const started = performance.now();
  controller.abort(reason);
  await Promise.resolve();
  await Promise.resolve();
  t.ok(settled, 'no further turn is needed');
  t.equal(await seen, reason);
  // 2000 rounds would take many seconds: they are skipped, what runs ends at its next chunk.
  await sync();
  t.ok(performance.now() - started < guardMs, `the queue is free after ${Math.round(performance.now() - started)} ms`);
  t.equal(await heldBytes(), before);
});

t.test('calls behind and beside are not touched', async (t) => {
  const first = new AbortController();
  const aborted = withSignal(first.signal, () => scope(async () => heavy(500).data()));
  const beside = withSignal(new AbortController().signal, () =>
    scope(async () => add(heavy(2), 1).slice(0, 0, 1).data()),
  );
  const behind = scope(async () => add(fill([4], 1), 1).data());
  first.abort();
  await t.rejects(aborted, { name: 'AbortError' });
  t.ok((await beside).every((x) => x > 1));
  t.same([...(await behind)], [2, 2, 2, 2]);
});

t.test('before, after, nested, never', async (t) => {
  const gone = AbortSignal.abort('gone');
  let ran = false;
  await t.rejects(
    withSignal(gone, async () => void (ran = true)).catch((error) => Promise.reject(new Error(error))),
    { message: 'gone' },
  );
  t.notOk(ran, 'an aborted signal starts nothing');
  const late = new AbortController();
  t.equal(await withSignal(late.signal, async () => 5), 5);
  late.abort();
  t.equal(await withSignal(undefined, async () => 6), 6);

  const outer = new AbortController();
  const inner = new AbortController();
  const nested = withSignal(outer.signal, async () => {
    const part = withSignal(inner.signal, () => scope(async () => heavy(500).data()));
    inner.abort('inner');
    const result = await part.catch((error) => error);
    return [result, [...(await scope(async () => fill([1], 3).data()))]];
  });
  t.same(await nested, ['inner', [3]], 'an inner abort leaves the outer call alone');
  const controllers = Array.from({ length: 50 }, () => new AbortController());
  const calls = controllers.map(({ signal }, i) =>
    withSignal(signal, () => scope(async () => add(heavy(3), i).data())),
  );
  controllers.forEach((controller, i) => void (i % 2 && controller.abort(i)));
  const results = await Promise.allSettled(calls);
  t.same(
    results.map(({ status }) => status),
    controllers.map((_, i) => (i % 2 ? 'rejected' : 'fulfilled')),
  );
});

t.test('host algorithms', async (t) => {
  const mask = new Uint8Array(3000 * 3000);
  mask[0] = 1;
  const controller = new AbortController();
  const started = performance.now();
  const call = withSignal(controller.signal, () => hostCall('distance_transform', [mask], [3000, 3000]));
  await delay(5);
  controller.abort(new RangeError('mine'));
  await t.rejects(call, RangeError);
  t.ok(performance.now() - started < guardMs);
  const [result] = await hostCall('distance_transform', [new Uint8Array([0, 1])], [1, 2]);
  t.same([...new Float64Array((result as Uint8Array).buffer)], [1, 0]);
});

t.test('a token outlives the garbage collector', async (t) => {
  // The listener is gone after the abort; the algorithm still looks at the token.
  for (let i = 0; i < 20; i++) {
    const controller = new AbortController();
    const call = withSignal(controller.signal, () =>
      hostCall('distance_transform', [new Uint8Array(400 * 400)], [400, 400]),
    );
    controller.abort(i);
    await call.catch(() => undefined);
    await heldBytes();
  }
  t.equal(await Tensor.scalar(1).item(), 1);
});
