/** `wordmask doctor`: what is here, what works, and why the rest does not. */
import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import type { DeviceInfo } from '../../engine/index.js';
import { formatBytes } from '../../util/bytes.js';
import { writeFileAtomic } from '../../util/files.js';
import { packageVersion } from '../../util/version.js';
import { exit } from '../exit-codes.js';
import { type Machine, machine } from '../machine.js';
import { errorRecord, type Output, table } from '../output.js';
import type { Context } from '../run.js';
import type { Check } from '../self-test.js';
import { textOption } from '../setup.js';

interface Report {
  readonly wordmask: string;
  readonly machine: Machine;
  readonly packages: Readonly<Record<string, string | null>>;
  readonly devices: readonly DeviceInfo[];
  readonly nativeError?: { readonly code: string; readonly message: string };
  readonly cache: { readonly folder: string; readonly state: string; readonly models: number; readonly bytes: number };
  readonly environment: Readonly<Record<string, string>>;
  readonly selfTest: readonly Check[];
  /** Device `auto` would take; null when none works. */
  readonly ok: boolean;
}

const packages = ['sharp', 'zod', 'commander', 'ndarray', '@huggingface/tokenizers', '@huggingface/hub'];

export async function doctor({ options, output }: Context): Promise<number> {
  const report = await examine(textOption(options, 'cacheDir'));
  const bundle = textOption(options, 'bundle');
  if (bundle !== undefined) await writeFileAtomic(bundle, `${JSON.stringify(report, null, 2)}\n`);
  if (output.json) output.value(report);
  else show(report, output);
  if (bundle !== undefined) output.note(`report written to ${bundle}`);
  return report.ok ? exit.done : exit.device;
}

async function examine(cacheDir: string | undefined): Promise<Report> {
  const native = await examineNative();
  return {
    wordmask: packageVersion,
    machine: machine(native.devices),
    packages: await packageVersions(),
    ...native,
    cache: await examineCache(cacheDir),
    environment: environment(),
    ok: native.devices.some(({ name, usable }) => usable && passed(name, native.selfTest)),
  };
}

function passed(device: string, checks: readonly Check[]): boolean {
  const own = checks.filter((check) => check.device === device);
  return own.length > 0 && own.every(({ ok }) => ok);
}

async function examineNative(): Promise<Pick<Report, 'devices' | 'nativeError' | 'selfTest'>> {
  try {
    const { devices } = await import('../../engine/index.js');
    const found = devices();
    const { selfTest } = await import('../self-test.js');
    const checks: Check[] = [];
    for (const { name, usable } of found) if (usable) checks.push(...(await selfTest(name)));
    return { devices: found, selfTest: checks };
  } catch (error) {
    const { code, message } = errorRecord(error);
    return { devices: [], nativeError: { code, message }, selfTest: [] };
  }
}

async function packageVersions(): Promise<Record<string, string | null>> {
  const versions: Record<string, string | null> = {};
  for (const name of packages) versions[name] = await packageVersionOf(name);
  return versions;
}

/** Read from disk, because many packages do not export their package.json. */
async function packageVersionOf(name: string): Promise<string | null> {
  const paths = createRequire(import.meta.url).resolve.paths(name) ?? [];
  for (const folder of paths) {
    const text = await readFile(join(folder, name, 'package.json'), 'utf8').catch(() => undefined);
    if (text !== undefined) return String((JSON.parse(text) as { version?: unknown }).version);
  }
  return null;
}

async function examineCache(cacheDir: string | undefined): Promise<Report['cache']> {
  const { hubCacheFolder, listCachedModels } = await import('../../registry/hub-cache.js');
  const folder = resolve(cacheDir ?? hubCacheFolder());
  const models = await listCachedModels(folder);
  const bytes = models.reduce(
    (sum, { snapshots }) => sum + snapshots.reduce((all, snapshot) => all + snapshot.bytes, 0),
    0,
  );
  return { folder, state: await folderState(folder), models: models.length, bytes };
}

async function folderState(folder: string): Promise<string> {
  const can = (path: string, mode: number): Promise<boolean> =>
    access(path, mode).then(
      () => true,
      () => false,
    );
  if (await can(folder, constants.F_OK)) return (await can(folder, constants.W_OK)) ? 'writable' : 'not writable';
  for (let above = dirname(folder); ; above = dirname(above)) {
    if (await can(above, constants.F_OK))
      return (await can(above, constants.W_OK)) ? 'not there yet' : 'not there, and cannot be made';
    if (above === dirname(above)) return 'not there';
  }
}

/** Variables that change what the package does; secrets only as set or not. */
function environment(): Record<string, string> {
  const wanted = Object.entries(process.env).filter(([name]) =>
    /^(WORDMASK_|HF_|HUGGINGFACE_|CUDA_VISIBLE_DEVICES|NO_COLOR|FORCE_COLOR|CI$)/.test(name),
  );
  return Object.fromEntries(
    wanted.sort().map(([name, value = '']) => [name, /TOKEN|SECRET|KEY/.test(name) ? 'set' : value]),
  );
}

function deviceText(device: DeviceInfo): string {
  const { usable, tier, threads, title, capability, memoryBytes, driver, runtime, reason, remedy } = device;
  const found = title
    ? `${title}, compute capability ${capability}, ${formatBytes(memoryBytes ?? 0)}, driver for CUDA ${driver}, built with ${runtime}`
    : '';
  if (!usable) return [found, reason, remedy].filter(Boolean).join('; ');
  return found || `${tier}, ${threads} threads`;
}

function show(report: Report, output: Output): void {
  const { machine: here, devices, cache, selfTest } = report;
  const mark = (ok: boolean): string => (ok ? output.style('green', 'ok') : output.style('red', 'no'));
  output.line(output.style('bold', `wordmask ${report.wordmask}`));
  const rows = [
    [
      'node',
      `${here.node} on ${here.platform} ${here.arch} ${here.release}${here.glibc ? `, glibc ${here.glibc}` : ''}`,
    ],
    ['processor', `${here.cpu}, ${here.cores} threads usable`],
    ['memory', formatBytes(here.memoryBytes)],
    [
      'packages',
      Object.entries(report.packages)
        .map(([name, version]) => `${name} ${version ?? 'not installed'}`)
        .join(', '),
    ],
    ['cache', `${cache.folder} (${cache.state}), ${cache.models} models, ${formatBytes(cache.bytes)}`],
    ...Object.entries(report.environment).map(([name, value]) => ['variable', `${name}=${value}`]),
  ];
  for (const line of table(rows)) output.line(`  ${line}`);
  output.line('devices');
  if (report.nativeError) output.line(`  ${mark(false)} ${report.nativeError.message}`);
  for (const device of devices) output.line(`  ${mark(device.usable)} ${device.name}: ${deviceText(device)}`);
  for (const device of new Set(selfTest.map((check) => check.device))) {
    output.line(`self-test of ${device}`);
    for (const { name, ok, ms, reason } of selfTest.filter((check) => check.device === device))
      output.line(`  ${mark(ok)} ${name}, ${ms} ms${reason ? `: ${reason}` : ''}`);
  }
  output.line(report.ok ? 'all is well' : 'wordmask cannot be used here: see the lines marked no');
}
