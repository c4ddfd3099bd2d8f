/** What `segment` shows of its results: lines for people, records for programs. */
import type { Segmentation } from '../../pipelines/segmentation.js';
import type { ImageRecord } from '../manifest.js';
import { type Output, table } from '../output.js';

/** One line a picture of many; legend, files and times of a single one. */
export function resultLines(
  input: string,
  result: Segmentation,
  files: readonly string[],
  output: Output,
  many: boolean,
): string[] {
  const shares = labelShares(result);
  const size = `${result.width} x ${result.height}`;
  if (many) {
    const words = shares.slice(0, 3).map(({ name, share }) => `${name} ${percent(share)}`);
    const more = files.length > 2 ? ` and ${files.length - 1} more` : files.length === 2 ? `, ${files[1]}` : '';
    const found = words.length === 0 ? 'nothing' : `${words.join(', ')}${shares.length > 3 ? ', ...' : ''}`;
    return [`${input}  ${size}  ${found}  -> ${files[0]}${more}`];
  }
  const rows = table(
    shares.map(({ name, share, score }) => [name, percent(share), `score ${score.toFixed(2)}`]),
    [1],
  );
  const covered = shares.reduce((sum, { share }) => sum + share, 0);
  return [
    output.style('bold', `${input}  ${size}`),
    ...rows.map((row, i) => `  ${output.swatch(shares[i]?.color)}${row}`),
    ...(covered < 0.9995 ? [`  nothing ${percent(1 - covered)}`] : []),
    ...files.map((file) => `  ${output.style('cyan', file)}`),
    output.style('dim', `  ${timingLine(result.timings)}`),
  ];
}

interface LabelShare {
  readonly name: string;
  readonly index: number;
  readonly color?: readonly [number, number, number];
  readonly share: number;
  readonly area: number;
  readonly score: number;
  readonly bbox?: readonly number[];
}

/** Labels that occur, largest first. */
export function labelShares(result: Segmentation): LabelShare[] {
  const legend = result.legend();
  const pixels = result.width * result.height;
  return result.segments
    .map(({ label, area = 0, score = 0, bbox }) => ({
      name: legend[label]?.name ?? `label ${label}`,
      index: label,
      color: legend[label]?.color as LabelShare['color'],
      area,
      share: area / pixels,
      score,
      bbox,
    }))
    .sort((a, b) => b.area - a.area || a.index - b.index);
}

/** A line of `--jsonl`: the manifest's record with the labels that were found. */
export function imageResult(record: ImageRecord, result: Segmentation | undefined): Record<string, unknown> {
  return { ...record, ...(result && { labels: labelShares(result) }) };
}

function timingLine(timings: Readonly<Record<string, number>>): string {
  const stages = Object.entries(timings);
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  return `${Math.round(total)} ms (${stages.map(([stage, ms]) => `${stage} ${Math.round(ms)}`).join(', ')})`;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** The call again with `--resume`, quoted for a shell. */
export function resumeHint(argv: readonly string[]): string {
  const quoted = argv.map((word) => (/^[\w./:=@,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`));
  return ['wordmask', ...quoted, ...(argv.includes('--resume') ? [] : ['--resume'])].join(' ');
}
