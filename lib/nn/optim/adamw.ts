/** AdamW (Loshchilov & Hutter, arXiv 1711.05101): Adam with decoupled decay, one native call a parameter group. */
import { adamwStep, assign, cast, isolated, noGrad, Tensor } from '../../engine/index.js';
import { FlatLayout, loadState } from './flat.js';
import { type Entry, needEntries, type ParameterGroup, splitGroups, trainedEntries } from './groups.js';
import {
  checkOption,
  checkPositive,
  type Gradients,
  type Optimiser,
  rateFactor,
  type StepOptions,
} from './optimiser.js';

export interface AdamWOptions {
  readonly lr: number;
  /** Shares of the old first and second moment. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8. */
  readonly eps?: number;
  /** Decoupled decay: p -= lr decay p. Default 0. */
  readonly decay?: number;
  readonly groups?: readonly ParameterGroup[];
  /** Keep a bf16 copy of every parameter, written in the same pass: see `halves`. */
  readonly half?: boolean;
}

interface Group {
  readonly layout: FlatLayout;
  readonly lr: number;
  readonly decay: number;
  readonly values: Tensor;
  readonly moments: Tensor;
  readonly half: Tensor | undefined;
}

export class AdamW implements Optimiser {
  readonly lr: number;
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** bf16 copies by path, where `half` is set: views that each step rewrites. */
  readonly halves: ReadonlyMap<string, Tensor>;
  #steps = 0;
  readonly #groups: readonly Group[];
  readonly #betas: readonly [number, number];
  readonly #eps: number;

  /**
   * The parameters that require a gradient move into flat buffers: handles made of them before keep the old values.
   * @throws E_OPTION, E_USAGE for parameters that are not f32
   */
  constructor(parameters: ReadonlyMap<string, Tensor>, options: AdamWOptions) {
    this.lr = checkPositive('AdamW: lr', options.lr);
    const [beta1, beta2] = options.betas ?? [0.9, 0.999];
    this.#betas = [checkOption('AdamW: betas[0]', beta1, 0, 1), checkOption('AdamW: betas[1]', beta2, 0, 1)];
    this.#eps = checkPositive('AdamW: eps', options.eps ?? 1e-8);
    const decay = checkOption('AdamW: decay', options.decay ?? 0, 0);
    const entries = needEntries('AdamW', trainedEntries(parameters));
    this.parameters = new Map(entries);
    this.#groups = splitGroups('AdamW', entries, options.groups ?? [], parameters.keys()).map(({ group, members }) =>
      makeGroup(
        members,
        checkOption('AdamW: lr of a group', group?.lr ?? this.lr, 0),
        checkOption('AdamW: decay of a group', group?.decay ?? decay, 0),
        options.half ?? false,
      ),
    );
    this.halves = new Map(this.#groups.flatMap(halfViews));
  }

  get steps(): number {
    return this.#steps;
  }

  step(gradients: Gradients, options: StepOptions = {}): void {
    const factor = rateFactor(this.lr, options);
    const found = this.#groups.map(({ layout }) => layout.gradients(gradients));
    const [beta1, beta2] = this.#betas;
    const t = ++this.#steps;
    this.#groups.forEach((group, i) => {
      const lr = group.lr * factor;
      noGrad(() =>
        adamwStep(
          { parameters: group.values, moments: group.moments, half: group.half, sizes: group.layout.sizes },
          found[i] as (Tensor | undefined)[],
          {
            scale: options.scale ?? 1,
            beta1,
            beta2,
            keep: 1 - lr * group.decay,
            rate: lr / (1 - beta1 ** t),
            correction: 1 / Math.sqrt(1 - beta2 ** t),
            eps: this.#eps,
          },
        ),
      );
    });
  }

  state(): Map<string, Tensor> {
    const state = this.#moments();
    state.set('steps', Tensor.from(Int32Array.of(this.#steps)));
    return state;
  }

  async load(state: ReadonlyMap<string, Tensor>): Promise<void> {
    const own = isolated(() => this.state());
    loadState('AdamW', own, state);
    this.#steps = await (own.get('steps') as Tensor).item();
    for (const { values, half } of this.#groups) if (half) refreshHalf(values, half);
    for (const view of own.values()) view.dispose();
  }

  #moments(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const { layout, moments } of this.#groups) {
      layout.entries.forEach(([path], i) => {
        state.set(`moment1.${path}`, layout.view(moments, i, 0));
        state.set(`moment2.${path}`, layout.view(moments, i, 1));
      });
    }
    return state;
  }

  dispose(): void {
    for (const view of this.halves.values()) view.dispose();
    for (const { layout, values, moments, half } of this.#groups) {
      for (const tensor of [values, moments, half]) tensor?.dispose();
      layout.dispose();
    }
  }
}

function makeGroup(members: readonly Entry[], lr: number, decay: number, withHalf: boolean): Group {
  const layout = new FlatLayout(members);
  const values = layout.adoptParameters();
  const half = withHalf ? isolated(() => cast(values, 'bf16')) : undefined;
  return { layout, lr, decay, values, moments: layout.zeros(2), half };
}

function refreshHalf(values: Tensor, half: Tensor): void {
  noGrad(() => {
    const copy = cast(values, 'bf16');
    assign(half, copy);
    copy.dispose();
  });
}

function halfViews({ layout, half }: Group): Entry[] {
  if (!half) return [];
  return isolated(() => layout.entries.map(([path], i): Entry => [path, layout.view(half, i)]));
}
