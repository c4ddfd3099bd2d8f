/** Devices by name and number. The add-on and tensors know a device by the number it got when it was opened; the CPU is 0. */
import { addon } from '../binding/addon.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

const names: string[] = ['cpu'];

const pattern = /^(cpu|cuda(:\d{1,3})?|auto)$/;

/** The portable kernels of the CUDA module on the CPU: a device for tests of this package alone (CONTRIBUTING.md). */
function namesSimt(value: string): boolean {
  return process.env.WORDMASK_SIMT === '1' && /^simt(:\d{1,3})?$/.test(value);
}

/** Checks a device option's form. @throws E_OPTION */
export function parseDevice(value: unknown): string {
  if (typeof value === 'string' && (pattern.test(value) || namesSimt(value))) return value;
  const guess = typeof value === 'string' ? nearest(value, ['cpu', 'cuda', 'auto']) : undefined;
  throw new WordmaskError(
    'E_OPTION',
    `device must be cpu, cuda, cuda:N or auto, got ${show(value)}${guess ? `; did you mean '${guess}'?` : ''}`,
  );
}

/** Full name of an opened device: `cpu`, `cuda:0`. */
export function deviceName(device: number): string {
  return names[device] as string;
}

/** Opens a device by its name, the first time. @throws E_OPTION for what is no name of one device, E_DEVICE, E_OOM */
export function deviceNumber(name: string): number {
  const known = names.indexOf(name);
  if (known >= 0) return known;
  if (parseDevice(name) === 'auto')
    throw new WordmaskError('E_OPTION', "'auto' names no device: choose one with resolveDevice()");
  const [kind, index = '0'] = name.split(':') as [string, string?];
  const full = `${kind}:${Number(index)}`;
  const number = addon().openDevice(full);
  names[number] = full;
  return number;
}

/** Numbers of the opened devices. */
export function openedDevices(): number[] {
  return [...names.keys()];
}
