/** How long the event loop was held. */

/** Runs `fn` and measures the longest time between two turns of the event loop meanwhile, in milliseconds. */
export async function longestTurn<T>(fn: () => Promise<T>): Promise<{ value: T; longest: number }> {
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  try {
    const value = await fn();
    return { value, longest };
  } finally {
    clearInterval(timer);
  }
}
