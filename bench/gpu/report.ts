/** The lines of a run: into the file of the device, and as a table for whoever waits. */
import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { addon } from '#lib/binding/addon.js';
import { machine } from '../harness.js';
import type { CaseLine } from './judge.js';

export interface DeviceFacts {
  readonly title: string;
  readonly block: Readonly<Record<string, unknown>>;
}

const queried = [
  'driver_version',
  'clocks.sm',
  'clocks.mem',
  'clocks.max.sm',
  'clocks.max.mem',
  'power.limit',
  'temperature.gpu',
];

/** What `nvidia-smi` says of a GPU, where it is installed. */
function smi(index: string): Record<string, string> {
  const args = ['-i', index, `--query-gpu=${queried.join(',')}`, '--format=csv,noheader'];
  const { status, stdout } = spawnSync('nvidia-smi', args, { encoding: 'utf8', timeout: 10_000 });
  if (status !== 0) return {};
  const values = stdout.trim().split(', ');
  return Object.fromEntries(queried.map((name, i) => [name, values[i] ?? '']));
}

/** Name, driver, clocks, versions: part of every line, so that each can stand alone. */
export function deviceFacts(device: string): DeviceFacts {
  const { name: _, ...host } = machine();
  if (device === 'cpu') return { title: String(host.cpu), block: host };
  const report = addon().deviceReport(device, false);
  const version = (n: number) => `${Math.floor(n / 1000)}.${Math.floor((n % 1000) / 10)}`;
  return {
    title: report.title,
    block: {
      gpu: report.title,
      capability: report.capability,
      multiprocessors: report.multiprocessors,
      memoryGiB: Math.round(report.totalBytes / 2 ** 30),
      cuda: version(report.driverVersion),
      runtime: version(report.runtimeVersion),
      ...(device.startsWith('cuda') && smi(device.split(':')[1] ?? '0')),
      node: host.node,
      wordmask: host.wordmask,
      commit: host.commit,
      date: host.date,
    },
  };
}

/** `NVIDIA H200` -> `nvidia-h200`. */
export const slug = (title: string): string =>
  title
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');

function rounded(_: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value;
}

/** Appends each line as it comes: a run that is stopped keeps what it has. */
export class Results {
  readonly lines: CaseLine[] = [];

  constructor(
    readonly file: string | undefined,
    public facts: DeviceFacts,
  ) {
    if (file) mkdirSync(dirname(file), { recursive: true });
  }

  add(line: CaseLine): void {
    this.lines.push(line);
    const text = JSON.stringify({ ...line, machine: this.facts.block }, rounded);
    if (this.file) appendFileSync(this.file, `${text}\n`);
    const shown =
      line.error === undefined ? `${figure(line)} ${line.verdict}` : `${line.verdict}: ${String(line.error)}`;
    process.stderr.write(`${line.case} [${line.by}]: ${shown}\n`);
  }
}

const digits = (value: unknown): string =>
  typeof value === 'number' ? String(Number(value.toPrecision(value >= 1000 ? 5 : 3))) : '';

function figure(line: CaseLine): string {
  if (line.value !== undefined) return `${digits(line.value)} ${line.unit}`;
  return line.median_ms === undefined ? '' : `${digits(line.median_ms)} ms`;
}

/** One row a case: ours, its targets, its share of the floor, and PyTorch beside it. */
export function table(lines: readonly CaseLine[]): string {
  const own = lines.filter(({ by }) => by === 'wordmask');
  const others = lines.filter(({ by, name }) => by !== 'wordmask' && name !== 'ratio');
  const ratios = lines.filter(({ name }) => name === 'ratio');
  const rows = own.map((line) => {
    const beside = others.filter((other) => other.case === line.case && other.median_ms !== undefined);
    return [
      line.case,
      digits(line.median_ms),
      digits(line.p95_ms),
      line.verdict === 'failed' || line.verdict === 'skipped' ? '' : figure(line),
      digits(line.accept),
      digits(line.goal),
      typeof line.share === 'number' ? `${(100 * line.share).toFixed(0)}%` : '',
      beside.map((other) => `${other.by} ${digits(other.median_ms)}`).join(', '),
      line.verdict,
    ];
  });
  const head = ['case', 'median ms', 'p95 ms', 'figure', 'accept', 'goal', 'of floor', 'others, ms', 'verdict'];
  const compared = ratios.map((line) => [
    line.case,
    line.by,
    digits(line.value),
    digits(line.accept),
    digits(line.goal),
    line.verdict,
  ]);
  const parts = [grid([head, ...rows])];
  if (compared.length > 0) parts.push(grid([['times faster', '', 'ratio', 'accept', 'goal', 'verdict'], ...compared]));
  const missed = own.filter(({ limiter }) => limiter !== undefined);
  if (missed.length > 0) parts.push(missed.map((line) => `${line.case}: ${String(line.limiter)}`).join('\n'));
  const failed = lines.filter(({ verdict }) => verdict === 'failed');
  if (failed.length > 0)
    parts.push(failed.map((line) => `failed: ${line.case} [${line.by}]: ${String(line.error)}`).join('\n'));
  const counts = new Map<string, number>();
  for (const { verdict } of lines) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  parts.push([...counts].map(([verdict, count]) => `${count} ${verdict}`).join(', '));
  return parts.join('\n\n');
}

function grid(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] as readonly string[]).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] as number))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
