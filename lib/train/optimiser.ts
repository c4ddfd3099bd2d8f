/** From the `optimiser` and `schedule` parts of a recipe to what they name. */
import type { Tensor } from '../engine/index.js';
import { AdamW, Muon, type Optimiser, type ParameterGroup, Sgd } from '../nn/optim/index.js';
import { constantRate, cosineRate, polyRate } from '../nn/schedule.js';
import type { AdamWRecipe, OptimiserGroup, OptimiserRecipe, ScheduleRecipe } from './recipe.js';

/** @throws E_OPTION for a group that matches nothing, E_USAGE when nothing is trained */
export function makeOptimiser(parameters: ReadonlyMap<string, Tensor>, recipe: OptimiserRecipe): Optimiser {
  switch (recipe.kind) {
    case 'adamw':
      return new AdamW(parameters, adamwOptions(recipe));
    case 'sgd': {
      const { rate, momentum, nesterov, decay, groups } = recipe;
      return new Sgd(parameters, { lr: rate, momentum, nesterov, decay, groups: groups.map(groupOptions) });
    }
    case 'muon': {
      const { rate, match, packed, momentum, nesterov, decay, orthogonalSteps, rest } = recipe;
      return new Muon(parameters, {
        lr: rate,
        match,
        packed,
        momentum,
        nesterov,
        decay,
        orthogonalSteps,
        rest: adamwOptions(rest),
      });
    }
  }
}

function adamwOptions({ rate, betas, eps, decay, groups }: AdamWRecipe) {
  return { lr: rate, betas, eps, decay, groups: groups.map(groupOptions) };
}

function groupOptions({ match, ranks, rate, decay }: OptimiserGroup): ParameterGroup {
  return { match, ranks, lr: rate, decay };
}

/** Factor on every rate at a step, from 0 to 1. */
export function scheduleFactor(schedule: ScheduleRecipe, step: number, steps: number): number {
  const { kind, warmup, floor, power } = schedule;
  const options = { lr: 1, steps, warmup: Math.min(warmup, steps), floor };
  switch (kind) {
    case 'constant':
      return constantRate(step, { ...options, floor: 0 });
    case 'cosine':
      return cosineRate(step, options);
    case 'linear':
      return polyRate(step, { ...options, power: 1 });
    case 'poly':
      return polyRate(step, { ...options, power });
  }
}
