/**
 * Runs a conversion: some tasks at a time, each output written whole or not at all. A manifest in the output folder says what every
 * output was made from, so that a run that was interrupted goes on where it ended, and trusts only outputs whose hash fits.
 */
import { appendFile, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isWordmaskError, show, WordmaskError } from '../../util/errors.js';
import { errnoOf, guardDisk, makeFolder, sha256, sha256File, writeFileAtomic } from '../../util/files.js';
import { byCode, isFile, isFolder } from '../../util/folder.js';
import { canonicalJson } from '../../util/json.js';
import type { Conversion, ConversionTask, LabelFileType } from '../types/conversion.js';
import { mapTasks, outputPath, panopticTasks } from './convert-maps.js';
import { naming } from './label-file.js';

export interface ConvertOptions {
  /** File type of 16-bit labels: `tif` (default) or `png`. */
  readonly type?: LabelFileType;
  /** Replace outputs that something else has written. */
  readonly overwrite?: boolean;
  /** At a file that cannot be converted: end (default), or go on and name it in the result. */
  readonly onError?: 'stop' | 'skip';
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number, name: string) => void;
}

export interface ConvertResult {
  /** Outputs written now, and those that were there and right. */
  readonly written: number;
  readonly kept: number;
  readonly failed: readonly { readonly name: string; readonly code: string; readonly message: string }[];
}

/** Tasks at a time: decoding waits for zlib's threads. */
const atOnce = 4;

/**
 * @throws E_USAGE for an input that is not there or an output that something else has written; E_IMAGE_FORMAT, E_IMAGE_CORRUPT,
 * E_IMAGE_SIZE for raw data that cannot be converted (unless skipped); E_DISK; `signal.reason` on abort
 */
export async function runConversion(
  conversion: Conversion,
  input: string,
  output: string,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  const { signal, onError = 'stop', type = 'tif' } = options;
  if (type !== 'tif' && type !== 'png')
    throw new WordmaskError('E_OPTION', `type must be tif or png, got ${show(type)}`);
  const there = await (conversion.input === 'folder' ? isFolder(input) : isFile(input));
  if (!there)
    throw new WordmaskError('E_USAGE', `${conversion.kind} is made from a ${conversion.input}, ${show(input)} is none`);
  const tasks = await tasksOf(conversion, input, type, signal);
  if (tasks.length === 0)
    throw new WordmaskError('E_USAGE', `${show(input)} holds nothing to convert (${conversion.text})`);
  await guardDisk('create', output, () => makeFolder(output));
  const manifest = await Manifest.open(join(output, `convert-${conversion.kind}.jsonl`));
  const failed: { name: string; code: string; message: string }[] = [];
  const counts = { written: 0, kept: 0 };
  let [next, done] = [0, 0];
  const stop = new AbortController();
  const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const work = async (): Promise<void> => {
    for (let i = next++; i < tasks.length; i = next++) {
      const task = tasks[i] as ConversionTask;
      both.throwIfAborted();
      try {
        const outcome = await runTask(task, type, output, manifest, options.overwrite === true, both);
        counts[outcome] += task.outputs.length;
      } catch (error) {
        if (both.aborted || onError === 'stop' || !isWordmaskError(error) || error.code === 'E_DISK') throw error;
        failed.push({ name: task.name, code: error.code, message: error.message });
      }
      options.onProgress?.(++done, tasks.length, task.name);
    }
  };
  const workers = Array.from({ length: atOnce }, () =>
    work().catch((error: unknown) => {
      stop.abort(error);
      throw error;
    }),
  );
  const ends = await Promise.allSettled(workers);
  signal?.throwIfAborted();
  if (stop.signal.aborted) throw stop.signal.reason;
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return { ...counts, failed: failed.sort((a, b) => byCode(a.name, b.name)) };
}

