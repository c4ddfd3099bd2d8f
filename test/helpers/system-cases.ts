/** Reference cases of data/systems: what their notes say, and values that agree. */
import type { Test } from 'tap';
import { type Loaded, maxError } from './data.js';

/** The options of a case as `segment` and `trace` take them. */
export function optionsOf({ parameters: p }: { parameters: Record<string, unknown> }): Record<string, unknown> {
  return {
    shortSide: p.short_side,
    crop: p.crop,
    stride: p.stride,
    probThreshold: p.prob_threshold,
    logitScale: p.logit_scale,
    mean: p.mean,
    std: p.std,
    ...(p.area_threshold !== undefined && { areaThreshold: p.area_threshold }),
    ...(p.sigma !== undefined && { sigma: p.sigma, arch: p.arch, attention: p.attention }),
  };
}

/** One label a class, named so that equal first prompts do not collide. */
export function labelsOf(classes: readonly (readonly string[])[]): { name: string; prompts: string[] }[] {
  return classes.map((prompts, i) => ({ name: `${i} ${prompts[0]}`, prompts: [...prompts] }));
}

/** Shapes agree up to axes of length 1, values within the tolerance. */
export function compare(
  t: Test,
  name: string,
  actual: { data: ArrayLike<number>; shape: number[] } | undefined,
  want: Loaded,
  tolerance: number,
): void {
  t.same(
    actual?.shape.filter((d) => d !== 1),
    want.shape.filter((d) => d !== 1),
    `${name}: shape`,
  );
  const error = maxError(actual?.data ?? [], want.data);
  t.ok(error <= tolerance, `${name}: error ${error.toExponential(2)} <= ${tolerance}`);
}
