/** PyTorch in a child process, where WORDMASK_PYTHON names a Python that has it (test/parity/clip_bench.py). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '#lib/binding/addon.js';

export interface TorchRequest {
  readonly dtype: 'fp32' | 'bf16';
  readonly threads: number;
  readonly batch: number;
  readonly runs: number;
}

export interface TorchEncoder {
  readonly version: string;
  /** Milliseconds of each run. */
  time(request: TorchRequest): Promise<number[]>;
  close(): Promise<void>;
}

export async function openTorch(python: string, folder: string): Promise<TorchEncoder> {
  const child = spawn(python, [join(packageRoot, 'test/parity/clip_bench.py'), folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, 'close');
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${python}: the PyTorch side ended early`);
    return JSON.parse(value) as { torch: string; seconds: number[] };
  };
  const { torch } = await answer();
  return {
    version: torch,
    time: async (request) => {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      return (await answer()).seconds.map((s) => s * 1000);
    },
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
