/** `wordmask convert IN OUT`: label files from one format to another, checkpoints to safetensors. */
import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { LabelResult, LegendEntry, PlaneName } from '../../formats/format.js';
import { formatNames, labelFormat, loadLabels, saveLabels } from '../../formats/index.js';
import { show, WordmaskError } from '../../util/errors.js';
import { guardDisk, makeFolder } from '../../util/files.js';
import { exit, exitCodeOf } from '../exit-codes.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { readVocabulary, textOption } from '../setup.js';
import { convertWeights, isCheckpoint } from './convert-weights.js';

interface Conversion {
  readonly from: string | undefined;
  readonly to: string;
  readonly legend: readonly LegendEntry[] | undefined;
}

export async function convert(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  const [input = '', target = ''] = args;
  if (isCheckpoint(input)) return convertWeights(context);
  if (options.map !== undefined)
    throw new WordmaskError('E_USAGE', `--map is for checkpoints (*.pth, *.pt, *.bin, *.ckpt), got ${show(input)}`);
  const formats = options.format as readonly string[] | undefined;
  if (formats !== undefined && formats.length !== 1)
    throw new WordmaskError('E_USAGE', `convert writes one format, got ${formats.join(', ')}`);
  const from = textOption(options, 'inputFormat');
  if (from !== undefined) labelFormat(from);
  const named = options.labels !== undefined || options.vocab !== undefined || options.from !== undefined;
  const legend = named ? (await readVocabulary(options)).legend() : undefined;
  const info = await stat(input).catch(() => undefined);
  if (!info) throw new WordmaskError('E_USAGE', `${show(input)} does not exist: check the path`);
  const to = formats?.[0] ?? (info.isDirectory() ? undefined : formatOf(target));
  if (to === undefined) throw new WordmaskError('E_USAGE', 'converting a folder needs the output format: -f NAME');
  const conversion = { from, to, legend };
  if (!info.isDirectory()) {
    const paths = await convertFile(input, target, conversion, context);
    if (output.json) output.value({ input, outputs: paths });
    else for (const path of paths) output.line(path);
    return exit.done;
  }
  if (from === undefined)
    throw new WordmaskError(
      'E_USAGE',
      `converting a folder needs the format of its files: --input-format, one of ${formatNames.join(', ')}`,
    );
  interrupt.soften(() => undefined);
  return convertFolder(input, target, conversion, context);
}

async function convertFolder(
  folder: string,
  target: string,
  conversion: Conversion,
  context: Context,
): Promise<number> {
  const { output, interrupt } = context;
  const { extension } = labelFormat(conversion.from as string);
  const names = (await guardDisk('read', folder, () => readdir(folder)))
    .filter((name) => !name.startsWith('.') && extname(name).toLowerCase() === extension)
    .sort();
  if (names.length === 0) throw new WordmaskError('E_USAGE', `the folder ${show(folder)} holds no ${extension} file`);
  await guardDisk('create', target, () => makeFolder(target));
  const progress = new Progress(output, names.length, 'files');
  const results: Record<string, unknown>[] = [];
  let worst = 0;
  for (const name of names) {
    if (interrupt.stopped) return interrupt.exitCode;
    const input = join(folder, name);
    try {
      const stem = basename(name, extname(name));
      const outputs = await convertFile(
        input,
        join(target, `${stem}${labelFormat(conversion.to).extension}`),
        conversion,
        context,
      );
      results.push({ input, outputs });
      if (!output.json) output.line(outputs.join(', '));
    } catch (error) {
      if (!(error instanceof WordmaskError) || error.code === 'E_DISK') throw error;
      output.error(error, { file: input });
      results.push({ input, code: error.code });
      worst = Math.max(worst, exitCodeOf(error));
    }
    progress.step(name);
  }
  progress.end();
  if (output.json) output.value({ files: results });
  return worst === 0 ? exit.done : exit.some;
}

async function convertFile(
  input: string,
  target: string,
  { from, to, legend }: Conversion,
  { options, interrupt }: Context,
): Promise<string[]> {
  if (!options.overwrite && (await stat(target).catch(() => undefined)))
    throw new WordmaskError('E_USAGE', `${show(target)} exists already: choose another name or give --overwrite`);
  const { signal } = interrupt;
  const result = await loadLabels(input, { format: from, legend, signal });
  return saveLabels(target, withNames(result, legend), {
    format: to,
    imageFile: basename(input),
    alpha: options.alpha as number | undefined,
    contours: options.contours as boolean | undefined,
    showLegend: options.showLegend as boolean | undefined,
    plane: options.plane as PlaneName | undefined,
    signal,
  });
}

/** Names that were asked for, where a file brought none of its own. */
function withNames(result: LabelResult, legend: readonly LegendEntry[] | undefined): LabelResult {
  return legend === undefined ? result : { ...result, legend };
}

/** The format an extension stands for. @throws E_USAGE where it is not clear */
function formatOf(path: string): string {
  const byExtension: Readonly<Record<string, string>> = {
    '.png': 'png',
    '.json': 'coco',
    '.npy': 'npy',
    '.safetensors': 'safetensors',
  };
  const format = byExtension[extname(path).toLowerCase()];
  if (format !== undefined) return format;
  const single = formatNames.filter((name) => labelFormat(name).extension === extname(path).toLowerCase());
  if (single.length === 1) return single[0] as string;
  throw new WordmaskError(
    'E_USAGE',
    `the format of ${show(path)} cannot be told from its extension: give -f, one of ${formatNames.join(', ')}`,
  );
}
