/** What a report says about the machine it was made on. */
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os';
import type { DeviceInfo } from '../engine/index.js';

export interface Machine {
  readonly platform: string;
  readonly release: string;
  readonly arch: string;
  /** C library version, on Linux with glibc. */
  readonly glibc?: string;
  readonly cpu: string;
  /** Threads that the process may use. */
  readonly cores: number;
  readonly memoryBytes: number;
  readonly node: string;
  /** Instruction set the kernels use, and their threads. */
  readonly tier?: string;
  readonly threads?: number;
}

export function machine(devices: readonly DeviceInfo[] = []): Machine {
  const header = (process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined)?.header;
  const cpu = devices.find(({ name }) => name === 'cpu');
  return {
    platform: platform(),
    release: release(),
    arch: arch(),
    ...(header?.glibcVersionRuntime && { glibc: header.glibcVersionRuntime }),
    cpu: cpus()[0]?.model.trim() || 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    node: process.versions.node,
    ...(cpu?.usable && { tier: cpu.tier, threads: cpu.threads }),
  };
}
