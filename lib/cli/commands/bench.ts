/** `wordmask bench`: time, throughput and memory of `segment` with a model, comparable from one run to the next. */
import { devices, resetPeakMemory, sync } from '../../engine/index.js';
import type { ImageInput, RawImage } from '../../image/decode.js';
import type { Model } from '../../pipelines/model.js';
import type { SegmentOptions } from '../../pipelines/segment-options.js';
import type { Vocabulary } from '../../pipelines/vocabulary.js';
import { formatBytes } from '../../util/bytes.js';
import { show, WordmaskError } from '../../util/errors.js';
import { readFileLimited, writeFileAtomic } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';
import { packageVersion } from '../../util/version.js';
import { exit } from '../exit-codes.js';
import { expandInputs } from '../inputs.js';
import { type Machine, machine } from '../machine.js';
import { count, type Output, table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { chosenModel, openModel, readVocabulary, segmentOptions, textOption } from '../setup.js';

interface BenchCase {
  readonly name: string;
  readonly runs: number;
  readonly warmup: number;
  /** Milliseconds of one call after another. */
  readonly median: number;
  readonly p95: number;
  readonly p99: number;
  readonly best: number;
  /** Pictures a second of `stream`, which decodes ahead. */
  readonly imagesPerSecond: number;
  /** Median milliseconds by stage. */
  readonly stages: Readonly<Record<string, number>>;
  readonly peakHostBytes: number;
  readonly peakDeviceBytes: number;
}

export interface BenchResult {
  readonly format: 'wordmask-bench/1';
  readonly wordmask: string;
  readonly machine: Machine;
  readonly model: Readonly<Record<string, unknown>>;
  readonly vocabulary: { readonly hash: string; readonly labels: number; readonly prompts: number };
  readonly images: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly openMs: number;
  readonly compileMs: number;
  readonly cases: readonly BenchCase[];
}

export async function bench(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  const modelName = chosenModel(options, output);
  const vocab = await readVocabulary(options);
  const regress = parseShare(textOption(options, 'maxRegress'));
  const before = options.compare === undefined ? undefined : await readBench(textOption(options, 'compare') as string);
  const [runs, warmup] = [countOption(options.runs, 'runs', 20, 1), countOption(options.warmup, 'warmup', 3, 0)];
  const found =
    args.length === 0 ? undefined : await expandInputs(args, { formats: options.imageFormats as string[] | undefined });
  const images: ImageInput[] = found?.images.map(({ path }) => path) ?? [drawnPicture(640, 480)];
  const started = performance.now();
  await using model = await openModel(modelName, options, output, interrupt.signal);
  const opened = performance.now();
  await model.vocabulary(vocab, { signal: interrupt.signal });
  const compiled = performance.now();
  const given = segmentOptions(options);
  const measured = await measure({ model, vocab, images, given, runs, warmup, context });
  const { system, dtype, device, hash, sizes } = model.info;
  const result: BenchResult = {
    format: 'wordmask-bench/1',
    wordmask: packageVersion,
    machine: machine(devices()),
    model: { system, dtype, device, hash, ...sizes },
    vocabulary: { hash: vocab.hash, labels: vocab.labels.length, prompts: vocab.spec.prompts.length },
    images: found === undefined ? 'drawn 640 x 480' : `${images.length} files`,
    options: { ...given },
    openMs: round(opened - started),
    compileMs: round(compiled - opened),
    cases: [measured],
  };
  const file = textOption(options, 'output');
  if (file !== undefined && file !== '-') await writeFileAtomic(file, `${JSON.stringify(result, null, 2)}\n`);
  if (output.json || file === '-') output.value(result);
  else print(result, output);
  return before === undefined ? exit.done : compare(before, result, regress, output);
}

interface Measurement {
  readonly model: Model;
  readonly vocab: Vocabulary;
  readonly images: readonly ImageInput[];
  readonly given: SegmentOptions;
  readonly runs: number;
  readonly warmup: number;
  readonly context: Context;
}

async function measure({ model, vocab, images, given, runs, warmup, context }: Measurement): Promise<BenchCase> {
  const { output, interrupt } = context;
  const options = { ...given, signal: interrupt.signal };
  const at = (i: number): ImageInput => images[i % images.length] as ImageInput;
  const progress = new Progress(output, warmup + 2 * runs, 'calls');
  for (let i = 0; i < warmup; i++) {
    await model.segment(at(i), vocab, options);
    progress.step('warm-up');
  }
  await sync();
  resetPeakMemory();
  const times: number[] = [];
  const stages = new Map<string, number[]>();
  for (let i = 0; i < runs; i++) {
    const started = performance.now();
    const { timings } = await model.segment(at(i), vocab, options);
    times.push(performance.now() - started);
    for (const [stage, ms] of Object.entries(timings)) stages.set(stage, [...(stages.get(stage) ?? []), ms]);
    progress.step('latency');
  }
  const started = performance.now();
  const inputs = Array.from({ length: runs }, (_, i) => at(i));
  for await (const result of model.stream(inputs, vocab, { ...options, onError: 'throw' }))
    progress.step(result.ok ? 'throughput' : '');
  const seconds = (performance.now() - started) / 1000;
  progress.end();
  return {
    name: 'segment',
    runs,
    warmup,
    median: percentile(times, 50),
    p95: percentile(times, 95),
    p99: percentile(times, 99),
    best: percentile(times, 0),
    imagesPerSecond: Math.round((1000 * runs) / seconds) / 1000,
    stages: Object.fromEntries([...stages].map(([stage, list]) => [stage, percentile(list, 50)])),
    // The kernel counts resident pages in KiB over the whole life of the process.
    peakHostBytes: process.resourceUsage().maxRSS * 1024,
    peakDeviceBytes: model.memory()[model.info.device]?.peakBytes ?? 0,
  };
}

/** Nearest rank: the smallest value that at least p percent do not exceed. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return round(sorted[Math.max(0, Math.ceil((p / 100) * sorted.length) - 1)] ?? Number.NaN);
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

function countOption(value: unknown, name: string, fallback: number, least: number): number {
  const count = (value as number | undefined) ?? fallback;
  if (count >= least && count <= 100_000) return count;
  throw new WordmaskError('E_OPTION', `--${name} must be a whole number from ${least} to 100000, got ${show(value)}`, {
    details: { option: name, value },
  });
}

/** Smooth areas and edges, the same on every machine. */
function drawnPicture(width: number, height: number): RawImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2;
      const at = 3 * (y * width + x);
      data[at] = inside ? 200 : (255 * x) / width;
      data[at + 1] = inside ? 60 : (255 * y) / height;
      data[at + 2] = ((x >> 5) + (y >> 5)) % 2 === 0 ? 40 : 160;
    }
  }
  return { data, width, height, channels: 3 };
}

