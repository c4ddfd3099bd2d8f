/** `wordmask eval -m MODEL -d DATASET`: figures of a model on a data set, with the published one beside them. */
import { unlink } from 'node:fs/promises';
import type { EvalDataset } from '../../data/dataset.js';
import type { EvaluateOptions } from '../../eval/index.js';
import type { EvalReport } from '../../eval/report-types.js';
import type { Model } from '../../pipelines/model.js';
import { show, WordmaskError } from '../../util/errors.js';
import { guardDisk, makeFolder } from '../../util/files.js';
import { nearest } from '../../util/nearest.js';
import { datasetOptions, protocolRequest } from '../eval-request.js';
import { exit } from '../exit-codes.js';
import { parseShard } from '../inputs.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { chosenModel, type Options, openModel, textOption } from '../setup.js';
import { reportLines } from './eval-table.js';
import { resumeHint } from './segment-report.js';

export async function evalCommand(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  const name = await checkUsage(args, options);
  const file = textOption(options, 'output');
  const protocol = await protocolRequest(options);
  const { openDataset } = await import('../../data/dataset.js');
  const { evaluate, labelRuleOf } = await import('../../eval/index.js');
  await using model = await openModel(chosenModel(options, output), options, output, interrupt.signal);
  const dataset = await openDataset(name, {
    ...datasetOptions(options),
    ...{ labels: labelRuleOf(protocol, model.info.system, name), signal: interrupt.signal },
  });
  const { missing, damaged } = dataset.source;
  if (missing.length > 0) output.warn(`${missing.length} pictures of the list are not there: ${some(missing)}`);
  if (damaged.length > 0) output.warn(`${damaged.length} files are damaged: ${some(damaged)}`);
  const journal = file === undefined || file === '-' ? undefined : `${file}.journal`;
  const request: EvaluateOptions = {
    model,
    dataset,
    ...runOptions(context),
    ...(protocol && { protocol }),
    ...(journal && { journal }),
  };
  const report = await run(evaluate, request, context);
  if (report === undefined) return interrupt.exitCode;
  await finish(report, { model, request, context });
  if (journal) await unlink(journal).catch(() => undefined);
  return report.counts.failed > 0 ? exit.some : exit.done;
}

/** @throws E_USAGE, E_OPTION before anything is opened */
async function checkUsage(args: readonly string[], options: Options): Promise<string> {
  const { datasetInfo, datasetNames } = await import('../../data/dataset.js');
  if (args.length > 0) {
    const guess = nearest(args[0] as string, ['merge', 'diff', 'robustness', 'drawn-scenes']);
    throw new WordmaskError(
      'E_USAGE',
      `eval takes no arguments, got ${show(args[0])}${guess ? `; did you mean eval ${guess}?` : ''}: name the data with -d`,
    );
  }
  const name = textOption(options, 'dataset');
  if (name === undefined)
    throw new WordmaskError(
      'E_USAGE',
      `eval needs a data set: wordmask eval -m MODEL -d voc21 --root DIR (known: ${datasetNames().join(', ')})`,
    );
  datasetInfo(name);
  const file = textOption(options, 'output');
  if (options.resume === true && (file === undefined || file === '-'))
    throw new WordmaskError(
      'E_USAGE',
      '--resume goes on from the journal beside the report: name the report with -o FILE.json',
    );
  const page = textOption(options, 'reportPage');
  if (page !== undefined) (await import('../../eval/report/index.js')).checkReportFile(page);
  for (const path of [page, options.savePredictions === undefined ? undefined : `${options.savePredictions}/x`])
    if (path !== undefined) await makeParent(path);
  if (file !== undefined && file !== '-') await makeParent(file);
  return name;
}

/** A folder that cannot be made is told before the work, not after. */
async function makeParent(path: string): Promise<void> {
  const { dirname } = await import('node:path');
  await guardDisk('create', dirname(path), () => makeFolder(dirname(path)));
}

function some(list: readonly string[]): string {
  return `${list.slice(0, 5).join(', ')}${list.length > 5 ? ', ...' : ''}`;
}

function runOptions({ options, interrupt }: Context): Partial<EvaluateOptions> {
  const { limit, shard, onError, savePredictions, resume, task, boundary } = options as Record<string, never>;
  return {
    ...(limit !== undefined && { limit }),
    ...(shard !== undefined && { shard: parseShard(shard) }),
    ...(onError !== undefined && { onError }),
    ...(savePredictions !== undefined && { savePredictions }),
    ...(boundary !== undefined && { boundary }),
    ...(task !== undefined && { task }),
    ...{ resume: resume === true, signal: interrupt.signal },
  };
}

/** Undefined: interrupted, and what is done is in the journal. */
async function run(
  evaluate: (options: EvaluateOptions) => Promise<EvalReport>,
  request: EvaluateOptions,
  { output, interrupt, argv }: Context,
): Promise<EvalReport | undefined> {
  let progress: Progress | undefined;
  if (request.journal !== undefined)
    interrupt.soften(() => output.note('finishing the running pictures; once more to stop at once'));
  try {
    return await evaluate({
      ...request,
      stopped: () => interrupt.stopped,
      onProgress: ({ done, total, id }) => {
        progress ??= new Progress(output, total, 'pictures');
        progress.update(done, id);
      },
    });
  } catch (error) {
    if (!(error instanceof WordmaskError) || error.code !== 'E_ABORTED' || !interrupt.stopped) throw error;
    progress?.end();
    output.note(`${error.message}; to go on: ${resumeHint(argv)}`);
    return undefined;
  } finally {
    progress?.end();
  }
}

interface Finish {
  readonly model: Model;
  readonly request: EvaluateOptions;
  readonly context: Context;
}

async function finish(report: EvalReport, { model, request, context }: Finish): Promise<void> {
  const { options, output, interrupt } = context;
  const page = textOption(options, 'reportPage');
  const file = textOption(options, 'output');
  if (file !== undefined && file !== '-') await (await import('../../eval/index.js')).writeReport(file, report);
  if (page !== undefined) {
    const { writeReportFile } = await import('../../eval/report/index.js');
    await writeReportFile(page, {
      ...{ report, model, dataset: request.dataset as EvalDataset, protocol: request.protocol },
      ...{ signal: interrupt.signal, onWarn: (message: string) => output.warn(message) },
    });
  }
  for (const { id, code, message } of report.images.filter(({ status }) => status === 'failed'))
    output.error(new WordmaskError(code as 'E_IMAGE_CORRUPT', message ?? ''), { image: id });
  for (const warning of report.warnings) output.warn(warning);
  if (output.json || file === '-') output.value(report);
  else for (const line of reportLines(report, output.verbose)) output.line(line);
  if (file !== undefined && file !== '-') output.note(file);
  if (page !== undefined) output.note(page);
  interrupt.signal.throwIfAborted();
}
