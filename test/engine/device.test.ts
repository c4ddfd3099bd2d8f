/** Tensors on a device of a module: where they lie, how they move, what is refused, and what follows faults. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import {
  add,
  backward,
  cancellation,
  copy,
  devices,
  fill,
  matmul,
  memory,
  mul,
  noGrad,
  onDevice,
  requireGrad,
  resolveDevice,
  scope,
  softmax,
  sum,
  sync,
  Tensor,
  trimMemory,
  where,
} from '#lib/engine/index.js';
import { heldBytes } from '../helpers/memory.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

const skip = noDevice();
t.setTimeout(600_000);
const there = deviceUnderTest;
/** What a test makes is gone at its end: other tests measure memory. */
const scoped = (body: (t: Test) => Promise<void>) => (t: Test) => scope(() => body(t));
const ramp = (n: number) => Float32Array.from({ length: n }, (_, i) => i);

t.test(
  'values move and come back',
  { skip },
  scoped(async (t) => {
    const x = Tensor.from(ramp(60), [3, 4, 5]);
    const y = x.permute(2, 0, 1).to(there);
    t.same([x.device, y.device, y.isContiguous, y.shape], ['cpu', there, true, [5, 3, 4]]);
    t.same(await y.data(), await x.permute(2, 0, 1).data());
    t.equal(y.to(there), y, 'where it lies there already, the tensor itself');
    t.same(await y.permute(1, 2, 0).to('cpu').data(), ramp(60));
    t.same(await y.select(1, 2).data(), await x.permute(2, 0, 1).select(1, 2).data(), 'a strided read');
    t.equal(await y.select(0, 1).select(0, 0).slice(0, 2, 3).item(), 11);
    t.same(y.slice(0, 1, 3).dataSync(), await y.slice(0, 1, 3).data());
    for (const shape of [[0], [3, 0], []]) t.same((await fill(shape, 7).to(there).data()).length, shape.length ? 0 : 1);
    const bytes = Uint8Array.from({ length: 12_345_679 }, (_, i) => i * 7);
    t.equal(Buffer.compare(bytes, (await Tensor.from(bytes).to(there).data()) as Uint8Array), 0, 'in slices');
  }),
);

t.test(
  'new tensors lie where onDevice says',
  { skip },
  scoped(async (t) => {
    const outside = Tensor.from([1, 2]);
    await onDevice(there, async () => {
      const x = Tensor.from([1, 2]);
      await sync();
      t.same([x.device, fill([2], 1).device, add(x, 1).device, outside.device], [there, there, there, 'cpu']);
      t.equal(onDevice('cpu', () => Tensor.from([1])).device, 'cpu');
    });
    t.equal(Tensor.from([1, 2], [2], 'f32', there).device, there);
    const x = Tensor.from([3, -4]).to(there);
    t.same(await where(Tensor.from(Uint8Array.of(1, 0), [2], 'bool').to(there), x, 9).data(), Float32Array.of(3, 9));
  }),
);

t.test(
  'devices do not mix',
  { skip },
  scoped(async (t) => {
    const here = Tensor.from([1, 2]);
    const other = here.to(there);
    t.throws(() => add(here, other), {
      code: 'E_OPTION',
      message: new RegExp(
        `add: inputs must lie on one device, got f32\\[2\\] on cpu, f32\\[2\\] on ${there}.*to\\(\\)`,
      ),
    });
    t.throws(() => here.to('cuda:-1'), { code: 'E_OPTION' });
    t.throws(() => here.to('auto'), { code: 'E_OPTION' });
    const kind = there.split(':')[0];
    t.throws(() => here.to(`${kind}:999`), { code: 'E_DEVICE', message: /no device of that number: \d+ found/ });
    // f64 is for gradient checks on the CPU.
    await t.rejects(softmax(Tensor.from(Float64Array.of(1, 2)).to(there)).data(), { code: 'E_OPTION', message: /f64/ });
    t.same(await add(other, 1).data(), Float32Array.of(2, 3), 'and the next call works');
  }),
);

