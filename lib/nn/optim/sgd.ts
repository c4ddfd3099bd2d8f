/** Stochastic gradient descent with momentum; decay is added to the gradient. One native call a parameter group. */
import { isolated, noGrad, sgdStep, Tensor } from '../../engine/index.js';
import { FlatLayout, loadState } from './flat.js';
import { needEntries, type ParameterGroup, splitGroups, trainedEntries } from './groups.js';
import {
  checkOption,
  checkPositive,
  type Gradients,
  type Optimiser,
  rateFactor,
  type StepOptions,
} from './optimiser.js';

export interface SgdOptions {
  readonly lr: number;
  /** Share of the old direction. Default 0. */
  readonly momentum?: number;
  /** Look one step of momentum ahead. Default false. */
  readonly nesterov?: boolean;
  /** Added to the gradient: g += decay p. Default 0. */
  readonly decay?: number;
  readonly groups?: readonly ParameterGroup[];
}

interface Group {
  readonly layout: FlatLayout;
  readonly lr: number;
  readonly decay: number;
  readonly values: Tensor;
  readonly momentum: Tensor;
}

export class Sgd implements Optimiser {
  readonly lr: number;
  readonly parameters: ReadonlyMap<string, Tensor>;
  #steps = 0;
  readonly #groups: readonly Group[];
  readonly #momentum: number;
  readonly #nesterov: boolean;

  /**
   * The parameters that require a gradient move into flat buffers: handles made of them before keep the old values.
   * @throws E_OPTION, E_USAGE for parameters that are not f32
   */
  constructor(parameters: ReadonlyMap<string, Tensor>, options: SgdOptions) {
    this.lr = checkPositive('Sgd: lr', options.lr);
    this.#momentum = checkOption('Sgd: momentum', options.momentum ?? 0, 0, 1);
    this.#nesterov = options.nesterov ?? false;
    const entries = needEntries('Sgd', trainedEntries(parameters));
    this.parameters = new Map(entries);
    this.#groups = splitGroups('Sgd', entries, options.groups ?? [], parameters.keys()).map(({ group, members }) => {
      const layout = new FlatLayout(members);
      return {
        layout,
        lr: checkOption('Sgd: lr of a group', group?.lr ?? this.lr, 0),
        decay: checkOption('Sgd: decay of a group', group?.decay ?? options.decay ?? 0, 0),
        values: layout.adoptParameters(),
        momentum: layout.zeros(),
      };
    });
  }

  get steps(): number {
    return this.#steps;
  }

  step(gradients: Gradients, options: StepOptions = {}): void {
    const factor = rateFactor(this.lr, options);
    const found = this.#groups.map(({ layout }) => layout.gradients(gradients));
    this.#steps++;
    this.#groups.forEach(({ layout, lr, decay, values, momentum }, i) => {
      noGrad(() =>
        sgdStep({ parameters: values, momentum, sizes: layout.sizes }, found[i] as (Tensor | undefined)[], {
          scale: options.scale ?? 1,
          momentum: this.#momentum,
          nesterov: this.#nesterov,
          decay,
          rate: lr * factor,
        }),
      );
    });
  }

  state(): Map<string, Tensor> {
    const views = this.#groups.flatMap(({ layout, momentum }) =>
      layout.entries.map(([path], i) => [`momentum.${path}`, layout.view(momentum, i)] as const),
    );
    return new Map([...views, ['steps', Tensor.from(Int32Array.of(this.#steps))]]);
  }

  async load(state: ReadonlyMap<string, Tensor>): Promise<void> {
    const own = isolated(() => this.state());
    loadState('Sgd', own, state);
    this.#steps = await (own.get('steps') as Tensor).item();
    for (const view of own.values()) view.dispose();
  }

  dispose(): void {
    for (const { layout, values, momentum } of this.#groups) {
      values.dispose();
      momentum.dispose();
      layout.dispose();
    }
  }
}
