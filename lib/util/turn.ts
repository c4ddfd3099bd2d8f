/** Lets the event loop turn once between two pieces of host work. @throws `signal.reason` when aborted meanwhile */
export async function turn(signal?: AbortSignal): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  signal?.throwIfAborted();
}
