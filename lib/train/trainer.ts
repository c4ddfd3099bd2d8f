/**
 * One training step: forward under the tape, backward, gradients of several batches summed, clipped by their global norm, one
 * optimiser update, the running mean of the weights. A step whose loss or norm is not finite changes nothing and is counted.
 */
import { backward, noGrad, scope, type Tensor } from '../engine/index.js';
import { clipGradNorm, Ema, GradientSum, type Gradients, type Optimiser } from '../nn/optim/index.js';
import type { Losses, Trainable } from '../nn/trainable.js';
import { WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import type { LoadedBatch } from './loader.js';

/** Steps in a row without a finite loss after which a run ends. */
export const mostSkipped = 20;

export interface TrainerOptions {
  /** Batches a step. */
  readonly parts: number;
  /** Largest global norm; 0 leaves gradients as they are. */
  readonly clip: number;
  /** Factor on every rate at a step. */
  schedule(step: number): number;
  /** Share of the mean that a step keeps; 0 keeps no mean. */
  readonly ema: number;
}

export interface StepResult {
  readonly step: number;
  /** Means over the batches of the step. */
  readonly losses: Readonly<Record<string, number>>;
  /** Before clipping. */
  readonly norm: number;
  readonly rate: number;
  readonly skipped: boolean;
}

export class Trainer {
  /** Running mean of the weights; undefined without one. */
  readonly ema: Ema | undefined;
  readonly #sum: GradientSum | undefined;
  #skipped = 0;
  #inARow = 0;

  constructor(
    readonly model: Trainable,
    readonly optimiser: Optimiser,
    private readonly options: TrainerOptions,
  ) {
    if (options.ema > 0) this.ema = new Ema(optimiser.parameters, { decay: options.ema });
    if (options.parts > 1) this.#sum = new GradientSum(optimiser.parameters);
  }

  /** Steps that changed nothing. */
  get skipped(): number {
    return this.#skipped;
  }

  get counts(): { total: number; inARow: number } {
    return { total: this.#skipped, inARow: this.#inARow };
  }

  /** For resume: counters as a checkpoint has them. */
  restoreCounts({ total, inARow }: { readonly total: number; readonly inARow: number }): void {
    this.#skipped = total;
    this.#inARow = inARow;
  }

  /**
   * @param next gives the batches of the step, one after another
   * @throws E_NUMERIC after 20 steps in a row without a finite loss
   */
  async step(step: number, next: () => Promise<LoadedBatch>): Promise<StepResult> {
    return scope(async () => {
      const { gradients, parts } = await this.#gradients(next);
      const { clip } = this.options;
      // Both are read together: the queue runs dry once a step.
      const [clipped, losses] = await Promise.all([
        clipGradNorm(gradients, this.optimiser.parameters, clip > 0 ? clip : undefined),
        meanLosses(parts),
      ]);
      const factor = this.options.schedule(step);
      const finite = clipped.finite && Number.isFinite(losses.total);
      if (finite) this.#update(gradients, factor, clipped.scale);
      this.#sum?.clear();
      this.#count(finite, step, losses.total as number, clipped.norm);
      return { step, losses, norm: clipped.norm, rate: factor * this.optimiser.lr, skipped: !finite };
    });
  }

  async #gradients(
    next: () => Promise<LoadedBatch>,
  ): Promise<{ gradients: Gradients; parts: ReadonlyMap<string, Tensor>[] }> {
    const wrt = [...this.optimiser.parameters.values()];
    const parts: ReadonlyMap<string, Tensor>[] = [];
    const slices = new Slices();
    for (;;) {
      const { batch, context } = await next();
      // Whoever made the batch may have used up this turn of the event loop, and so may the first forward pass.
      if (slices.due) await slices.pause();
      const { grads, losses } = await scope(async () => {
        const all = this.model.losses(batch, context);
        if (slices.due) await slices.pause();
        return { grads: backward(all.total, { wrt }), losses: detached(all) };
      });
      parts.push(losses);
      if (!this.#sum) return { gradients: grads, parts };
      this.#sum.add(grads, 1 / this.options.parts);
      grads.dispose();
      if (parts.length === this.options.parts) return { gradients: this.#sum, parts };
    }
  }

  #update(gradients: Gradients, factor: number, scale: number): void {
    noGrad(() => {
      this.optimiser.step(gradients, { factor, scale });
      this.model.afterUpdate?.();
      this.ema?.update();
    });
  }

  #count(finite: boolean, step: number, loss: number, norm: number): void {
    this.#inARow = finite ? 0 : this.#inARow + 1;
    if (finite) return;
    this.#skipped++;
    if (this.#inARow < mostSkipped) return;
    throw new WordmaskError(
      'E_NUMERIC',
      `the loss (${loss}) or the norm of the gradients (${norm}) was not finite in ${mostSkipped} steps in a row, the last being step ${step + 1}: the last checkpoint is kept; lower the rate, lengthen the warm-up or set clip`,
      { details: { step: step + 1, loss, norm, limit: mostSkipped } },
    );
  }

  dispose(): void {
    this.#sum?.dispose();
    this.ema?.dispose();
    this.optimiser.dispose();
  }
}

/** Losses without their place on the tape. */
function detached(losses: Losses): Map<string, Tensor> {
  return new Map(Object.entries(losses).map(([name, tensor]) => [name, tensor.detach()]));
}

async function meanLosses(parts: readonly ReadonlyMap<string, Tensor>[]): Promise<Record<string, number>> {
  const names = [...(parts[0]?.keys() ?? [])];
  const values = await Promise.all(
    names.map((name) => Promise.all(parts.map((losses) => losses.get(name)?.item() ?? Number.NaN))),
  );
  return Object.fromEntries(
    names.map((name, i) => {
      const list = values[i] as number[];
      return [name, list.reduce((total, value) => total + value, 0) / list.length];
    }),
  );
}