t.test('gradients come back the way', { skip }, async (t) => {
  await scope(async () => {
    const weight = requireGrad(Tensor.from([1, 2, 3, 4], [2, 2]));
    const x = Tensor.from([5, 6, 7, 8], [2, 2]);
    const moved = weight.to(there);
    const loss = sum(mul(matmul(moved, x.to(there)), matmul(moved, x.to(there))));
    const far = backward(loss).get(weight) as Tensor;
    t.equal(far.device, 'cpu');
    const near = backward(sum(mul(matmul(weight, x), matmul(weight, x)))).get(weight) as Tensor;
    t.same(await far.data(), await near.data());
  });
});

t.test('memory comes back', { skip }, async (t) => {
  await sync();
  trimMemory();
  const before = memory()[there]?.liveBytes ?? 0;
  await noGrad(() =>
    scope(async () => {
      const x = fill([1000], 1, 'f32', there);
      for (let i = 0; i < 20; i++) copy(add(x, i));
      await sync();
      t.ok((memory()[there]?.liveBytes ?? 0) >= before + 40 * 4000);
    }),
  );
  await sync();
  trimMemory();
  t.equal(memory()[there]?.liveBytes, before);
  const work = cancellation();
  const x = fill([10], 1, 'f32', there);
  work.cancel();
  await t.rejects(work.run(() => add(x, 1)).data(), { code: 'E_ABORTED' });
  t.equal((await x.data())[9], 1);
});

t.test(
  'sizes that no device has',
  { skip },
  scoped(async (t) => {
    // Beyond what 32 and 64 bits count, as sizes, as elements and as bytes.
    for (const shape of [[2 ** 31, 2 ** 31], [2 ** 33, 0, 2 ** 40], [2 ** 62, 2 ** 62], [2 ** 53 + 2]]) {
      const made = (async () => (await fill(shape, 1, 'u8', there).data()).length)();
      if (shape.includes(0)) t.equal(await made, 0);
      else await t.rejects(made, { code: /^E_(OOM|OPTION|USAGE)$/ }, `[${shape}]`);
    }
    const wide = fill([1, 1], 1, 'f32', there).expand(2 ** 20, 2 ** 21);
    for (const work of [() => add(wide, 1), () => sum(wide), () => softmax(wide), () => copy(wide)])
      await t.rejects(work().data(), { code: 'E_OOM' }, 'an operand that repeats beyond the memory');
    t.equal(await sum(wide.slice(0, 2 ** 20 - 1).slice(1, 2 ** 21 - 3)).item(), 3, 'the far end of it');
    const large = fill([2 ** 22, 2 ** 20], 1, 'f32', there);
    await t.rejects(large.slice(0, 0, 1).data(), { code: 'E_OOM', details: { device: there } });
    large.dispose();
    t.equal(await sum(fill([70_000, 3], 1, 'f32', there)).item(), 210_000);
  }),
);

t.test('workers end with work in flight', { skip }, async (t) => {
  const file = join(t.testdir(), 'mapped');
  await writeFile(file, new Uint8Array(1 << 12));
  const before = await heldBytes(there);
  const script = new URL('../helpers/worker-load.js', import.meta.url);
  for (let i = 0; i < 6; i++) {
    const worker = new Worker(script, { workerData: { kind: 'busy', file, device: there }, env: { ...process.env } });
    if (i > 0) await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await delay(i * 9);
    t.ok((await worker.terminate()) <= 1);
  }
  t.equal(await heldBytes(there), before, 'their bytes are back');
  t.equal(await onDevice(there, () => sum(fill([9], 2)).item()), 18, 'this environment goes on');
});

const child = fileURLToPath(new URL('../helpers/device-child.js', import.meta.url));
async function inChild(what: string, env: Record<string, string>): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, [child, what], {
    env: { ...process.env, WORDMASK_SIMT: '1', ...env },
  });
  return JSON.parse(stdout);
}

