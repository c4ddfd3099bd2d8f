/** A report as one HTML file that loads nothing. All text of others (classes, files, messages) is escaped. */
import { durationText, escapeText, htmlPage, pairTable, pictureFigure, withoutPaths } from '../../util/html-page.js';
import type { EvalReport } from '../report-types.js';
import { milliseconds, percent, points, whole } from './numbers.js';
import { pictureGroups, type ReportPicture } from './pictures.js';
import {
  type ConfusedPair,
  cellsOf,
  className,
  countRows,
  gaps,
  metricRows,
  protocolRows,
  stageRows,
  worstPairs,
} from './rows.js';
import { script, style } from './style.js';

export interface ReportOptions {
  readonly title?: string;
  readonly pictures?: readonly ReportPicture[];
  /** More sections behind those of every report. */
  readonly sections?: readonly ReportSection[];
}

export interface ReportSection {
  /** Of letters and dashes, unique on the page. */
  readonly id: string;
  readonly title: string;
  /** HTML; what is text in it has to be escaped. */
  readonly html: string;
}

const listedPairs = 15;
const heatClasses = 14;
const listedFailures = 200;

/** The page. */
export function renderReport(report: EvalReport, options: ReportOptions = {}): string {
  const { dataset, provenance, protocol } = report;
  const title = options.title ?? `${dataset.name}: ${provenance.system}`;
  const sections = [
    { id: 'figures', title: 'Figures', html: figures(report) },
    { id: 'classes', title: 'Classes', html: classes(report) },
    { id: 'confusion', title: 'Most confused', html: confusion(report) },
    { id: 'pictures', title: 'Pictures', html: pictures(options.pictures ?? []) },
    { id: 'failed', title: 'Failed pictures', html: failures(report) },
    { id: 'time', title: 'Time', html: time(report) },
    ...(options.sections ?? []),
    { id: 'protocol', title: 'Protocol', html: protocolPart(report) },
  ].filter(({ html }) => html !== '');
  const links = sections.map((section) => `<li><a href="#${section.id}">${escapeText(section.title)}</a></li>`);
  const body = `<h1>${escapeText(title)}</h1>
<p>Evaluation report of wordmask ${escapeText(provenance.wordmask)}, protocol ${escapeText(protocol.name)}, ${whole(report.counts.done)} pictures</p>
<nav aria-label="Sections"><ul>${links.join('')}</ul></nav>
<main>
${warning([...gaps(report), ...report.warnings.map(withoutPaths)])}
${sections.map(({ id, title: name, html }) => `<section id="${id}" aria-labelledby="h-${id}"><h2 id="h-${id}">${escapeText(name)}</h2>\n${html}</section>`).join('\n')}
</main>`;
  return htmlPage({ title: `${title}: evaluation report`, body, style, script });
}

function warning(lines: readonly string[]): string {
  if (lines.length === 0) return '';
  return `<div class="warn" role="note">${lines.map((line) => `<p>${escapeText(line)}</p>`).join('')}</div>`;
}

/** A table that may be wider than the page scrolls by itself, by keys too. */
function scroll(label: string, table: string, more = ''): string {
  return `<div class="scroll${more}" role="region" aria-label="${escapeText(label)}" tabindex="0">${table}</div>`;
}

function figures(report: EvalReport): string {
  const { reference } = report;
  const rows = metricRows(report);
  const failedToo = rows.some(({ withoutFailed }) => withoutFailed !== undefined);
  const head = `<tr><th scope="col">metric</th><th scope="col" class="n">%</th>${failedToo ? '<th scope="col" class="n">without failed</th>' : ''}${reference ? '<th scope="col" class="n">published</th><th scope="col" class="n">difference</th><th scope="col"></th>' : ''}</tr>`;
  const lines = rows.map(({ key, name, value, withoutFailed, published, difference }) => {
    const beside =
      reference === undefined
        ? ''
        : published === undefined
          ? '<td></td><td></td><td></td>'
          : `<td class="n">${percent(published)}</td><td class="n">${points(difference)}</td><td><span class="trust">${escapeText(reference.trust)}</span></td>`;
    return `<tr${key === 'mIoU' ? ' class="main"' : ''}><th scope="row">${escapeText(name)}</th><td class="n">${percent(value)}</td>${failedToo ? `<td class="n">${percent(withoutFailed)}</td>` : ''}${beside}</tr>`;
  });
  const table = `<table class="figures"><thead>${head}</thead><tbody>${lines.join('')}</tbody></table>`;
  return `${scroll('Figures', table)}${referenceText(report)}\n<h3>Counts</h3>${pairTable(countRows(report))}`;
}

