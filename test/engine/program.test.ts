/** Programs: the bytes of ops one by one, on new inputs each time; what they hold, and what follows aborts and failures. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import {
  add,
  assign,
  cancellation,
  fill,
  gather,
  matmul,
  mul,
  noGrad,
  onDevice,
  Program,
  Programs,
  requireGrad,
  scope,
  softmax,
  sum,
  sync,
  Tensor,
} from '#lib/engine/index.js';
import { heldBytes, liveBytes } from '../helpers/memory.js';
import { type Layer, layer, noise, outputsOf } from '../helpers/program-work.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

t.setTimeout(600_000);

/** On the CPU, and on the device under test where there is one. */
const everywhere = (name: string, body: (t: Test, device: string) => Promise<unknown>) => {
  for (const device of ['cpu', deviceUnderTest])
    t.test(`${name}, ${device}`, { skip: device !== 'cpu' && noDevice() }, (t) =>
      onDevice(device, () => noGrad(() => scope(() => body(t, device)))),
    );
};

/** What can be recorded. */
function recorded<T extends Record<string, Tensor>>(inputs: readonly Tensor[], fn: () => T) {
  const { outputs, program } = Program.record('work', inputs, fn);
  if (!program) throw new Error('not recorded');
  return { outputs, program };
}

/** Values of what `layer` gives on an input of its own. */
const direct = (weights: Layer, seed: number) =>
  scope(async () => outputsOf(layer(weights, Tensor.from(noise(seed, 3 * 7 * 8), [3, 7, 8]))));
const replayed = (program: Program<ReturnType<typeof layer>>, seed: number) =>
  scope(async () => outputsOf(program.run([Tensor.from(noise(seed, 3 * 7 * 8), [3, 7, 8])])));

everywhere('a replay gives the bytes of the ops', async (t) => {
  const weights = layer.weights();
  const x = Tensor.from(noise(1, 168), [3, 7, 8]);
  const { outputs, program } = recorded([x], () => layer(weights, x));
  t.same(await outputsOf(outputs), await direct(weights, 1), 'the recording itself');
  // The first run on a device queues ops and captures them, later ones launch the graph.
  for (const seed of [2, 3, 4, 1]) t.same(await replayed(program, seed), await direct(weights, seed), `input ${seed}`);
  const again = program.run([Tensor.from(noise(5, 168), [3, 7, 8])]);
  t.same(
    [again.patches.shape, again.patches.strides],
    [outputs.patches.shape, outputs.patches.strides],
    'views as recorded',
  );
  // A view whose offset breaks the alignment of vector loads.
  const padded = Tensor.from(Float32Array.of(0, ...noise(6, 168)), [169]);
  t.same(await outputsOf(program.run([padded.slice(0, 1).reshape(3, 7, 8)])), await direct(weights, 6));
  const both = [7, 8].map((seed) => program.run([Tensor.from(noise(seed, 168), [3, 7, 8])]));
  t.same(await outputsOf(both[0] as typeof again), await direct(weights, 7), 'kept while the next one runs');
  t.same(await outputsOf(both[1] as typeof again), await direct(weights, 8));
  program.dispose();
  t.throws(() => program.run([x]), { code: 'E_DISPOSED' });
});

everywhere('it reads its constants where they are, and holds them', async (t) => {
  const table = Tensor.from(noise(1, 12), [4, 3]);
  const x = Tensor.from(noise(2, 3), [3]);
  const { program } = recorded([x], () => {
    const ones = fill([4, 3], 1); // an op without inputs is repeated
    return { y: add(mul(table, x), mul(ones, Tensor.from([0.5]))) };
  });
  const wanted = async () => (await scope(() => add(mul(table, x), 0.5)).data()) as Float32Array;
  for (let i = 0; i < 3; i++) t.same(await program.run([x]).y.data(), await wanted());
  assign(table, Tensor.from(noise(3, 12), [4, 3]));
  const later = await wanted();
  t.same(await program.run([x]).y.data(), later, 'changed in place');
  table.dispose();
  t.same(await program.run([x]).y.data(), later, 'disposed of by its owner');
});