const simtOnly = skip || (there.startsWith('simt') ? false : 'faults are made by the emulated device');

t.test('memory that runs out', { skip: simtOnly }, async (t) => {
  t.same(await inChild('memory', { WORDMASK_SIMT_MEMORY: String(1 << 20) }), {
    codes: ['E_OOM', 'E_OOM'],
    names: true,
    after: [2, 3],
  });
  // Out of memory once (cudaErrorMemoryAllocation): tried again, and nobody hears of it.
  // Nothing is left for it: another process holds all memory.
  t.match(await inChild('names', { WORDMASK_SIMT_MEMORY: '1000' }), { code: 'E_OOM', message: /fails its self-test/ });
  t.same(await inChild('once', { WORDMASK_SIMT_FAULT: 'malloc:3:2' }), { values: [2, 3] });
});

t.test('a device that is lost', { skip: simtOnly }, async (t) => {
  // cudaErrorIllegalAddress: sticky.
  t.same(await inChild('lost', { WORDMASK_SIMT_FAULT: 'launch:3:700' }), {
    codes: ['E_DEVICE_LOST', 'E_DEVICE_LOST', 'E_DEVICE_LOST'],
    held: 0,
    cpu: [2, 3],
  });
});

t.test('a call that fails alone', { skip: simtOnly }, async (t) => {
  // cudaErrorInvalidValue of one copy, then of one launch.
  t.same(await inChild('fails', { WORDMASK_SIMT_FAULT: 'copy:4:1' }), { codes: ['E_DEVICE'], after: [2, 3] });
});

t.test('two devices, and memory that others hold', { skip: simtOnly }, async (t) => {
  t.same(await inChild('two', { WORDMASK_SIMT_DEVICES: '2' }), {
    codes: ['E_OPTION', 'E_DEVICE'],
    after: [4, 6, 4, 5],
  });
  t.same(await inChild('busy', { WORDMASK_SIMT_MEMORY: '7500000' }), {
    codes: ['E_OOM', 'ok'],
    after: [2, 3],
  });
});

t.test('names of devices', { skip: simtOnly }, async (t) => {
  // cudaErrorInsufficientDriver of the first question.
  t.match(await inChild('names', { WORDMASK_SIMT_FAULT: 'count:1:35' }), {
    code: 'E_DEVICE',
    message: /driver version is insufficient.*nvidia-smi.*new enough/,
  });
  t.same(await inChild('names', { WORDMASK_SIMT: '' }), { code: 'E_OPTION' });
  t.match(await inChild('names', { WORDMASK_SIMT_DEVICES: '0' }), { code: 'E_DEVICE', message: /finds no device/ });
  t.match(await inChild('names', { WORDMASK_BACKEND: 'cpu' }), { code: 'E_DEVICE', message: /WORDMASK_BACKEND=cpu/ });
  t.same(
    devices().filter(({ name }) => name.startsWith('simt')),
    [],
    'never listed',
  );
});

t.test('cuda without a device', async (t) => {
  const listed = devices().filter(({ name }) => name.startsWith('cuda'));
  if (listed.some(({ usable }) => usable)) {
    t.match(resolveDevice('auto'), /^cuda:\d+$/);
    return;
  }
  t.match(listed, [{ name: 'cuda', usable: false, reason: /./, remedy: /./ }]);
  t.throws(() => resolveDevice('cuda:1'), { code: 'E_DEVICE', message: /cuda:1 cannot be used: .*doctor/ });
  const warnings: string[] = [];
  t.equal(
    resolveDevice('auto', (text) => warnings.push(text)),
    'cpu',
  );
  t.equal(
    resolveDevice('auto', (text) => warnings.push(text)),
    'cpu',
  );
  t.match(warnings, [/'auto' takes the CPU: ./]);
  t.equal(warnings.length, 1, 'once a process');
});
