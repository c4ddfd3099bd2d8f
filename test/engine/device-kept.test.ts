/** What a device keeps for later calls: the CRF's lattices of positions. Same bytes with and without, bounded, given back. */
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { memory, onDevice, sync, trimMemory } from '#lib/engine/index.js';
import { solve } from '../helpers/crf-load.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

const skip = noDevice();
t.setTimeout(600_000);

const cached = () => memory()[deviceUnderTest]?.cachedBytes ?? 0;
const live = () => memory()[deviceUnderTest]?.liveBytes ?? 0;

t.test('a lattice of positions stays until memory is asked for', { skip }, (t) =>
  onDevice(deviceUnderTest, async () => {
    const first = await solve(20, 17, 3);
    await sync();
    const [heldBytes, liveBytes] = [cached(), live()];
    t.ok(heldBytes > 0, `${heldBytes} bytes are kept`);
    t.equal(first.compare(await solve(20, 17, 3)), 0, 'the same bytes from it');
    t.equal(cached(), heldBytes, 'nothing more');
    t.not(first.compare(await solve(20, 17, 4)), 0, 'another scale');
    t.not(first.compare(await solve(17, 20, 3)), 0, 'another size');
    await solve(20, 17, 50, true);
    const three = cached();
    t.ok(three > 2 * heldBytes, 'one a size and scale');
    await solve(20, 17, 50, true);
    t.equal(cached(), three, 'none of a picture');
    for (let side = 5; side < 25; side++) await solve(side, side, 3);
    await sync();
    t.equal(live(), liveBytes, 'live memory is that of tensors');
    const many = cached();
    for (let side = 5; side < 25; side++) await solve(side, side, 3);
    t.equal(cached(), many, 'no more than the limit');
    trimMemory();
    t.equal(cached(), 0);
    t.equal(first.compare(await solve(20, 17, 3)), 0, 'made again');
    trimMemory();
  }),
);

t.test('threads with queues of their own, while another trims', { skip }, async (t) => {
  const script = new URL('../helpers/crf-load.js', import.meta.url);
  const workers = [0, 1].map(
    () => new Worker(script, { workerData: { crf: true, device: deviceUnderTest }, env: { ...process.env } }),
  );
  const results = workers.map(
    (worker) => new Promise<{ solved: number; different: number }>((done) => worker.once('message', done)),
  );
  await onDevice(deviceUnderTest, async () => {
    const first = await solve(12, 9, 3);
    for (let i = 0; i < 60; i++) {
      trimMemory();
      if (i % 4 === 0) t.equal(first.compare(await solve(12, 9, 3)), 0);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  for (const worker of workers) worker.postMessage('stop');
  for (const { solved, different } of await Promise.all(results)) {
    t.ok(solved > 1, `${solved} times`);
    t.equal(different, 0);
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  trimMemory();
  t.equal(cached(), 0, 'their queues took nothing along');
});