everywhere('what no program can repeat is done, and not recorded', async (t, device) => {
  const x = Tensor.from(noise(1, 6), [6]);
  const record = (fn: () => Record<string, Tensor>) => Program.record('none', [x], fn);
  const cases: Record<string, () => Record<string, Tensor>> = {
    'a read': () => ({ y: add(x, (add(x, 1).dataSync()[0] as number) * 0 + 1) }),
    'work in place': () => {
      const y = fill([6], 0);
      assign(y, add(x, 1));
      return { y };
    },
    'the input itself': () => ({ y: x }),
    'a constant': () => ({ y: Tensor.from([1]) }),
    'another device': () => ({ y: add(x.to('cpu'), 1).to(device === 'cpu' ? deviceUnderTest : device) }),
  };
  for (const [what, fn] of Object.entries(cases)) {
    if (what === 'another device' && noDevice()) continue;
    const { outputs, program } = record(fn);
    t.equal(program, undefined, what);
    t.ok((await outputs.y?.data())?.length, what);
  }
  t.throws(() => Program.record('twice', [x, x.detach()], () => ({ y: add(x, 1) })), { code: 'E_USAGE' });
  t.throws(() => Program.record('strided', [fill([2, 3], 1).permute(1, 0)], () => ({ y: fill([1], 1) })), {
    code: 'E_USAGE',
    message: /contiguous/,
  });
  const failing = () => {
    throw new Error('mine');
  };
  t.throws(() => record(failing), { message: 'mine' });
});

everywhere('inputs that do not fit are refused', async (t, device) => {
  const x = fill([2, 3], 1);
  const { program } = recorded([x], () => ({ y: add(x, 1) }));
  const wrong = [[], [x, x], [fill([3, 2], 1)], [fill([2, 3], 1, 'i32')], [fill([3, 2], 1).permute(1, 0)]];
  for (const inputs of wrong) t.throws(() => program.run(inputs), { code: 'E_USAGE' }, `${inputs.length} inputs`);
  if (!noDevice() && device !== 'cpu') t.throws(() => program.run([x.to('cpu')]), { code: 'E_USAGE' });
  x.dispose();
  t.throws(() => program.run([x]), { code: 'E_DISPOSED' });
  t.same(await program.run([fill([2, 3], 4)]).y.data(), new Float32Array(6).fill(5));
});

everywhere('memory is flat over 1,000 replays and goes with it', async (t, device) => {
  const weights = layer.weights();
  const run = () => scope(() => void program.run([fill([3, 7, 8], 1)]));
  const before = await heldBytes(device);
  const x = fill([3, 7, 8], 1);
  const { outputs, program } = recorded([x], () => layer(weights, x));
  for (const tensor of [x, ...Object.values(outputs)]) tensor.dispose();
  for (let i = 0; i < 3; i++) run();
  const held = await liveBytes(device);
  for (let i = 0; i < (device === 'cpu' ? 1000 : 30); i++) run();
  t.equal(await liveBytes(device), held);
  program.dispose();
  t.equal(await heldBytes(device), before);
});

everywhere('aborts', async (t, device) => {
  const x = fill([4, 4], 0.25);
  const { program } = recorded([x], () => ({ y: softmax(matmul(x, x)) }));
  const before = cancellation();
  before.cancel();
  await t.rejects(before.run(() => program.run([x]).y.data()) as Promise<unknown>, { code: 'E_ABORTED' });
  t.equal((await program.run([x]).y.data())?.length, 16, 'the next run is not touched');
  if (device !== 'cpu') return;
  // Long enough to be met in its middle.
  const large = fill([500, 500], 1 / 500);
  const rounds = recorded([large], () => {
    let y = large;
    for (let i = 0; i < 60; i++) y = matmul(y, large);
    return { y };
  });
  await rounds.outputs.y.data();
  const during = cancellation();
  const started = performance.now();
  const running = during.run(() => rounds.program.run([large]).y.data()) as Promise<unknown>;
  await new Promise((resolve) => setTimeout(resolve, 5));
  during.cancel();
  await t.rejects(running, { code: 'E_ABORTED' });
  await sync();
  t.ok(performance.now() - started < 2000);
});

