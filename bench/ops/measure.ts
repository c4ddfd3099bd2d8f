/** Times a queued call and prints its line: milliseconds, GFLOP/s or GB/s, and the share of the measured peak. */
import { copy, type DType, linear, scope, sync } from '#lib/engine/index.js';
import { Bench } from '../gpu/case.js';
import { type QueuedTiming, Timer } from '../gpu/timing.js';
import { measurePeaks, type Peaks, print, type Timing, time } from '../harness.js';

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

/** Where ops are measured, and with what beside them. */
export interface Place {
  readonly device: string;
  readonly peaks: Peaks;
  readonly seconds: number;
  /** Of a device: how its queue is timed. The CPU has none. */
  readonly timer?: Timer;
}

/** Calls of a batch: launches overlap, so the queue's latency does not count. */
const batch = 4;

/** `call` queues the op once; its results are freed by the scope around it. */
export async function measure(what: OpCase, place: Place, call: () => unknown): Promise<void> {
  const { peaks, seconds, device } = place;
  const timing: Timing & Partial<Pick<QueuedTiming, 'p95' | 'p99'>> = place.timer
    ? await place.timer.time({ call }, { seconds, least: 5 })
    : await timeBatches(call, seconds);
  const { flops, bytes, extra, ...columns } = what;
  const ms = timing.median;
  const gflops = flops ? flops / 1e6 / ms : undefined;
  const gbs = bytes / 1e6 / ms;
  const peak = (what.dtype === 'bf16' && peaks.bf16 ? peaks.bf16 : peaks.f32) * what.threads;
  print({
    ...columns,
    device,
    median_ms: ms,
    best_ms: timing.best,
    runs: timing.runs,
    p95_ms: timing.p95,
    p99_ms: timing.p99,
    'GFLOP/s': gflops,
    'GB/s': gbs,
    share: gflops ? gflops / peak : gbs / peaks.copy,
    ...extra,
  });
}

async function timeBatches(call: () => unknown, seconds: number): Promise<Timing> {
  const { median, best, runs } = await time(
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
  return { median: median / batch, best: best / batch, runs };
}

/** The CPU's peaks are those of one thread; a device's are its product's and its copy's, in both precisions of products. */
export async function openPlace(device: string, seconds: number): Promise<Place> {
  if (device === 'cpu') return { device, seconds, peaks: measurePeaks() };
  const bench = new Bench(device, device.startsWith('simt'));
  const timer = new Timer(bench);
  const rates = await scope(async () => {
    const side = bench.tiny ? 64 : 8192;
    const product = async (dtype: DType) => {
      const [x, w] = [bench.normal([side, side], dtype), bench.normal([side, side], dtype)];
      const { best } = await timer.time({ call: () => linear(x, w) }, { seconds, least: 5 });
      return (2 * side ** 3) / 1e6 / best;
    };
    const large = bench.normal([bench.tiny ? 1 << 14 : 1 << 29]);
    const moved = await timer.time({ call: () => copy(large) }, { seconds, least: 5 });
    return { f32: await product('f32'), bf16: await product('bf16'), copy: (4 * large.size) / 1e6 / moved.best };
  });
  return { device, seconds, timer, peaks: rates };
}
