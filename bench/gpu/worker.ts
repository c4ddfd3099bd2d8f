/**
 * The process that measures: takes ids of cases from its first line of input and says on its output when each begins and what it
 * took. A kernel that kills the process or loses the device costs one case; the parent starts another process for the rest.
 */
import { createInterface } from 'node:readline';
import {
  memory,
  noGrad,
  onDevice,
  resetPeakMemory,
  resolveDevice,
  scope,
  sync,
  trimMemory,
} from '#lib/engine/index.js';
import { WordmaskError } from '#lib/util/errors.js';
import { Bench, type GpuCase, idOf, type Prepared } from './case.js';
import { allCases } from './cases.js';
import type { Spoken } from './processes.js';
import { type QueuedTiming, Timer, type TimingOptions } from './timing.js';

export interface WorkRequest extends TimingOptions {
  readonly device: string;
  readonly tiny: boolean;
  readonly ids: readonly string[];
  /** Run what the cases have for cuBLASLt. */
  readonly cublaslt: boolean;
  /** No case begins after this time (Date.now()). */
  readonly deadline: number;
}

export type WorkAnswer =
  | { readonly timing: QueuedTiming; readonly library?: boolean }
  | { readonly error: string; readonly code?: string };

const say = (answer: Spoken<WorkAnswer>): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);

/** Launchers read the limit at every call. */
function holdToTier(tier: number | undefined): void {
  if (tier === undefined) delete process.env.WORDMASK_CUDA_TIER;
  else process.env.WORDMASK_CUDA_TIER = String(tier);
}

const mib = (bytes: number): number => Math.round(bytes / 2 ** 20);

function used(device: string): QueuedTiming['memory'] {
  return {
    'host MiB': mib(process.resourceUsage().maxRSS * 1024),
    'device MiB': mib(memory()[device]?.peakBytes ?? 0),
  };
}

async function measure(c: GpuCase, bench: Bench, timer: Timer, request: WorkRequest): Promise<QueuedTiming> {
  return scope(async () => {
    const build = request.cublaslt ? c.cublaslt?.build : c.build;
    const prepared = (await noGrad(() => build?.(bench) as Prepared | Promise<Prepared>)) as Prepared;
    try {
      await sync();
      resetPeakMemory();
      const time = () => timer.time(prepared, request);
      const timing = await (c.trains ? time() : noGrad(time));
      return { ...timing, stages: prepared.stages?.(), memory: used(bench.device) };
    } finally {
      await prepared.close?.();
    }
  });
}

/** Whether NVIDIA's library was opened: the module takes its own kernels where it is not found. */
async function libraryOpened(): Promise<boolean> {
  const { readFile } = await import('node:fs/promises');
  return (await readFile('/proc/self/maps', 'utf8').catch(() => '')).includes('libcublasLt');
}

export async function work(): Promise<void> {
  const { value } = await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
  const request = JSON.parse(value as string) as WorkRequest;
  const device = resolveDevice(request.device);
  const bench = new Bench(device, request.tiny);
  const cases = new Map(allCases(bench).map((c) => [idOf(c), c]));
  const tier = process.env.WORDMASK_CUDA_TIER;
  await onDevice(device, async () => {
    const timer = new Timer(bench);
    for (const id of request.ids) {
      if (Date.now() > request.deadline) break;
      const c = cases.get(id) as GpuCase;
      say({ begins: id });
      try {
        holdToTier(c.tier ?? (tier === undefined ? undefined : Number(tier)));
        const timing = await measure(c, bench, timer, request);
        const library = request.cublaslt && (await libraryOpened());
        say({ id, timing, ...(request.cublaslt && { library }) });
        if (request.cublaslt && !library) break;
      } catch (error) {
        const code = error instanceof WordmaskError ? error.code : undefined;
        say({ id, error: error instanceof Error ? error.message : String(error), code });
        // Nothing works on it any more: the rest needs another process.
        if (code === 'E_DEVICE_LOST') process.exit(1);
      }
      await sync().catch(() => undefined);
      trimMemory();
    }
  });
  process.exit(0);
}
