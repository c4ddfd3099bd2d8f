/** What the add-on does with numbers, arrays and handles that the engine would never give it. */
import t from 'tap';
import { addon, type NativeStorage } from '#lib/binding/addon.js';
import { hostCall, scope, Tensor, withSignal } from '#lib/engine/index.js';

const native = addon();
const noAttrs = new Float64Array();
/** One dimension of four floats, with one number of the description replaced. */
const describe = (at: number, value: number) => Float64Array.from([1, 0, 0, 4, 1], (x, i) => (i === at ? value : x));

t.test('view descriptions', async (t) => {
  const storage = native.fromHost(Float32Array.of(1, 2, 3, 4));
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1e300, -1e300, 0.5, 2 ** 60]) {
    for (let at = 0; at < 5; at++) {
      t.throws(
        () => native.readSync(storage, describe(at, value), new ArrayBuffer(16)),
        { name: 'WordmaskError' },
        `${value} at ${at}`,
      );
    }
  }
  for (const [at, value] of [
    [0, -2],
    [0, 9],
    [1, -1],
    [1, 7],
    [2, -1],
    [2, 1],
    [3, -1],
    [3, 5],
    [3, 2 ** 52],
    [4, 2],
    [4, -1],
    [4, 2 ** 52],
  ] as const) {
    t.throws(
      () => native.readSync(storage, describe(at, value), new ArrayBuffer(16)),
      { name: 'WordmaskError' },
      `${value} at ${at}`,
    );
    await t.rejects((async () => native.read(storage, describe(at, value), new ArrayBuffer(16)))(), {
      name: 'WordmaskError',
    });
  }
  await t.rejects(
    native.read(storage, describe(4, 1), new ArrayBuffer(15)),
    { code: 'E_USAGE' },
    'a buffer of another size',
  );
  t.throws(
    () => native.run('copy', [storage], Float64Array.of(1, 0, 0, 4), noAttrs, 1, null),
    { code: 'E_USAGE' },
    'too short',
  );
  t.throws(() => native.run('no such op', [], noAttrs, noAttrs, 0, null), { code: 'E_USAGE' });
  storage.dispose();
  storage.dispose();
  t.throws(() => native.readSync(storage, describe(4, 1), new ArrayBuffer(16)), { code: 'E_DISPOSED' });
  t.throws(() => native.readSync({} as NativeStorage, describe(4, 1), new ArrayBuffer(16)), { code: 'E_USAGE' });
});

t.test('byte ranges of a mapped file', (t) => {
  const mapped = native.mapFile(new URL(import.meta.url).pathname);
  for (const bad of [Number.NaN, -8, 1e300, 2 ** 53, 0.5]) {
    t.throws(() => native.fromMapped(mapped, bad, 8, 4), { name: 'WordmaskError' }, `offset ${bad}`);
    t.throws(() => native.fromMapped(mapped, 0, bad, 4), { name: 'WordmaskError' }, `size ${bad}`);
  }
  t.end();
});

t.test('attributes that no integer holds', async (t) => {
  const storage = native.fromHost(Float32Array.of(1, 2, 3, 4));
  const [made] = native.run('fill', [], Float64Array.of(1, 0, 4), Float64Array.of(1e300), 1, null);
  t.ok(made, 'as a number it is fine');
  const [failed] = native.run(
    'slice_bwd',
    [storage],
    Float64Array.of(1, 0, 0, 4, 1, 1, 0, 8),
    Float64Array.of(1e300, 0, 8),
    1,
    null,
  );
  await t.rejects(native.read(failed as NativeStorage, Float64Array.of(1, 0, 0, 8, 1), new ArrayBuffer(32)), {
    code: 'E_OPTION',
  });
});

t.test('arrays over shared and over detached memory', async (t) => {
  const shared = new Float32Array(new SharedArrayBuffer(16), 4, 2);
  shared.set([3, 4]);
  t.same([...(await scope(() => Tensor.from(shared).data()))], [3, 4]);
  const gone = Float32Array.of(1, 2);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  t.throws(() => Tensor.from(gone, [2]), { code: 'E_USAGE' });
  t.equal(native.fromHost(gone).bytes, 0);
  t.throws(() => native.fromHost([1, 2] as unknown as Float32Array), { code: 'E_USAGE' });
  await t.rejects(async () => hostCall('distance_transform', [[1] as unknown as Uint8Array], [1, 1]), {
    code: 'E_USAGE',
  });
});

t.test('a signal that is collected while a host algorithm runs', async (t) => {
  const side = 512;
  const calls = Array.from({ length: 8 }, () =>
    withSignal(new AbortController().signal, () =>
      hostCall('distance_transform', [new Uint8Array(side * side).fill(1)], [side, side]).catch(() => undefined),
    ),
  );
  globalThis.gc?.();
  await Promise.all(calls);
  t.pass('its token lives as long as the call');
});
