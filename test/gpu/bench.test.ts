/** `npm run bench:gpu` from end to end with tiny shapes: lines, table, what happens where there is no device or it is lost. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import * as binding from '#lib/binding/addon.js';
import type { Cost, GpuCase, Target } from '../../bench/gpu/case.js';
import { ceilings, judge, ratioLine } from '../../bench/gpu/judge.js';
import { percentile } from '../../bench/gpu/timing.js';
import { root } from '../helpers/fixture.js';
import { noDevice } from '../helpers/simt.js';

t.setTimeout(600_000);
const folder = mkdtempSync(join(tmpdir(), 'wordmask-bench-'));
t.teardown(() => rmSync(folder, { recursive: true }));

type Line = Record<string, unknown> & { case: string; verdict: string; machine: Record<string, unknown> };

function bench(name: string, args: readonly string[], env: Record<string, string> = {}) {
  const file = join(folder, `${name}.jsonl`);
  const main = join(root, 'build/ts/bench/gpu/main.js');
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args, '--out', file], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, WORDMASK_PYTHON: '', WORDMASK_SIMT: '1', ...env },
  });
  const text = status === 4 ? '' : readFileSync(file, 'utf8');
  return {
    status,
    stdout,
    stderr,
    lines: text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line),
  };
}

t.test('every case on the CPU', async (t) => {
  const { status, stdout, lines } = bench('cpu', ['--device', 'cpu', '--smoke', '--no-torch']);
  t.equal(status, 0);
  t.same(
    lines.slice(0, 2).map((line) => line.case),
    ['peak: product', 'peak: copy'],
    'peaks first',
  );
  t.same(
    [...new Set(lines.map((line) => line.name))],
    'peak,attention,cross-attention,attention map,gemm,cosine logits,encode,pipeline,images,rows,launches,training'.split(
      ',',
    ),
  );
  for (const line of lines) {
    t.equal(line.verdict, 'measured', line.case);
    const [best, median, p95, p99] = ['best_ms', 'median_ms', 'p95_ms', 'p99_ms'].map((key) => line[key] as number);
    t.ok(
      0 < best! && best! <= median! && median! <= p95! && p95! <= p99!,
      `${line.case}: ${best} ${median} ${p95} ${p99}`,
    );
    t.ok((line['host MiB'] as number) > 0, `${line.case}: memory`);
    t.ok(line.machine.cpu && line.machine.node && line.machine.wordmask, `${line.case}: machine`);
  }
  t.equal(new Set(lines.map((line) => line.case)).size, lines.length, 'no case twice');
  t.match(stdout, /case +median ms +p95 ms +figure +accept +goal +of floor +others, ms +verdict/);
  t.match(stdout, new RegExp(`${lines.length} measured`));
});

t.test('figures, floors and verdicts', async (t) => {
  const peaks = { flops: 100e12, bytes: 1e12 };
  const timing = { p95: 1, p99: 1, best: 1, runs: 9, batch: 4, queueUs: 3, primed: true };
  const line = (median: number, target?: Target, cost: Cost = { flops: 50e9, bytes: 0.1e9 }, more = {}) => {
    const c = {
      group: 'g',
      name: 'n',
      shape: '',
      dtype: 'bf16',
      cost,
      target,
      items: 10,
      build: () => ({ call() {} }),
    };
    return judge(c as GpuCase, { ...timing, median, ...more }, peaks);
  };
  // 50 GFLOP take 0.5 ms at 100 TFLOP/s, 0.1 GB 0.1 ms at 1 TB/s.
  t.match(line(1), {
    floor_ms: 0.5,
    share: 0.5,
    'TFLOP/s': 50,
    'GB/s': 100,
    'per second': 10_000,
    verdict: 'measured',
  });
  t.match(line(1, { unit: 'TFLOP/s', accept: 40, goal: 60 }), { value: 50, verdict: 'accept' });
  t.match(line(1, { unit: 'TFLOP/s', accept: 40, goal: 50 }), { verdict: 'goal' });
  t.match(line(1, { unit: 'times floor', accept: 2.5, goal: 1.5 }), { value: 2, verdict: 'accept' });
  t.match(line(1, { unit: 'us', accept: 1000, goal: 900 }), { value: 1000, verdict: 'accept' });
  t.match(line(1, { unit: 'ms', goal: 1 }), { value: 1, verdict: 'goal' });
  t.match(line(1, { unit: 'per second', goal: 20_000 }), { value: 10_000, verdict: 'missed' });
  const missed = line(1, { unit: 'share of floor', accept: 0.7 });
  t.match(missed, {
    value: 0.5,
    verdict: 'missed',
    limiter: /^arithmetic explains 50% of the time, memory explains 10%/,
  });
  const host = line(0.01, { unit: 'us', accept: 1 }, undefined, { queueUs: 9, primed: false });
  t.match(host.limiter, /^the host: queueing a call takes 9 us of 10/);
  t.match(line(1, { unit: 'ms', accept: 0.5 }, {}).limiter, /no cost formula/);
  const page = ceilings('NVIDIA H200', { flops: 700e12, bytes: 4.5e12 });
  t.same(page, { flops: 790e12, bytes: 4.5e12 }, 'a slow product of our own does not lower the floor');
  t.same(ceilings('another', peaks), peaks);
  const c = { group: 'g', name: 'n' } as GpuCase;
  t.match(ratioLine(c, 'cublaslt', 2, 1.8, { accept: 0.85, goal: 0.95 }), { value: 0.9, verdict: 'accept' });
  t.equal(percentile([1, 2, 3, 4], 0.5), 2);
  t.equal(percentile([1, 2, 3, 4], 0.95), 4);
});

t.test('the emulated device', { skip: noDevice() }, async (t) => {
  const { status, lines } = bench('simt', ['--device', 'simt:0', '--smoke', '--only', 'few rows|merge|one window']);
  t.equal(status, 0);
  t.ok(lines.length >= 8, `${lines.length} lines`);
  for (const line of lines) t.match(line, { verdict: 'measured', machine: { gpu: /emulated/, capability: '8.0' } });
});

t.test('a lost device costs one case, a spent budget is said', { skip: noDevice() }, async (t) => {
  // 719: a kernel failed, nothing works on the device afterwards.
  const args = ['--device', 'simt:0', '--smoke', '--only', 'layer norm'];
  const lost = bench('lost', args, { WORDMASK_SIMT_FAULT: 'launch:60:719' });
  t.equal(lost.status, 1);
  const verdicts = lost.lines.map((line) => line.verdict);
  t.ok(verdicts.includes('failed'), 'the case that met it failed');
  t.ok(verdicts.lastIndexOf('measured') > verdicts.indexOf('failed'), 'later ones were measured');
  t.match(lost.stdout, /\d failed/);
  const late = bench('late', ['--device', 'cpu', '--smoke', '--only', 'layer norm', '--budget', '0']);
  t.ok(
    late.lines.length > 0 && late.lines.every((line) => line.verdict === 'skipped' && /budget/.test(`${line.error}`)),
  );
});

const cuda = binding.addon().backendReport('cuda', binding.binaryFolder ?? '').usable;
t.test('no device', { skip: cuda && 'there is one' }, async (t) => {
  const { status, stderr } = bench('none', []);
  t.equal(status, 4);
  t.match(stderr, /^E_DEVICE: device cuda:0 cannot be used: .+\. To use it, .+/);
});
