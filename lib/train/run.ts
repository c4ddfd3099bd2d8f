/** A training run from recipe to checkpoints: everything that happens around the steps. */
import { join } from 'node:path';
import type { PairProblem, PairSource } from '../data/types.js';
import { memory } from '../engine/index.js';
import type { Trainable } from '../nn/trainable.js';
import { isWordmaskError } from '../util/errors.js';
import { type Checkpoint, pruneCheckpoints } from '../weights/index.js';
import { type LoadedBatch, Loader } from './loader.js';
import { Metrics } from './metrics.js';
import type { Recipe } from './recipe.js';
import { type LogWindow, type RunState, saveState, stateHeader } from './state.js';
import type { StepResult, Trainer } from './trainer.js';

/** Saves in a row that may fail before the run ends. */
const mostFailedSaves = 3;
const mostListed = 1000;

export interface TrainProgress {
  /** Steps that are done. */
  readonly step: number;
  readonly steps: number;
  readonly epoch: number;
  /** Of the step just done. */
  readonly losses: Readonly<Record<string, number>>;
  readonly rate: number;
  /** Over the last seconds, and what is left at that pace. */
  readonly imagesPerSecond: number;
  readonly secondsLeft: number;
  readonly skipped: number;
}

export interface RunParts {
  readonly out: string;
  readonly recipe: Recipe;
  readonly steps: number;
  readonly source: PairSource;
  readonly model: Trainable;
  readonly trainer: Trainer;
  /** Full name of the device that trains. */
  readonly device: string;
  /** State of the checkpoint that the run goes on from. */
  readonly state: RunState | undefined;
  readonly checkpoint: Checkpoint | undefined;
  readonly signal?: AbortSignal;
  readonly stop?: AbortSignal;
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly onWarn: (message: string) => void;
}

export class Run {
  readonly #loader: Loader;
  readonly #unusable = new Map<string, PairProblem>();
  #unusableCount: number;
  #window: LogWindow;
  #windowBegan = performance.now();
  #done: number;
  #failedSaves = 0;
  #saved: Checkpoint | undefined;
  #last: StepResult | undefined;
  readonly #began = performance.now();
  readonly #secondsBefore: number;
  readonly #recent: { at: number; step: number }[] = [];

