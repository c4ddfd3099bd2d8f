/** What optimisers have in common. They alone write into parameters (architecture.md section 5). */
import type { Tensor } from '../../engine/index.js';
import { show, WordmaskError } from '../../util/errors.js';

/** Gradients by parameter (`Grads`, `GradientSum`) or by path. */
export type Gradients = { get(parameter: Tensor): Tensor | undefined } | ReadonlyMap<string, Tensor>;

export interface StepOptions {
  /** The rate now; groups with a rate of their own keep their ratio to it. Default: the rate of the constructor. */
  readonly lr?: number;
  /** Instead of `lr`: what a schedule multiplies every group's rate with. */
  readonly factor?: number;
  /** On all gradients, before anything else: what `clipGradNorm` returns. Default 1. */
  readonly scale?: number;
}

export interface Optimiser {
  /** The rate of the constructor. */
  readonly lr: number;
  /** Steps taken; part of the state. */
  readonly steps: number;
  /** Parameters it changes, by path. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /**
   * Changes the parameters in place, as work queued behind whatever was queued before. A parameter without a gradient stays
   * as it is. Check that the gradients are finite first (`clipGradNorm`): a step is not taken back.
   */
  step(gradients: Gradients, options?: StepOptions): void;
  /** What a resumed run needs, by name: `<kind>.<path>`, and `steps`. Views: read them before the next step is queued. */
  state(): Map<string, Tensor>;
  /** Takes values over from a state of the same parameters; load the parameters themselves first. @throws E_CHECKPOINT naming all that differs */
  load(state: ReadonlyMap<string, Tensor>): Promise<void>;
  /** Frees the state; the parameters stay. */
  dispose(): void;
}

/** The factor on every group's rate. @throws E_OPTION */
export function rateFactor(lr: number, options: StepOptions): number {
  const factor = options.lr === undefined ? (options.factor ?? 1) : options.lr / lr;
  if (!(factor >= 0 && Number.isFinite(factor)))
    throw new WordmaskError('E_OPTION', `step: the rate must be a number from 0 on, got ${show(options)}`);
  return factor;
}

/** @throws E_OPTION unless low <= value < high */
export function checkOption(name: string, value: number, low: number, high = Number.POSITIVE_INFINITY): number {
  if (!(value >= low && value < high))
    throw new WordmaskError(
      'E_OPTION',
      `${name} must be a number from ${low} on${high < Number.POSITIVE_INFINITY ? ` and below ${high}` : ''}, got ${show(value)}`,
    );
  return value;
}

/** @throws E_OPTION unless value > 0 */
export function checkPositive(name: string, value: number): number {
  if (!(value > 0 && Number.isFinite(value)))
    throw new WordmaskError('E_OPTION', `${name} must be a positive number, got ${show(value)}`);
  return value;
}
