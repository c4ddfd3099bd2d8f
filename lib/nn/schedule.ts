/** Learning rates over a run: pure functions of the step, so that a resumed run needs nothing but its number. */
import { show, WordmaskError } from '../util/errors.js';

export interface ScheduleOptions {
  /** Rate at the end of the warm-up. */
  readonly lr: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** Steps in which the rate rises in a line: step s of the warm-up has (s + 1) / (warmup + 1) of it. Default 0. */
  readonly warmup?: number;
  /** Rate at the end. Default 0. */
  readonly floor?: number;
}

export interface PolyOptions extends ScheduleOptions {
  /** Default 0.9. */
  readonly power?: number;
}

/** Half a cosine from `lr` behind the warm-up down to `floor` at `steps` (SGDR, arXiv 1608.03983, one period). @throws E_OPTION */
export function cosineRate(step: number, options: ScheduleOptions): number {
  return decayed(step, options, (progress) => (1 + Math.cos(Math.PI * progress)) / 2);
}

/** (1 - progress)^power between `lr` and `floor`. @throws E_OPTION */
export function polyRate(step: number, options: PolyOptions): number {
  const { power = 0.9 } = options;
  if (!(power > 0)) throw new WordmaskError('E_OPTION', `schedule: power must be positive, got ${show(power)}`);
  return decayed(step, options, (progress) => (1 - progress) ** power);
}

/** `lr` behind the warm-up. @throws E_OPTION */
export function constantRate(step: number, options: ScheduleOptions): number {
  return decayed(step, options, () => 1);
}

/** @param share of the way from floor to lr, by progress 0..1 */
function decayed(step: number, options: ScheduleOptions, share: (progress: number) => number): number {
  const { lr, steps, warmup = 0, floor = 0 } = options;
  const whole = (x: number, low: number) => Number.isInteger(x) && x >= low;
  if (!(lr > 0 && floor >= 0 && floor <= lr && whole(steps, 1) && whole(warmup, 0) && warmup <= steps))
    throw new WordmaskError(
      'E_OPTION',
      `schedule: needs lr > 0, floor from 0 to lr, and whole numbers 0 <= warmup <= steps, got ${show({ lr, floor, warmup, steps })}`,
    );
  if (!whole(step, 0))
    throw new WordmaskError('E_OPTION', `schedule: the step must be a whole number from 0 on, got ${show(step)}`);
  if (step < warmup) return (lr * (step + 1)) / (warmup + 1);
  const progress = Math.min(1, (step - warmup) / Math.max(1, steps - warmup));
  return floor + (lr - floor) * share(progress);
}
