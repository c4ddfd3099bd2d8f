/** `wordmask tune`: settings of a model found on a user's own pictures. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readLabelImage } from '../../formats/label-png.js';
import type { ThresholdScores, TruthMap } from '../../pipelines/threshold-curve.js';
import type { TuneResult } from '../../pipelines/tune.js';
import { show, WordmaskError } from '../../util/errors.js';
import { readFileLimited, writeFileAtomic } from '../../util/files.js';
import { exit } from '../exit-codes.js';
import { expandInputs, type InputImage } from '../inputs.js';
import { count, table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { chosenModel, type Options, openModel, readVocabulary, segmentOptions, textOption } from '../setup.js';

const labelFileLimit = 256 << 20;
const truthExtensions = ['.png', '.tif', '.tiff'];

export async function tuneCommand(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  if (args.length > 0)
    throw new WordmaskError(
      'E_USAGE',
      `tune takes no arguments, got ${show(args[0])}: name pictures with --images DIR`,
    );
  const folder = textOption(options, 'imageFolder');
  if (folder === undefined)
    throw new WordmaskError('E_USAGE', 'tune needs pictures: wordmask tune -m MODEL --images DIR -l cat,dog');
  const name = chosenModel(options, output);
  const vocab = await readVocabulary(options);
  const { images } = await expandInputs([folder], { formats: options.imageFormats as string[] | undefined });
  const truths = truthFiles(images, textOption(options, 'truthFolder'));
  const grid = thresholds(options);
  const { timeoutMs: _, ...segment } = segmentOptions(options);
  await using model = await openModel(name, options, output, interrupt.signal);
  const place = whereTo(context, model.info.system);
  const { saveTuning, tuningPlace } = await import('../../pipelines/save-tuning.js');
  // Refused before the work, not after.
  if (options.save === true) await tuningPlace(name, model.info, place);
  const progress = new Progress(output, Math.min(images.length, (options.drawLimit as number | undefined) ?? 200));
  const result = await model
    .tune(
      images.map(({ path }) => path),
      vocab,
      {
        what: options.what as TuneResult['what'] | undefined,
        ...(truths && { truth: (index, signal) => readTruth(truths[index] as string, signal) }),
        ignore: options.ignore as number | undefined,
        grid,
        limit: options.drawLimit as number | undefined,
        seed: options.drawSeed as number | undefined,
        segment,
        onError: options.onError as 'stop' | 'skip' | undefined,
        names: images.map(({ path }) => path),
        journal: textOption(options, 'journal'),
        evaluations: options.evaluations as number | undefined,
        parallel: options.parallel as number | undefined,
        signal: interrupt.signal,
        onProgress: (done) => progress.update(done),
      },
    )
    .finally(() => progress.end());
  const saved = options.save === true ? await saveTuning(name, result, place) : undefined;
  await report(result, saved, context);
  for (const { index, code, message } of result.pictures.failed)
    output.warn(`${images[index]?.path}: ${code} ${message}`);
  return result.pictures.failed.length > 0 ? exit.some : exit.done;
}

function whereTo(
  { options, interrupt }: Context,
  system: string,
): Parameters<typeof import('../../pipelines/save-tuning.js').saveTuning>[2] {
  const { cacheDir, revision, base } = options as Record<string, string | undefined>;
  return { signal: interrupt.signal, cacheDir, revision, base, system };
}

/** Label files beside the pictures. @throws E_USAGE naming all that are missing */
function truthFiles(images: readonly InputImage[], folder: string | undefined): string[] | undefined {
  if (folder === undefined) return undefined;
  const files = images.map(({ name }) =>
    truthExtensions.map((extension) => join(folder, `${name}${extension}`)).find((file) => existsSync(file)),
  );
  const missing = images.filter((_, i) => files[i] === undefined);
  if (missing.length > 0)
    throw new WordmaskError(
      'E_USAGE',
      `${missing.length} of ${images.length} pictures have no labels in ${folder} (${truthExtensions.join(', ')} of the same name): ${missing
        .slice(0, 8)
        .map(({ path }) => path)
        .join(', ')}${missing.length > 8 ? ', ...' : ''}`,
      { details: { folder, missing: missing.map(({ path }) => path) } },
    );
  return files as string[];
}

async function readTruth(file: string, signal?: AbortSignal): Promise<TruthMap> {
  const bytes = await readFileLimited(file, { limit: labelFileLimit, signal, code: 'E_IMAGE_FORMAT' });
  try {
    return await readLabelImage(bytes, 'png', signal);
  } catch (error) {
    if (!(error instanceof WordmaskError)) throw error;
    throw new WordmaskError(error.code, `${file}: ${error.message}`, { cause: error, details: error.details });
  }
}

function thresholds(options: Options): number[] | undefined {
  const list = options.thresholds as readonly string[] | undefined;
  return list?.map((text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (Number.isNaN(value))
      throw new WordmaskError('E_OPTION', `--thresholds takes numbers such as 0.1,0.2, got ${show(text)}`);
    return value;
  });
}

async function report(result: TuneResult, saved: string | undefined, { options, output }: Context): Promise<void> {
  const file = textOption(options, 'output');
  const value = { ...result, saved: saved ?? null };
  if (file !== undefined && file !== '-') await writeFileAtomic(file, `${JSON.stringify(value, null, 2)}\n`);
  if (output.json || file === '-') return output.value(value);
  for (const line of resultTable(result)) output.line(line);
  for (const warning of result.warnings) output.warn(warning);
  const { used, given, failed } = result.pictures;
  const more = `${used} of ${count(given, 'picture')}${failed.length > 0 ? `, ${failed.length} failed` : ''}`;
  output.note(`${result.rule} rule (${result.source}), ${more}`);
  if (saved !== undefined) output.note(`written into ${saved}`);
  else output.note('--save writes it into the model folder');
}

/** The curve with a mark at the value chosen, or the best of each group of a search; then the settings. */
function resultTable({ curve, search, tuning }: TuneResult): string[] {
  const percent = (share: number): string => (Number.isNaN(share) ? '-' : (100 * share).toFixed(2));
  const rows: string[][] = [];
  if (curve) {
    const labelled = curve.some((point) => 'mIoU' in point);
    rows.push(labelled ? ['threshold', 'mIoU', 'pixels right', 'background', ''] : ['threshold', 'merit', '']);
    for (const point of curve) {
      const mark = Object.values(tuning).includes(point.value) ? '<' : '';
      const { value } = point;
      if ('merit' in point) rows.push([value.toFixed(2), point.merit.toPrecision(5), mark]);
      else rows.push([value.toFixed(2), ...scoreCells(point, percent), mark]);
    }
  }
  if (search) {
    rows.push(['group', 'total', 'best options']);
    for (const { name, best } of search.groups) rows.push([name, String(best.total), JSON.stringify(best.options)]);
  }
  const settings = Object.entries(tuning).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return [...table(rows, curve ? [0, 1, 2, 3] : [1]), ...settings];
}

function scoreCells({ mIoU, pixelAccuracy, background }: ThresholdScores, percent: (x: number) => string): string[] {
  return [percent(mIoU), percent(pixelAccuracy), percent(background)];
}
