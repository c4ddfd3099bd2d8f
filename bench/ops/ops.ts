/** Every bench case of every op card: time, GFLOP/s or GB/s, and the share of the machine's measured peak. */
import { type DType, type OpCard, Tensor, dtypeBytes, numel, opCards, run, scope, setThreads, sync } from '#lib/engine/index.js';
import { type Peaks, measurePeaks, print, time } from '../harness.js';
import { makeInput } from '../../test/helpers/samples.js';

/** Runs per timed batch: launches overlap, so the queue's latency does not count. */
const batch = 4;

export async function benchOps(options: { threads: readonly number[]; only: readonly string[]; seconds: number }): Promise<void> {
  const peaks = measurePeaks();
  print({ name: 'peaks', threads: 1, 'f32 GFLOP/s': peaks.f32, 'bf16 GFLOP/s': peaks.bf16, 'copy GB/s': peaks.copy });
  for (const threads of options.threads) {
    setThreads(threads);
    for (const card of opCards().values()) {
      if (options.only.length > 0 && !options.only.includes(card.name)) continue;
      for (const bench of card.bench ?? []) {
        for (const dtype of bench.dtypes ?? (['f32'] as DType[])) await one(card, bench, dtype, threads, peaks, options.seconds);
      }
    }
  }
}

async function one(card: OpCard, bench: NonNullable<OpCard['bench']>[number], dtype: DType, threads: number, peaks: Peaks, seconds: number): Promise<void> {
  await scope(async () => {
    const inputs = bench.inputs.map((input, i) => {
      if (!input) return undefined;
      const { host, dtype: type } = makeInput(`${card.name}/${bench.name}/${i}`, input, dtype);
      return Tensor.from(host, input.shape, type);
    });
    let outputBytes = 0;
    const timing = await time(async () => {
      for (let i = 0; i < batch; i++) {
        scope(() => {
          const outputs = run(card, inputs, bench.attrs);
          outputBytes = outputs.reduce((sum, t) => sum + numel(t.shape) * dtypeBytes(t.dtype), 0);
        });
      }
      await sync();
    }, { seconds, least: 5 });
    const ms = timing.median / batch;
    const bytes = bench.bytes ?? outputBytes + inputs.reduce((sum, t) => sum + (t ? t.size * dtypeBytes(t.dtype) : 0), 0);
    const gflops = bench.flops ? bench.flops / 1e6 / ms : undefined;
    const gbs = bytes / 1e6 / ms;
    const share = gflops ? gflops / ((dtype === 'bf16' && peaks.bf16 ? peaks.bf16 : peaks.f32) * threads) : gbs / peaks.copy;
    print({ name: card.name, case: bench.name, shapes: inputs.map((t) => t?.shape.join('x') ?? '-'), dtype, threads, device: 'cpu', median_ms: ms, best_ms: timing.best / batch, runs: timing.runs, 'GFLOP/s': gflops, 'GB/s': gbs, share });
  });
}
