/** What a worker of test/engine/workers.test.ts does until it is ended. */
import { setImmediate as turn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import {
  backward,
  fill,
  hostCall,
  mapFile,
  matmul,
  mean,
  onDevice,
  requireGrad,
  softmax,
  square,
  Tensor,
  withSignal,
} from '#lib/engine/index.js';
import { answer } from './answer.js';

const { kind, file, device } = workerData as { kind: string; file: string; device?: string };
// Kernels on the emulated device are slow.
const side = device ? 24 : 256;

/** Everything that can be in flight: ops, reads, fences, loans, mapped bytes, host algorithms, tokens, gradients. */
async function busy(): Promise<never> {
  const forgotten: unknown[] = [];
  for (let round = 0; ; round++) {
    const big = fill([side, side], 1 / side);
    const lent = Tensor.lend(new Float32Array(side * side).fill(0.5), [side, side]);
    const mapped = mapFile(file).tensor(0, 'f32', [16, 16]);
    let x = matmul(big, lent);
    for (let i = 0; i < 20; i++) x = matmul(x, big);
    forgotten.push(x.data(), mapped.data(), answer());
    const bytes = new Uint8Array(1 << 16).fill(round);
    forgotten.push(hostCall('distance_transform', [bytes], [256, 256]).catch(() => undefined));
    forgotten.push(withSignal(new AbortController().signal, () => softmax(x).data() as Promise<unknown>));
    const w = requireGrad(fill([side / 4, side / 4], 0.1));
    forgotten.push(
      backward(mean(square(matmul(w, w))))
        .get(w)
        ?.data(),
    );
    if (round % 3 === 0) lent.dispose();
    if (round === 1) parentPort?.postMessage('busy');
    if (forgotten.length > 64) await Promise.allSettled(forgotten.splice(0, 32) as Promise<unknown>[]);
    await turn();
  }
}

switch (kind) {
  case 'answer':
    parentPort?.postMessage(await answer());
    break;
  case 'busy':
    await (device ? onDevice(device, busy) : busy());
    break;
  case 'exit':
    setTimeout(() => process.exit(0), 20);
    await busy();
    break;
  case 'throw':
    setTimeout(() => {
      throw new RangeError('mine');
    }, 20);
    await busy();
    break;
  case 'forget':
    // Ends with promises that nobody waits for.
    for (let i = 0; i < 20; i++) void answer();
    break;
}