everywhere('failures name the op and travel with the values', async (t) => {
  const table = fill([4, 2], 1);
  const rows = Tensor.from(Int32Array.of(0, 3));
  const { program } = recorded([rows], () => ({ y: add(gather(table, rows), 1) }));
  t.equal((await program.run([rows]).y.data())?.[0], 2);
  const failed = fill([1 << 30, 1 << 10], 1);
  await t.rejects(failed.slice(0, 0, 1).slice(1, 0, 1).data(), { code: 'E_OOM', message: /^fill: / });
  const { y } = program.run([Tensor.from(Int32Array.of(0, 9))]) as { y: Tensor };
  await t.rejects(y.data(), { code: 'E_OPTION', message: /^gather: .*9/ });
  await t.rejects(sum(y).data(), { code: 'E_OPTION', message: /^gather: / }, 'and whoever reads them');
  t.equal((await program.run([rows]).y.data())?.[0], 2, 'the next run is right');
  // Replays behind one another: each tells of its own values.
  const runs = [
    [0, 1],
    [4, 1],
    [1, 2],
    [2, -1],
    [3, 3],
  ].map((of) => program.run([Tensor.from(Int32Array.from(of))]).y);
  const settled = await Promise.allSettled(runs.map((run) => run.data()));
  t.same(
    settled.map((s) => (s.status === 'fulfilled' ? s.value[3] : s.reason.message)),
    [2, 'gather: index 4 at position 0 is outside 0..3', 2, 'gather: index -1 at position 1 is outside 0..3', 2],
  );
});

everywhere('the cache records what comes again', async (t) => {
  const programs = new Programs('cached');
  let calls = 0;
  const work = (key: string, n: number) =>
    programs.run(key, [Tensor.from(noise(n, n), [n])], ([x]) => {
      calls++;
      return { y: add(x as Tensor, 1) };
    });
  const values = [];
  for (let i = 0; i < 4; i++) values.push(await work('a', 5).y.data());
  t.equal(calls, 2, 'called, recorded, then replayed');
  for (const value of values)
    t.same(
      value,
      Float32Array.from(noise(5, 5), (v) => v + 1),
    );
  work('b', 5);
  work('a', 6);
  t.equal(calls, 4, 'another key, another shape');
  const strided = fill([3, 2], 1).permute(1, 0);
  for (let i = 0; i < 4; i++) programs.run('a', [strided], () => ({ y: add(strided, ++calls * 0) }));
  t.equal(calls, 8, 'not for strided inputs');
  const bound = requireGrad(Tensor.from([1, 2]));
  for (let i = 0; i < 3; i++)
    programs.run('read', [fill([2], 1)], ([x]) => ({ y: add(x as Tensor, (x as Tensor).dataSync()[0] as number) }));
  t.ok(bound.requiresGrad);
  for (let i = 0; i < 40; i++) for (let k = 0; k < 2; k++) work(`many ${i}`, 5);
  t.same(await work('a', 5).y.data(), values[0], 'after others took its place');
  programs.dispose();
  t.same(await work('a', 5).y.data(), values[0], 'after dispose');
  programs.dispose();
});

const child = fileURLToPath(new URL('../helpers/program-child.js', import.meta.url));
async function inChild(env: Record<string, string>): Promise<string[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [child], {
    env: { ...process.env, WORDMASK_SIMT: '1', ...env },
  });
  return JSON.parse(stdout) as string[];
}
const simtOnly = noDevice() || (deviceUnderTest.startsWith('simt') ? false : 'faults are made by the emulated device');

t.test('captures and graphs that fail', { skip: simtOnly }, async (t) => {
  const right = Array.from({ length: 6 }, () => 'right');
  t.same(await inChild({}), right);
  // cudaErrorStreamCaptureInvalidated, cudaErrorMemoryAllocation: ops are queued one by one from then on.
  t.same(await inChild({ WORDMASK_SIMT_FAULT: 'capture:1:901' }), right);
  t.same(await inChild({ WORDMASK_SIMT_FAULT: 'capture:1:2' }), right);
  t.same(await inChild({ WORDMASK_SIMT_FAULT: 'graph:1:2' }), right, 'a launch that finds no memory');
  t.same(await inChild({ WORDMASK_SIMT_FAULT: 'graph:2:1' }), right);
  // cudaErrorLaunchFailure of the second launch: sticky. It is the fourth run: recorded, queued and captured, launched.
  t.same(await inChild({ WORDMASK_SIMT_FAULT: 'graph:2:719' }), [
    ...right.slice(0, 3),
    ...Array.from({ length: 3 }, () => 'E_DEVICE_LOST'),
  ]);
});
