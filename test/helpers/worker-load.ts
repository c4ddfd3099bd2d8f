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
  requireGrad,
  scope,
  softmax,
  square,
  Tensor,
  withSignal,
} from '#lib/engine/index.js';

const { kind, file } = workerData as { kind: string; file: string };

/** One value that depends on arithmetic, for comparison between environments. */
async function answer(): Promise<number> {
  return scope(async () => {
    const a = Tensor.from(
      Float32Array.from({ length: 128 * 128 }, (_, i) => Math.sin(i)),
      [128, 128],
    );
    let x = a;
    for (let i = 0; i < 10; i++) x = softmax(matmul(x, a));
    return mean(square(x)).item();
  });
}

/** Everything that can be in flight: ops, reads, fences, loans, mapped bytes, host algorithms, tokens, gradients. */
async function busy(): Promise<never> {
  const forgotten: unknown[] = [];
  for (let round = 0; ; round++) {
    const big = fill([256, 256], 1 / 256);
    const lent = Tensor.lend(new Float32Array(256 * 256).fill(0.5), [256, 256]);
    const mapped = mapFile(file).tensor(0, 'f32', [16, 16]);
    let x = matmul(big, lent);
    for (let i = 0; i < 20; i++) x = matmul(x, big);
    forgotten.push(x.data(), mapped.data(), answer());
    const bytes = new Uint8Array(1 << 16).fill(round);
    forgotten.push(hostCall('distance_transform', [bytes], [256, 256]).catch(() => undefined));
    forgotten.push(withSignal(new AbortController().signal, () => softmax(x).data() as Promise<unknown>));
    const w = requireGrad(fill([64, 64], 0.1));
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
    await busy();
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
