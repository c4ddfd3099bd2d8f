/** `wordmask train RECIPE.json`: a run with progress, checkpoints and a report. */
import { existsSync } from 'node:fs';
import type { TrainProgress, TrainResult } from '../../train/index.js';
import { assetPath } from '../../util/assets.js';
import { WordmaskError } from '../../util/errors.js';
import { exit } from '../exit-codes.js';
import { count, type Output } from '../output.js';
import { duration, Progress } from '../progress.js';
import type { Context } from '../run.js';
import { textOption } from '../setup.js';

const listed = 20;

export async function trainCommand(context: Context): Promise<number> {
  const { args, options, output, interrupt } = context;
  const [recipe, ...others] = args;
  if (recipe === undefined || others.length > 0)
    throw new WordmaskError(
      'E_USAGE',
      `train takes one recipe, got ${args.length}: wordmask train recipe.json --out run`,
    );
  const out = textOption(options, 'out') ?? 'wordmask-out';
  const { train } = await import('../../train/index.js');
  const stop = new AbortController();
  interrupt.soften(() => {
    output.note('stopping after this step; once more stops at once');
    stop.abort();
  });
  const shown = new TrainLine(output);
  const result = await train(recipeFile(recipe), {
    out,
    resume: options.resume as boolean | undefined,
    overwrite: options.overwrite as boolean | undefined,
    steps: options.steps as number | undefined,
    set: options.set as Record<string, unknown> | undefined,
    device: textOption(options, 'device'),
    threads: options.threads as number | undefined,
    stop: stop.signal,
    onWarn: (message) => output.warn(message),
    onProgress: (progress) => shown.update(progress),
  }).finally(() => shown.end());
  report(result, context);
  if (result.status === 'stopped') {
    output.note(`go on with: wordmask train ${recipe} --out ${out} --resume`);
    return interrupt.exitCode;
  }
  return result.unusable.count > 0 ? exit.some : exit.done;
}

/** A path, or the name of a recipe that comes with the package. */
function recipeFile(name: string): string {
  if (!/^[a-z0-9][a-z0-9-]*$/.test(name) || existsSync(name)) return name;
  const own = assetPath(`recipes/${name}.json`);
  return existsSync(own) ? own : name;
}

/** The progress line; what a resumed run did before does not count as its pace. */
class TrainLine {
  #progress: Progress | undefined;
  #before = 0;
  #last = 0;

  constructor(private readonly output: Output) {}

  update({ step, steps, losses, imagesPerSecond, skipped }: TrainProgress): void {
    if (!this.#progress) {
      this.#before = step - 1;
      this.#progress = new Progress(this.output, steps - this.#before, 'steps');
    }
    const parts = [`step ${step}/${steps}`, `loss ${shortNumber(losses.total ?? Number.NaN)}`];
    if (imagesPerSecond > 0) parts.push(`${shortNumber(imagesPerSecond)} images/s`);
    if (skipped > 0) parts.push(`${skipped} skipped`);
    this.#progress.update(step - this.#before, parts.join('  '));
    this.#detail(step, steps, parts);
  }

  /** Without a terminal: a line every tenth of the run, with --verbose. */
  #detail(step: number, steps: number, parts: readonly string[]): void {
    const tenth = Math.floor((step * 10) / steps);
    if (tenth === this.#last && step !== 1) return;
    this.#last = tenth;
    this.output.detail(parts.join('  '));
  }

  end(): void {
    this.#progress?.end();
  }
}

function shortNumber(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(4);
}

function report(result: TrainResult, { output }: Context): void {
  const { unusable, skipped, step, steps, losses, seconds, checkpoint } = result;
  for (const { key, problem } of unusable.listed.slice(0, listed)) output.warn(`${key}: ${problem}`);
  if (unusable.count > listed) output.warn(`and ${unusable.count - listed} more`);
  if (unusable.count > 0) output.warn(`${count(unusable.count, 'sample')} could not be used; others took their places`);
  if (skipped > 0) output.warn(`${count(skipped, 'step')} had no finite loss and changed nothing`);
  if (output.json) {
    output.value(result);
    return;
  }
  const total = losses.total === undefined ? '' : `, loss ${shortNumber(losses.total)}`;
  output.line(`${result.status}: step ${step} of ${steps}${total}, ${duration(seconds)}`);
  if (checkpoint) output.line(`model: ${checkpoint}`);
}
