/** `report.html` of a run: one file without outside resources, scripts or paths of the machine. */
import { arch, availableParallelism, cpus, platform } from 'node:os';
import { join } from 'node:path';
import type { PairSource } from '../data/types.js';
import { devices } from '../engine/index.js';
import { writeFileAtomic } from '../util/files.js';
import { packageVersion } from '../util/version.js';
import { escapeXml } from '../util/xml.js';
import { type Curve, curveFigure, numberText } from './curves.js';
import { type MetricsRecord, readMetrics } from './metrics.js';
import type { Recipe } from './recipe.js';
import type { Run } from './run.js';
import type { SamplePicture } from './samples.js';

const style = `:root{color-scheme:light dark;--ink:light-dark(#1d2126,#e3e6ea);--soft:light-dark(#5c6570,#9aa4b0);--line:light-dark(#e2e5e9,#333941);--page:light-dark(#fff,#15181c);--box:light-dark(#f5f6f8,#1e2227);--curve:light-dark(#1f6fd0,#6aabff)}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--page)}
h1{font-size:1.45rem;line-height:1.25;margin:0 0 .3rem}h1+p{margin:0 0 1.2rem;color:var(--soft)}h2{font-size:1.15rem;margin:2.2rem 0 .8rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
h3{font-size:.95rem;margin:1.2rem 0 .5rem;color:var(--soft)}table{border-collapse:collapse}td,th{padding:.15rem 1.2rem .15rem 0;text-align:left;vertical-align:top}th{font-weight:400;color:var(--soft);white-space:nowrap}td{overflow-wrap:anywhere}
figure{margin:0;min-width:0}.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(20rem,100%),1fr));gap:1rem}.curves figure{background:var(--box);border-radius:.4rem;padding:.6rem .7rem .3rem}
.curves figcaption{display:flex;justify-content:space-between;gap:1rem;font-size:.9rem}.curves b{font-variant-numeric:tabular-nums}svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}.curve{fill:none;stroke:var(--curve);stroke-width:1.6;stroke-linejoin:round}.last{fill:var(--curve)}
.picture{margin-bottom:1.8rem}.picture>figcaption{margin-bottom:.4rem}.parts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(16rem,100%),1fr));gap:.6rem}.parts figcaption{font-size:.85rem;color:var(--soft)}
.parts img{display:block;width:100%;border-radius:.25rem;image-rendering:pixelated}.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.5rem 0 0;padding:0;list-style:none;font-size:.85rem}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.4em;border-radius:.15em}
summary{cursor:pointer;color:var(--soft)}pre{overflow:auto;background:var(--box);border-radius:.4rem;padding:.8rem;font-size:.85rem}`;

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
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"><link rel="icon" href="data:,"><title>${escapeXml(title)}: training report</title><style>${style}</style></head><body>
<h1>${escapeXml(title)}</h1>
<p>Training report of wordmask ${escapeXml(packageVersion)}, system ${escapeXml(recipe.system)}</p>
${table(summary(parts, records))}
<h2>Curves</h2>
${curveGroups(records)
  .map(([name, curves]) => [name, curves.map(curveFigure).filter((figure) => figure !== '')] as const)
  .filter(([, figures]) => figures.length > 0)
  .map(([name, figures]) => `<h3>${name}</h3>\n<div class="curves">${figures.join('\n')}</div>`)
  .join('\n')}
${pictures.length > 0 ? `<h2>Masks of the finished model</h2>\n${pictures.map(pictureFigure).join('\n')}` : ''}
${unusable(parts)}
<h2>Recipe</h2>
<details><summary>as it was used, with defaults</summary><pre>${escapeXml(withoutPaths(JSON.stringify(recipe, null, 2)))}</pre></details>
<h2>Environment</h2>
${table(environment())}
</body></html>
`;
}

function pictureFigure({ title, parts, legend, right }: SamplePicture): string {
  const images = parts.map(
    (part) =>
      `<figure><img alt="${escapeXml(`${title}: ${part.title}`)}" src="data:image/png;base64,${Buffer.from(part.bytes).toString('base64')}"><figcaption>${escapeXml(part.title)}</figcaption></figure>`,
  );
  const entries = legend.map(
    ({ name, colour }) => `<li><i style="background:rgb(${colour.join()})"></i>${escapeXml(name)}</li>`,
  );
  const share = right === undefined ? '' : `, ${(100 * right).toFixed(0)}% of the pixels right`;
  return `<figure class="picture"><figcaption>${escapeXml(title)}${share}</figcaption><div class="parts">${images.join('')}</div><ul class="legend">${entries.join('')}</ul></figure>`;
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
    ['time', `${duration(run.seconds)}, ${count(Math.round(pairs / run.seconds))} pairs a second over the whole run`],
    ['most memory', `${numberText(Math.round((last?.memory.tensors ?? 0) / 2 ** 20))} MiB of tensors`],
    ['skipped steps', count(skipped)],
    ['unusable samples', count(run.unusable.count)],
    ['checkpoint', run.checkpoint ? `step-${run.checkpoint.step}` : 'none'],
  ];
}

function duration(seconds: number): string {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${seconds.toFixed(1)} s`;
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
  return `<h2>Samples that could not be used (${count})</h2>\n${table(rows)}`;
}

/** Absolute paths cut to their last part: a report is passed on. */
function withoutPaths(text: string): string {
  return text.replace(/(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[^\\/"\n]*[\\/])+/g, '.../');
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

function table(rows: readonly (readonly [string, string])[]): string {
  return `<table>${rows.map(([name, value]) => `<tr><th>${escapeXml(name)}</th><td>${escapeXml(value)}</td></tr>`).join('')}</table>`;
}
