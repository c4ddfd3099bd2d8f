/** `wordmask reproduce`: published rows against this machine. */
import type { ReproducedFigure } from '../../eval/reproduce.js';
import { parseModelName } from '../../registry/names.js';
import { show, WordmaskError } from '../../util/errors.js';
import { exit } from '../exit-codes.js';
import { count, table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { openModel, textOption } from '../setup.js';

export async function reproduceCommand(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  if (args.length > 0)
    throw new WordmaskError('E_USAGE', `reproduce takes no arguments, got ${show(args[0])}: name rows with --rows`);
  const { reproduce } = await import('../../eval/reproduce.js');
  const { resolveModel } = await import('../../registry/resolve.js');
  const { systemNames } = await import('../../registry/systems.js');
  const systems = systemNames();
  const { cacheDir, revision, base } = options as Record<string, string | undefined>;
  let progress: Progress | undefined;
  let shown = '';
  const figures = await reproduce({
    systems,
    locate: (name) => resolveModel(name, { systems, cacheDir, revision, base, signal: interrupt.signal }),
    // The name says the system.
    open: (name) => openModel(name, { ...options, system: undefined }, output, interrupt.signal),
    models: await givenModel(context, systems),
    root: textOption(options, 'root'),
    rows: options.publishedRows as string[] | undefined,
    datasets: options.datasets as string[] | undefined,
    limit: options.limit as number | undefined,
    partial: options.partial as boolean | undefined,
    onError: options.onError as 'stop' | 'skip' | undefined,
    dryRun: options.dryRun as boolean | undefined,
    out: textOption(options, 'reportFolder'),
    signal: interrupt.signal,
    onWarning: (message) => output.warn(message),
    onProgress: ({ row, dataset, done, total }) => {
      const label = `${row}, ${dataset}`;
      if (label !== shown) {
        progress?.end();
        progress = new Progress(output, total);
        shown = label;
      }
      progress?.update(done, label);
    },
  }).finally(() => progress?.end());
  if (output.json) output.value({ figures });
  else print(figures, context);
  return figures.some(({ status }) => status === 'failed') ? exit.some : exit.done;
}

/** The model of -m serves all rows of its system. @throws E_USAGE when it names none */
async function givenModel(
  { options }: Context,
  systems: readonly string[],
): Promise<Record<string, string> | undefined> {
  const name = textOption(options, 'model');
  if (name === undefined) return undefined;
  const { modelNames } = await import('../../registry/builtin.js');
  const { system } = parseModelName(name, { systems, names: modelNames, system: textOption(options, 'system') });
  if (system === undefined)
    throw new WordmaskError('E_USAGE', `-m ${name} names no system: say whose rows it is for, -m naclip:${name}`);
  return { [system]: name.startsWith(`${system}:`) ? name : `${system}:${name}` };
}

/** Rows with their paper, weights and protocol, the figures of each below it; then what is missing. */
function print(figures: readonly ReproducedFigure[], { output }: Context): void {
  const percent = (share: number): string => (100 * share).toFixed(2);
  const cells = figures.map(({ dataset, metric, published, trust, measured, difference, verdict, status }) => [
    `  ${dataset}`,
    metric,
    `${percent(published)}${trust === 'read' ? ' ' : '*'}`,
    measured === null ? '' : percent(measured),
    difference === null ? '' : `${difference < 0 ? '' : '+'}${percent(difference)}`,
    verdict ?? (status === 'measured' ? 'no verdict' : status),
  ]);
  const [head, ...lines] = table(
    [['  data set', 'metric', 'published ', 'measured', 'difference', ''], ...cells],
    [2, 3, 4],
  );
  output.line(head as string);
  for (const [i, figure] of figures.entries()) {
    const { id, row, paper, weights, protocol } = figure;
    if (figures[i - 1]?.id !== id)
      output.line(
        `${output.style('bold', id)}: ${row}; ${paper}; weights ${weights}; protocol ${typeof protocol === 'string' ? protocol : JSON.stringify(protocol)}`,
      );
    output.line(lines[i] as string);
  }
  if (figures.some(({ trust }) => trust !== 'read')) output.line('* recollected, not read in its source: no verdict');
  const problems = grouped(
    figures.flatMap(({ id, dataset, missing }) => missing.map((text) => [text, `${id}/${dataset}`])),
  );
  for (const [text, needed] of problems) output.line(`missing for ${count(needed.length, 'figure')}: ${text}`);
  const caveats = grouped(
    figures.flatMap(({ id, dataset, caveats: list }) => list.map((text) => [text, `${id}/${dataset}`])),
  );
  for (const [text, of] of caveats) output.note(`${of.length === 1 ? of[0] : count(of.length, 'figure')}: ${text}`);
}

function grouped(pairs: readonly (readonly string[])[]): [string, string[]][] {
  const groups = new Map<string, string[]>();
  for (const [text, of] of pairs as readonly (readonly [string, string])[])
    groups.set(text, [...(groups.get(text) ?? []), of]);
  return [...groups].sort((a, b) => b[1].length - a[1].length);
}
