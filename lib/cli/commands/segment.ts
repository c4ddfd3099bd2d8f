/** `wordmask segment`: masks for images, one by one or thousands with a manifest. */
import { basename, dirname, join, relative } from 'node:path';
import type { FormatFile, PlaneName } from '../../formats/format.js';
import type { Model } from '../../pipelines/model.js';
import type { SegmentOptions } from '../../pipelines/segment-options.js';
import type { Segmentation } from '../../pipelines/segmentation.js';
import type { Vocabulary } from '../../pipelines/vocabulary.js';
import { WordmaskError } from '../../util/errors.js';
import { guardDisk, makeFolder, sha256, sha256File, writeFileAtomic } from '../../util/files.js';
import { canonicalJson } from '../../util/json.js';
import { packageVersion } from '../../util/version.js';
import { exit, exitCodeOf } from '../exit-codes.js';
import { expandInputs, parseShard, takeShard } from '../inputs.js';
import { type ImageRecord, Manifest, type OutputRecord } from '../manifest.js';
import { type Job, nameOutputs, protectInputs } from '../names.js';
import { count } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import {
  chosenModel,
  formatList,
  type Options,
  openModel,
  readVocabulary,
  segmentOptions,
  textOption,
} from '../setup.js';
import { dryRun } from './segment-plan.js';
import { imageResult, resultLines, resumeHint } from './segment-report.js';

/** All that a run has decided before its first image. */
export interface SegmentRun {
  readonly context: Context;
  readonly model: Model;
  readonly vocab: Vocabulary;
  readonly jobs: readonly Job[];
  readonly formats: readonly string[];
  readonly options: SegmentOptions;
  /** Output folder; undefined is stdout. */
  readonly folder: string | undefined;
  /** Hash of all that shapes the outputs. */
  readonly settings: string;
  readonly onError: 'stop' | 'skip';
  readonly manifest: Manifest | undefined;
}

export async function segment(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  if (args.length === 0)
    throw new WordmaskError('E_USAGE', 'segment needs an image: wordmask segment photo.jpg -l cat,dog -m MODEL');
  const modelName = chosenModel(options, output);
  const formats = formatList(options);
  const vocab = await readVocabulary(options);
  const folder = textOption(options, 'out') ?? 'wordmask-out';
  const { images, batch } = await expandInputs(args, {
    formats: options.imageFormats as string[] | undefined,
    exclude: folder,
  });
  const jobs = takeShard(nameOutputs(images, formats), textOption(options, 'shard'));
  const toStdout = folder === '-';
  if (toStdout) checkStdout(jobs, formats, context);
  else {
    protectInputs(jobs, folder);
    // A folder that cannot be made is told before minutes of work, not after.
    if (!options.dryRun) await guardDisk('create', folder, () => makeFolder(folder));
  }
  const given = segmentOptions(options);
  await using model = await openModel(modelName, options, output, interrupt.signal);
  if (options.dryRun) return dryRun({ context, model, vocab, jobs, options: given, folder });
  await compile(model, vocab, given, context);
  const settings = settingsHash(model, vocab, given, formats, options);
  const manifest =
    (batch || options.resume || options.shard !== undefined) && !toStdout
      ? await Manifest.open(join(folder, manifestName(textOption(options, 'shard'))), options.resume === true)
      : undefined;
  try {
    return await runAll({
      context,
      model,
      vocab,
      jobs,
      formats,
      options: given,
      folder: toStdout ? undefined : folder,
      settings,
      manifest,
      onError: (options.onError as 'stop' | 'skip' | undefined) ?? 'stop',
    });
  } finally {
    await manifest?.close();
  }
}

/** Shards that share a folder have a manifest each. */
function manifestName(shard: string | undefined): string {
  if (shard === undefined) return 'manifest.jsonl';
  const { index, count } = parseShard(shard);
  return `manifest-${index}-of-${count}.jsonl`;
}

