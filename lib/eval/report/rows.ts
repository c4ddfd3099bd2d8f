/** What the forms of a report share: the rows of its tables as text, no markup. */
import type { EvalMetrics, EvalReport, SparseConfusion } from '../report-types.js';
import { percent, quantile, whole } from './numbers.js';

const metricNames: Readonly<Record<keyof EvalMetrics, string>> = {
  mIoU: 'mIoU',
  mIoUZero: 'mIoU, absent classes count as 0',
  mIoUSkip: 'mIoU, absent classes left out',
  fwIoU: 'frequency-weighted IoU',
  boundaryIoU: 'boundary IoU',
  boundaryF: 'boundary F',
  pixelAccuracy: 'pixel accuracy',
  meanAccuracy: 'mean accuracy',
  seen: 'mIoU of seen classes',
  unseen: 'mIoU of unseen classes',
  hIoU: 'harmonic mean of seen and unseen',
};

export interface MetricRow {
  readonly key: keyof EvalMetrics;
  readonly name: string;
  readonly value: number | null;
  /** Over the pictures that did not fail, where some did. */
  readonly withoutFailed?: number | null;
  readonly published?: number;
  readonly difference?: number | null;
}

export function metricRows({ metrics, metricsWithoutFailed, reference }: EvalReport): MetricRow[] {
  return (Object.keys(metricNames) as (keyof EvalMetrics)[])
    .filter((key) => metrics[key] !== undefined)
    .map((key) => ({
      key,
      name: metricNames[key],
      value: metrics[key] as number | null,
      ...(metricsWithoutFailed && { withoutFailed: metricsWithoutFailed[key] ?? null }),
      ...(reference?.metric === key && { published: reference.value, difference: reference.difference }),
    }));
}

/** What keeps a report from being about the whole data set, in sentences. */
export function gaps({ counts, run }: EvalReport): string[] {
  const { items, asked, done, failed, uncounted, missing } = counts;
  const list: string[] = [];
  if (missing > 0) list.push(`${whole(missing)} pictures that the list names are missing from the folder.`);
  if (run.limit !== null && asked < items) list.push(`Limited to ${whole(asked)} of ${whole(items)} pictures.`);
  if (run.shards && run.shards.held.length < run.shards.of)
    list.push(`Shards ${run.shards.held.join(', ')} of ${run.shards.of}: the others are not in these figures.`);
  if (failed > 0) list.push(`${whole(failed)} of ${whole(asked)} pictures failed; all their pixels count as wrong.`);
  if (uncounted > 0) list.push(`${whole(uncounted)} of them have no readable label, so no count can hold them.`);
  if (done + failed < asked) list.push(`${whole(asked - done - failed)} pictures were not reached.`);
  return list;
}

export interface ConfusedPair {
  readonly truth: number;
  /** Class that was predicted; the number of classes for "no class". */
  readonly found: number;
  readonly pixels: number;
  /** Of the pixels of the true class. */
  readonly share: number;
  /** Of all wrong pixels. */
  readonly ofWrong: number;
}

/** Pairs of classes that most wrong pixels fall on; of equal ones the first. */
export function worstPairs({ confusion, perClass }: EvalReport, count: number): ConfusedPair[] {
  // Hundreds of thousands of cells: only the worst are kept on the way.
  const worst: { row: number; column: number; pixels: number }[] = [];
  let total = 0;
  for (const cell of cellsOf(confusion)) {
    if (cell.row === cell.column) continue;
    total += cell.pixels;
    if (worst.length === count && cell.pixels <= (worst.at(-1)?.pixels ?? 0)) continue;
    const at = worst.findIndex(({ pixels }) => pixels < cell.pixels);
    worst.splice(at < 0 ? worst.length : at, 0, cell);
    if (worst.length > count) worst.pop();
  }
  return worst.map(({ row, column, pixels }) => ({
    truth: row,
    found: column,
    pixels,
    share: pixels / (perClass[row]?.labelArea || pixels),
    ofWrong: pixels / total,
  }));
}

export function* cellsOf({
  shape,
  cells,
  counts,
}: SparseConfusion): Generator<{ row: number; column: number; pixels: number }> {
  const columns = shape[1];
  for (const [i, cell] of cells.entries())
    yield { row: Math.floor(cell / columns), column: cell % columns, pixels: counts[i] as number };
}

export function className({ dataset }: EvalReport, index: number): string {
  return dataset.classes[index] ?? '(no class)';
}

export interface StageRow {
  readonly stage: string;
  /** Milliseconds over all pictures, its share, and of one picture the median and the 95th percentile. */
  readonly total: number;
  readonly share: number;
  readonly median: number;
  readonly p95: number;
}

export function stageRows({ run }: EvalReport): StageRow[] {
  const sum = Object.values(run.stages).reduce((total, ms) => total + ms, 0);
  return Object.entries(run.stages).map(([stage, total]) => {
    const each = run.timings.flatMap((timing) => (timing?.[stage] === undefined ? [] : [timing[stage]]));
    return { stage, total, share: total / sum, median: quantile(each, 0.5), p95: quantile(each, 0.95) };
  });
}

/** Keys of the protocol with their values as JSON, the hash last. */
export function protocolRows({ protocol, protocolHash }: EvalReport): [string, string][] {
  const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  return [
    ...Object.entries(protocol).map(([key, value]): [string, string] => [key, text(value)]),
    ['SHA-256', protocolHash],
  ];
}

export function countRows({ counts, run, provenance }: EvalReport): [string, string][] {
  return [
    [
      'pictures',
      `${whole(counts.done)} done of ${whole(counts.asked)} asked for, ${whole(counts.items)} in the data set`,
    ],
    [
      'failed',
      `${whole(counts.failed)}${counts.uncounted > 0 ? `, ${whole(counts.uncounted)} without a readable label` : ''}`,
    ],
    ['missing', whole(counts.missing)],
    ['pixels that count', `${whole(counts.validPixels)}, ${percent(counts.correctPixels / counts.validPixels)}% right`],
    ['system', `${provenance.system}, weights ${provenance.model.slice(0, 12)}`],
    ['device', `${provenance.device}, ${provenance.dtype}${provenance.deterministic ? ', deterministic' : ''}`],
    ...(run.resumed > 0 ? [['resumed', `${whole(run.resumed)} pictures were done before`] as [string, string]] : []),
  ];
}
