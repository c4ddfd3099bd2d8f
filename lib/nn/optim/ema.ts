/** Running mean of weights: mean = decay mean + (1 - decay) weights after each step, read instead of the weights at the end. */
import { blend, isolated, noGrad, type Tensor } from '../../engine/index.js';
import { FlatLayout, loadState } from './flat.js';
import type { Entry } from './groups.js';
import { checkOption } from './optimiser.js';

export interface EmaOptions {
  /** Share of the mean that a step keeps: 0.999 averages over about 1,000 steps. */
  readonly decay: number;
}

export class Ema {
  /** The mean by path: views that `update` rewrites. */
  readonly values: ReadonlyMap<string, Tensor>;
  readonly decay: number;
  readonly #layout: FlatLayout;
  readonly #mean: Tensor;

  /** Starts at the present values of the parameters (f32), which stay where they are. @throws E_OPTION, E_USAGE */
  constructor(parameters: ReadonlyMap<string, Tensor>, options: EmaOptions) {
    this.decay = checkOption('Ema: decay', options.decay, 0, 1);
    this.#layout = new FlatLayout([...parameters]);
    this.#mean = this.#layout.zeros();
    this.#blend(0);
    this.values = isolated(
      () => new Map(this.#layout.entries.map(([path], i): Entry => [path, this.#layout.view(this.#mean, i)])),
    );
  }

  /** Call it after each optimiser step. @param decay instead of the constructor's, for a warm-up */
  update(decay = this.decay): void {
    this.#blend(checkOption('Ema: decay', decay, 0, 1));
  }

  #blend(decay: number): void {
    const parameters = this.#layout.entries.map(([, tensor]) => tensor);
    noGrad(() => blend(this.#mean, this.#layout.sizes, parameters, { a: decay, b: 1 - decay }));
  }

  /** The mean as tensors of a checkpoint: `ema.<path>`. */
  state(): Map<string, Tensor> {
    return new Map(this.#layout.entries.map(([path], i) => [`ema.${path}`, this.#layout.view(this.#mean, i)]));
  }

  /** @throws E_CHECKPOINT naming all that differs */
  load(state: ReadonlyMap<string, Tensor>): void {
    const own = isolated(() => this.state());
    loadState('Ema', own, state);
    for (const view of own.values()) view.dispose();
  }

  dispose(): void {
    for (const view of this.values.values()) view.dispose();
    this.#mean.dispose();
    this.#layout.dispose();
  }
}