function checkStdout(jobs: readonly Job[], formats: readonly string[], { output }: Context): void {
  if (jobs.length !== 1 || formats.length !== 1 || formats[0] === 'coco-panoptic')
    throw new WordmaskError(
      'E_USAGE',
      `-o - writes one file to stdout: give one image and one format of one file, got ${jobs.length} images as ${formats.join(', ')}`,
    );
  if (!output.plain)
    throw new WordmaskError(
      'E_USAGE',
      '-o - writes the file to stdout, which --json and --jsonl need as well: give one',
    );
}

/** Text features before the first image, with progress, because long lists take a while. */
async function compile(
  model: Model,
  vocab: Vocabulary,
  given: SegmentOptions,
  { output, interrupt }: Context,
): Promise<void> {
  const progress = new Progress(output, vocab.spec.prompts.length, 'prompts');
  // The time for one picture is not that for the words of all.
  const { timeoutMs: _, ...options } = given;
  await model.prepare(vocab, { ...options, signal: interrupt.signal }, (done) => progress.update(done));
  progress.end();
}

function settingsHash(
  model: Model,
  vocab: Vocabulary,
  given: SegmentOptions,
  formats: readonly string[],
  options: Options,
): string {
  const { timeoutMs: _, ...shaping } = given;
  const { hash, system, dtype } = model.info;
  const { alpha, contours, showLegend, plane } = options;
  return sha256(
    canonicalJson({
      wordmask: packageVersion,
      hash,
      system,
      dtype,
      vocabulary: vocab.hash,
      shaping,
      formats,
      alpha,
      contours,
      showLegend,
      plane,
    }),
  );
}

async function runAll(run: SegmentRun): Promise<number> {
  const { context, jobs, manifest, settings, folder } = run;
  const { output, interrupt } = context;
  const open = await unfinished(run);
  if (open.length < jobs.length) output.note(`${jobs.length - open.length} of ${jobs.length} images are done already`);
  const progress = new Progress(output, open.length);
  interrupt.soften(() =>
    output.note(
      `${open.length > 1 ? 'finishing the running images' : 'finishing the image'}; once more to stop at once`,
    ),
  );
  const results: ImageRecord[] = [];
  let failure: unknown;
  // Pictures are drawn from the list as the stream has room; an interrupt ends the list.
  function* inputs(): Generator<string | NodeJS.ReadStream> {
    for (const { input } of open) {
      if (interrupt.stopped) return;
      yield input.path === '-' ? process.stdin : input.path;
    }
  }
  for await (const result of run.model.stream(inputs(), run.vocab, { ...run.options, batch: 'auto' })) {
    const job = open[result.index] as Job;
    const record = result.ok
      ? await saveResult(run, job, result.value)
      : await failedRecord(job, result.error, settings);
    results.push(record);
    await manifest?.add(record);
    if (result.ok) report(run, job, result.value, record, open.length > 1);
    else output.error(result.error, { image: job.input.path });
    if (output.jsonl) output.value(imageResult(record, result.ok ? result.value : undefined));
    progress.step(basename(job.input.path));
    if (!result.ok && (run.onError === 'stop' || fatal(result.error.code))) {
      failure = result.error;
      break;
    }
  }
  progress.end();
  if (output.json) output.value(summary(run, results, jobs.length - open.length));
  return finish(run, open, results, failure, folder);
}

/** Errors after which no other picture can succeed. */
function fatal(code: string): boolean {
  return code === 'E_DEVICE_LOST' || code === 'E_DISPOSED' || code === 'E_INTERNAL';
}

async function unfinished({ jobs, manifest, settings, folder, context }: SegmentRun): Promise<Job[]> {
  if (!manifest || !context.options.resume) return [...jobs];
  const open: Job[] = [];
  for (const job of jobs) {
    context.interrupt.signal.throwIfAborted();
    if (!(await manifest.isDone(job, settings, folder ?? '.'))) open.push(job);
  }
  return open;
}

