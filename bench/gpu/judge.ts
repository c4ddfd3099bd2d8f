/** From a timing to a line of the results: rates, shares of the measured peaks, floor, verdict, and what holds a case back. */
import { type GpuCase, idOf, type Ratio, type Unit } from './case.js';
import type { QueuedTiming } from './timing.js';

/** Of the device, measured in the same run. */
export interface Peaks {
  /** bf16 products with sums in f32, FLOP/s. */
  readonly flops: number;
  /** Bytes read and written a second. */
  readonly bytes: number;
}

export type Verdict = 'goal' | 'accept' | 'missed' | 'measured' | 'failed' | 'skipped';

export interface CaseLine extends Record<string, unknown> {
  readonly name: string;
  readonly case: string;
  readonly by: string;
  readonly verdict: Verdict;
}

/** What kernels.md measured on an H200 is its ceiling, also where this package's own product does not reach it. */
const known = [{ device: /H200/, flops: 790e12, bytes: 4.3e12 }];

export function ceilings(title: string, measured: Peaks): Peaks {
  const page = known.find(({ device }) => device.test(title));
  return {
    flops: Math.max(measured.flops, page?.flops ?? 0),
    bytes: Math.max(measured.bytes, page?.bytes ?? 0),
  };
}

/** Units in which less is better. */
const lower: readonly Unit[] = ['us', 'ms', 'times floor'];

function verdictOf(value: number, unit: Unit | 'ratio', accept?: number, goal?: number): Verdict {
  const reaches = (limit: number) => (lower.includes(unit as Unit) ? value <= limit : value >= limit);
  if (accept === undefined && goal === undefined) return 'measured';
  if (goal !== undefined && reaches(goal)) return 'goal';
  if (accept !== undefined && reaches(accept)) return 'accept';
  return 'missed';
}

function limiterOf(c: GpuCase, timing: QueuedTiming, arithmetic: number, memory: number): string {
  const { median, queueUs, batch, primed } = timing;
  const share = (ms: number) => `${((100 * ms) / median).toFixed(0)}%`;
  // A batch that waited on the device before its time began does not show the host.
  if (!primed && queueUs > 800 * median && batch > 1)
    return `the host: queueing a call takes ${queueUs.toFixed(0)} us of ${(1000 * median).toFixed(0)}`;
  const floors = [
    ['memory', memory],
    ['arithmetic', arithmetic],
  ] as const;
  const known = floors.filter(([, ms]) => ms > 0).sort(([, a], [, b]) => b - a);
  if (known.length === 0) return 'not known: the call has no cost formula';
  const explained = known.map(([what, ms]) => `${what} explains ${share(ms)} of the time`).join(', ');
  return `${explained}; the rest is latency, launches${c.group === 'attention' ? ', exponentials' : ''} and stalls: a profiler tells`;
}

function valueIn(unit: Unit, c: GpuCase, ms: number, floor: number): number {
  switch (unit) {
    case 'TFLOP/s':
      return (c.cost.flops ?? 0) / 1e9 / ms;
    case 'us':
      return 1000 * ms;
    case 'ms':
      return ms;
    case 'share of floor':
      return floor / ms;
    case 'times floor':
      return ms / floor;
    case 'per second':
      return ((c.items ?? 1) * 1000) / ms;
  }
}

export function judge(c: GpuCase, timing: QueuedTiming, peaks: Peaks, by = 'wordmask'): CaseLine {
  const { flops = 0, bytes = 0 } = c.cost;
  const at = (amount: number, peak: number) => (peak > 0 ? (1000 * amount) / peak : 0);
  const [arithmetic, memory] = [at(flops, peaks.flops), at(bytes, peaks.bytes)];
  const floor = Math.max(arithmetic, memory);
  const { median } = timing;
  const own = by === 'wordmask';
  const target = own ? c.target : undefined;
  const value = target && valueIn(target.unit, c, median, floor);
  const verdict = target ? verdictOf(value as number, target.unit, target.accept, target.goal) : 'measured';
  return {
    name: c.group,
    case: idOf(c),
    by,
    shape: c.shape,
    dtype: c.dtype,
    ...(c.tier && { tier: c.tier }),
    median_ms: median,
    p95_ms: timing.p95,
    p99_ms: timing.p99,
    best_ms: timing.best,
    runs: timing.runs,
    batch: timing.batch,
    ...(own && { 'queue us': timing.queueUs, primed: timing.primed, ...timing.memory }),
    ...(timing.stages && { stages: timing.stages }),
    ...(flops > 0 && { 'TFLOP/s': flops / 1e9 / median, 'share of arithmetic': arithmetic / median }),
    ...(bytes > 0 && { 'GB/s': bytes / 1e6 / median, 'share of copy': memory / median }),
    ...(floor > 0 && { floor_ms: floor, share: floor / median }),
    ...(c.items && { 'per second': (c.items * 1000) / median }),
    ...(target && { unit: target.unit, value, accept: target.accept, goal: target.goal }),
    verdict,
    ...(verdict === 'missed' && { limiter: limiterOf(c, timing, arithmetic, memory) }),
  };
}

/** How many times faster than a yardstick; the medians of one run. */
export function ratioLine(c: GpuCase, against: string, own: number, other: number, wanted: Ratio): CaseLine {
  const value = other / own;
  return {
    name: 'ratio',
    case: idOf(c),
    by: `wordmask over ${against}`,
    value,
    unit: 'ratio',
    accept: wanted.accept,
    goal: wanted.goal,
    verdict: verdictOf(value, 'ratio', wanted.accept, wanted.goal),
  };
}
