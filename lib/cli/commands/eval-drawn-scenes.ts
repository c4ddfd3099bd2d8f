/** `wordmask eval drawn-scenes`: the table of the built-in models. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { TrainingRun } from '../../eval/drawn-scenes/index.js';
import { assetPath } from '../../util/assets.js';
import { show, WordmaskError } from '../../util/errors.js';
import { exit } from '../exit-codes.js';
import { table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { textOption } from '../setup.js';

/** `wordmask eval drawn-scenes`: the table of the built-in models. */
export async function evalDrawnScenes(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  if (args.length > 0) throw new WordmaskError('E_USAGE', `eval drawn-scenes takes no arguments, got ${show(args[0])}`);
  const { checkRows, drawnScenesTable, tableRows } = await import('../../eval/drawn-scenes/index.js');
  const rows = rowNumbers(options.rows as readonly string[] | undefined) ?? tableRows.map(({ row }) => row);
  checkRows(rows);
  const limit = (options.limit as number | undefined) ?? Infinity;
  if (limit < 1) throw new WordmaskError('E_OPTION', `limit must be at least 1 scene, got ${show(limit)}`);
  if (options.threads !== undefined) (await import('../../engine/index.js')).setThreads(options.threads as number);
  const models = {
    tiny: textOption(options, 'model') ?? 'tiny',
    'tiny-cls': textOption(options, 'clsModel') ?? 'tiny-cls',
  };
  const page = textOption(options, 'page') ?? join('docs', 'drawn-scenes.md');
  const pictureName = `${basename(page, '.md')}.png`;
  const shown = new CaseLine(context);
  const named = [
    ...(options.model === undefined ? [] : [`-m ${models.tiny}`]),
    ...(options.clsModel === undefined ? [] : [`--cls-model ${models['tiny-cls']}`]),
    ...(Number.isFinite(limit) ? [`--limit ${limit}`] : []),
  ];
  const result = await drawnScenesTable({
    rows,
    records: textOption(options, 'records') ?? join('bench', 'results', 'drawn-scenes.jsonl'),
    page,
    picture: { file: join(dirname(page), pictureName), name: pictureName },
    command: 'wordmask eval drawn-scenes',
    commandOf: (row) => ['wordmask eval drawn-scenes', `--rows ${row}`, ...named].join(' '),
    models,
    limit,
    commit: await commitOf(),
    run: (plan, signal) => trainedRun(plan, context, signal),
    trainingSpeed: () => trainingSpeed(context),
    signal: interrupt.signal,
    onProgress: (progress) => shown.update(progress),
    onNote: (message) => output.note(message),
  }).finally(() => shown.end());
  const { expectations } = result;
  if (output.json) {
    output.value({ page, rows, expectations });
    return exit.done;
  }
  const judged = expectations.filter(({ row }) => rows.includes(row));
  const cells = judged.map(({ row, text, found, met }) => [
    String(row),
    found === undefined ? 'not measured' : met === undefined ? 'seen' : met ? 'met' : 'not met',
    found ?? '',
    text,
  ]);
  for (const line of table([['row', '', 'found', 'expected'], ...cells])) output.line(line);
  output.line(page);
  return exit.done;
}

/** `1,3` or `none`. @throws E_OPTION */
function rowNumbers(list: readonly string[] | undefined): number[] | undefined {
  if (list === undefined) return undefined;
  if (list.length === 1 && list[0] === 'none') return [];
  return list.map((text) => {
    const row = Number(text);
    if (!Number.isInteger(row))
      throw new WordmaskError('E_OPTION', `--rows takes numbers such as 1,3, got ${show(text)}`);
    return row;
  });
}

/** The progress line of the case that is measured. */
class CaseLine {
  #progress: Progress | undefined;
  #case = '';

  constructor(private readonly context: Context) {}

  update({ row, case: name, done, total }: { row: number; case: string; done: number; total: number }): void {
    const { output } = this.context;
    if (name !== this.#case) {
      this.#progress?.end();
      this.#progress = new Progress(output, total);
      this.#case = name;
      output.detail(`row ${row}: ${name}`);
    }
    this.#progress?.update(done, `row ${row}: ${name}`);
  }

  end(): void {
    this.#progress?.end();
  }
}

/** Folder of a run that reached its last step; with --train it is trained if it is missing. */
async function trainedRun(plan: TrainingRun, context: Context, signal?: AbortSignal): Promise<string | undefined> {
  const { options, output } = context;
  const folder = resolve(textOption(options, 'runsDir') ?? 'wordmask-runs', plan.name);
  const there = await readdir(folder).catch(() => [] as string[]);
  const last = `step-${String(plan.set.steps)}`;
  if (there.includes(last)) return folder;
  if (options.trainRuns !== true) {
    output.note(`${plan.name}: no finished run in ${dirname(folder)}; --train makes it`);
    return undefined;
  }
  const { train } = await import('../../train/index.js');
  output.note(`training ${plan.name} by ${plan.recipe}`);
  // A path is meant from here, in a recipe it would be one from the recipe's folder.
  const base = plan.set.base as string | undefined;
  const set = base !== undefined && /^[./]/.test(base) ? { ...plan.set, base: resolve(base) } : plan.set;
  const progress = new Progress(output, plan.set.steps as number, 'steps');
  await train(assetPath(join('recipes', plan.recipe)), {
    out: folder,
    resume: true,
    set,
    signal,
    onWarn: (message) => output.warn(message),
    onProgress: ({ step }) => progress.update(step, plan.name),
  }).finally(() => progress.end());
  return folder;
}

const speedSteps = 60;
const speedBatch = 128;

/** Pairs a second over the second half of a short run of the recipe of `tiny`. */
async function trainingSpeed({ output, interrupt }: Context): Promise<{ pairsPerSecond: number; steps: number }> {
  const { train } = await import('../../train/index.js');
  const out = await mkdtemp(join(tmpdir(), 'wordmask-speed-'));
  const progress = new Progress(output, speedSteps, 'steps');
  let [half, end] = [0, 0];
  try {
    // The schedule needs room behind its warm-up.
    const set = { 'schedule.warmup': 10, batch: speedBatch };
    await train(assetPath(join('recipes', 'tiny.json')), {
      ...{ out, overwrite: true, steps: speedSteps, set, signal: interrupt.signal },
      onProgress: ({ step }) => {
        progress.update(step, 'speed of training');
        if (step === speedSteps / 2) half = performance.now();
        if (step === speedSteps) end = performance.now();
      },
    });
  } finally {
    progress.end();
    await rm(out, { recursive: true, force: true });
  }
  return { pairsPerSecond: (speedBatch * speedSteps * 500) / (end - half), steps: speedSteps };
}

/** Commit of the source tree that runs, with + where it has changes; null outside of one. */
async function commitOf(): Promise<string | null> {
  const git = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)('git', ['-C', dirname(assetPath('templates.json')), ...args])).stdout.trim();
  try {
    // Installed below somebody else's tree, that tree's commit says nothing.
    if ((await git('rev-parse', '--show-prefix')) !== 'assets/') return null;
    const commit = await git('rev-parse', '--short=12', 'HEAD');
    return (await git('status', '--porcelain', '--untracked-files=no')) === '' ? commit : `${commit}+`;
  } catch {
    return null;
  }
}