function referenceText({ reference }: EvalReport): string {
  if (!reference) return '<p class="soft">No published figure is known for this setting.</p>';
  const trust =
    reference.trust === 'read' ? 'read in the source' : 'recollected, not read in the source: no verdict rests on it';
  const caveats = reference.caveats.map((caveat) => `<li>${escapeText(caveat)}</li>`).join('');
  return `<p class="soft">Published: ${escapeText(reference.row)}, ${escapeText(reference.source)} (${trust}).</p>${caveats === '' ? '' : `<ul class="soft">${caveats}</ul>`}`;
}

function classes(report: EvalReport): string {
  const { perClass, counts } = report;
  const split = perClass.some((entry) => entry.split !== undefined);
  const number = (value: number | null, text: string): string => `<td class="n" data-v="${value ?? ''}">${text}</td>`;
  const rows = perClass.map(({ name, iou, accuracy, labelArea, predictionArea, split: side }) => {
    const bar =
      iou === null
        ? '<td class="bar"></td>'
        : `<td class="bar"><i${side === 'unseen' ? ' class="unseen"' : ''} style="width:${(100 * iou).toFixed(2)}%"></i></td>`;
    return `<tr><th scope="row">${escapeText(name)}</th>${number(iou, percent(iou))}${bar}${number(accuracy, percent(accuracy))}${number(labelArea, percent(labelArea / counts.validPixels))}${number(predictionArea, percent(predictionArea / counts.validPixels))}${split ? `<td>${side ?? ''}</td>` : ''}</tr>`;
  });
  const head = (text: string, cls = ' class="n"'): string =>
    `<th scope="col"${cls}><button type="button">${text}</button></th>`;
  const table = `<table id="per-class" class="figures"><thead><tr>${head('class', '')}${head('IoU %')}<th scope="col" class="bar"><span class="soft">0 to 100</span></th>${head('accuracy %')}${head('true % of pixels')}${head('predicted %')}${split ? head('split', '') : ''}</tr></thead><tbody>${rows.join('')}</tbody></table>`;
  const tools = `<div class="tools" hidden><label>Find <input id="find" type="search" autocomplete="off"></label><output id="found" class="soft" for="find">${perClass.length} of ${perClass.length} classes</output><span class="soft">headings sort</span></div>`;
  return `${tools}${scroll('IoU by class', table, ' classes')}`;
}

function confusion(report: EvalReport): string {
  const pairs = worstPairs(report, listedPairs);
  if (pairs.length === 0) return '<p>No pixel was taken for another class.</p>';
  const rows = pairs.map(
    ({ truth, found, pixels, share, ofWrong }) =>
      `<tr><td>${escapeText(className(report, truth))}</td><td>${escapeText(className(report, found))}</td><td class="n">${percent(share)}</td><td class="n">${percent(ofWrong)}</td><td class="n">${whole(pixels)}</td></tr>`,
  );
  const table = `<table class="figures"><thead><tr><th scope="col">true</th><th scope="col">taken for</th><th scope="col" class="n">% of the true class</th><th scope="col" class="n">% of all wrong pixels</th><th scope="col" class="n">pixels</th></tr></thead><tbody>${rows.join('')}</tbody></table>`;
  return `${scroll('Confused pairs', table)}\n<h3>The classes of these pairs: rows true, columns predicted, % of the row's pixels</h3>${heatMap(report, worstPairs(report, 4 * heatClasses))}`;
}