  constructor(private readonly parts: RunParts) {
    const { recipe, steps, source, model, state, trainer } = parts;
    this.#done = state?.step ?? 0;
    this.#saved = parts.checkpoint;
    this.#window = state?.window ?? emptyWindow;
    this.#secondsBefore = state?.seconds ?? 0;
    this.#unusableCount = state?.unusable.count ?? 0;
    for (const problem of state?.unusable.listed ?? []) this.#unusable.set(problem.key, problem);
    if (state) trainer.restoreCounts(state.skipped);
    this.#loader = new Loader({
      source,
      seed: recipe.seed,
      batch: recipe.batch,
      parts: recipe.accumulation,
      steps,
      start: this.#done,
      prefetch: recipe.loader.prefetch,
      compute: recipe.precision === 'bf16' ? 'bf16' : 'f32',
      prepare: (samples, context) => model.prepare(samples, context),
      signal: parts.signal,
    });
  }

  get done(): number {
    return this.#done;
  }
  get checkpoint(): Checkpoint | undefined {
    return this.#saved;
  }
  get losses(): Readonly<Record<string, number>> {
    return this.#last?.losses ?? {};
  }
  get unusable(): { count: number; listed: readonly PairProblem[] } {
    return { count: this.#unusableCount, listed: [...this.#unusable.values()] };
  }
  get seconds(): number {
    return this.#secondsBefore + (performance.now() - this.#began) / 1000;
  }

  /** Steps until the end or until `stop` fires. @throws E_NUMERIC, E_DISK after three failed saves, the signal's reason, what source and system throw */
  async go(): Promise<'done' | 'stopped'> {
    const { parts } = this;
    const metrics = await Metrics.open(join(parts.out, 'metrics.jsonl'), this.#done);
    try {
      while (this.#done < parts.steps && !parts.stop?.aborted) {
        parts.signal?.throwIfAborted();
        const result = await parts.trainer.step(this.#done, () => this.#take());
        this.#done++;
        this.#last = result;
        this.#window = addToWindow(this.#window, result);
        await this.#log(metrics);
        this.#report(result);
        await this.#save();
      }
      return this.#done >= parts.steps ? 'done' : 'stopped';
    } finally {
      await metrics.close();
      await this.#loader.close();
    }
  }

  async #take(): Promise<LoadedBatch> {
    const loaded = await this.#loader.next();
    for (const problem of loaded.problems) {
      if (this.#unusable.has(problem.key)) continue;
      this.#unusableCount++;
      if (this.#unusable.size < mostListed) this.#unusable.set(problem.key, problem);
    }
    return loaded;
  }

  get #epoch(): number {
    const { recipe, source } = this.parts;
    return Math.floor((this.#done * recipe.batch * recipe.accumulation) / source.count);
  }

  async #log(metrics: Metrics): Promise<void> {
    const { recipe, steps, model, trainer } = this.parts;
    const { every } = recipe.eval;
    const testBegan = performance.now();
    const evaluated =
      every > 0 && (this.#done % every === 0 || this.#done === steps) ? await model.evaluate?.() : undefined;
    // A test is no part of the pace.
    if (evaluated) this.#windowBegan += performance.now() - testBegan;
    if (this.#done % recipe.log.every !== 0 && this.#done !== steps && !evaluated) return;
    const values = await model.report?.();
    const { steps: count, losses, norm } = this.#window;
    const seconds = (performance.now() - this.#windowBegan) / 1000;
    const problem = await metrics.add({
      step: this.#done,
      epoch: this.#epoch,
      losses: Object.fromEntries(Object.entries(losses).map(([name, sum]) => [name, finiteOrNull(sum / count)])),
      norm: finiteOrNull(norm / count),
      rate: this.#last?.rate ?? 0,
      skipped: trainer.skipped,
      unusable: this.#unusableCount,
      imagesPerSecond: round((count * recipe.batch * recipe.accumulation) / seconds),
      seconds: round(this.seconds),
      memory: { tensors: memory()[this.parts.device]?.peakBytes ?? 0, process: process.memoryUsage.rss() },
      ...(values && { values }),
      ...(evaluated && { eval: evaluated }),
    });
    if (problem) this.parts.onWarn(problem);
    this.#window = emptyWindow;
    this.#windowBegan = performance.now();
  }

  #report(result: StepResult): void {
    const { onProgress, recipe, steps, trainer } = this.parts;
    if (!onProgress) return;
    const now = performance.now();
    this.#recent.push({ at: now, step: this.#done });
    while (this.#recent.length > 2 && now - (this.#recent[0]?.at ?? 0) > 10_000) this.#recent.shift();
    const first = this.#recent[0] as { at: number; step: number };
    const perStep = this.#done > first.step ? (now - first.at) / 1000 / (this.#done - first.step) : 0;
    onProgress({
      step: this.#done,
      steps,
      epoch: this.#epoch,
      losses: result.losses,
      rate: result.rate,
      imagesPerSecond: perStep > 0 ? (recipe.batch * recipe.accumulation) / perStep : 0,
      secondsLeft: perStep * (steps - this.#done),
      skipped: trainer.skipped,
    });
  }

  /** Saves where one is due. What fails is tried again after the next step, or at once where none is left. */
  async #save(): Promise<void> {
    const { recipe, steps, stop } = this.parts;
    const last = this.#done >= steps || stop?.aborted === true;
    if (!last && this.#done % recipe.save.every !== 0 && this.#failedSaves === 0) return;
    do await this.#trySave(last);
    while (last && this.#failedSaves > 0);
  }

  async #trySave(last: boolean): Promise<void> {
    const { out, trainer, recipe, onWarn } = this.parts;
    try {
      this.#saved = await saveState(out, trainer, this.#state());
      this.#failedSaves = 0;
      await pruneCheckpoints(out, this.#done, recipe.save.keep);
    } catch (error) {
      if (!isWordmaskError(error)) throw error;
      // Weights that are not finite do not recover: the run ends by itself once 20 steps were skipped.
      const tolerated =
        error.code === 'E_NUMERIC' ? !last : error.code === 'E_DISK' && ++this.#failedSaves < mostFailedSaves;
      if (!tolerated) throw error;
      const again = this.#failedSaves > 0 ? '; it is tried again after the next step' : '';
      onWarn(`step ${this.#done} is not saved (${error.message}); ${this.#kept()}${again}`);
    }
  }

  #kept(): string {
    return this.#saved ? `the checkpoint of step ${this.#saved.step} is kept` : 'there is no checkpoint yet';
  }

  #state(): RunState {
    const { recipe, source, trainer } = this.parts;
    return {
      ...stateHeader,
      step: this.#done,
      random: { seed: recipe.seed, step: this.#done },
      data: { next: this.#done * recipe.batch * recipe.accumulation, count: source.count, source: recipe.data.kind },
      updates: trainer.optimiser.steps,
      skipped: trainer.counts,
      unusable: this.unusable,
      window: this.#window,
      seconds: this.seconds,
      recipe,
    };
  }
}

const emptyWindow: LogWindow = { steps: 0, losses: {}, norm: 0 };

/** Steps that changed nothing count with their number alone: one NaN would hide the others. */
function addToWindow(window: LogWindow, { losses, norm, skipped }: StepResult): LogWindow {
  if (skipped) return window;
  const sums = Object.entries(losses).map(([name, value]) => [name, (window.losses[name] ?? 0) + value] as const);
  return { steps: window.steps + 1, losses: Object.fromEntries(sums), norm: window.norm + norm };
}

function finiteOrNull(value: number): number {
  return Number.isFinite(value) ? value : (null as unknown as number);
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
