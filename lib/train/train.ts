/** `train(recipe, options)`: the public door of training. */
import { setMaxListeners } from 'node:events';
import { dirname, join, resolve } from 'node:path';
import type { PairProblem, PairSource } from '../data/types.js';
import { freeze, onDevice, parseDevice, resolveDevice, setThreads, withSignal } from '../engine/index.js';
import type { Trainable, TrainSystem } from '../nn/trainable.js';
import { lastingName } from '../registry/base.js';
import { resolveModel } from '../registry/resolve.js';
import { systemNames } from '../registry/systems.js';
import { findTrainable } from '../registry/trainable.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { Random } from '../util/random.js';
import { Slices } from '../util/slices.js';
import { type Checkpoint, findCheckpoint, setAsideAfter } from '../weights/index.js';
import { heldOut } from './held-out.js';
import { makeOptimiser, scheduleFactor } from './optimiser.js';
import { checkRecipe, type Recipe, type RecipeInput, readRecipe, recipeDifferences, withChanges } from './recipe.js';
import { writeReport } from './report.js';
import { Run, type TrainProgress } from './run.js';
import { clearRunFolder, prepareRunFolder, writeRunRecord } from './run-folder.js';
import { openSourceWorkers } from './source-workers.js';
import { openSource } from './sources.js';
import { checkSameBase, otherModel, type RunState, readState, restoreState } from './state.js';
import { Trainer } from './trainer.js';

export interface TrainOptions {
  /** Folder of the run: checkpoints, metrics.jsonl, report.html. */
  readonly out: string;
  /** Go on from the newest whole checkpoint; starts anew where there is none. */
  readonly resume?: boolean;
  /** Replace a run that is there. */
  readonly overwrite?: boolean;
  /** Replaces the recipe's `steps` or `epochs`. */
  readonly steps?: number;
  /** Values set in the recipe by path: `{ 'optimiser.rate': 1e-3 }`; file paths among them start from the working folder. */
  readonly set?: Readonly<Record<string, unknown>>;
  /** cpu, cuda, cuda:N or auto (default). */
  readonly device?: string;
  /** Threads of the CPU back end, process-wide. */
  readonly threads?: number;
  /** Ends the run at once; the last checkpoint stays. */
  readonly signal?: AbortSignal;
  /** Ends the run after the running step, with a checkpoint. */
  readonly stop?: AbortSignal;
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly onWarn?: (message: string) => void;
}

export interface TrainResult {
  /** `stopped`: by `stop`, before the last step. */
  readonly status: 'done' | 'stopped';
  readonly out: string;
  readonly step: number;
  readonly steps: number;
  /** Folder of the last checkpoint. */
  readonly checkpoint: string | undefined;
  /** Of the last step. */
  readonly losses: Readonly<Record<string, number>>;
  /** Steps whose loss or norm was not finite. */
  readonly skipped: number;
  /** Samples that could not be used, the first thousand by name. */
  readonly unusable: { readonly count: number; readonly listed: readonly PairProblem[] };
  readonly seconds: number;
}

const known = [
  'out',
  'resume',
  'overwrite',
  'steps',
  'set',
  'device',
  'threads',
  'signal',
  'stop',
  'onProgress',
  'onWarn',
];

/**
 * Trains a system by a recipe.
 * @param recipe the recipe, or the path of its file; relative paths in it start from the file's folder (from the working
 * folder for a recipe that is no file)
 * @throws E_OPTION with all problems of the recipe, E_USAGE when `out` holds a run already, E_CHECKPOINT for one of another
 * model or when none is whole, E_NUMERIC, E_DISK, E_IMAGE_CORRUPT, `signal.reason`
 */
export async function train(recipe: RecipeInput | string, options: TrainOptions): Promise<TrainResult> {
  checkOptions(options);
  options.signal?.throwIfAborted();
  const changes: Record<string, unknown> = fromHere(options.set ?? {});
  if (options.steps !== undefined) Object.assign(changes, { steps: options.steps, epochs: undefined });
  const checked =
    typeof recipe === 'string' ? await readRecipe(recipe, changes) : checkRecipe(withChanges(recipe, changes));
  const folder = typeof recipe === 'string' ? dirname(resolve(recipe)) : process.cwd();
  const signal = options.signal && AbortSignal.any([options.signal]);
  // Each picture that is being decoded listens to it.
  if (signal) setMaxListeners(0, signal);
  const device = resolveDevice(options.device ?? 'auto', options.onWarn);
  return withSignal(signal, () =>
    onDevice(device, () => trainChecked(checked, folder, { ...options, device, signal })),
  );
}