function finish(
  { context, manifest }: SegmentRun,
  open: readonly Job[],
  results: readonly ImageRecord[],
  failure: unknown,
  folder: string | undefined,
): number {
  const { output, interrupt, argv } = context;
  const failed = results.filter(({ status }) => status === 'failed');
  const left = open.length - results.length;
  if (manifest && folder !== undefined) {
    output.note(
      `${count(results.length - failed.length, 'image')} done${failed.length > 0 ? `, ${failed.length} failed` : ''}${left > 0 ? `, ${left} left` : ''}; ${manifest.path}`,
    );
    if (left > 0) output.note(`to go on: ${resumeHint(argv)}`);
  }
  if (interrupt.stopped) return interrupt.exitCode;
  if (failure !== undefined) return open.length > 1 && results.length > failed.length ? exit.some : exitCodeOf(failure);
  return failed.length > 0 ? exit.some : exit.done;
}

/** Writes all formats of one picture. @throws E_DISK: what cannot be written ends the run */
async function saveResult(run: SegmentRun, job: Job, result: Segmentation): Promise<ImageRecord> {
  const started = performance.now();
  const { options } = run.context;
  const outputs: OutputRecord[] = [];
  for (const { format, stem, extension } of job.outputs) {
    const files = await result.encode(format, {
      stem: basename(stem),
      imageId: job.index + 1,
      imageFile: basename(job.input.path),
      alpha: options.alpha as number | undefined,
      contours: options.contours as boolean | undefined,
      showLegend: options.showLegend as boolean | undefined,
      plane: options.plane as PlaneName | undefined,
    });
    if (run.folder === undefined) process.stdout.write((files[0] as FormatFile).bytes);
    else outputs.push(...(await writeFiles(run.folder, dirname(`${stem}${extension}`), format, files)));
  }
  return {
    name: job.name,
    input: job.input.path,
    sha256: String(result.provenance.input),
    status: 'done',
    width: result.width,
    height: result.height,
    outputs,
    timings: rounded({ ...result.timings, save: performance.now() - started }),
    ...(result.warnings.length > 0 && { warnings: result.warnings }),
    settings: run.settings,
  };
}

async function writeFiles(
  folder: string,
  below: string,
  format: string,
  files: readonly FormatFile[],
): Promise<OutputRecord[]> {
  const target = join(folder, below);
  await guardDisk('create', target, () => makeFolder(target));
  const records: OutputRecord[] = [];
  for (const { name, bytes } of files) {
    const path = join(target, name);
    await writeFileAtomic(path, bytes);
    records.push({ file: relative(folder, path), format, sha256: sha256(bytes), bytes: bytes.length });
  }
  return records;
}

async function failedRecord(job: Job, error: WordmaskError, settings: string): Promise<ImageRecord> {
  const hash = job.input.path === '-' ? undefined : await sha256File(job.input.path).catch(() => undefined);
  return {
    name: job.name,
    input: job.input.path,
    sha256: hash ?? null,
    status: 'failed',
    code: error.code,
    message: error.message,
    outputs: [],
    timings: {},
    settings,
  };
}

function report(run: SegmentRun, job: Job, result: Segmentation, record: ImageRecord, many: boolean): void {
  const { output } = run.context;
  for (const warning of result.warnings) output.warn(`${job.input.path}: ${warning}`);
  if (!output.plain || run.folder === undefined) return;
  const files = record.outputs.map(({ file }) => join(run.folder as string, file));
  for (const line of resultLines(job.input.path, result, files, output, many)) output.line(line);
}

function summary(
  { model, vocab, settings, manifest }: SegmentRun,
  results: readonly ImageRecord[],
  skipped: number,
): Record<string, unknown> {
  return {
    model: { system: model.info.system, device: model.info.device, dtype: model.info.dtype, hash: model.info.hash },
    vocabulary: vocab.hash,
    settings,
    manifest: manifest?.path ?? null,
    done: results.filter(({ status }) => status === 'done').length,
    failed: results.filter(({ status }) => status === 'failed').length,
    alreadyDone: skipped,
    images: results,
  };
}

function rounded(timings: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(timings).map(([stage, ms]) => [stage, Math.round(ms * 10) / 10]));
}
