/**
 * The table of drawn scenes: what the built-in models show on the test split, measured row by row into records, and the page that
 * is rendered from them.
 */
import { show, WordmaskError } from '../../util/errors.js';
import { writeFileAtomic } from '../../util/files.js';
import { row10 } from './cost.js';
import { renderPage } from './page.js';
import { gridPicture } from './pictures.js';
import { row3, row4 } from './read-outs.js';
import { RecordView, readRecords, type TableRecord, writeRecords } from './records.js';
import { row7 } from './refiners.js';
import { row1, row2 } from './retrieval.js';
import { bestSetting, readAt } from './settings.js';
import { type Expectation, Table, type TableOptions, type TableRow } from './table.js';
import { row6, row8 } from './training-rows.js';
import { row9 } from './words.js';
import { row5 } from './yardsticks.js';

export { RecordView, readRecords, type TableRecord } from './records.js';
export type { Expectation, TableOptions, TrainingRun } from './table.js';

export const tableRows: readonly TableRow[] = [row1, row2, row3, row4, row5, row6, row7, row8, row9, row10];

/** Scenes of the page's picture. */
const pictureScenes = 4;

export interface DrawnScenesRequest extends Omit<TableOptions, 'onRecord'> {
  /** Rows to measure; none only renders the page. */
  readonly rows: readonly number[];
  /** JSON lines; records of other rows stay. */
  readonly records: string;
  /** Markdown file. */
  readonly page: string;
  /** PNG file, and how the page calls it. */
  readonly picture?: { readonly file: string; readonly name: string };
  /** Command that makes the whole table. */
  readonly command: string;
}

export interface DrawnScenesResult {
  readonly records: readonly TableRecord[];
  readonly expectations: readonly (Expectation & { readonly row: number })[];
}

/** @throws E_OPTION for a row that is not there */
export function checkRows(rows: readonly number[]): void {
  const unknown = rows.find((row) => !tableRows.some((known) => known.row === row));
  if (unknown !== undefined)
    throw new WordmaskError(
      'E_OPTION',
      `the table has rows ${tableRows.map(({ row }) => row).join(', ')}, got ${show(unknown)}`,
    );
}

/**
 * Measures rows and writes records and page; what was measured stays when a later row fails or is aborted.
 * @throws E_OPTION, E_USAGE for a records file that is none, E_DISK, as `open` and `segment`
 */
export async function drawnScenesTable(request: DrawnScenesRequest): Promise<DrawnScenesResult> {
  checkRows(request.rows);
  let records: readonly TableRecord[] = await readRecords(request.records);
  const keep = async (all: readonly TableRecord[]): Promise<void> => {
    records = all;
    await writeRecords(request.records, all);
  };
  await using table = new Table({ ...request, onRecord: keep }, records);
  for (const row of tableRows) if (request.rows.includes(row.row)) await row.measure(table);
  if (request.picture && request.rows.length > 0) await drawPicture(table, request.picture.file);
  const view = new RecordView(records);
  const page = renderPage(tableRows, view, { command: request.command, picture: request.picture?.name });
  await writeFileAtomic(request.page, page, { createFolder: true });
  const expectations = tableRows.flatMap((row) =>
    row.expectations(view).map((expectation) => ({ row: row.row, ...expectation })),
  );
  return { records, expectations };
}

async function drawPicture(table: Table, file: string): Promise<void> {
  const setting = bestSetting(table.view);
  const model = await table.model('tiny', setting.system);
  if (!model) return;
  const vocab = await table.vocabulary(model);
  const options = readAt(model, setting.scale, setting.mode);
  const { signal } = table.options;
  const png = await gridPicture(model, vocab, options, { count: pictureScenes, signal });
  await writeFileAtomic(file, png, { createFolder: true, signal });
}