function print(
  { machine: here, model, vocabulary, images, openMs, compileMs, cases }: BenchResult,
  output: Output,
): void {
  output.line(
    `${String(model.system)} in ${String(model.dtype)} on ${String(model.device)}: ${here.cpu}, ${here.tier}, ${here.threads} threads; node ${here.node}, wordmask ${packageVersion}`,
  );
  output.line(
    `${images}, ${count(vocabulary.labels, 'label')} with ${count(vocabulary.prompts, 'prompt')}; opened in ${Math.round(openMs)} ms, words encoded in ${Math.round(compileMs)} ms`,
  );
  for (const { name, runs, median, p95, p99, best, imagesPerSecond, stages, peakHostBytes, peakDeviceBytes } of cases) {
    const rows = [
      ['median', `${median} ms`],
      ['p95', `${p95} ms`],
      ['p99', `${p99} ms`],
      ['best', `${best} ms`],
      ['throughput', `${imagesPerSecond} images/s`],
      ['peak memory', `${formatBytes(peakHostBytes)} resident, ${formatBytes(peakDeviceBytes)} in tensors`],
      [
        'stages',
        Object.entries(stages)
          .map(([stage, ms]) => `${stage} ${ms}`)
          .join(', '),
      ],
    ];
    output.line(`${name}, ${count(runs, 'run')}`);
    for (const line of table(rows)) output.line(`  ${line}`);
  }
}

/** `5%` or `0.05`. @throws E_OPTION */
export function parseShare(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(text.trim());
  if (!match)
    throw new WordmaskError('E_OPTION', `--max-regress must be a share such as 5% or 0.05, got ${show(text)}`, {
      details: { option: 'maxRegress', value: text },
    });
  return Number(match[1]) / (match[2] ? 100 : 1);
}

async function readBench(file: string): Promise<BenchResult> {
  const value = parseJsonStrict(await readFileLimited(file, { limit: 1 << 24, code: 'E_USAGE' }), {
    code: 'E_USAGE',
    what: file,
  });
  const result = value as Partial<BenchResult> | null;
  if (result?.format === 'wordmask-bench/1' && Array.isArray(result.cases)) return result as BenchResult;
  throw new WordmaskError('E_USAGE', `${file} is no result of wordmask bench: write one with -o`, {
    details: { file },
  });
}

/** Ratios now/before; exit code 1 when time grew or throughput fell by more than is allowed. */
function compare(before: BenchResult, now: BenchResult, regress: number | undefined, output: Output): number {
  for (const key of ['machine', 'model', 'vocabulary', 'images', 'options'] as const)
    if (JSON.stringify(before[key]) !== JSON.stringify(now[key])) output.warn(`${key} differs from the earlier result`);
  const rows: string[][] = [];
  let worse = false;
  for (const current of now.cases) {
    const earlier = before.cases.find(({ name }) => name === current.name);
    if (!earlier) continue;
    for (const key of ['median', 'p95', 'p99', 'imagesPerSecond', 'peakHostBytes'] as const) {
      const ratio = current[key] / earlier[key];
      const bad =
        regress !== undefined &&
        ((key === 'median' && ratio > 1 + regress) || (key === 'imagesPerSecond' && ratio < 1 - regress));
      worse ||= bad;
      rows.push([
        current.name,
        key,
        String(earlier[key]),
        String(current[key]),
        `x ${ratio.toFixed(3)}`,
        bad ? 'worse than allowed' : '',
      ]);
    }
  }
  for (const line of table([['case', 'value', 'before', 'now', 'ratio', ''], ...rows], [2, 3])) {
    if (output.json) output.note(line);
    else output.line(line);
  }
  return worse ? exit.some : exit.done;
}
