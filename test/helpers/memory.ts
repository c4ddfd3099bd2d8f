/** Bytes in use once everything queued has run and everything forgotten is collected. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { memory, sync } from '#lib/engine/index.js';

setFlagsFromString('--expose-gc');
export const collectGarbage = runInNewContext('gc') as () => void;

/** Live device bytes now; queued releases have happened. */
export async function liveBytes(device = 'cpu'): Promise<number> {
  await sync();
  return memory()[device]?.liveBytes ?? -1;
}

/** Live device bytes after the garbage collector and the finalizers it set free: what is really held. */
export async function heldBytes(device = 'cpu'): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return liveBytes(device);
}
