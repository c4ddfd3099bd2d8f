/** Reports of evaluations: an HTML page that stands alone, and Markdown. */
export { reportMarkdown } from './markdown.js';
export { type ReportOptions, type ReportSection, renderReport } from './page.js';
export { type PictureOptions, type ReportPicture, reportPictures } from './pictures.js';
export { robustnessMarkdown, robustnessSection } from './robustness.js';
export { checkReportFile, type ReportFile, writeReportFile } from './write.js';
