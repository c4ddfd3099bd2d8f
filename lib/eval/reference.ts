/** The published figure beside a measured one, and what keeps the two from being the same experiment. */
import type { ModelInfo } from '../pipelines/model.js';
import { canonicalJson } from '../util/json.js';
import { type PublishedFigure, type PublishedRow, publishedRows } from './published/index.js';
import type { EvalMetrics, EvalReference, EvalReport } from './report-types.js';
import type { EvalSetup } from './setup.js';

/** Rows of a system on a data set, each with its figure. */
export function publishedFor(system: string, dataset: string): { row: PublishedRow; figure: PublishedFigure }[] {
  return publishedRows
    .filter((row) => row.system === system)
    .flatMap((row) => row.figures.filter((figure) => figure.dataset === dataset).map((figure) => ({ row, figure })));
}

/** The row that a run repeats: one with its choices, else the system's published setting; undefined where there is none. */
export function referenceOf(
  report: Omit<EvalReport, 'reference'>,
  info: ModelInfo,
  setup: EvalSetup,
): EvalReference | undefined {
  const rows = publishedFor(info.system, report.dataset.name).filter(({ figure }) => figure.metric in report.metrics);
  const fitting = rows.filter(({ row }) => follows(row, setup) && fitsEncoder(row, info));
  const chosen = fitting.find(({ figure }) => figure.trust === 'read') ?? fitting[0] ?? rows[0];
  if (!chosen) return undefined;
  const { row, figure } = chosen;
  const value = figure.value / 100;
  const measured = report.metrics[figure.metric as keyof EvalMetrics] ?? null;
  return {
    ...{ row: row.row, metric: figure.metric, value, trust: figure.trust, source: `${row.paper}; ${row.source}` },
    difference: measured === null ? null : measured - value,
    caveats: caveatsOf(row, report, info, setup),
  };
}

/** Whether the run was asked for what the row says. */
function follows({ protocol }: PublishedRow, { request }: Pick<EvalSetup, 'request'>): boolean {
  const plain = (asked: unknown): string => canonicalJson(asked === undefined ? 'published' : asked);
  return plain(protocol) === plain(request);
}

function fitsEncoder({ encoder }: PublishedRow, { sizes }: Pick<ModelInfo, 'sizes'>): boolean {
  return encoder === undefined || (sizes.patch === encoder.patch && sizes.width === encoder.width);
}

/** What keeps a run from being a row's experiment; empty: comparable. */
export function caveatsOf(
  row: PublishedRow,
  { counts, dataset, run }: Omit<EvalReport, 'reference'>,
  info: Pick<ModelInfo, 'sizes'>,
  setup: Pick<EvalSetup, 'request'>,
): string[] {
  const { published } = dataset.source as { published?: number };
  const pictures = published ?? counts.items;
  return [
    ...(fitsEncoder(row, info) ? [] : [`other weights: the row is of ${row.weights}`]),
    ...(follows(row, setup) ? [] : ['other choices: the row has its own protocol']),
    ...(counts.done < pictures ? [`${counts.done} of ${pictures} pictures`] : []),
    ...(run.shards ? [`part ${run.shards.held.join(', ')} of ${run.shards.of}`] : []),
    ...(row.note === undefined ? [] : [row.note]),
  ];
}
