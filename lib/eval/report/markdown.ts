/** A report as Markdown, for issues and README files. */
import { durationText, withoutPaths } from '../../util/html-page.js';
import type { EvalReport } from '../report-types.js';
import { milliseconds, percent, points, whole } from './numbers.js';
import { className, countRows, gaps, metricRows, protocolRows, stageRows, worstPairs } from './rows.js';

const listedPairs = 15;

/** The tables of a report; names are escaped, so that none adds markup. */
export function reportMarkdown(report: EvalReport): string {
  const { dataset, protocol, provenance, images } = report;
  const parts = [
    `# ${escapeMarkdown(dataset.name)}: ${escapeMarkdown(provenance.system)}`,
    `Protocol ${escapeMarkdown(protocol.name)}, wordmask ${escapeMarkdown(provenance.wordmask)}.`,
    ...[...gaps(report), ...report.warnings].map((text) => `> ${escapeMarkdown(withoutPaths(text))}`),
    ...figures(report),
    ...classesAndPairs(report),
    ...time(report),
    ...failedList(images),
    '## Protocol',
    markdownTable(
      ['key', 'value'],
      protocolRows(report).map((row) => row.map((text) => escapeMarkdown(withoutPaths(text)))),
    ),
  ];
  return `${parts.join('\n\n')}\n`;
}

function figures(report: EvalReport): string[] {
  const { reference } = report;
  const metrics = metricRows(report);
  const failedToo = metrics.some(({ withoutFailed }) => withoutFailed !== undefined);
  const table = markdownTable(
    ['metric', '%', ...(failedToo ? ['% without failed'] : []), 'published', 'difference'],
    metrics.map(({ name, value, withoutFailed, published, difference }) => [
      name,
      percent(value),
      ...(failedToo ? [percent(withoutFailed)] : []),
      published === undefined ? '' : `${percent(published)} (${reference?.trust})`,
      published === undefined ? '' : points(difference),
    ]),
  );
  if (!reference) return [table];
  const caveats = reference.caveats.map((caveat) => `- ${escapeMarkdown(caveat)}`);
  return [table, `Published: ${escapeMarkdown(reference.row)}, ${escapeMarkdown(reference.source)}.`, ...caveats];
}

function classesAndPairs(report: EvalReport): string[] {
  return [
    '## Classes',
    markdownTable(
      ['class', 'IoU %', 'accuracy %', 'true pixels', 'predicted pixels'],
      report.perClass.map(({ name, iou, accuracy, labelArea, predictionArea }) => [
        escapeMarkdown(name),
        percent(iou),
        percent(accuracy),
        whole(labelArea),
        whole(predictionArea),
      ]),
    ),
    '## Most confused',
    markdownTable(
      ['true', 'taken for', '% of the true class', '% of all wrong pixels'],
      worstPairs(report, listedPairs).map(({ truth, found, share, ofWrong }) => [
        escapeMarkdown(className(report, truth)),
        escapeMarkdown(className(report, found)),
        percent(share),
        percent(ofWrong),
      ]),
    ),
  ];
}

function time(report: EvalReport): string[] {
  const { run } = report;
  return [
    '## Pictures and time',
    markdownTable(
      ['', ''],
      countRows(report).map((row) => row.map(escapeMarkdown)),
    ),
    `${durationText(run.wallSeconds)}, ${run.imagesPerSecond?.toPrecision(3) ?? '–'} pictures a second.`,
    markdownTable(
      ['stage', '%', 'median ms', 'p95 ms'],
      stageRows(report).map(({ stage, share, median, p95 }) => [
        escapeMarkdown(stage),
        percent(share, 1),
        milliseconds(median),
        milliseconds(p95),
      ]),
    ),
  ];
}

function failedList(images: EvalReport['images']): string[] {
  const failed = images.filter(({ status }) => status === 'failed');
  if (failed.length === 0) return [];
  const lines = failed
    .slice(0, 100)
    .map(({ id, code, message }) => `- ${escapeMarkdown(`${id}: ${code ?? ''} ${withoutPaths(message ?? '')}`)}`);
  return ['## Failed pictures', lines.join('\n')];
}

export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

/** One line of plain text: nothing in it is taken for markup, a link or a cell's end. */
export function escapeMarkdown(text: string): string {
  return text
    .replace(/[\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
    .replace(/[\s\u2028\u2029]+/g, ' ')
    .replace(/[\\`*_{}[\]<>()#+!|~&@:]/g, '\\$&');
}
