/** A report of an evaluation as lines of text. */
import { milliseconds, percent, points, whole } from '../../eval/report/numbers.js';
import { className, metricRows, stageRows, worstPairs } from '../../eval/report/rows.js';
import type { EvalReport } from '../../eval/report-types.js';
import { table } from '../output.js';

/** Classes that are all listed; of longer lists the worst and the best. */
const listedClasses = 30;
const listedEnds = 10;
const listedPairs = 10;

/** @param verbose lists every class */
export function reportLines(report: EvalReport, verbose = false): string[] {
  const { dataset, protocol, provenance, counts } = report;
  return [
    `${provenance.system} on ${dataset.name}, protocol ${protocol.name} (${report.protocolHash.slice(0, 12)}), ${whole(counts.done)} of ${whole(counts.asked)} pictures`,
    '',
    ...metricTable(report),
    '',
    ...classTable(report, verbose),
    '',
    ...pairTable(report),
    '',
    ...timeTable(report),
  ];
}

function metricTable(report: EvalReport): string[] {
  const { reference } = report;
  const rows = metricRows(report);
  const failed = rows.some(({ withoutFailed }) => withoutFailed !== undefined);
  const head = [
    '',
    'measured %',
    ...(failed ? ['without failed'] : []),
    ...(reference ? ['published', 'difference'] : []),
  ];
  const lines = table(
    [
      head,
      ...rows.map(({ name, value, withoutFailed, published, difference }) => [
        ...[name, percent(value), ...(failed ? [percent(withoutFailed)] : [])],
        ...(published === undefined ? [] : [percent(published), points(difference)]),
      ]),
    ],
    head.map((_, i) => i).slice(1),
  );
  if (!reference) return lines;
  const { row, source, trust, caveats } = reference;
  return [
    ...lines,
    `published: ${row} (${trust}; ${source})`,
    ...caveats.map((caveat) => `  not comparable: ${caveat}`),
  ];
}

function classTable({ perClass }: EvalReport, verbose: boolean): string[] {
  const row = ({ name, iou, accuracy, labelArea, predictionArea }: EvalReport['perClass'][number]): string[] => [
    ...[name, percent(iou), percent(accuracy), whole(labelArea), whole(predictionArea)],
  ];
  const head = ['class', 'IoU %', 'accuracy %', 'true pixels', 'predicted pixels'];
  const right = [1, 2, 3, 4];
  if (verbose || perClass.length <= listedClasses) return table([head, ...perClass.map(row)], right);
  const scored = perClass.filter(({ iou }) => iou !== null).sort((a, b) => (b.iou as number) - (a.iou as number));
  const best = scored.slice(0, listedEnds);
  const worst = scored.slice(Math.max(listedEnds, scored.length - listedEnds));
  const more = `${scored.length - best.length - worst.length} more, ${perClass.length - scored.length} without pixels: --verbose lists all`;
  return table([head, ...best.map(row), ...(worst.length > 0 ? [['...']] : []), ...worst.map(row)], right).concat(more);
}

function pairTable(report: EvalReport): string[] {
  const rows = worstPairs(report, listedPairs).map(({ truth, found, share, ofWrong }) => [
    ...[className(report, truth), className(report, found), percent(share, 1), percent(ofWrong, 1)],
  ]);
  if (rows.length === 0) return ['no pixel is wrong'];
  return table([['most confused', 'taken for', '% of the class', '% of all wrong'], ...rows], [2, 3]);
}

function timeTable(report: EvalReport): string[] {
  const { wallSeconds, imagesPerSecond } = report.run;
  const rows = stageRows(report).map(({ stage, share, median, p95 }) => [
    ...[stage, percent(share, 1), milliseconds(median), milliseconds(p95)],
  ]);
  const rate = imagesPerSecond === null ? '' : `, ${imagesPerSecond.toPrecision(3)} pictures/s`;
  return [
    ...table([['stage', '% of time', 'median ms', 'p95 ms'], ...rows], [1, 2, 3]),
    `${wallSeconds.toFixed(1)} s${rate}`,
  ];
}
