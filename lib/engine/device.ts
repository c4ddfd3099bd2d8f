/** Devices, threads and memory of this process. */
import { addon, type BackendReport, binaryFolder } from '../binding/addon.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

export interface MemoryReport {
  /** Bytes in use by tensors and kernels now. */
  readonly liveBytes: number;
  /** Bytes kept for reuse. */
  readonly cachedBytes: number;
  /** Highest `liveBytes` since the start or the last reset. */
  readonly peakBytes: number;
}

/** Memory by device. Waits for nothing: queued releases count as live. */
export function memory(): Record<string, MemoryReport> {
  return { cpu: addon().memory() };
}

/** Gives cached memory back to the system. */
export function trimMemory(): void {
  addon().memoryTrim();
}

export function resetPeakMemory(): void {
  addon().memoryResetPeak();
}

/** Threads of the CPU back end. Results do not depend on them. @throws E_OPTION */
export function setThreads(count: number): void {
  if (!Number.isInteger(count) || count < 1 || count > 256) {
    throw new WordmaskError('E_OPTION', `threads must be a whole number from 1 to 256, got ${show(count)}`);
  }
  addon().threads(count);
}

export function getThreads(): number {
  return addon().threads();
}

/** Resolves when everything queued so far has run. */
export async function sync(): Promise<void> {
  await addon().fence();
}

export interface DeviceInfo {
  readonly name: string;
  readonly usable: boolean;
  /** Instruction tier of the CPU. */
  readonly tier?: string;
  readonly threads?: number;
  /** Why it cannot be used, and what to do. */
  readonly reason?: string;
  readonly remedy?: string;
}

/** What works here and why the rest does not. */
export function devices(): DeviceInfo[] {
  const native = addon();
  const cuda: BackendReport = native.backendReport('cuda', binaryFolder ?? '');
  return [
    { name: 'cpu', usable: true, tier: native.cpuTier(), threads: native.threads() },
    cuda.usable
      ? {
          name: 'cuda',
          usable: false,
          reason: `${cuda.devices} CUDA device(s) found, but this version has no CUDA kernels yet`,
          remedy: "use device 'cpu'",
        }
      : { name: 'cuda', usable: false, reason: cuda.reason, remedy: cuda.remedy },
  ];
}

const devicePattern = /^(cpu|cuda(:\d{1,3})?|auto)$/;

/** Checks a device option's form. @throws E_OPTION */
export function parseDevice(value: unknown): string {
  if (typeof value === 'string' && devicePattern.test(value)) return value;
  const guess = typeof value === 'string' ? nearest(value, ['cpu', 'cuda', 'auto']) : undefined;
  throw new WordmaskError(
    'E_OPTION',
    `device must be cpu, cuda, cuda:N or auto, got ${show(value)}${guess ? `; did you mean '${guess}'?` : ''}`,
  );
}

/** The device to run on, for a checked option. @throws E_DEVICE when it is another than the CPU */
export function requireCpu(device: string): 'cpu' {
  if (device === 'cpu' || device === 'auto') return 'cpu';
  const found = devices().find(({ name }) => device.startsWith(name));
  throw new WordmaskError(
    'E_DEVICE',
    `device ${device} cannot be used: ${found?.reason}. ${found?.remedy}; \`wordmask doctor\` tells more`,
    { details: { device } },
  );
}
