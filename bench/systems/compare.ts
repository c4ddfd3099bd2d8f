/**
 * Encode of the same windows side by side: this package in f32 and bf16, onnxruntime-node on the same weights, and PyTorch
 * where WORDMASK_PYTHON names a Python that has it. All sides take turns in rounds of one run each within one process, so that
 * a busy machine is busy for all of them; ratios are those of the medians.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { addon, packageRoot } from '#lib/binding/addon.js';
import { setThreads } from '#lib/engine/index.js';
import { relL2 } from '../../test/helpers/samples.js';
import { print } from '../harness.js';
import { writeVisionOnnx } from '../onnx/clip-vision.js';
import { type OrtEncoder, openOrt, ortVersion } from '../onnx/session.js';
import { encode, noisePixels, openVision, readConfig } from './clip-encode.js';
import { windowFlops } from './flops.js';
import { openTorch } from './torch.js';

export interface CompareOptions {
  readonly model: string;
  readonly threads: readonly number[];
  readonly rounds: number;
  readonly batches: readonly number[];
}

interface Side {
  readonly name: string;
  readonly dtype: 'fp32' | 'bf16';
  readonly threads: number;
  /** Milliseconds of one run. */
  run(): Promise<number>;
}

async function clock(fn: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await fn();
  return performance.now() - start;
}

const tolerance = 1e-5;

/** Refuses to time two things that do not compute the same. */
function checkEqual(ours: Float32Array, theirs: Float32Array): void {
  const error = relL2(ours, theirs);
  print({ name: 'compare check', against: 'onnxruntime-node', relL2: error, limit: tolerance });
  if (!(error <= tolerance)) throw new Error(`onnxruntime computes something else: relative L2 ${error}`);
}

export async function benchCompare(options: CompareOptions): Promise<void> {
  if (!options.model) {
    print({ name: 'compare', skipped: 'name a CLIP folder with --model DIR' });
    return;
  }
  const folder = resolve(options.model);
  const config = readConfig(folder);
  const models = { fp32: await openVision(folder, 'f32'), bf16: await openVision(folder, 'bf16') };
  const ort = await openOrtSessions(folder, options.threads);
  const python = process.env.WORDMASK_PYTHON;
  const torch = python ? await openTorch(python, folder) : undefined;
  print({
    name: 'compare',
    model: basename(folder),
    'onnxruntime-node': ortVersion() ?? 'not installed: npm install in bench/',
    torch: torch?.version ?? 'not run: WORDMASK_PYTHON names no Python',
  });
  const { imageSize, layers, width, patch } = config.vision;
  for (const batch of options.batches) {
    const pixels = noisePixels(batch, imageSize);
    const sides = options.threads.flatMap((threads): Side[] => [
      ...(['fp32', 'bf16'] as const).map((dtype) => ({
        name: 'wordmask',
        dtype,
        threads,
        run: () => {
          setThreads(threads);
          return clock(() => encode(models[dtype], pixels));
        },
      })),
      ...ort
        .filter((session) => session.threads === threads)
        .map(({ encoder }) => ({
          name: 'onnxruntime-node',
          dtype: 'fp32' as const,
          threads,
          run: () => clock(() => encoder.encode(pixels)),
        })),
      ...(torch
        ? (['fp32', 'bf16'] as const).map((dtype) => ({
            name: 'torch',
            dtype,
            threads,
            run: async () => (await torch.time({ dtype, threads, batch, runs: 1 }))[0] as number,
          }))
        : []),
    ]);
    const [session] = ort;
    if (session) checkEqual(await encode(models.fp32, pixels), await session.encoder.encode(pixels));
    const flops = batch * windowFlops(layers, (imageSize / patch) ** 2 + 1, width, patch);
    report(await takeTurns(sides, options.rounds), `${batch} x ${imageSize} window`, batch, flops);
  }
  await torch?.close();
  for (const { encoder } of ort) await encoder.release();
  for (const model of Object.values(models)) model.dispose();
}

async function openOrtSessions(
  folder: string,
  threads: readonly number[],
): Promise<{ threads: number; encoder: OrtEncoder }[]> {
  if (!ortVersion()) return [];
  const cache = join(packageRoot, 'build/onnx');
  mkdirSync(cache, { recursive: true });
  const file = join(cache, `${basename(folder)}.onnx`);
  const config = readConfig(folder);
  if (!existsSync(file)) await writeVisionOnnx(folder, config, file);
  return Promise.all(
    threads.map(async (count) => ({ threads: count, encoder: await openOrt(file, config.vision.imageSize, count) })),
  );
}

const shortRun = 1000;

/** One run of each side a round, after a warm-up round. */
async function takeTurns(sides: readonly Side[], rounds: number): Promise<Map<Side, number[]>> {
  const samples = new Map<Side, number[]>(sides.map((side) => [side, []]));
  for (let round = -1; round < rounds; round++) {
    for (const side of sides) {
      let ms = await side.run();
      // A short run right after another library's meets its threads still spinning and cold caches: the second counts.
      if (ms < shortRun) ms = await side.run();
      if (round >= 0) samples.get(side)?.push(ms);
    }
  }
  addon().synchronise();
  return samples;
}

function report(samples: Map<Side, number[]>, what: string, batch: number, flops: number): void {
  const medians = new Map<string, number>();
  for (const [side, list] of samples) {
    list.sort((a, b) => a - b);
    const median = list[list.length >> 1] as number;
    medians.set(`${side.name} ${side.dtype} ${side.threads}`, median);
    print({
      name: 'encode',
      case: what,
      by: side.name,
      dtype: side.dtype,
      threads: side.threads,
      device: 'cpu',
      median_ms: median,
      best_ms: list[0],
      runs: list.length,
      'images/s': (1000 * batch) / median,
      'GFLOP/s': flops / 1e6 / median,
    });
  }
  const ratio = (name: string, slow: string, fast: string, target?: number) => {
    const [a, b] = [medians.get(slow), medians.get(fast)];
    if (a && b) print({ name: 'ratio', case: what, of: name, value: a / b, target });
  };
  for (const threads of new Set([...samples.keys()].map((side) => side.threads))) {
    const at = `${threads} thread${threads === 1 ? '' : 's'}`;
    ratio(`fp32 to onnxruntime-node fp32, ${at}`, `onnxruntime-node fp32 ${threads}`, `wordmask fp32 ${threads}`, 1.05);
    ratio(`bf16 to onnxruntime-node fp32, ${at}`, `onnxruntime-node fp32 ${threads}`, `wordmask bf16 ${threads}`, 1.9);
    ratio(`fp32 to torch fp32, ${at}`, `torch fp32 ${threads}`, `wordmask fp32 ${threads}`);
    ratio(`bf16 to torch bf16, ${at}`, `torch bf16 ${threads}`, `wordmask bf16 ${threads}`, 1.25);
  }
  for (const dtype of ['fp32', 'bf16'])
    ratio(`two threads to one, ${dtype}`, `wordmask ${dtype} 1`, `wordmask ${dtype} 2`, 1.85);
}
