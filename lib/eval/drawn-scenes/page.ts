/** The page: a view of the records, never written by hand. */
import type { RecordView, TableRecord } from './records.js';
import type { Expectation, TableRow } from './table.js';

export interface PageOptions {
  /** Path of the grid picture as the page names it, where there is one. */
  readonly picture?: string;
  /** Command that measures everything. */
  readonly command: string;
}

const intro = `Made by \`wordmask eval drawn-scenes\` from bench/results/drawn-scenes.jsonl; do not edit it by hand.

Drawn scenes are pictures drawn by a program, with exact masks and captions (\`wordmask data draw\`). They come with the package so
that every system can be trained, run and scored without a download. They are no substitute for photographs: figures here say how
parts of this package behave on drawings, and nothing about any published result.

The test split has 1,000 scenes, 34 classes (10 stuff, 24 things). A model knows the classes by their names alone. mIoU counts over
the whole split, classes that no label of it has left out; all figures are percent unless said otherwise. Where a row says how many scenes it
used, those are the first of the split. The best read-out of row 4 is chosen on the same scenes that rows 5, 7 and 9 score.`;

export function renderPage(rows: readonly TableRow[], view: RecordView, { picture, command }: PageOptions): string {
  const lines = ['# Drawn scenes: what the built-in models show', '', intro, '', `All rows: \`${command}\``, ''];
  if (picture)
    lines.push('Picture, true labels, labels by the best read-out of `tiny`:', '', `![scenes](${picture})`, '');
  for (const row of rows) lines.push(...section(row, view, command), '');
  return `${lines.join('\n').trimEnd()}\n`;
}

function section(row: TableRow, view: RecordView, command: string): string[] {
  const records = view.row(row.row);
  const lines = [`## ${row.row}. ${row.title}`, '', row.about, ''];
  const table = records.length > 0 ? row.render(view) : [];
  if (table.length > 0) lines.push(...table, '');
  else lines.push(`Not measured yet: \`${command} --rows ${row.row}\``, '');
  const expected = row.expectations(view);
  lines.push(...expected.map(expectationLine));
  if (records.length > 0) lines.push('', sourceLine(records));
  return lines;
}

export function expectationLine({ text, found, met }: Expectation): string {
  if (found === undefined) return `- not measured yet: ${text}`;
  return `- ${met === undefined ? 'seen' : met ? 'met' : '**not met**'}: ${text} (${found})`;
}

/** What the figures of a row were measured with. */
function sourceLine(records: readonly TableRecord[]): string {
  const list = (values: readonly (string | undefined)[]): string =>
    [...new Set(values.filter((value) => value !== undefined))].join(', ');
  const models = list(records.map(({ model }) => model && `${model.name} \`${model.hash.slice(0, 12)}\``));
  const scenes = list(
    records.map(({ scenes: { split, first, count } }) =>
      count > 0 ? `${split} ${first}-${first + count - 1}` : undefined,
    ),
  );
  const commits = list(records.map(({ commit }) => commit?.slice(0, 13) ?? undefined));
  const seconds = records.reduce((sum, record) => sum + record.seconds, 0);
  const parts = [
    `scenes ${scenes}`,
    ...(models ? [`weights ${models}`] : []),
    ...(commits ? [`commit ${commits}`] : []),
    `${seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`} in all`,
    list(records.map(({ machine }) => machine)),
    `command \`${list(records.map(({ command }) => command))}\``,
  ];
  return `Measured: ${parts.join('; ')}.`;
}