function heatMap(report: EvalReport, pairs: readonly ConfusedPair[]): string {
  const shown: number[] = [];
  for (const { truth, found } of pairs)
    for (const index of [truth, found]) if (shown.length < heatClasses && !shown.includes(index)) shown.push(index);
  shown.sort((a, b) => a - b);
  const none = report.dataset.classes.length;
  const values = new Map<number, number>();
  for (const { row, column, pixels } of cellsOf(report.confusion))
    if (shown.includes(row) && shown.includes(column))
      values.set(row * (none + 1) + column, pixels / (report.perClass[row]?.labelArea || 1));
  const heads = shown.map((index) => `<th scope="col"><span>${escapeText(className(report, index))}</span></th>`);
  const rows = shown
    .filter((index) => (report.perClass[index]?.labelArea ?? 0) > 0)
    .map((row) => {
      const cells = shown.map((column) => {
        const share = values.get(row * (none + 1) + column) ?? 0;
        const kind = row === column ? ' class="same"' : share > 0.55 ? ' class="full"' : '';
        const label = `${className(report, row)} taken for ${className(report, column)}: ${percent(share)}%`;
        return `<td${kind} style="--v:${Math.min(1, share).toFixed(3)}" title="${escapeText(label)}">${share >= 0.005 ? (100 * share).toFixed(0) : ''}</td>`;
      });
      return `<tr><th scope="row" title="${escapeText(className(report, row))}">${escapeText(className(report, row))}</th>${cells.join('')}</tr>`;
    });
  return scroll(
    'Confusion of the worst pairs',
    `<table class="heat"><thead><tr><th></th>${heads.join('')}</tr></thead><tbody>${rows.join('')}</tbody></table>`,
  );
}

function pictures(list: readonly ReportPicture[]): string {
  const groups = pictureGroups.map((group) => {
    const own = list.filter((picture) => picture.group === group);
    if (own.length === 0) return '';
    const shown = own.map(({ id, mIoU, right, parts, legend }) =>
      pictureFigure({
        title: `${id}: mIoU ${percent(mIoU)}%, ${percent(right, 1)}% of the pixels right`,
        parts,
        legend,
      }),
    );
    return `<h3>${group}</h3><div class="group">${shown.join('\n')}</div>`;
  });
  if (list.length === 0) return '';
  return `<p class="soft">By the mean IoU of the classes of each picture. Difference: bluish is right, orange wrong, dark does not count.</p>${groups.join('\n')}`;
}

function failures({ images }: EvalReport): string {
  const failed = images.filter(({ status }) => status === 'failed');
  if (failed.length === 0) return '';
  const rows = failed
    .slice(0, listedFailures)
    .map(({ id, code, message }) => [id, `${code ?? ''} ${withoutPaths(message ?? '')}`] as const);
  const more = failed.length > listedFailures ? `<p>and ${whole(failed.length - listedFailures)} more</p>` : '';
  return `${pairTable(rows)}${more}`;
}

function time(report: EvalReport): string {
  const { run } = report;
  const rows = stageRows(report)
    .sort((a, b) => b.total - a.total)
    .map(
      ({ stage, share, total, median, p95 }) =>
        `<tr><th scope="row">${escapeText(stage)}</th><td class="bar"><i style="width:${(100 * share).toFixed(2)}%"></i></td><td class="n">${percent(share, 1)}</td><td class="n">${durationText(total / 1000)}</td><td class="n">${milliseconds(median)}</td><td class="n">${milliseconds(p95)}</td></tr>`,
    );
  const rate = run.imagesPerSecond === null ? '' : `, ${run.imagesPerSecond.toPrecision(3)} pictures a second`;
  const text = `<p>${durationText(run.wallSeconds)}${rate}; ${durationText(run.cpuSeconds)} of processor time.</p>`;
  if (rows.length === 0) return text;
  const table = `<table class="figures stages"><thead><tr><th scope="col">stage</th><th scope="col" class="bar"></th><th scope="col" class="n">%</th><th scope="col" class="n">in all</th><th scope="col" class="n">median ms</th><th scope="col" class="n">p95 ms</th></tr></thead><tbody>${rows.join('')}</tbody></table>`;
  return `${text}${scroll('Time by stage', table)}`;
}

function protocolPart(report: EvalReport): string {
  const rows = protocolRows(report).map(([name, value]) => [name, withoutPaths(value)] as const);
  const record = pairTable(rows, 'record');
  const source = escapeText(withoutPaths(JSON.stringify(report.dataset.source, null, 2)));
  const provenance = escapeText(JSON.stringify(report.provenance, null, 2));
  return `${record}\n<details><summary>data set as it was read</summary><pre tabindex="0">${source}</pre></details>\n<details><summary>provenance</summary><pre tabindex="0">${provenance}</pre></details>`;
}
