/** Where the time of one encode goes: each op alone, with the queue drained before and after it. */
import { addon } from '#lib/binding/addon.js';
import { setThreads } from '#lib/engine/index.js';
import { print } from '../harness.js';
import { encode, noisePixels, openVision } from './clip-encode.js';

const encodes = 10;

export async function benchProfile(options: { model: string; threads: readonly number[] }): Promise<void> {
  if (!options.model) {
    print({ name: 'profile', skipped: 'name a CLIP folder with --model DIR' });
    return;
  }
  const native = addon();
  const { run } = native;
  const times = new Map<string, number[]>();
  // The queue's own latency, some 10 us, is in every figure.
  const timed: typeof run = (op, ...rest) => {
    native.synchronise();
    const start = performance.now();
    const outputs = run.call(native, op, ...rest);
    native.synchronise();
    times.set(op, [...(times.get(op) ?? []), performance.now() - start]);
    return outputs;
  };
  for (const compute of ['f32', 'bf16'] as const) {
    const model = await openVision(options.model, compute);
    const pixels = noisePixels(1, model.config.vision.imageSize);
    for (const threads of options.threads) {
      setThreads(threads);
      for (let i = 0; i < 3; i++) await encode(model, pixels);
      times.clear();
      native.run = timed;
      try {
        for (let i = 0; i < encodes; i++) await encode(model, pixels);
      } finally {
        native.run = run;
      }
      const rows = [...times].map(([op, list]) => ({
        op,
        calls: list.length / encodes,
        ms: list.reduce((a, b) => a + b, 0) / encodes,
      }));
      const total = rows.reduce((sum, { ms }) => sum + ms, 0);
      for (const { op, calls, ms } of rows.sort((a, b) => b.ms - a.ms))
        print({ name: 'profile', dtype: compute, threads, op, calls, 'ms an encode': ms, share: ms / total });
    }
    model.dispose();
  }
}
