/** `report.html` of a run: one file without outside resources, scripts or paths of the machine. */
import { arch, availableParallelism, cpus, platform } from 'node:os';
import { join } from 'node:path';
import type { PairSource } from '../data/types.js';
import { devices } from '../engine/index.js';
import { type Curve, curveFigure, numberText } from '../util/curves.js';
import { writeFileAtomic } from '../util/files.js';
import { durationText, htmlPage, pairTable, pictureFigure, withoutPaths } from '../util/html-page.js';
import { packageVersion } from '../util/version.js';
import { escapeXml } from '../util/xml.js';
import { type MetricsRecord, readMetrics } from './metrics.js';
import type { Recipe } from './recipe.js';
import type { Run } from './run.js';
import type { SamplePicture } from './samples.js';

export interface ReportParts {
  /** Full name of the device that trained. */
  readonly device: string;
  readonly recipe: Recipe;
  readonly run: Run;
  readonly steps: number;
  readonly status: 'done' | 'stopped';
  readonly skipped: number;
  readonly source: PairSource;
  readonly onWarn: (message: string) => void;
}

/** @throws E_DISK */
export async function writeReport(out: string, parts: ReportParts): Promise<void> {
  const records = await readMetrics(join(out, 'metrics.jsonl'));
  const folder = parts.run.checkpoint?.folder;
  let pictures: SamplePicture[] = [];
  try {
    // Whoever stops a run wants the prompt back.
    if (folder && parts.status === 'done')
      pictures = await (await import('./samples.js')).samplePictures(folder, parts);
  } catch (error) {
    // Not every system can segment, and a report without pictures is still one.
    parts.onWarn(`the report has no sample pictures: ${(error as Error).message}`);
  }
  await writeFileAtomic(join(out, 'report.html'), page(parts, records, pictures));
}

function page(parts: ReportParts, records: readonly MetricsRecord[], pictures: readonly SamplePicture[]): string {
  const { recipe } = parts;
  const title = recipe.title ?? `Training of ${recipe.system}`;
  const body = `<h1>${escapeXml(title)}</h1>
<p>Training report of wordmask ${escapeXml(packageVersion)}, system ${escapeXml(recipe.system)}</p>
${pairTable(summary(parts, records))}
<h2>Curves</h2>
${curveGroups(records)
  .map(([name, curves]) => [name, curves.map(curveFigure).filter((figure) => figure !== '')] as const)
  .filter(([, figures]) => figures.length > 0)
  .map(([name, figures]) => `<h3>${name}</h3>\n<div class="curves">${figures.join('\n')}</div>`)
  .join('\n')}
${pictures.length > 0 ? `<h2>Masks of the finished model</h2>\n${pictures.map(figureOf).join('\n')}` : ''}
${unusable(parts)}
<h2>Recipe</h2>
<details><summary>as it was used, with defaults</summary><pre>${escapeXml(withoutPaths(JSON.stringify(recipe, null, 2)))}</pre></details>
<h2>Environment</h2>
${pairTable(environment())}`;
  return htmlPage({ title: `${title}: training report`, body });
}

function figureOf({ title, parts, legend, right }: SamplePicture): string {
  const share = right === undefined ? '' : `, ${(100 * right).toFixed(0)}% of the pixels right`;
  return pictureFigure({ title: `${title}${share}`, parts, legend });
}

function summary(
  { recipe, run, steps, status, skipped, source }: ReportParts,
  records: readonly MetricsRecord[],
): readonly (readonly [string, string])[] {
  const last = records.at(-1);
  const losses = Object.entries(last?.losses ?? {}).map(
    ([name, value]) => `${name} ${value === null ? 'not finite' : numberText(value)}`,
  );
  const evaluated = records.findLast(({ eval: figures }) => figures !== undefined);
  const pairs = run.done * recipe.batch * recipe.accumulation;
  const count = (value: number): string => value.toLocaleString('en');
  return [
    ['status', `${status}, step ${count(run.done)} of ${count(steps)}`],
    ['pairs seen', `${count(pairs)}, ${numberText(pairs / source.count)} passes over ${count(source.count)} samples`],
    ['losses at the end', losses.join(', ')],
    ...Object.entries(evaluated?.eval ?? {}).map(
      ([name, value]) => [`${name} at step ${count(evaluated?.step ?? 0)}`, numberText(value)] as const,
    ),
    [
      'time',
      `${durationText(run.seconds)}, ${count(Math.round(pairs / run.seconds))} pairs a second over the whole run`,
    ],
    ['most memory', `${numberText(Math.round((last?.memory.tensors ?? 0) / 2 ** 20))} MiB of tensors`],
    ['skipped steps', count(skipped)],
    ['unusable samples', count(run.unusable.count)],
    ['checkpoint', run.checkpoint ? `step-${run.checkpoint.step}` : 'none'],
  ];
}

function curveGroups(records: readonly MetricsRecord[]): readonly (readonly [string, readonly Curve[]])[] {
  const series = (title: string, value: (record: MetricsRecord) => number | undefined | null): Curve => ({
    title,
    points: records.map((record) => [record.step, value(record) ?? Number.NaN] as const),
  });
  const names = (pick: (record: MetricsRecord) => object | undefined): string[] => [
    ...new Set(records.flatMap((record) => Object.keys(pick(record) ?? {}))),
  ];
  // Few records have a test: gaps between them would leave single points.
  const tested = (name: string): Curve => {
    const { title, points } = series(name, (record) => record.eval?.[name]);
    return { title, points: points.filter(([, value]) => Number.isFinite(value)) };
  };
  const totalFirst = (a: string, b: string): number => Number(b === 'total') - Number(a === 'total');
  return [
    [
      'Losses',
      names(({ losses }) => losses)
        .sort(totalFirst)
        .map((name) => ({ ...series(name, ({ losses }) => losses[name]), logarithmic: true })),
    ],
    ['Test', names((record) => record.eval).map(tested)],
    [
      'Learning',
      [
        series('rate', ({ rate }) => rate),
        { ...series('norm of the gradients before clipping', ({ norm }) => norm), logarithmic: true },
        ...names(({ values }) => values).map((name) => series(name, ({ values }) => values?.[name])),
      ],
    ],
    [
      'Machine',
      [
        series('pairs a second', ({ imagesPerSecond }) => imagesPerSecond),
        series('most memory of tensors so far, MiB', ({ memory }) => memory.tensors / 2 ** 20),
        series('memory of the process, MiB', ({ memory }) => memory.process / 2 ** 20),
      ],
    ],
  ];
}

function unusable({ run }: ReportParts): string {
  const { count, listed } = run.unusable;
  if (count === 0) return '';
  const rows = listed
    .slice(0, 100)
    .map(({ key, code, problem }) => [withoutPaths(key), `${code}: ${withoutPaths(problem)}`] as const);
  return `<h2>Samples that could not be used (${count})</h2>\n${pairTable(rows)}`;
}

function environment(): readonly (readonly [string, string])[] {
  const cpu = devices().find(({ name }) => name === 'cpu');
  return [
    ['Node.js', process.versions.node],
    ['system', `${platform()} ${arch()}`],
    ['processor', `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} threads available`],
    ['kernels', `${cpu?.tier ?? 'unknown'}, ${cpu?.threads ?? 0} threads`],
  ];
}