/** Paths that a caller sets start from the working folder, those of a recipe from the recipe's. */
function fromHere(set: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const absolute = (value: unknown): unknown => (typeof value === 'string' && value !== '' ? resolve(value) : value);
  const changed: Record<string, unknown> = { ...set };
  for (const key of [
    'data.path',
    'data.images',
    'data.captions',
    'eval.data.path',
    'eval.data.images',
    'eval.data.captions',
  ])
    if (key in changed)
      changed[key] = Array.isArray(changed[key]) ? (changed[key] as unknown[]).map(absolute) : absolute(changed[key]);
  if (typeof changed.base === 'string' && changed.base.startsWith('.')) changed.base = resolve(changed.base);
  return changed;
}

async function trainChecked(
  recipe: Recipe,
  folder: string,
  options: TrainOptions & { device: string },
): Promise<TrainResult> {
  const { out, signal } = options;
  const onWarn = options.onWarn ?? (() => undefined);
  const system = await findTrainable(recipe.system);
  const mode = options.resume ? 'resume' : options.overwrite ? 'overwrite' : 'new';
  const earlier = await prepareRunFolder(out, mode);
  const checkpoint = mode === 'resume' ? await findCheckpoint(out, { signal, onWarn }) : undefined;
  const state = checkpoint && (await readState(checkpoint));
  const before = state?.recipe ?? earlier?.recipe;
  if (before) checkSameRun(out, before, recipe, checkpoint);
  let source: PairSource | undefined;
  let model: Trainable | undefined;
  let trainer: Trainer | undefined;
  try {
    source = await openPairs(recipe, folder, { signal, onWarn });
    if (checkpoint && state) checkSameData(checkpoint, state, source);
    const steps = stepsOf(recipe, source.count);
    model = await makeModel(system, recipe, source, { folder, out, signal, onWarn });
    if (recipe.freeze) freeze(model, recipe.freeze);
    trainer = new Trainer(model, makeOptimiser(model.parameters, recipe.optimiser), {
      parts: recipe.accumulation,
      clip: recipe.clip,
      ema: recipe.ema,
      schedule: (step) => scheduleFactor(recipe.schedule, step, steps),
    });
    if (checkpoint && state) {
      await checkSameBase(checkpoint, model, [state.recipe.base, recipe.base]);
      await restoreState(checkpoint, trainer);
      await setAsideAfter(out, state.step);
    }
    if (mode === 'overwrite') await clearRunFolder(out);
    await writeRunRecord(out, recipe);
    const run = new Run({ ...options, out, recipe, steps, source, model, trainer, state, checkpoint, onWarn });
    const status = await run.go();
    await writeReport(out, {
      recipe,
      device: options.device,
      run,
      steps,
      status,
      skipped: trainer.skipped,
      source,
      onWarn,
    });
    const { done: step, losses, unusable, seconds } = run;
    const saved = run.checkpoint?.folder;
    return { status, out, step, steps, checkpoint: saved, losses, skipped: trainer.skipped, unusable, seconds };
  } finally {
    trainer?.dispose();
    model?.dispose();
    await source?.close();
  }
}

async function makeModel(
  system: TrainSystem,
  recipe: Recipe,
  source: PairSource,
  options: { folder: string; out: string; signal?: AbortSignal; onWarn: (message: string) => void },
): Promise<Trainable> {
  const { folder, signal, onWarn } = options;
  const { seed, eval: test } = recipe;
  const model = await system({
    model: recipe.model,
    losses: recipe.losses,
    ...(await resolveBase(recipe, options)),
    folder,
    compute: recipe.precision === 'bf16' ? 'bf16' : 'f32',
    random: new Random(seed).fork('model'),
    captions: (limit) => firstCaptions(source, limit, signal),
    heldOut: heldOut(recipe, { seed, folder, signal, onWarn }),
    signal,
  });
  if (test.every > 0 && !model.evaluate)
    onWarn(
      `eval.every is ${test.every}, but ${recipe.system} has no test of its own or the data have no part for it: see eval.data`,
    );
  return model;
}

