/** Writes a report as a page with pictures, or as Markdown. */
import { extname, join, resolve, sep } from 'node:path';
import type { EvalDataset, EvalItem, LabelPlane } from '../../data/dataset.js';
import { readLabelImage } from '../../formats/label-png.js';
import type { Model } from '../../pipelines/model.js';
import { show, WordmaskError } from '../../util/errors.js';
import { readFileLimited, sha256, writeFileAtomic } from '../../util/files.js';
import { predictWith } from '../predict.js';
import type { EvalImage, EvalReport } from '../report-types.js';
import type { ProtocolRequest } from '../setup.js';
import { reportMarkdown } from './markdown.js';
import { type ReportSection, renderReport } from './page.js';
import { type PictureOptions, type ReportPicture, reportPictures } from './pictures.js';

export interface ReportFile extends PictureOptions {
  readonly report: EvalReport;
  /** For the pictures, with saved predictions or a model; without them the page has none. */
  readonly dataset?: EvalDataset;
  /** Segments the few pictures again where predictions were not saved. */
  readonly model?: Model;
  /** What the run was asked for. */
  readonly protocol?: ProtocolRequest;
  readonly title?: string;
  readonly sections?: readonly ReportSection[];
  /** Behind the report as Markdown. */
  readonly markdown?: readonly string[];
}

const predictionLimit = 256 << 20;

/** @throws E_OPTION unless the file is named .html or .md; before any work */
export function checkReportFile(file: string): void {
  if (!['.html', '.htm', '.md'].includes(extname(file).toLowerCase()))
    throw new WordmaskError('E_OPTION', `a report is an .html or .md file, got ${show(file)}`, {
      details: { option: 'report', value: file },
    });
}

/** @throws E_OPTION, E_DISK; a picture that cannot be drawn is left out, and `onWarn` told */
export async function writeReportFile(file: string, request: ReportFile): Promise<void> {
  checkReportFile(file);
  const { report, title, sections, markdown = [], signal } = request;
  const text = file.toLowerCase().endsWith('.md')
    ? [reportMarkdown(report), ...markdown].join('\n')
    : renderReport(report, { title, sections, pictures: await pictures(request) });
  await writeFileAtomic(file, text, { createFolder: true, signal });
}

async function pictures(request: ReportFile): Promise<ReportPicture[]> {
  const { report, dataset, model, protocol, signal } = request;
  const folder = report.run.predictions;
  if (!dataset || (!model && folder === undefined)) return [];
  let again: ReturnType<typeof predictWith> | undefined;
  const predict = async (item: EvalItem, image: EvalImage): Promise<LabelPlane> => {
    if (folder !== undefined && image.prediction !== undefined) return savedPrediction(folder, image, signal);
    if (!model) throw new Error('its prediction was not saved');
    again ??= predictWith(model, dataset, protocol, signal);
    return (await again)(item);
  };
  return reportPictures(report, dataset, predict, request);
}

/** @throws E_HASH when the file is not the one that was counted, E_USAGE for a path that leaves the folder */
async function savedPrediction(folder: string, image: EvalImage, signal?: AbortSignal): Promise<LabelPlane> {
  const path = resolve(join(folder, image.prediction as string));
  // Reports are files, and may have been edited.
  if (!path.startsWith(resolve(folder) + sep))
    throw new WordmaskError('E_USAGE', `${show(image.prediction)} is not below ${folder}`);
  const bytes = await readFileLimited(path, { limit: predictionLimit, signal });
  const found = sha256(bytes);
  if (image.predictionHash !== undefined && image.predictionHash !== found)
    throw new WordmaskError('E_HASH', `${path} is not the prediction that was counted`, {
      details: { file: path, expected: image.predictionHash, found },
    });
  return (await readLabelImage(bytes, 'png', signal)) as LabelPlane;
}
