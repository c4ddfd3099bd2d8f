/** What other words do to a figure, as a section of the report. */
import { escapeText } from '../../util/html-page.js';
import type { RobustnessCondition, RobustnessReport } from '../robustness.js';
import { escapeMarkdown, markdownTable } from './markdown.js';
import { percent, points, whole } from './numbers.js';
import type { ReportSection } from './page.js';

/** For `sections` of `renderReport`. */
export function robustnessSection(report: RobustnessReport): ReportSection {
  const rows = [report.base, ...report.conditions].map(
    ({ test, name, labels, mIoU, pixelAccuracy, difference }) =>
      `<tr${test === 'base' ? ' class="main"' : ''}><td>${test === 'base' ? '' : escapeText(test)}</td><th scope="row">${escapeText(name)}</th><td class="n">${whole(labels)}</td><td class="n">${percent(mIoU)}</td><td class="n">${test === 'base' ? '' : points(difference)}</td><td class="bar"><i style="width:${(100 * (mIoU ?? 0)).toFixed(2)}%"></i></td><td class="n">${percent(pixelAccuracy)}</td></tr>`,
  );
  const left = report.left.map(({ test, why }) => `<li>${escapeText(`${test}: ${why}`)}</li>`).join('');
  const html = `<p class="soft">The same ${whole(report.pictures)} pictures under other words. A distractor that is predicted counts as background where the data set has one, else as no class.</p>
<div class="scroll" role="region" aria-label="Robustness" tabindex="0"><table class="figures"><thead><tr><th scope="col">test</th><th scope="col">words</th><th scope="col" class="n">labels</th><th scope="col" class="n">mIoU %</th><th scope="col" class="n">difference</th><th scope="col" class="bar"></th><th scope="col" class="n">pixels right %</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>${left === '' ? '' : `<ul class="soft">${left}</ul>`}`;
  return { id: 'robustness', title: 'Robustness', html };
}

export function robustnessMarkdown(report: RobustnessReport): string {
  const row = ({ test, name, labels, mIoU, pixelAccuracy, difference }: RobustnessCondition): string[] => [
    test === 'base' ? '' : test,
    escapeMarkdown(name),
    whole(labels),
    percent(mIoU),
    test === 'base' ? '' : points(difference),
    percent(pixelAccuracy),
  ];
  const table = markdownTable(
    ['test', 'words', 'labels', 'mIoU %', 'difference', 'pixels right %'],
    [report.base, ...report.conditions].map(row),
  );
  return `## Robustness\n\n${table}\n${report.left.map(({ test, why }) => `\n- ${test}: ${escapeMarkdown(why)}`).join('')}`;
}
