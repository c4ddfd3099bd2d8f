/** `wordmask eval robustness`: what other words do to a figure. */
import type { RobustnessReport, RobustnessTest } from '../../eval/robustness.js';
import { show, WordmaskError } from '../../util/errors.js';
import { readFileLimited, writeFileAtomic } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';
import { datasetOptions, protocolRequest } from '../eval-request.js';
import { exit } from '../exit-codes.js';
import { table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { chosenModel, type Options, openModel, textOption } from '../setup.js';

const fileLimit = 16 << 20;

export async function evalRobustness(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  if (args.length > 0) throw new WordmaskError('E_USAGE', `eval robustness takes no arguments, got ${show(args[0])}`);
  const name = textOption(options, 'dataset');
  if (name === undefined)
    throw new WordmaskError(
      'E_USAGE',
      'eval robustness needs a data set: wordmask eval robustness -m MODEL -d voc20 --root DIR',
    );
  const chosen = chosenModel(options, output);
  const reportFile = textOption(options, 'reportPage');
  const { checkReportFile, robustnessMarkdown, robustnessSection, writeReportFile } = await import(
    '../../eval/report/index.js'
  );
  if (reportFile !== undefined) checkReportFile(reportFile);
  const synonyms = await synonymsOf(textOption(options, 'synonyms'));
  const { openDataset } = await import('../../data/dataset.js');
  const { robustness } = await import('../../eval/robustness.js');
  const { labelRuleOf } = await import('../../eval/setup.js');
  const protocol = await protocolRequest(options);
  await using model = await openModel(chosen, options, output, interrupt.signal);
  const dataset = await openDataset(name, {
    ...datasetOptions(options),
    labels: labelRuleOf(protocol, model.info.system, name),
    signal: interrupt.signal,
  });
  const line = new ConditionLine(context);
  const result = await robustness({
    ...{ model, dataset, protocol, synonyms },
    limit: options.limit as number | undefined,
    tests: options.tests as RobustnessTest[] | undefined,
    distractorList: textOption(options, 'distractors'),
    distractorCounts: numbers(options, 'distractorCounts', '--counts'),
    draws: options.draws as number | undefined,
    templates: options.templateSets as string[] | undefined,
    seed: options.drawSeed as number | undefined,
    onError: options.onError as 'stop' | 'skip' | undefined,
    signal: interrupt.signal,
    onWarning: (message) => output.warn(message),
    onProgress: (progress) => line.update(progress),
  }).finally(() => line.end());
  await write(result.robustness, options);
  if (reportFile !== undefined)
    await writeReportFile(reportFile, {
      ...{ report: result.report, dataset, model, protocol, signal: interrupt.signal },
      sections: [robustnessSection(result.robustness)],
      markdown: [robustnessMarkdown(result.robustness)],
      onWarn: (message) => output.warn(message),
    });
  if (output.json || textOption(options, 'output') === '-') output.value(result.robustness);
  else for (const text of lines(result.robustness)) output.line(text);
  for (const { test, why } of result.robustness.left) output.note(`${test}: ${why}`);
  return result.report.counts.failed > 0 ? exit.some : exit.done;
}

async function write(report: RobustnessReport, options: Options): Promise<void> {
  const file = textOption(options, 'output');
  if (file !== undefined && file !== '-') await writeFileAtomic(file, `${JSON.stringify(report, null, 2)}\n`);
}

function lines({ base, conditions }: RobustnessReport): string[] {
  const percent = (share: number | null): string => (share === null ? '-' : (100 * share).toFixed(2));
  const rows = [base, ...conditions].map(({ test, name, labels, mIoU, difference, pixelAccuracy }) => [
    test === 'base' ? '' : test,
    name,
    String(labels),
    percent(mIoU),
    test === 'base' || difference === null ? '' : `${difference < 0 ? '' : '+'}${(100 * difference).toFixed(2)}`,
    percent(pixelAccuracy),
  ]);
  return table([['test', 'words', 'labels', 'mIoU', 'difference', 'pixels right'], ...rows], [2, 3, 4, 5]);
}

async function synonymsOf(file: string | undefined): Promise<string[][] | undefined> {
  if (file === undefined) return undefined;
  const list = parseJsonStrict(await readFileLimited(file, { limit: fileLimit, code: 'E_VOCAB' }), {
    code: 'E_VOCAB',
    what: file,
  });
  const right =
    Array.isArray(list) &&
    list.every((words) => Array.isArray(words) && words.every((word: unknown) => typeof word === 'string'));
  if (right) return list as string[][];
  throw new WordmaskError('E_VOCAB', `${file} must be a list with a list of words for each class, got ${show(list)}`);
}

function numbers(options: Options, name: string, flag: string): number[] | undefined {
  return (options[name] as readonly string[] | undefined)?.map((text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (Number.isNaN(value))
      throw new WordmaskError('E_OPTION', `${flag} takes numbers such as 10,50, got ${show(text)}`);
    return value;
  });
}

/** The progress line of the condition that is measured. */
class ConditionLine {
  #progress: Progress | undefined;
  #condition = '';

  constructor(private readonly context: Context) {}

  update({ condition, done, total }: { condition: string; done: number; total: number }): void {
    if (condition !== this.#condition) {
      this.end();
      this.#progress = new Progress(this.context.output, total);
      this.#condition = condition;
      this.context.output.detail(condition);
    }
    this.#progress?.update(done, condition);
  }

  end(): void {
    this.#progress?.end();
  }
}
