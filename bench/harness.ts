/** What all benches share: timing, the machine record, JSON lines. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '#lib/binding/addon.js';
import { hostCallSync } from '#lib/engine/host.js';
import { devices } from '#lib/engine/index.js';

export interface Timing {
  /** Milliseconds. */
  readonly median: number;
  readonly best: number;
  readonly runs: number;
}

export interface BenchLine extends Record<string, unknown> {
  readonly name: string;
}

/** Calls `fn` until `seconds` have passed and at least `least` runs are in, after a warm-up. */
export async function time(
  fn: () => Promise<void> | void,
  options: { seconds?: number; least?: number; warmup?: number } = {},
): Promise<Timing> {
  const { seconds = 0.5, least = 5, warmup = 2 } = options;
  for (let i = 0; i < warmup; i++) await fn();
  const samples: number[] = [];
  const end = performance.now() + seconds * 1000;
  while (samples.length < least || (performance.now() < end && samples.length < 10_000)) {
    const start = performance.now();
    await fn();
    samples.push(performance.now() - start);
  }
  samples.sort((a, b) => a - b);
  return { median: samples[samples.length >> 1] as number, best: samples[0] as number, runs: samples.length };
}

export interface Peaks {
  /** GFLOP/s of one thread: f32 fused multiply-add, bf16 dot product (0 where the CPU has none). */
  readonly f32: number;
  readonly bf16: number;
  /** GB/s of one thread reading and writing memory. */
  readonly copy: number;
}

/** Measured, not looked up: the ceilings every share refers to. */
export function measurePeaks(): Peaks {
  const [flops] = hostCallSync('measure_peak', [], [0.3]) as [Uint8Array];
  const [f32 = 0, bf16 = 0] = new Float64Array(flops.buffer, flops.byteOffset, 2);
  const from = new Uint8Array(256 << 20).fill(1);
  const to = new Uint8Array(from.length);
  let copy = 0;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    to.set(from);
    copy = Math.max(copy, (2 * from.length) / 1e6 / (performance.now() - start));
  }
  return { f32, bf16, copy };
}

/** The machine and versions, first line of every result file. No host names, no paths. */
export function machine(): Record<string, unknown> {
  const cpu = cpus();
  return {
    name: 'machine',
    date: new Date().toISOString().slice(0, 10),
    cpu: cpu[0]?.model.trim(),
    cores: cpu.length,
    tier: devices()[0]?.tier,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    wordmask: (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version,
    commit: commit(),
  };
}

/** Of the checkout, or as a packed copy of it says (scripts/pack-gpu.mjs). */
function commit(): string | undefined {
  try {
    const packed = join(packageRoot, 'build', 'commit');
    if (existsSync(packed)) return readFileSync(packed, 'utf8').trim();
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      cwd: packageRoot,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}

export function print(line: BenchLine): void {
  process.stdout.write(
    `${JSON.stringify(line, (_, value: unknown) => (typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value))}\n`,
  );
}
