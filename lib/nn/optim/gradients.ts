/** Gradients between backward and the optimiser: their norm, and their sum over several batches. */
import { blend, globalNorm, isolated, noGrad, scope, type Tensor } from '../../engine/index.js';
import { WordmaskError } from '../../util/errors.js';
import { FlatLayout } from './flat.js';
import { trainedEntries } from './groups.js';
import type { Gradients } from './optimiser.js';

export interface ClippedNorm {
  /** Of all gradients together, before clipping. */
  readonly norm: number;
  /** What `step` takes as `scale`: at most 1. */
  readonly scale: number;
  /** False: a gradient is NaN or infinite; leave this step out. */
  readonly finite: boolean;
}

/**
 * Euclidean norm of the gradients of `parameters`, and the factor that brings it down to `limit`. Nothing is multiplied:
 * pass `scale` to the optimiser's step, which reads the gradients anyway.
 * @param limit largest norm; infinity only measures. @throws E_OPTION for a limit that is not positive
 */
export async function clipGradNorm(
  gradients: Gradients,
  parameters: ReadonlyMap<string, Tensor>,
  limit = Number.POSITIVE_INFINITY,
): Promise<ClippedNorm> {
  if (!(limit > 0)) throw new WordmaskError('E_OPTION', `clipGradNorm: the limit must be positive, got ${limit}`);
  const norm = await scope(async () => {
    const found = gradientsOf(gradients, parameters);
    return noGrad(() => globalNorm(found)).item();
  });
  const finite = Number.isFinite(norm);
  return { norm, finite, scale: finite && norm > limit ? limit / norm : 1 };
}

function gradientsOf(gradients: Gradients, parameters: ReadonlyMap<string, Tensor>): (Tensor | undefined)[] {
  if (gradients instanceof Map) return [...parameters.keys()].map((path) => gradients.get(path) as Tensor | undefined);
  const { get } = gradients as { get(parameter: Tensor): Tensor | undefined };
  return [...parameters.values()].map((parameter) => get.call(gradients, parameter));
}

/**
 * Sum of gradients over the batches of one step, with weights, in one buffer that is used again: gradient accumulation.
 * `for (part of parts) sum.add(backward(loss(part)), 1 / parts.length); optimiser.step(sum); sum.clear()`
 */
export class GradientSum {
  readonly #layout: FlatLayout;
  readonly #flat: Tensor;
  readonly #views: ReadonlyMap<Tensor, Tensor>;
  readonly #seen = new Set<Tensor>();

  constructor(parameters: ReadonlyMap<string, Tensor>) {
    this.#layout = new FlatLayout(trainedEntries(parameters));
    this.#flat = this.#layout.zeros();
    this.#views = isolated(
      () => new Map(this.#layout.entries.map(([, tensor], i) => [tensor, this.#layout.view(this.#flat, i)])),
    );
  }

  /** Adds `weight` times the gradients; they may be disposed afterwards. */
  add(gradients: Gradients, weight = 1): void {
    const found = this.#layout.gradients(gradients);
    const known = this.#layout.entries.map(([, tensor]) => this.#seen.has(tensor));
    const first = found.map((grad, i) => (known[i] ? undefined : grad));
    const more = found.map((grad, i) => (known[i] ? grad : undefined));
    noGrad(() => {
      if (first.some(Boolean)) blend(this.#flat, this.#layout.sizes, first, { a: 0, b: weight });
      if (more.some(Boolean)) blend(this.#flat, this.#layout.sizes, more, { a: 1, b: weight });
    });
    this.#layout.entries.forEach(([, tensor], i) => {
      if (found[i]) this.#seen.add(tensor);
    });
  }

  /** The sum for a parameter; undefined where none of the added gradients had it. A view that `add` changes. */
  get(parameter: Tensor): Tensor | undefined {
    return this.#seen.has(parameter) ? this.#views.get(parameter) : undefined;
  }

  /** Begins anew. */
  clear(): void {
    this.#seen.clear();
  }

  dispose(): void {
    for (const view of this.#views.values()) view.dispose();
    this.#flat.dispose();
    this.#layout.dispose();
  }
}
