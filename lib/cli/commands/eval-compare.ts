/** `wordmask eval merge` and `wordmask eval diff`: reports of parts as one; what reports chose differently. */
import type { ReportDiff } from '../../eval/diff.js';
import { percent, points } from '../../eval/report/numbers.js';
import type { EvalReport } from '../../eval/report-types.js';
import { WordmaskError } from '../../util/errors.js';
import { canonicalJson } from '../../util/json.js';
import { exit } from '../exit-codes.js';
import { table } from '../output.js';
import type { Context } from '../run.js';
import { textOption } from '../setup.js';
import { reportLines } from './eval-table.js';

const listedClasses = 10;

export async function evalMerge(context: Context): Promise<number> {
  const { options, output } = context;
  const page = textOption(options, 'reportPage');
  const { checkReportFile, writeReportFile } = await import('../../eval/report/index.js');
  if (page !== undefined) checkReportFile(page);
  const reports = await readAll(context, 'merge');
  const { mergeReports, writeReport } = await import('../../eval/index.js');
  const merged = mergeReports(reports);
  const file = textOption(options, 'output');
  if (file !== undefined && file !== '-') await writeReport(file, merged);
  if (page !== undefined) await writeReportFile(page, { report: merged });
  for (const warning of merged.warnings) output.warn(warning);
  if (output.json || file === '-') output.value(merged);
  else for (const line of reportLines(merged, output.verbose)) output.line(line);
  return merged.counts.failed > 0 ? exit.some : exit.done;
}

export async function evalDiff(context: Context): Promise<number> {
  const { args, output } = context;
  const reports = await readAll(context, 'diff');
  const { diffReports } = await import('../../eval/index.js');
  const diff = diffReports(reports);
  if (output.json) output.value({ files: args, ...diff });
  else for (const line of diffLines(diff, args)) output.line(line);
  return exit.done;
}

async function readAll({ args, interrupt }: Context, what: string): Promise<EvalReport[]> {
  if (args.length < 2)
    throw new WordmaskError('E_USAGE', `eval ${what} needs at least two reports: wordmask eval ${what} A.json B.json`);
  const { readReport } = await import('../../eval/index.js');
  const reports: EvalReport[] = [];
  for (const file of args) reports.push(await readReport(file, interrupt.signal));
  return reports;
}

function diffLines(diff: ReportDiff, files: readonly string[]): string[] {
  const right = files.map((_, i) => i + 1);
  const choices = diff.choices.map(({ key, values }) => [key, ...values.map((value) => canonicalJson(value))]);
  const others = diff.circumstances.map(({ key, values }) => [key, ...values.map((value) => canonicalJson(value))]);
  const figures = diff.figures.map(({ metric, values, differences }) => [
    metric,
    ...values.map((value, i) => `${percent(value)}${i === 0 ? '' : ` (${points(differences[i])})`}`),
  ]);
  const classes = diff.classes
    .slice(0, listedClasses)
    .map(({ name, values, difference }) => [name, ...values.map((value) => percent(value)), points(difference)]);
  const effects = diff.effects.map(
    ({ key, from, to, mIoU }) => `${key} alone changed mIoU by ${points(mIoU)} (${files[from]} to ${files[to]})`,
  );
  return [
    ...(choices.length > 0 ? table([['choice', ...files], ...choices]) : ['the protocols are equal']),
    ...(others.length > 0 ? ['', ...table([['circumstance', ...files], ...others])] : []),
    ...['', ...table([['%', ...files], ...figures], right)],
    ...(classes.length > 0
      ? ['', ...table([['class, IoU %', ...files, 'difference'], ...classes], [...right, files.length + 1])]
      : []),
    ...(effects.length > 0 ? ['', ...effects] : []),
  ];
}
