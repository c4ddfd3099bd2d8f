/** Tensors as a user meets them: views, lifetimes, scopes, failures of kernels and of memory. */
import { execFile } from 'node:child_process';
import { mkdtemp, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import {
  add,
  backward,
  cast,
  concat,
  copy,
  type DType,
  dtypes,
  fill,
  gather,
  iota,
  mapFile,
  matmul,
  memory,
  mul,
  type OpCard,
  opCards,
  requireGrad,
  resetPeakMemory,
  retain,
  run,
  scope,
  sum,
  sync,
  Tensor,
  trimMemory,
} from '#lib/engine/index.js';
import { heldBytes, liveBytes } from '../helpers/memory.js';

const list = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.data());
const count = (n: number) => Array.from({ length: n }, (_, i) => i);
/** An index beyond the table, which only the kernel can see. */
const failing = () => gather(Tensor.from([1, 2], [2, 1]), Tensor.from(Int32Array.of(7)));

t.setTimeout(300_000);

t.test('views share storage and read what the indices say', async (t) => {
  const x = Tensor.from(count(24), [2, 3, 4]);
  t.same(
    await list(x.permute(2, 0, 1)),
    [0, 4, 8, 12, 16, 20, 1, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22, 3, 7, 11, 15, 19, 23],
  );
  t.same(await list(x.transpose(0, 1).slice(2, 1, 3)), [1, 2, 13, 14, 5, 6, 17, 18, 9, 10, 21, 22]);
  t.same(await list(x.slice(1, -2)), [4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23]);
  t.same(await list(x.slice(0, 1).slice(1, 1, 2).slice(2, 3)), [19]);
  t.same(await list(x.select(1, -1)), [8, 9, 10, 11, 20, 21, 22, 23]);
  t.same((await x.permute(1, 2, 0).toArray()).shape, [3, 4, 2]);
  t.same(
    await list(x.permute(1, 0, 2).reshape(6, -1).slice(1, 0, 1)),
    [0, 12, 4, 16, 8, 20],
    'reshape of a permuted view copies',
  );
  t.same(await list(Tensor.from([1, 2], [2, 1]).expand(2, 2, 3)), [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
  t.same(await list(x.slice(1, 1, 1)), [], 'an empty slice');
  t.same(x.slice(1, 1, 1).shape, [2, 0, 4]);
  t.equal(await Tensor.scalar(5).item(), 5);
  t.same((x.dataSync() as Float32Array).length, 24);
  const narrow = add(x.slice(2, 1, 2), x.transpose(1, 2).slice(1, 2, 3).transpose(1, 2));
  t.same(await list(narrow), [3, 11, 19, 27, 35, 43], 'ops read strided views');
  t.ok(x.isContiguous && !x.permute(2, 1, 0).isContiguous);
  t.equal(x.contiguous(), x);
  const view = x.slice(0, 1);
  x.dispose();
  t.same(await list(view.slice(1, 2)), [20, 21, 22, 23], 'a view outlives the tensor it was made from');
});

t.test('dtypes', async (t) => {
  for (const dtype of dtypes) {
    const values = dtype === 'bool' ? [0, 1, 1] : [0, 1, 2];
    const wide = Tensor.from(values, [3], dtype === 'bf16' || dtype === 'f16' ? 'f32' : dtype);
    const tensor = wide.dtype === dtype ? wide : cast(wide, dtype);
    t.equal(tensor.dtype, dtype);
    const back = dtype === 'bf16' || dtype === 'f16' ? cast(tensor, 'f32') : tensor;
    t.same(await list(back), values, dtype);
    t.same(await list(copy(back.expand(2, 3)).select(0, 1)), values, `${dtype}: copy of an expanded view`);
  }
  for (const dtype of ['f32', 'f64', 'bf16', 'f16'] as const) {
    const before = await heldBytes();
    const x = requireGrad(cast(Tensor.from([7, -2.5, 0]), dtype));
    t.equal(await x.slice(0, 1, 2).item(), -2.5, `item of ${dtype}`);
    t.ok(Number.isNaN(await cast(Tensor.scalar(Number.NaN), dtype).item()), `NaN of ${dtype}`);
    x.dispose();
    t.equal(await heldBytes(), before, `item of ${dtype} leaves nothing behind`);
  }
  t.equal(await cast(Tensor.scalar(1e6), 'f16').item(), Number.POSITIVE_INFINITY);
  t.throws(() => Tensor.from([1], [1], 'bf16'), { code: 'E_USAGE' });
  t.throws(() => Tensor.from(new Uint16Array(2)), { code: 'E_USAGE' });
  t.same(await list(Tensor.from(Uint16Array.of(0x3f80), [1], 'bf16')), [0x3f80]);
});

t.test('wrong arguments name what is wrong', async (t) => {
  const x = Tensor.from(count(6), [2, 3]);
  const wrong: [string, () => unknown, string, RegExp][] = [
    ['too few elements', () => Tensor.from([1, 2], [3]), 'E_USAGE', /needs 3 elements/],
    ['negative sizes', () => Tensor.from([1, 2, 3, 4], [-2, -2]), 'E_USAGE', /-2/],
    ['fractional sizes', () => Tensor.from([1, 2], [0.5, 4]), 'E_USAGE', /0\.5/],
    ['nine dimensions', () => Tensor.from([1], [1, 1, 1, 1, 1, 1, 1, 1, 1]), 'E_OPTION', /8 dimensions/],
    ['negative shape of an op', () => fill([-1, 2], 0), 'E_OPTION', /-1/],
    ['huge shape of an op', () => fill([2 ** 40, 2 ** 40], 0), 'E_OOM', /./],
    ['reshape', () => x.reshape(4, 2), 'E_OPTION', /cannot become \[4, 2\]/],
    ['two unknown sizes', () => x.reshape(-1, -1), 'E_OPTION', /reshape/],
    ['unknown size among zeros', () => x.slice(0, 0, 0).reshape(0, -1), 'E_OPTION', /reshape/],
    ['slice beyond the end', () => x.slice(1, 1, 4), 'E_OPTION', /outside axis 1 of length 3/],
    ['slice backwards', () => x.slice(1, 2, 1), 'E_OPTION', /slice/],
    ['slice at a fraction', () => x.slice(1, 0.5), 'E_OPTION', /slice/],
    ['axis', () => x.slice(2, 0), 'E_OPTION', /axis 2 is out of range/],
    ['permute', () => x.permute(0, 0), 'E_OPTION', /permute/],
    ['expand', () => x.expand(2, 4), 'E_OPTION', /does not broadcast/],
    ['expand to fewer dimensions', () => x.expand(3), 'E_OPTION', /expand/],
    ['expand to a negative size', () => Tensor.from([1], [1]).expand(-3), 'E_USAGE', /expand/],
    ['shapes of an op', () => matmul(x, x), 'E_OPTION', /matmul.*f32\[2, 3\]/],
    [
      'mixed dtypes',
      () => add(x, Tensor.from(new Float64Array(6), [2, 3])),
      'E_OPTION',
      /one dtype.*f64\[2, 3\].*cast/,
    ],
    ['axes of a reduction', () => sum(x, 5), 'E_OPTION', /sum.*axis 5|axis 5/],
    ['not a tensor', () => add({} as Tensor, x), 'E_USAGE', /Tensor/],
  ];
  for (const [name, body, code, message] of wrong) t.throws(body, { code, message }, name);
  await t.rejects(x.item(), { code: 'E_USAGE', message: /one element/ });

  const card = opCards().get('softmax') as OpCard;
  t.throws(() => run(card, [x], { tempreature: 2 }), { code: 'E_OPTION', message: /did you mean 'temperature'/ });
  t.throws(() => run(card, [x], { axis: Number.NaN }), { code: 'E_OPTION', message: /axis/ });
  t.throws(() => run(card, [x], { axis: true }), { code: 'E_OPTION', message: /must be a number/ });
  t.throws(() => run(card, [x], { ['__proto__x' as string]: 1 }), { code: 'E_OPTION' });
  t.throws(
    () => run(card, [x], { constructor: 1 as never }),
    { code: 'E_OPTION' },
    'names of Object.prototype are no attributes',
  );
  t.throws(() => run(card, [x, x]), { code: 'E_USAGE', message: /takes 1 inputs/ });
  t.throws(() => run(card, []), { code: 'E_USAGE', message: /missing/ });
  t.same(await list(add(x, 1)), [1, 2, 3, 4, 5, 6], 'a good call works after all of them');
});

t.test('dispose', async (t) => {
  const before = await heldBytes();
  const x = Tensor.from(new Float32Array(1 << 20));
  const view = x.slice(0, 5, 9);
  t.ok((await liveBytes()) - before >= 4 << 20);
  x.dispose();
  x.dispose();
  t.ok(x.disposed && !view.disposed);
  t.ok((await liveBytes()) - before >= 4 << 20, 'a view keeps the storage');
  const sumOf = sum(view);
  view[Symbol.dispose]();
  view.dispose();
  t.equal(await sumOf.item(), 0, 'queued work keeps its inputs');
  sumOf.dispose();
  t.equal(await liveBytes(), before);
  for (const use of [
    () => x.reshape(-1),
    () => x.slice(0, 1),
    () => x.dataSync(),
    () => add(x, 1),
    () => x.detach(),
    () => x.expand(2, 1 << 20),
    () => retain(x),
  ]) {
    t.throws(use, { code: 'E_DISPOSED', message: /f32\[1048576\]/ });
  }
  await t.rejects(x.data(), { code: 'E_DISPOSED' });
  t.throws(() => concat([x, x], 0), { code: 'E_DISPOSED' });
});

t.test('a failing kernel is reported at the next await', async (t) => {
  const bad = failing();
  const dependant = add(mul(bad, 2), 1);
  const good = add(Tensor.from([1, 2]), 1);
  t.same(await list(good), [2, 3], 'other work goes on');
  await t.rejects(bad.data(), { code: 'E_OPTION', message: /^gather: index 7 .* 0\.\.1/ });
  await t.rejects(dependant.data(), { code: 'E_OPTION', message: /^gather: / }, 'dependants carry the first error on');
  t.throws(() => dependant.dataSync(), { code: 'E_OPTION', message: /^gather: / });
  await t.rejects(dependant.reshape(-1).item(), { code: 'E_OPTION' });
  await sync();
  t.same(await list(add(good, good)), [4, 6]);
  const settled = await Promise.allSettled(count(50).map((i) => (i % 2 ? failing() : fill([1, 1], i)).data()));
  t.same(
    settled.map(({ status }) => status),
    count(50).map((i) => (i % 2 ? 'rejected' : 'fulfilled')),
  );
});

t.test('out of memory is an error like others', async (t) => {
  const before = await heldBytes();
  // 4 TiB: within what a shape may say, beyond what any test machine has.
  const huge = fill([1 << 20, 1 << 20], 1);
  await t.rejects(sum(huge).data(), { code: 'E_OOM', retryable: true, message: /4398046511104 bytes/ });
  await t.rejects(huge.slice(0, 0, 1).data(), { code: 'E_OOM' });
  huge.dispose();
  // A view costs nothing, its copy on the host would.
  const wide = Tensor.scalar(1).expand(1 << 24, 1 << 24);
  await t.rejects(wide.data(), { code: 'E_OOM' });
  t.throws(() => wide.dataSync(), { code: 'E_OOM' });
  wide.dispose();
  t.equal(await sum(fill([1000], 2)).item(), 2000, 'the next call works');
  await liveBytes();
  trimMemory();
  t.ok((await liveBytes()) - before < 1 << 16);
});

t.test('memory reports', async (t) => {
  await sync();
  trimMemory();
  resetPeakMemory();
  const before = await heldBytes();
  const x = fill([256, 1024], 1);
  await sync();
  x.dispose();
  await sync();
  const { liveBytes, cachedBytes, peakBytes } = memory().cpu ?? { liveBytes: -1, cachedBytes: -1, peakBytes: -1 };
  t.equal(liveBytes, before);
  t.ok(cachedBytes >= 1 << 20 && peakBytes >= before + (1 << 20));
  const again = fill([256, 1024], 2);
  await sync();
  t.ok((memory().cpu?.cachedBytes ?? 0) < cachedBytes, 'a freed block is used again');
  again.dispose();
  await sync();
  trimMemory();
  t.equal(memory().cpu?.cachedBytes, 0);
});

t.test('lend and mapFile', async (t) => {
  const array = Float32Array.from(count(1000));
  const lent = Tensor.lend(array, [10, 100]);
  t.same(await list(lent.select(0, 9).slice(0, 98)), [998, 999]);
  t.throws(() => Tensor.lend(array, [10, 99]), { code: 'E_USAGE' });
  lent.dispose();
  t.equal(await sum(Tensor.lend(new Float32Array(0), [0, 3])).item(), 0, 'an empty loan');

  const folder = await mkdtemp(join(tmpdir(), 'wordmask-mapped-'));
  const path = join(folder, 'values');
  await writeFile(path, Buffer.from(Float32Array.from(count(16)).buffer));
  const file = mapFile(path);
  t.equal(file.bytes, 64);
  t.same(await list(file.tensor(8, 'f32', [2, 2])), [2, 3, 4, 5]);
  t.same(await list(file.tensor(4, 'f32', [3])), [1, 2, 3], 'an offset that is no multiple of 8 is copied');
  for (const [offset, shape] of [
    [60, [2]],
    [-8, [2]],
    [64, [1]],
    [2 ** 60, [1]],
    [Number.NaN, [1]],
    [0.5, [1]],
  ] as [number, number[]][]) {
    t.throws(() => file.tensor(offset, 'f32', shape), { code: 'E_USAGE' }, `offset ${offset}`);
  }
  t.throws(() => file.tensor(0, 'f32', [2 ** 61, 8]), { code: 'E_USAGE' }, 'a size beyond 64 bits');
  t.throws(() => mapFile(join(folder, 'none')), { code: 'E_DISK' });
  t.throws(() => mapFile(folder), { code: 'E_DISK' });
  t.throws(() => requireGradInPlace(file.tensor(0, 'f32', [4])), { code: 'E_USAGE' }, 'mapped bytes are never written');
  await writeFile(join(folder, 'empty'), '');
  t.equal(mapFile(join(folder, 'empty')).bytes, 0);

  function requireGradInPlace(target: Tensor): void {
    run(opCards().get('assign') as OpCard, [target, Tensor.from([9, 9, 9, 9])]);
  }
});

t.test('concat of many', async (t) => {
  const before = await heldBytes();
  const parts = Array.from({ length: 200 }, (_, i) => Tensor.from([i, i + 0.5], [1, 2]));
  const joined = concat(parts, 0);
  t.same(joined.shape, [200, 2]);
  t.same(
    await list(joined),
    Array.from({ length: 400 }, (_, i) => i / 2),
  );
  t.same((await concat(parts, -1).toArray()).shape, [1, 400]);
  const w = requireGrad(Tensor.from([1, 2], [1, 2]));
  const grad = backward(sum(concat(Array(150).fill(w), 0))).get(w) as Tensor;
  t.same(await list(grad), [150, 150]);
  for (const tensor of [...parts, joined, w, grad]) tensor.dispose();
  t.equal(await heldBytes(), before);
});

t.test('a mapped file that becomes shorter', async (t) => {
  const path = join(await mkdtemp(join(tmpdir(), 'wordmask-shorter-')), 'values');
  const whole = Buffer.from(new Float32Array(1 << 18).fill(2).buffer);
  await writeFile(path, whole);
  const file = mapFile(path);
  const x = file.tensor(0, 'f32', [1 << 18]);
  t.equal(await sum(x.slice(0, 0, 100)).item(), 200);
  await truncate(path, 5000);
  t.equal(await sum(x.slice(0, 0, 100)).item(), 200, 'what is still there is read');
  const message = /values became shorter than the 1048576 bytes/;
  await t.rejects(sum(x).item(), { code: 'E_DISK', message });
  await t.rejects(add(sum(x), 1).item(), { code: 'E_DISK', message }, 'what is made of it fails too');
  await t.rejects(x.data(), { code: 'E_DISK', message });
  t.throws(() => x.dataSync(), { code: 'E_DISK', message });
  t.throws(() => file.tensor(1, 'f32', [3]), { code: 'E_DISK', message }, 'a copy of bytes that are not aligned');
  await writeFile(path, whole);
  await t.rejects(sum(x).item(), { code: 'E_DISK' }, 'a file that was damaged stays so');
  t.equal(await sum(mapFile(path).tensor(0, 'f32', [1 << 18])).item(), 2 ** 19, 'mapped again it is whole');
});

t.test('random ops in random order leave memory where it was', async (t) => {
  let state = 12345;
  const random = (n: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % n;
  };
  const before = await heldBytes();
  for (let round = 0; round < 20; round++) {
    await scope(async () => {
      const pool: Tensor[] = [fill([4, 6], 1), Tensor.from(count(24), [4, 6])];
      for (let i = 0; i < 60; i++) {
        const pick = () => pool[random(pool.length)] as Tensor;
        const x = pick();
        const made = [
          () => add(x, 1),
          () => x.permute(1, 0).contiguous().reshape(4, 6),
          () => mul(x, x),
          () => x.slice(0, 0, 2).expand(2, 2, 6).reshape(4, 6),
          () => concat([x.slice(0, 2), x.slice(0, 0, 2)], 0),
          () => copy(x),
          () => gather(x, iota([4])),
        ][random(7)] as () => Tensor;
        pool.push(scope(made));
        if (random(4) === 0 && pool.length > 2) (pool.splice(random(pool.length), 1)[0] as Tensor).dispose();
        if (random(20) === 0) t.equal((await pick().data()).length, 24);
      }
    });
  }
  t.equal(await liveBytes(), before);
});

t.test('WORDMASK_SYNC=1 reports at the call', async (t) => {
  const program = `
    import { Tensor, gather } from '#lib/engine/index.js';
    try { gather(Tensor.from([1, 2], [2, 1]), Tensor.from(Int32Array.of(7))); console.log('queued'); }
    catch (error) { console.log(error.code, error.message); }`;
  const root = join(fileURLToPath(import.meta.url), '../../../../..');
  const start = (sync: string) =>
    promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
      cwd: root,
      env: { ...process.env, WORDMASK_SYNC: sync },
    });
  t.match((await start('1')).stdout, /^E_OPTION gather: index 7/);
  t.match((await start('0')).stdout, /^queued/);
});

t.test('gradients are not asked of integers', (t) => {
  const ids = Tensor.from(Int32Array.of(1, 2));
  const types: DType[] = ['i32'];
  t.same([ids.dtype], types);
  t.throws(() => requireGrad(ids), { code: 'E_USAGE', message: /i32/ });
  t.end();
});
