/** `report.html` of a run: one file without outside resources, scripts or paths of the machine. */
import { arch, availableParallelism, cpus, platform } from 'node:os';
import { join } from 'node:path';
import type { PairSource } from '../data/types.js';
import { devices } from '../engine/index.js';
import { writeFileAtomic } from '../util/files.js';
import { packageVersion } from '../util/version.js';
import { escapeXml } from '../util/xml.js';
import { type Curve, curveFigure } from './curves.js';
import { type MetricsRecord, readMetrics } from './metrics.js';
import type { Recipe } from './recipe.js';
import type { Run } from './run.js';
import type { SamplePicture } from './samples.js';

const style = `:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
.curves,.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr));gap:1rem}figure{margin:0}figcaption{font-size:.9rem}
svg{width:100%;height:auto}svg text{font-size:11px;fill:currentColor;opacity:.7}.grid{stroke:currentColor;opacity:.15}.curve{fill:none;stroke:#2a78d6;stroke-width:1.5}
img{width:100%;image-rendering:pixelated}pre{overflow:auto;background:#8882;padding:.8rem}`;

export interface ReportParts {
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
      pictures = await (await import('./samples.js')).samplePictures(folder, parts.recipe, parts.source);
  } catch (error) {
    // Not every system can segment, and a report without pictures is still one.
    parts.onWarn(`the report has no sample pictures: ${(error as Error).message}`);
  }
  await writeFileAtomic(join(out, 'report.html'), page(parts, records, pictures));
}

function page(parts: ReportParts, records: readonly MetricsRecord[], pictures: readonly SamplePicture[]): string {
  const title = `${parts.recipe.title ?? parts.recipe.system}: training report`;
  const images = pictures.map(
    ({ title, bytes }) =>
      `<figure><img alt="masks of ${escapeXml(title)}" src="data:image/png;base64,${Buffer.from(bytes).toString('base64')}"><figcaption>${escapeXml(title)}</figcaption></figure>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"><title>${escapeXml(title)}</title><style>${style}</style></head><body>
<h1>${escapeXml(title)}</h1>
${table(summary(parts, records))}
<h2>Curves</h2>
<div class="curves">${curvesOf(records).map(curveFigure).join('\n')}</div>
${images.length > 0 ? `<h2>Masks of the finished model</h2>\n<div class="pictures">${images.join('\n')}</div>` : ''}
${unusable(parts)}
<h2>Recipe</h2>
<pre>${escapeXml(withoutPaths(JSON.stringify(parts.recipe, null, 2)))}</pre>
<h2>Environment</h2>
${table(environment())}
</body></html>
`;
}

function summary(
  { run, steps, status, skipped }: ReportParts,
  records: readonly MetricsRecord[],
): readonly (readonly [string, string])[] {
  const last = records.at(-1);
  const losses = Object.entries(last?.losses ?? {}).map(
    ([name, value]) => `${name} ${value?.toPrecision(4) ?? 'not finite'}`,
  );
  const evaluated = records.findLast(({ eval: figures }) => figures !== undefined);
  return [
    ['status', `${status}, step ${run.done} of ${steps}`],
    ['losses at the end', losses.join(', ')],
    ...Object.entries(evaluated?.eval ?? {}).map(
      ([name, value]) => [`test at step ${evaluated?.step}: ${name}`, String(value)] as const,
    ),
    ['time', `${run.seconds.toFixed(0)} s, ${last?.imagesPerSecond ?? 0} images/s at the end`],
    ['skipped steps', String(skipped)],
    ['unusable samples', String(run.unusable.count)],
    ['checkpoint', run.checkpoint ? `step-${run.checkpoint.step}` : 'none'],
  ];
}

function curvesOf(records: readonly MetricsRecord[]): Curve[] {
  const series = (title: string, value: (record: MetricsRecord) => number | undefined | null): Curve => ({
    title,
    points: records.map((record) => [record.step, value(record) ?? Number.NaN] as const),
  });
  const names = (pick: (record: MetricsRecord) => object | undefined): string[] => [
    ...new Set(records.flatMap((record) => Object.keys(pick(record) ?? {}))),
  ];
  return [
    ...names(({ losses }) => losses).map((name) => series(`loss: ${name}`, ({ losses }) => losses[name])),
    ...names((record) => record.eval).map((name) => series(`test: ${name}`, (record) => record.eval?.[name])),
    { ...series('norm of the gradients', ({ norm }) => norm), logarithmic: true },
    series('rate', ({ rate }) => rate),
    ...names(({ values }) => values).map((name) => series(name, ({ values }) => values?.[name])),
    series('images a second', ({ imagesPerSecond }) => imagesPerSecond),
    series('tensors at their highest, MiB', ({ memory }) => memory.tensors / 2 ** 20),
  ];
}

function unusable({ run }: ReportParts): string {
  const { count, listed } = run.unusable;
  if (count === 0) return '';
  const rows = listed
    .slice(0, 100)
    .map(({ key, code, problem }) => [withoutPaths(key), `${code}: ${withoutPaths(problem)}`] as const);
  return `<h2>Samples that could not be used (${count})</h2>\n${table(rows)}`;
}

/** Absolute paths cut to their last part: a report is passed on. */
function withoutPaths(text: string): string {
  return text.replace(/(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[^\\/"\n]*[\\/])+/g, '.../');
}

function environment(): readonly (readonly [string, string])[] {
  const cpu = devices().find(({ name }) => name === 'cpu');
  return [
    ['wordmask', packageVersion],
    ['Node.js', process.versions.node],
    ['system', `${platform()} ${arch()}`],
    ['processor', `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} threads available`],
    ['kernels', `${cpu?.tier ?? 'unknown'}, ${cpu?.threads ?? 0} threads`],
  ];
}

function table(rows: readonly (readonly [string, string])[]): string {
  return `<table>${rows.map(([name, value]) => `<tr><th>${escapeXml(name)}</th><td>${escapeXml(value)}</td></tr>`).join('')}</table>`;
}
