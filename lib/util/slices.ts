/**
 * Long host loops in slices: no call may hold the event loop for more than 50 ms, so a loop asks `due` now and
 * then and awaits `pause()`, which lets everything else run once and looks at the caller's signal.
 */
import { onAbort } from './on-abort.js';

export class Slices {
  constructor(
    private readonly signal?: AbortSignal,
    private readonly budgetMs = 10,
  ) {
    signal?.throwIfAborted();
  }

  /** True when this turn of the event loop has used up its time, by this loop and all others that are cut into slices. */
  get due(): boolean {
    return turnAge() >= this.budgetMs;
  }

  /** One turn of the event loop; rejects with the signal's reason if it has fired. */
  async pause(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.signal?.throwIfAborted();
  }
}

/** When the current turn first looked at the clock; undefined before. */
let turnBegan: number | undefined;

/** Milliseconds since this turn of the event loop first asked: promises that settle together run in one turn. */
function turnAge(): number {
  const now = performance.now();
  if (turnBegan === undefined) {
    turnBegan = now;
    // The next turn begins anew. Unreferenced: the clock keeps no process alive.
    setImmediate(() => {
      turnBegan = undefined;
    }).unref();
  }
  return now - turnBegan;
}

/**
 * Runs `body(begin, end)` over 0..count in pieces of `grain`, pausing between pieces when due. `grain` is chosen
 * by the caller so that one piece stays well below the budget.
 */
export async function inSlices(
  count: number,
  grain: number,
  body: (begin: number, end: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const slices = new Slices(signal);
  for (let begin = 0; begin < count; begin += grain) {
    if (slices.due) await slices.pause();
    body(begin, Math.min(count, begin + grain));
  }
}

/** `target.set(source, at)` in pieces: tens of megabytes in one go would hold the event loop too long. */
export async function copyInSlices<T extends Int32Array | Float32Array | Uint8Array | Uint16Array | Uint32Array>(
  target: T,
  source: T,
  at = 0,
  signal?: AbortSignal,
): Promise<void> {
  await inSlices(source.length, 1 << 20, (begin, end) => target.set(source.subarray(begin, end), at + begin), signal);
}

/** Settles as `work` does, but rejects with the signal's reason in the abort's own turn. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise<T>((resolve, reject) => {
    if (signal.aborted) {
      work.catch(() => undefined);
      reject(signal.reason);
      return;
    }
    const stopListening = onAbort(signal, () => reject(signal.reason));
    work.then(resolve, reject).finally(stopListening);
  });
}