function checkSameRun(out: string, before: Recipe, recipe: Recipe, checkpoint: Checkpoint | undefined): void {
  // The base may lie elsewhere by now: checkSameBase compares what it is.
  const differences = recipeDifferences(before, recipe).filter((key) => key !== 'base');
  if (differences.length === 0) return;
  const named = differences.map((key) => `its ${key} is ${show(before[key])}, the recipe's ${show(recipe[key])}`);
  throw otherModel(checkpoint ?? { folder: out, step: 0, files: {} }, named);
}

/** Order and randomness rest on the number of samples. */
function checkSameData(checkpoint: Checkpoint, { data }: RunState, source: PairSource): void {
  if (data.count === source.count) return;
  throw otherModel(checkpoint, [`its data had ${data.count} samples, ${source.name} has ${source.count}`]);
}

/** Folder and lasting name of the model that a recipe starts from. @throws E_MODEL_ID, E_MODEL_NOT_FOUND, E_MODEL_FORMAT */
async function resolveBase(
  { base }: Recipe,
  {
    folder,
    out,
    signal,
    onWarn,
  }: { folder: string; out: string; signal?: AbortSignal; onWarn: (message: string) => void },
): Promise<{ base?: string; baseName?: string }> {
  if (base === undefined) return {};
  const onLog = (message: string, level: 'info' | 'warning'): void =>
    level === 'warning' ? onWarn(message) : undefined;
  const name = base.startsWith('.') ? resolve(folder, base) : base;
  const found = await resolveModel(name, { systems: systemNames(), signal, onLog });
  // All checkpoints lie at one depth.
  return { base: found.folder.path, baseName: await lastingName(found.weights, found.folder, join(out, 'step-0')) };
}

async function openPairs(
  recipe: Recipe,
  folder: string,
  options: { signal?: AbortSignal; onWarn: (message: string) => void },
): Promise<PairSource> {
  const { data, seed, loader } = recipe;
  // Drawing runs on native threads already; files are read, parsed and decoded beside the training.
  const workers = loader.workers ?? (data.kind === 'drawn-scenes' ? 0 : 2);
  if (workers === 0) return openSource(data, { seed, folder, ...options });
  return openSourceWorkers({ data, seed, folder }, workers, options);
}

function stepsOf({ steps, epochs, batch, accumulation }: Recipe, count: number): number {
  return steps ?? Math.max(1, Math.round(((epochs as number) * count) / (batch * accumulation)));
}

/** Captions of the first samples of the source, for what is learnt from text alone. */
async function firstCaptions(source: PairSource, limit: number, signal?: AbortSignal): Promise<string[]> {
  const captions: string[] = [];
  const piece = 256;
  // Samples that are in memory already are answered without a turn of the event loop.
  const slices = new Slices(signal);
  for (let at = 0; captions.length < limit && at < limit; at += piece) {
    const requests = Array.from({ length: Math.min(piece, limit - at) }, (_, i) => ({
      index: (at + i) % source.count,
      epoch: Math.floor((at + i) / source.count),
    }));
    if (slices.due) await slices.pause();
    for (const sample of await source.read(requests, signal))
      if ('captions' in sample) captions.push(...sample.captions);
  }
  return captions.slice(0, limit);
}

function checkOptions(options: TrainOptions): void {
  if (typeof options !== 'object' || options === null || typeof options.out !== 'string' || options.out === '')
    throw new WordmaskError('E_USAGE', `train: name the folder of the run, { out: './run' }, got ${show(options)}`);
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const guess = nearest(key, known);
    throw new WordmaskError(
      'E_OPTION',
      `train: unknown option ${show(key)}${guess ? `, did you mean '${guess}'?` : ''}`,
    );
  }
  if (options.resume && options.overwrite)
    throw new WordmaskError('E_USAGE', 'train: resume goes on with a run, overwrite replaces it: give one of the two');
  parseDevice(options.device ?? 'auto');
  if (options.threads !== undefined) setThreads(options.threads);
}
