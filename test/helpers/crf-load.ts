/** A small dense CRF on a device; as a worker, the same until it is told to stop, counting results that differ. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { denseCrfOp, onDevice, scope, Tensor } from '#lib/engine/index.js';

/** Marginals of a made-up picture with one term, `gaussian` unless a bilateral one is asked for. */
export const solve = (width: number, height: number, sxy: number, bilateral = false): Promise<Buffer> =>
  scope(async () => {
    const unary = Float32Array.from({ length: 3 * width * height }, (_, i) => ((i * 37) % 101) / 50);
    const image = Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * 29) % 251);
    const term = { kind: bilateral ? 2 : 1, sx: sxy, sy: sxy, sr: 13, sg: 13, sb: 13, compat: 3 } as const;
    const out = denseCrfOp(
      bilateral ? Tensor.from(image, [height, width, 3]) : undefined,
      Tensor.from(unary, [3, height, width]),
      [term],
      2,
    );
    return Buffer.from((await out.data()).buffer as ArrayBuffer);
  });

if (!isMainThread && workerData?.crf) {
  let running = true;
  parentPort?.once('message', () => {
    running = false;
  });
  const { device } = workerData as { device: string };
  await onDevice(device, async () => {
    const first = await solve(12, 9, 3);
    let solved = 1;
    let different = 0;
    while (running) {
      if (first.compare(await solve(12, 9, 3)) !== 0) different++;
      solved++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    parentPort?.postMessage({ solved, different });
  });
}
