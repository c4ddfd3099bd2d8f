/**
 * GradCAM at one layer of a BLIP folder against PyTorch: node build/ts/test/parity/match-bench.js DIR [SIZE...], with
 * WORDMASK_PYTHON naming a Python that has torch and transformers (test/parity/match_bench.py, which also makes a random BLIP-large).
 * One JSON line a row and size: best seconds, processor seconds of all threads in that run, peak resident bytes beyond those before.
 * Rows run in turn, so that what else the machine does falls on all of them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setThreads, Tensor } from '#lib/engine/index.js';
import { loadMatching } from '#lib/registry/backbones.js';
import { root } from '../helpers/fixture.js';

const [folder = '', ...sizes] = process.argv.slice(2);
const threads = Number(process.env.WORDMASK_THREADS ?? 2);
const place = { layer: 7, heads: [9] };
const resident = () => Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * 4096;

interface Row {
  seconds: number;
  processor: number;
  peak: number;
}

const model = await loadMatching(folder);
const ids = Array.from({ length: 12 }, (_, i) => 1000 + i);

async function ours(size: number): Promise<Row> {
  const values = Float32Array.from({ length: 3 * size * size }, (_, i) => Math.sin(i * 12.9898) * 1.5);
  const pixels = Tensor.from(values, [1, 3, size, size]);
  const base = resident();
  let top = base;
  const watch = setInterval(() => {
    top = Math.max(top, resident());
  }, 2);
  const [start, busy] = [performance.now(), process.cpuUsage()];
  const found = model.crossAttention(pixels, ids, place);
  await Promise.all([found.probabilities.data(), found.gradient.data()]);
  const seconds = (performance.now() - start) / 1e3;
  const { user, system } = process.cpuUsage(busy);
  clearInterval(watch);
  for (const tensor of [pixels, ...Object.values(found)] as Tensor[]) tensor.dispose();
  return { seconds, processor: (user + system) / 1e6, peak: Math.max(top, resident()) - base };
}

/** One child a row: what a run leaves in memory does not count for the other. */
class Torch {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  constructor(
    python: string,
    readonly row: 'published' | 'cut',
  ) {
    this.child = spawn(python, [join(root, 'test/parity/match_bench.py'), folder], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    this.lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  }

  async read(): Promise<Record<string, unknown>> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`match_bench.py ended in row ${this.row}`);
    return JSON.parse(value) as Record<string, unknown>;
  }

  async run(size: number): Promise<Row> {
    this.child.stdin?.write(`${JSON.stringify({ row: this.row, size, threads, runs: 1 })}\n`);
    const answer = (await this.read()) as { seconds: number[]; processor: number[]; peak: number };
    return { seconds: answer.seconds[0] as number, processor: answer.processor[0] as number, peak: answer.peak };
  }

  async close(): Promise<void> {
    this.child.stdin?.end();
    await once(this.child, 'exit');
  }
}

setThreads(threads);
const python = process.env.WORDMASK_PYTHON;
const others = python ? (['cut', 'published'] as const).map((row) => new Torch(python, row)) : [];
for (const other of others) await other.read();
const runs = Number(process.env.RUNS ?? 3);
for (const size of sizes.length > 0 ? sizes.map(Number) : [336, 768]) {
  const rows = new Map<string, Row[]>();
  for (let i = 0; i <= runs; i++) {
    for (const [name, run] of [
      ['wordmask', ours] as const,
      ...others.map((other) => [other.row, (s: number) => other.run(s)] as const),
    ]) {
      const row = await run(size);
      // The first run of each warms up; its peak counts.
      if (i > 0) rows.set(name, [...(rows.get(name) ?? []), row]);
      else rows.set(name, [{ seconds: Number.POSITIVE_INFINITY, processor: Number.POSITIVE_INFINITY, peak: row.peak }]);
    }
  }
  for (const [row, all] of rows) {
    const best = (key: keyof Row) => Math.min(...all.map((one) => one[key]));
    const peak = Math.max(...all.map((one) => one.peak));
    console.log(
      JSON.stringify({ row, size, threads, seconds: best('seconds'), processor: best('processor'), peak_bytes: peak }),
    );
  }
}
for (const other of others) await other.close();
model.dispose();
