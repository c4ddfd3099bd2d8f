/** Sizes as people write them. */
import { show, WordmaskError } from './errors.js';

const units: Record<string, number> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
};

/** `4GiB`, `500 MB` or a number of bytes. @throws E_OPTION */
export function parseBytes(option: string, value: unknown): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return Math.floor(value);
  const match = typeof value === 'string' ? /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)\s*$/i.exec(value) : null;
  const unit = match && units[(match[2] as string).toUpperCase()];
  if (!match || !unit)
    throw new WordmaskError(
      'E_OPTION',
      `${option} must be a number of bytes or text such as '4GiB', got ${show(value)}`,
      { details: { option, value } },
    );
  return Math.floor(Number(match[1]) * unit);
}

/** `1.5 GiB`, for messages. */
export function formatBytes(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = bytes < 1 ? 0 : Math.min(names.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${step === 0 ? bytes : (bytes / 2 ** (10 * step)).toFixed(1)} ${names[step]}`;
}
