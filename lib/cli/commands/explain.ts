/** `wordmask explain`: maps of words over images. */
import { basename, dirname, extname, join, resolve } from 'node:path';
import type { ExplainOptions } from '../../pipelines/explain-request.js';
import {
  checkedFormat,
  type Explanation,
  type ExplanationFormat,
  type ExplanationSaveOptions,
  explanationExtension,
  formatOf,
  rangeText,
} from '../../pipelines/explanation.js';
import type { Model } from '../../pipelines/model.js';
import { Vocabulary } from '../../pipelines/vocabulary.js';
import { show, WordmaskError } from '../../util/errors.js';
import { guardDisk, makeFolder, sha256, writeFileAtomic } from '../../util/files.js';
import { exit, exitCodeOf } from '../exit-codes.js';
import { expandInputs } from '../inputs.js';
import { readLabels } from '../label-list.js';
import { type Job, nameOutputs } from '../names.js';
import { count, table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import {
  chosenModel,
  type Options,
  openModel,
  readVocabulary,
  segmentOptions,
  textOption,
  vocabularyOptions,
} from '../setup.js';

/** The words of `-l`, and those they compete with. */
interface Words {
  readonly labels: Vocabulary | readonly string[];
  readonly names: readonly string[];
  readonly vocabulary?: Vocabulary;
}

interface Run {
  readonly context: Context;
  readonly model: Model;
  readonly words: Words;
  readonly jobs: readonly Job[];
  readonly formats: readonly ExplanationFormat[];
  /** Path of the map of a word (by its place) of a job in a format; undefined: stdout. */
  readonly place: (job: Job, word: number, format: ExplanationFormat) => string | undefined;
  readonly options: ExplainOptions;
  readonly drawing: ExplanationSaveOptions;
}

interface MapRecord {
  readonly word: Explanation;
  readonly outputs: readonly { file: string; format: string; sha256: string; bytes: number }[];
}

type ImageRecord = Readonly<Record<string, unknown>> & { readonly status: 'done' | 'failed' };

export async function explain(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  if (args.length === 0)
    throw new WordmaskError('E_USAGE', 'explain needs an image: wordmask explain photo.jpg -l cat -m MODEL');
  const words = await readWords(options);
  const target = textOption(options, 'mapOut') ?? 'wordmask-out';
  const { images } = await expandInputs(args, {
    formats: options.imageFormats as string[] | undefined,
    exclude: target,
  });
  const jobs = nameOutputs(images, ['png']);
  const { formats, place } = await whereTo(target, jobs, words, context);
  const drawing = drawingOptions(options);
  const modelName = chosenModel(options, output);
  await using model = await openModel(modelName, options, output, interrupt.signal);
  return await runAll({
    context,
    model,
    words,
    jobs,
    formats,
    place,
    options: { ...segmentOptions(options), ...(words.vocabulary && { vocabulary: words.vocabulary }) },
    drawing,
  });
}

/** @throws E_USAGE, E_LABEL, E_VOCAB */
async function readWords(options: Options): Promise<Words> {
  if (options.labels === undefined)
    throw new WordmaskError('E_USAGE', 'no word was given: explain takes those of -l, such as -l cat,dog');
  const labels = await readLabels(options.labels);
  if (options.vocab === undefined && options.from === undefined) {
    const alone = Vocabulary.from(labels, vocabularyOptions(options));
    return { labels: alone, names: alone.labels.map(({ name }) => name) };
  }
  const vocabulary = await readVocabulary({ ...options, labels: undefined });
  const names = labels.map((label) => {
    const { name, prompts = [name] } = typeof label === 'string' ? { name: label } : label;
    if (prompts.length > 1)
      throw new WordmaskError(
        'E_LABEL',
        `${show(prompts.join('|'))}: with --vocab or --from, -l names labels that are there, whose prompts the vocabulary says`,
      );
    // Refused before the model is opened.
    return vocabulary.labels[vocabulary.indexOf(name.trim())]?.name as string;
  });
  return { labels: names, names, vocabulary };
}

/** @throws E_OPTION */
function drawingOptions({ alpha, showLegend, bits, range }: Options): ExplanationSaveOptions {
  const list = range as readonly string[] | undefined;
  const numbers = list?.map((text) => (text.trim() === '' ? Number.NaN : Number(text)));
  if (numbers && !(numbers.length === 2 && (numbers[0] as number) < (numbers[1] as number)))
    throw new WordmaskError(
      'E_OPTION',
      `--range takes two numbers, the lower one first, such as 0,1, got ${show(list)}`,
    );
  if (bits !== undefined && bits !== 8 && bits !== 16)
    throw new WordmaskError('E_OPTION', `--bits must be 8 or 16, got ${show(bits)}`);
  return {
    alpha: alpha as number | undefined,
    legend: showLegend as boolean | undefined,
    bits: bits as 8 | 16 | undefined,
    range: numbers as [number, number] | undefined,
  };
}

/** Folder, single file or stdout; folders are made, and no output is an input. @throws E_USAGE, E_OPTION, E_DISK */
async function whereTo(
  target: string,
  jobs: readonly Job[],
  { names }: Words,
  { options, output }: Context,
): Promise<Pick<Run, 'formats' | 'place'>> {
  const named = (options.mapFormat as readonly string[] | undefined)?.map(checkedFormat);
  const single = jobs.length === 1 && names.length === 1 && (named === undefined || named.length === 1);
  if (target === '-') {
    if (!single)
      throw new WordmaskError('E_USAGE', '-o - writes one map to stdout: give one image, one word and one format');
    if (!output.plain)
      throw new WordmaskError('E_USAGE', '-o - writes the map to stdout, which --json and --jsonl need as well');
    return { formats: named ?? ['overlay'], place: () => undefined };
  }
  if (/^\.(png|npy|safetensors)$/i.test(extname(target))) {
    if (!single)
      throw new WordmaskError(
        'E_USAGE',
        `-o ${target} is a file, which holds one map: give one image, one word and one format, or name a folder`,
      );
    const [format = formatOf(target)] = named ?? [];
    if (extname(target).toLowerCase() !== explanationExtension(format))
      throw new WordmaskError(
        'E_USAGE',
        `-o ${target} does not end in ${explanationExtension(format)} as ${format} does`,
      );
    await prepare([target], jobs);
    return { formats: [format], place: () => target };
  }
  const formats = [...new Set(named ?? (['overlay'] as const))];
  const paths = outputPaths(target, jobs, names, formats);
  await prepare([...paths.values()], jobs);
  return { formats, place: (job, word, format) => paths.get(pathKey(job, word, format)) };
}

async function prepare(paths: readonly string[], jobs: readonly Job[]): Promise<void> {
  const inputs = new Set(jobs.map(({ input }) => resolve(input.path)));
  const taken = paths.find((path) => inputs.has(resolve(path)));
  if (taken !== undefined)
    throw new WordmaskError('E_USAGE', `${taken} would replace an image itself: choose another place with -o`, {
      details: { path: taken },
    });
  for (const folder of new Set(paths.map((path) => dirname(path))))
    await guardDisk('create', folder, () => makeFolder(folder));
}

function pathKey({ index }: Job, word: number, format: ExplanationFormat): string {
  return `${index} ${word} ${format}`;
}

/** `photo.cat.png`, `photo.cat.map.png`, `photo.cat.npy`: each once, whatever the words are. */
function outputPaths(
  folder: string,
  jobs: readonly Job[],
  names: readonly string[],
  formats: readonly ExplanationFormat[],
): Map<string, string> {
  const taken = new Set<string>();
  const paths = new Map<string, string>();
  for (const job of jobs)
    for (const [word, name] of names.entries())
      for (const format of formats) {
        const kind = format === 'map' && formats.includes('overlay') ? '.map' : '';
        for (let n = 1; ; n++) {
          const stem = `${job.name}.${fileWord(name)}${n > 1 ? `-${n}` : ''}${kind}`;
          const path = join(folder, `${stem}${explanationExtension(format)}`);
          const key = path.toLowerCase().normalize('NFC');
          if (taken.has(key)) continue;
          taken.add(key);
          paths.set(pathKey(job, word, format), path);
          break;
        }
      }
  return paths;
}

/** Letters, digits and hyphens of a word; the rest would mean something to a file system or a shell. */
function fileWord(name: string): string {
  const plain = name.normalize('NFC').replace(/[^\p{L}\p{M}\p{N}_-]+/gu, '-');
  return (
    [...plain]
      .slice(0, 40)
      .join('')
      .replace(/^-+|-+$/g, '') || 'word'
  );
}

async function runAll(run: Run): Promise<number> {
  const { context, jobs } = run;
  const { output, interrupt, options } = context;
  const progress = new Progress(output, jobs.length);
  if (jobs.length > 1) interrupt.soften(() => output.note('finishing the image; once more to stop at once'));
  const records: ImageRecord[] = [];
  let failure: unknown;
  for (const job of jobs) {
    if (interrupt.stopped) break;
    try {
      records.push(await explainImage(run, job));
    } catch (error) {
      interrupt.signal.throwIfAborted();
      if (!(error instanceof WordmaskError) || error.code === 'E_DISK') throw error;
      const { code, message } = error;
      records.push({ name: job.name, input: job.input.path, status: 'failed', code, message, maps: [] });
      output.error(error, { image: job.input.path });
      if (options.onError !== 'skip' || code === 'E_DEVICE_LOST' || code === 'E_INTERNAL') failure = error;
    }
    if (output.jsonl) output.value(records.at(-1));
    progress.step(basename(job.input.path));
    if (failure !== undefined) break;
  }
  progress.end();
  const failed = records.filter(({ status }) => status === 'failed').length;
  const done = records.length - failed;
  if (output.json) {
    const { system, device, dtype, hash } = run.model.info;
    output.value({ model: { system, device, dtype, hash }, done, failed, images: records });
  }
  if (jobs.length > 1) output.note(`${count(done, 'image')} done${failed > 0 ? `, ${failed} failed` : ''}`);
  if (interrupt.stopped) return interrupt.exitCode;
  if (failure !== undefined) return done > 0 ? exit.some : exitCodeOf(failure);
  return failed > 0 ? exit.some : exit.done;
}

async function explainImage(run: Run, job: Job): Promise<ImageRecord> {
  const { model, words, context } = run;
  const { path } = job.input;
  const image = path === '-' ? process.stdin : path;
  const found = await model.explain(image, words.labels as readonly string[], {
    ...run.options,
    signal: context.interrupt.signal,
  });
  const maps: MapRecord[] = [];
  for (const [at, word] of found.entries()) maps.push(await saveMap(run, job, at, word));
  for (const warning of new Set(found.flatMap(({ warnings }) => warnings))) context.output.warn(`${path}: ${warning}`);
  const [first] = found as [Explanation];
  if (context.output.plain && maps.every(({ outputs }) => outputs.length > 0)) report(context, path, maps);
  return {
    name: job.name,
    input: path,
    sha256: first.provenance.input,
    status: 'done',
    width: first.width,
    height: first.height,
    maps: maps.map(({ word, outputs }) => {
      const { width: _, height: __, provenance: ___, timings, ...rest } = word.toJSON();
      return { ...rest, timings: rounded(timings as Record<string, number>), outputs };
    }),
  };
}

async function saveMap(run: Run, job: Job, at: number, word: Explanation): Promise<MapRecord> {
  const outputs: MapRecord['outputs'][number][] = [];
  for (const format of run.formats) {
    const bytes = await word.encode(format, run.drawing);
    const file = run.place(job, at, format);
    if (file === undefined) process.stdout.write(bytes);
    else {
      await writeFileAtomic(file, bytes);
      outputs.push({ file, format, sha256: sha256(bytes), bytes: bytes.length });
    }
  }
  return { word, outputs };
}

function report({ output }: Context, path: string, maps: readonly MapRecord[]): void {
  const { word: first } = maps[0] as MapRecord;
  const among = first.against ? ` among ${count(first.against.labels.length, 'label')}` : '';
  output.line(output.style('bold', `${path}  ${first.width} x ${first.height}  ${first.values}${among}`));
  const rows = table(
    maps.map(({ word, outputs }) => [
      word.label,
      rangeText(word),
      `highest at ${word.peak.x}, ${word.peak.y}`,
      outputs.map(({ file }) => file).join(', '),
    ]),
  );
  for (const row of rows) output.line(`  ${row}`);
}

function rounded(timings: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(timings).map(([stage, ms]) => [stage, Math.round(ms * 10) / 10]));
}
