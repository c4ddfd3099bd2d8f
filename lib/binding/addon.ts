/** Finds and loads the native add-on; the only file that knows its path. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, WordmaskError } from '../util/errors.js';

/** Opaque bytes on a device. `dispose` drops the reference in queue order. */
export interface NativeStorage {
  readonly bytes: number;
  dispose(): void;
}
export type NativeToken = { readonly __token: unique symbol };
export type NativeProgram = { readonly __program: unique symbol };
export type NativeMapped = { readonly __mapped: unique symbol };

/** A tensor as the add-on describes it; `dtype` is the C ABI's number, offset and strides count elements. */
export interface NativeWindow {
  readonly storage: NativeStorage;
  readonly dtype: number;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

export interface NativeMemory {
  readonly liveBytes: number;
  readonly cachedBytes: number;
  readonly peakBytes: number;
}

/** The add-on's functions; views travel as numbers (native/napi/addon.cpp says how), devices as those of `openDevice`, default the CPU's. */
export interface Addon {
  run(
    op: string,
    storages: (NativeStorage | null)[],
    meta: Float64Array,
    attrs: Float64Array,
    numOutputs: number,
    token: NativeToken | null,
    device?: number,
  ): NativeStorage[];
  programBegin(name: string, storages: NativeStorage[], meta: Float64Array, device: number): NativeProgram;
  /** As `run`, noted in a program. */
  programOp(
    program: NativeProgram,
    op: string,
    storages: (NativeStorage | null)[],
    meta: Float64Array,
    attrs: Float64Array,
    numOutputs: number,
    token: NativeToken | null,
  ): NativeStorage[];
  programEnd(program: NativeProgram, storages: NativeStorage[], meta: Float64Array): void;
  programRun(
    program: NativeProgram,
    storages: NativeStorage[],
    meta: Float64Array,
    token: NativeToken | null,
  ): NativeStorage[];
  /** What lies between inputs and outputs. */
  programBytes(program: NativeProgram): number;
  programFree(program: NativeProgram): void;
  fromHost(array: ArrayBufferView, device?: number): NativeStorage;
  lend(array: ArrayBufferView, device?: number): NativeStorage;
  mapFile(path: string): NativeMapped;
  mappedSize(mapped: NativeMapped): number;
  /** Copies where the offset is no multiple of `elementBytes`. */
  fromMapped(mapped: NativeMapped, offset: number, bytes: number, elementBytes: number, device?: number): NativeStorage;
  /** A contiguous copy of a view on another device. */
  transfer(storage: NativeStorage, meta: Float64Array, from: number, to: number): NativeStorage;
  /** Fills the buffer, which nobody may look at before the promise settles. */
  read(storage: NativeStorage, meta: Float64Array, buffer: ArrayBuffer, device?: number): Promise<ArrayBuffer>;
  readSync(storage: NativeStorage, meta: Float64Array, buffer: ArrayBuffer, device?: number): ArrayBuffer;
  /** An External with a wm_dlpack_box, once the values are there. */
  exportDlpack(storage: NativeStorage, meta: Float64Array, device: number): Promise<unknown>;
  /** Where the values lie: 'cpu', 'cuda:0'. */
  dlpackDevice(external: unknown): string;
  importDlpack(external: unknown, device: number): NativeWindow;
  /** An External with a wm_tensor_handle. */
  handle(storage: NativeStorage, meta: Float64Array, device: number): unknown;
  fence(device?: number): Promise<unknown>;
  synchronise(device?: number): void;
  tokenCreate(): NativeToken;
  tokenCancel(token: NativeToken): void;
  memory(device?: number): NativeMemory;
  memoryTrim(device?: number): void;
  memoryResetPeak(device?: number): void;
  /** Number of a device, opened the first time. Devices are numbered from the CPU's 0 on. */
  openDevice(name: string): number;
  /** With `selfTest` a usable device is opened and tested. */
  deviceReport(name: string, selfTest: boolean): DeviceReport;
  deviceHasOp(device: number, op: string): boolean;
  threads(count?: number): number;
  ops(): string[];
  cpuTier(): string;
  host(name: string, arrays: ArrayBufferView[], attrs: Float64Array, token: NativeToken | null): Promise<Uint8Array[]>;
  hostSync(name: string, arrays: ArrayBufferView[], attrs: Float64Array): Uint8Array[];
  backendReport(name: string, folder: string): BackendReport;
  capi(): unknown;
}

/** Whether a device module can be used; if not, the step that failed and what to do. */
export interface BackendReport {
  readonly usable: boolean;
  readonly devices: number;
  readonly step: string;
  readonly reason: string;
  readonly remedy: string;
}

/** What a device of a module says of itself. */
export interface DeviceReport {
  readonly usable: boolean;
  readonly title: string;
  /** Compute capability, '9.0'. */
  readonly capability: string;
  readonly multiprocessors: number;
  /** 1000 * major + 10 * minor. */
  readonly driverVersion: number;
  readonly runtimeVersion: number;
  readonly totalBytes: number;
  /** 0 where asking would open it. */
  readonly freeBytes: number;
  readonly reason: string;
  readonly remedy: string;
}

/** Root folder of the package: where package.json, assets/ and build/ are. */
export const packageRoot: string = findPackageRoot();

function findPackageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { name?: string }).name === 'wordmask')
      return folder;
    const parent = dirname(folder);
    if (parent === folder)
      throw new WordmaskError('E_INTERNAL', 'the package root of wordmask was not found above its own files');
    folder = parent;
  }
}

const statusCodes: readonly ErrorCode[] = [
  'E_INTERNAL',
  'E_USAGE',
  'E_OPTION',
  'E_OOM',
  'E_DEVICE',
  'E_DEVICE_LOST',
  'E_ABORTED',
  'E_NUMERIC',
  'E_DISK',
  'E_DISPOSED',
  'E_INTERNAL',
];

function errorFromStatus(status: number, text: string, device: string): WordmaskError {
  return new WordmaskError(statusCodes[status] ?? 'E_INTERNAL', text, {
    details: { backend: device.split(':', 1)[0], device },
  });
}

let loaded: Addon | undefined;

/** Folder of the binaries, once the add-on is loaded. */
export let binaryFolder: string | undefined;

/** The add-on, loaded on first use. @throws E_DEVICE naming every place that was tried */
export function addon(): Addon {
  if (loaded) return loaded;
  const require = createRequire(import.meta.url);
  const failures: string[] = [];
  for (const candidate of candidates(require)) {
    try {
      loaded = (require(candidate) as { init(factory: typeof errorFromStatus): Addon }).init(errorFromStatus);
      binaryFolder = dirname(candidate);
      return loaded;
    } catch (cause) {
      failures.push(`${candidate}: ${(cause as Error).message.split('\n')[0]}`);
    }
  }
  throw new WordmaskError(
    'E_DEVICE',
    `the native part of wordmask could not be loaded for ${process.platform}-${process.arch}. Tried ${failures.join('; ') || 'no file'}. ` +
      'Build it with `npm run build:native` (needs CMake, make or Ninja and a C++17 compiler)',
    { details: { failures } },
  );
}

function candidates(require: NodeJS.Require): string[] {
  const list = [join(packageRoot, 'build', 'Release', 'wordmask.node')].filter((file) => existsSync(file));
  for (const name of [
    `@wordmask/${process.platform}-${process.arch}-cuda`,
    `@wordmask/${process.platform}-${process.arch}`,
  ]) {
    try {
      list.push(require.resolve(`${name}/wordmask.node`));
    } catch {
      // Optional dependency that is not installed.
    }
  }
  return list;
}
