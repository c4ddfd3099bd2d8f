/** Times a queued call and prints its line: milliseconds, GFLOP/s or GB/s, and the share of the measured peak. */
import { type DType, scope, sync } from '#lib/engine/index.js';
import { type Peaks, print, time } from '../harness.js';

export interface OpCase {
  readonly name: string;
  readonly case: string;
  readonly shapes: readonly string[];
  readonly dtype: DType;
  readonly threads: number;
  /** Work of one call; cases without FLOP are judged by bytes. */
  readonly flops?: number | undefined;
  readonly bytes: number;
  /** More columns of the line, for instance the formula the figure stands beside. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

/** Calls of a batch: launches overlap, so the queue's latency does not count. */
const batch = 4;

/** `call` queues the op once; its results are freed by the scope around it. */
export async function measure(what: OpCase, peaks: Peaks, seconds: number, call: () => unknown): Promise<void> {
  const timing = await time(
    async () => {
      for (let i = 0; i < batch; i++) {
        scope(() => {
          call();
        });
      }
      await sync();
    },
    { seconds, least: 5 },
  );
  const { flops, bytes, extra, ...columns } = what;
  const ms = timing.median / batch;
  const gflops = flops ? flops / 1e6 / ms : undefined;
  const gbs = bytes / 1e6 / ms;
  const peak = (what.dtype === 'bf16' && peaks.bf16 ? peaks.bf16 : peaks.f32) * what.threads;
  print({
    ...columns,
    device: 'cpu',
    median_ms: ms,
    best_ms: timing.best / batch,
    runs: timing.runs,
    'GFLOP/s': gflops,
    'GB/s': gbs,
    share: gflops ? gflops / peak : gbs / peaks.copy,
    ...extra,
  });
}