function tasksOf(
  conversion: Conversion,
  input: string,
  type: LabelFileType,
  signal?: AbortSignal,
): Promise<readonly ConversionTask[]> {
  if (conversion.form === 'maps') return mapTasks(conversion, input, signal);
  return conversion.form === 'panoptic'
    ? panopticTasks(conversion, input, signal)
    : conversion.tasks(input, { type, signal });
}

async function runTask(
  task: ConversionTask,
  type: LabelFileType,
  folder: string,
  manifest: Manifest,
  overwrite: boolean,
  signal: AbortSignal,
): Promise<'written' | 'kept'> {
  const source = await sourceHash(task, type, signal);
  const paths = task.outputs.map((output) => outputPath(folder, output));
  const hashes = await Promise.all(paths.map((path) => hashOf(path, signal)));
  const known = manifest.get(task.name);
  if (known?.source === source && hashes.every((hash, i) => hash !== undefined && hash === known.outputs[i]))
    return 'kept';
  const results = await naming(task.inputs[0] ?? task.name, () => task.convert(signal));
  const made = results.map((bytes) => sha256(bytes));
  if (made.every((hash, i) => hash === hashes[i])) {
    await manifest.add({ name: task.name, source, outputs: made });
    return 'kept';
  }
  for (const [i, path] of paths.entries()) {
    // A file that an earlier run has written may be replaced, and one that it left without a line in the manifest is equal.
    const foreign = hashes[i] !== undefined && hashes[i] !== made[i] && !known;
    if (foreign && !overwrite)
      throw new WordmaskError(
        'E_USAGE',
        `${path} exists and is not what this conversion makes: move it away or overwrite`,
        {
          details: { path },
        },
      );
  }
  for (const [i, path] of paths.entries())
    if (hashes[i] !== made[i]) await writeFileAtomic(path, results[i] as Uint8Array, { createFolder: true, signal });
  await manifest.add({ name: task.name, source, outputs: made });
  return 'written';
}

async function sourceHash(
  { inputs, content, outputs }: ConversionTask,
  type: string,
  signal: AbortSignal,
): Promise<string> {
  const hashes: string[] = [];
  for (const path of inputs) hashes.push(await sha256File(path, { signal }));
  return sha256(canonicalJson({ hashes, content: content ?? '', outputs, type }));
}

async function hashOf(path: string, signal: AbortSignal): Promise<string | undefined> {
  const info = await stat(path).catch(() => undefined);
  return info?.isFile() ? sha256File(path, { signal }) : undefined;
}

interface Line {
  readonly name: string;
  readonly source: string;
  readonly outputs: readonly string[];
}

/** One JSON line a task; the last one of a name counts, a line that was cut short does not. */
class Manifest {
  #last: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly path: string,
    private readonly lines: Map<string, Line>,
  ) {}

  static async open(path: string): Promise<Manifest> {
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return '';
      throw new WordmaskError('E_DISK', `cannot read ${path}`, { cause: error, details: { path } });
    });
    const lines = new Map<string, Line>();
    for (const row of text.split('\n')) {
      const line = parseLine(row);
      if (line) lines.set(line.name, line);
    }
    // A line that an interrupted run has cut short must not swallow the next one.
    if (text !== '' && !text.endsWith('\n')) await guardDisk('write', path, () => appendFile(path, '\n'));
    return new Manifest(path, lines);
  }

  get(name: string): Line | undefined {
    return this.lines.get(name);
  }

  async add(line: Line): Promise<void> {
    this.lines.set(line.name, line);
    this.#last = this.#last.then(() =>
      guardDisk('write', this.path, () => appendFile(this.path, `${JSON.stringify(line)}\n`)),
    );
    await this.#last;
  }
}

function parseLine(row: string): Line | undefined {
  try {
    const line = JSON.parse(row) as Line;
    return typeof line.name === 'string' && typeof line.source === 'string' && Array.isArray(line.outputs)
      ? line
      : undefined;
  } catch {
    return undefined;
  }
}
