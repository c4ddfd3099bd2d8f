/** Devices, threads and memory of this process. */
import { addon, binaryFolder } from '../binding/addon.js';
import { show, WordmaskError } from '../util/errors.js';
import { currentContext } from './context.js';
import { deviceName, deviceNumber, openedDevices, parseDevice } from './device-table.js';

export { parseDevice } from './device-table.js';

export interface MemoryReport {
  /** Bytes in use by tensors and kernels now. */
  readonly liveBytes: number;
  /** Bytes kept for reuse. */
  readonly cachedBytes: number;
  /** Highest `liveBytes` since the start or the last reset. */
  readonly peakBytes: number;
}

/** Memory by device, of those that were opened. Waits for nothing: queued releases count as live. */
export function memory(): Record<string, MemoryReport> {
  return Object.fromEntries(openedDevices().map((device) => [deviceName(device), addon().memory(device)]));
}

/** Gives cached memory back to the system and to devices. */
export function trimMemory(): void {
  for (const device of openedDevices()) addon().memoryTrim(device);
}

export function resetPeakMemory(): void {
  for (const device of openedDevices()) addon().memoryResetPeak(device);
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

/** Resolves when everything queued so far has run: inside `onDevice` on that device, else on all. */
export async function sync(): Promise<void> {
  const { device } = currentContext();
  const wanted = device === undefined ? openedDevices() : [device];
  await Promise.all(wanted.map((number) => addon().fence(number)));
}

export interface DeviceInfo {
  /** `cpu`, `cuda:0`; `cuda` where none can be used. */
  readonly name: string;
  readonly usable: boolean;
  /** Instruction tier of the CPU. */
  readonly tier?: string;
  readonly threads?: number;
  /** What the device calls itself. */
  readonly title?: string;
  /** Compute capability, `9.0`. */
  readonly capability?: string;
  readonly memoryBytes?: number;
  /** Versions as CUDA writes them: 13.0. */
  readonly driver?: string;
  readonly runtime?: string;
  /** Why it cannot be used, and what to do. */
  readonly reason?: string;
  readonly remedy?: string;
}

/**
 * What works here and why the rest does not. A CUDA device is usable when its module answers and its self-test passes; it stays
 * open from then on.
 */
export function devices(): DeviceInfo[] {
  const native = addon();
  const cuda = native.backendReport('cuda', binaryFolder ?? '');
  return [
    { name: 'cpu', usable: true, tier: native.cpuTier(), threads: native.threads() },
    ...(cuda.usable
      ? Array.from({ length: cuda.devices }, (_, index) => deviceInfo(`cuda:${index}`))
      : [{ name: 'cuda', usable: false, reason: cuda.reason, remedy: cuda.remedy }]),
  ];
}

function deviceInfo(name: string): DeviceInfo {
  const { usable, title, capability, totalBytes, driverVersion, runtimeVersion, reason, remedy } = addon().deviceReport(
    name,
    true,
  );
  return {
    name,
    usable,
    ...(title && {
      title,
      capability,
      memoryBytes: totalBytes,
      driver: versionText(driverVersion),
      runtime: versionText(runtimeVersion),
    }),
    ...(!usable && { reason, ...(remedy && { remedy }) }),
  };
}

/** As CUDA counts: 1000 * major + 10 * minor. */
function versionText(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}

let warned = false;

/**
 * The device to run on, opened: `auto` takes the first CUDA device that works, else the CPU, with one warning a process.
 * @param value as `parseDevice` takes it
 * @returns its full name, 'cpu' or 'cuda:0'
 * @throws E_OPTION for what is no device, E_DEVICE with what was found and needed when it cannot be used
 */
export function resolveDevice(value: unknown, onWarn?: (message: string) => void): string {
  const device = parseDevice(value);
  if (device !== 'auto') return openDevice(device);
  // Whoever keeps every module closed has chosen the CPU.
  if (process.env.WORDMASK_BACKEND === 'cpu') return 'cpu';
  const cuda = addon().backendReport('cuda', binaryFolder ?? '');
  let obstacle: Pick<DeviceInfo, 'usable' | 'reason' | 'remedy'> = cuda;
  for (let index = 0; cuda.usable && index < cuda.devices; index++) {
    const found = deviceInfo(`cuda:${index}`);
    if (found.usable) return openDevice(found.name);
    if (index === 0) obstacle = found;
  }
  if (!warned) {
    warned = true;
    const { reason, remedy = 'see `wordmask doctor`' } = obstacle;
    const warn = onWarn ?? ((message: string) => process.emitWarning(message));
    warn(
      `device 'auto' takes the CPU: ${reason}. To use a GPU, ${remedy}; device 'cpu' asks for the CPU without this warning`,
    );
  }
  return 'cpu';
}

function openDevice(name: string): string {
  if (name === 'cpu') return name;
  const kind = name.split(':', 1)[0] as string;
  const { usable, reason, remedy } = addon().backendReport(kind, binaryFolder ?? '');
  if (!usable)
    throw new WordmaskError(
      'E_DEVICE',
      `device ${name} cannot be used: ${reason}. To use it, ${remedy}; \`wordmask doctor\` tells more`,
      { details: { device: name, reason, remedy } },
    );
  return deviceName(deviceNumber(name));
}

/** Bytes that are free on an opened device, as far as it tells. */
export function freeBytes(device: string): number {
  const { freeBytes: free, totalBytes } = addon().deviceReport(device, false);
  return free || totalBytes - addon().memory(deviceNumber(device)).liveBytes;
}

/** Whether models run in bf16 there unless they are told otherwise. */
export function defaultCompute(device: string): 'f32' | 'bf16' {
  return device === 'cpu' ? 'f32' : 'bf16';
}
