/** Environments beside the main thread: started, ended in the middle of work, all at once, and never a crash. */
import { execFile } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { sync } from '#lib/engine/index.js';
import { answer } from '../helpers/answer.js';
import { heldBytes } from '../helpers/memory.js';

const script = new URL('../helpers/worker-load.js', import.meta.url);
const file = join(await mkdtemp(join(tmpdir(), 'wordmask-workers-')), 'mapped');
await writeFile(file, new Uint8Array(1 << 12));

const start = (kind: string) => new Worker(script, { workerData: { kind, file }, env: { ...process.env } });
const message = (worker: Worker) =>
  new Promise<unknown>((resolve, reject) => worker.once('message', resolve).once('error', reject));
const exit = (worker: Worker) => new Promise<number>((resolve) => worker.once('exit', resolve));

t.setTimeout(300_000);

t.test('several environments at once compute the same', async (t) => {
  const workers = Array.from({ length: 4 }, () => start('answer'));
  const codes = workers.map(exit);
  const [own, ...others] = await Promise.all([answer(), ...workers.map(message)]);
  t.same(others, [own, own, own, own]);
  t.same(await Promise.all(codes), [0, 0, 0, 0]);
});

t.test('terminated with work in flight', async (t) => {
  const before = await heldBytes();
  const rounds = 24;
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < rounds; i = next++) {
      const worker = start('busy');
      // Some end while they load, most in the middle of work.
      if (i % 8 !== 0) await message(worker);
      await delay((i * 7) % 23);
      t.ok((await worker.terminate()) <= 1);
    }
  };
  await Promise.all([lane(), lane(), lane(), answer().then(() => answer())]);
  t.ok(Number.isFinite(await answer()), 'this environment goes on');
  await sync();
  t.equal(await heldBytes(), before, 'the bytes of the ended ones are back');
});

t.test('workers that end by themselves', async (t) => {
  t.equal(await exit(start('exit')), 0, 'process.exit() inside');
  const failing = start('throw');
  const error = new Promise<Error>((resolve) => failing.once('error', resolve));
  t.equal(await exit(failing), 1);
  t.match(await error, { message: 'mine' });
  t.equal(await exit(start('forget')), 0, 'pending promises keep it alive until they settle');
});

t.test('the process ends at once with work in flight', async (t) => {
  const root = join(fileURLToPath(import.meta.url), '../../../../..');
  const end = async (last: string) => {
    const program = `
      import { fill, matmul, hostCall, Tensor } from '#lib/engine/index.js';
      let x = fill([1024, 1024], 1 / 1024);
      for (let i = 0; i < 400; i++) x = matmul(x, x);
      x.data().catch(() => {});
      Tensor.lend(new Float32Array(1000), [1000]);
      ${last}`;
    const started = performance.now();
    await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { cwd: root });
    return performance.now() - started;
  };
  // 400 products of 1024 x 1024 take ten seconds and more: they are skipped.
  const ms = await end('setTimeout(() => process.exit(0), 20);');
  t.comment(`process.exit(): ${Math.round(ms)} ms`);
  await t.rejects(end('setTimeout(() => { throw new Error("mine"); }, 20);'), {
    code: 1,
    signal: null,
    stderr: /Error: mine/,
  });
});
