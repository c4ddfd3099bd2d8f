/**
 * One training step of MGCA at the size of the model in `--model` (issue: ViT-B/16, batch 16): frozen towers, decoder, losses,
 * backward, AdamW; wall and processor time, memory, the split by stage. With WORDMASK_PYTHON the same step in PyTorch,
 * turn by turn (test/parity/mgca_step.py).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { addon, packageRoot } from '#lib/binding/addon.js';
import {
  backward,
  noGrad,
  resetPeakMemory,
  scope,
  setThreads,
  sync,
  type Tensor,
  trimMemory,
} from '#lib/engine/index.js';
import { AdamW } from '#lib/nn/optim/index.js';
import type { HostBatch, Trainable } from '#lib/nn/trainable.js';
import { findTrainable } from '#lib/registry/trainable.js';
import { Random } from '#lib/util/random.js';
import { print } from '../harness.js';

export interface MgcaStepOptions {
  readonly threads: readonly number[];
  readonly batch: number;
  readonly model: string;
  readonly rounds: number;
  /** `fp32`, `bf16` or nothing for both. */
  readonly only: readonly string[];
}

type DType = 'fp32' | 'bf16';
const tokens = 16;

interface Timing {
  readonly seconds: number[];
  /** Processor seconds of the whole process. */
  readonly cpu: number[];
  readonly stages: Record<string, number>;
  readonly peak: number;
}

export async function benchMgcaStep(options: MgcaStepOptions): Promise<void> {
  const torch = process.env.WORDMASK_PYTHON ? await openTorch(process.env.WORDMASK_PYTHON, options.model) : undefined;
  for (const dtype of (['bf16', 'fp32'] as const).filter(
    (d) => options.only.length === 0 || options.only.includes(d),
  )) {
    for (const threads of options.threads) {
      setThreads(threads);
      const ours = await openOurs(options, dtype);
      const own: Timing[] = [];
      const theirs: Timing[] = [];
      for (let round = 0; round < options.rounds; round++) {
        own.push(await ours.time());
        if (torch) theirs.push(await torch.time({ dtype, threads, batch: options.batch, tokens, runs: 1 }));
      }
      report('mgca step', { dtype, threads, batch: options.batch }, own);
      if (torch) report(`mgca step, PyTorch ${torch.version}`, { dtype, threads, batch: options.batch }, theirs);
      if (torch) {
        const ratio = (pick: (t: Timing) => number) => median(theirs.map(pick)) / median(own.map(pick));
        print({
          name: 'mgca step, PyTorch over ours',
          dtype,
          threads,
          wall: ratio((t) => t.seconds[0] as number),
          cpu: ratio((t) => t.cpu[0] as number),
          memory: ratio((t) => t.peak),
        });
      }
      ours.close();
    }
  }
  await torch?.close();
}

function report(name: string, sizes: Record<string, unknown>, timings: readonly Timing[]): void {
  const names = Object.keys(timings[0]?.stages ?? {});
  print({
    name,
    ...sizes,
    'median s': median(timings.flatMap(({ seconds }) => seconds)),
    'best s': Math.min(...timings.flatMap(({ seconds }) => seconds)),
    'cpu s': median(timings.flatMap(({ cpu }) => cpu)),
    runs: timings.length,
    'peak MB': Math.max(...timings.map(({ peak }) => peak)) / 1e6,
    stages: Object.fromEntries(names.map((stage) => [stage, median(timings.map(({ stages }) => stages[stage] ?? 0))])),
  });
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[list.length >> 1] ?? Number.NaN;
}

/** Highest resident memory since the last reset (Linux). */
function peakBytes(reset = false): number {
  if (reset) writeFileSync('/proc/self/clear_refs', '5');
  const line = /VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(line?.[1] ?? 0) * 1024;
}

async function openOurs(options: MgcaStepOptions, dtype: DType) {
  const make = await findTrainable('mgca');
  const compute = dtype === 'bf16' ? 'bf16' : 'f32';
  const model = await make({
    model: {},
    losses: {},
    base: resolve(options.model),
    compute,
    random: new Random(1),
    captions: async () => [],
  });
  const optimiser = new AdamW(model.parameters, { lr: 1e-4, decay: 0.05 });
  const batch = await makeBatch(model, options.batch);
  const context = { step: 0, steps: 1, part: 0, random: new Random(1), compute } as const;
  const step = (stage: (name: string) => void) =>
    scope(() => {
      const { total } = model.losses(batch, context);
      stage('backward');
      const grads = backward(total, { wrt: [...model.parameters.values()] });
      stage('optimiser');
      noGrad(() => optimiser.step(new Map([...model.parameters].map(([name, p]) => [name, grads.get(p) as Tensor]))));
    });
  step(() => {});
  await sync();
  trimMemory();
  return {
    time: async (): Promise<Timing> => {
      resetPeakMemory();
      peakBytes(true);
      const begun = process.cpuUsage();
      const start = performance.now();
      step(() => {});
      await sync();
      const seconds = (performance.now() - start) / 1000;
      const { user, system } = process.cpuUsage(begun);
      const peak = peakBytes();
      return { seconds: [seconds], cpu: [(user + system) / 1e6], peak, stages: byStage(step) };
    },
    close: () => {
      model.dispose();
      trimMemory();
    },
  };
}

/** Pictures of noise and captions of 16 tokens. */
async function makeBatch(model: Trainable, size: number): Promise<HostBatch> {
  const side = 224;
  const data = Uint8Array.from({ length: side * side * 3 }, (_, i) => (i * 7919) % 253);
  const samples = Array.from({ length: size }, (_, i) => ({
    key: String(i),
    image: { data, width: side, height: side },
    captions: [Array.from({ length: tokens - 2 }, (_, k) => 'abcdefghijkl'[(i + k) % 12]).join(' ')],
  }));
  const context = { step: 0, steps: 1, part: 0, random: new Random(2), compute: 'f32' } as const;
  return model.prepare(samples, context);
}

/** Seconds of each stage in a step of its own, with the queue drained around each op. */
function byStage(step: (stage: (name: string) => void) => void): Record<string, number> {
  const begins: Record<string, string> = {
    window_patches: 'image',
    upsample_nearest: 'decoder',
    alignment_stats: 'losses',
  };
  const stages: Record<string, number> = {};
  const native = addon();
  const { run } = native;
  let stage = 'text';
  native.run = (op, ...rest) => {
    if (stage !== 'backward' && stage !== 'optimiser') stage = begins[op] ?? stage;
    native.synchronise();
    const start = performance.now();
    const outputs = run.call(native, op, ...rest);
    native.synchronise();
    stages[stage] = (stages[stage] ?? 0) + (performance.now() - start) / 1000;
    if (process.env.WORDMASK_BENCH_OPS)
      stages[`${stage} ${op}`] = (stages[`${stage} ${op}`] ?? 0) + (performance.now() - start) / 1000;
    return outputs;
  };
  try {
    step((name) => {
      stage = name;
    });
  } finally {
    native.run = run;
  }
  return stages;
}

async function openTorch(python: string, folder: string) {
  const child = spawn(python, [join(packageRoot, 'test/parity/mgca_step.py'), folder], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, 'close');
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${python}: the PyTorch side ended early`);
    return JSON.parse(value);
  };
  const { torch: version } = (await answer()) as { torch: string };
  return {
    version,
    time: async (request: Record<string, unknown>): Promise<Timing> => {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      return (await answer()) as Timing;
    },
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
