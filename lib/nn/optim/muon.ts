/**
 * Muon (K. Jordan 2024, kellerjordan.github.io/posts/muon): momentum whose matrix is replaced by the nearest
 * semi-orthogonal one, found by five Newton-Schulz steps, for the weight matrices inside blocks; AdamW for the rest.
 * Step p -= lr 0.2 sqrt(larger side) O (Liu et al., arXiv 2502.16982, equation 4), so that rates are those of AdamW.
 * Matrices of one shape go through the products together.
 */
import {
  add,
  blend,
  cast,
  div,
  isolated,
  matmul,
  noGrad,
  pathRule,
  scaleShift,
  scope,
  sqrt,
  square,
  sum,
  Tensor,
} from '../../engine/index.js';
import { WordmaskError } from '../../util/errors.js';
import { AdamW, type AdamWOptions } from './adamw.js';
import { FlatLayout, loadState } from './flat.js';
import { type Entry, trainedEntries } from './groups.js';
import {
  checkOption,
  checkPositive,
  type Gradients,
  type Optimiser,
  rateFactor,
  type StepOptions,
} from './optimiser.js';

export interface MuonOptions {
  readonly lr: number;
  /** Patterns as `freeze` takes them; of what they match, the tensors of two axes are Muon's. Leave embeddings out. */
  readonly match: readonly string[];
  /** Weights [3D, D] that hold query, key and value one above the other: each third is a matrix of its own. */
  readonly packed?: readonly string[];
  /** Share of the old direction. Default 0.95. */
  readonly momentum?: number;
  /** Look one step of momentum ahead. Default true. */
  readonly nesterov?: boolean;
  /** Decoupled decay: p -= lr decay p. Default 0. */
  readonly decay?: number;
  /** Newton-Schulz steps. Default 5. */
  readonly orthogonalSteps?: number;
  /** Dtype of the Newton-Schulz products. Default bf16. */
  readonly compute?: 'f32' | 'bf16';
  /** For all parameters that Muon does not take. */
  readonly rest: AdamWOptions;
}

/** Names under which query, key and value usually share a weight. */
const packedNames = /(^|\.)(in_proj_weight|(qkv|qkv_proj|query_key_value|in_proj)\.weight)$/;

/** Coefficients of x -> a x + b x^3 + c x^5, iterated on singular values (largest slope at 0, not convergence to 1). */
const [a, b, c] = [3.4445, -4.775, 2.0315];

export interface OrthogonaliseOptions {
  /** Newton-Schulz steps. Default 5. */
  readonly steps?: number;
  /** Dtype of the products. Default bf16, as published: sums are f32, and directions need no more digits. */
  readonly compute?: 'f32' | 'bf16';
}

/**
 * Singular values of each matrix pushed towards 1, singular vectors kept.
 * @param x f32 [K, R, C]
 * @returns the same shape, f32
 */
export function orthogonalise(x: Tensor, { steps = 5, compute = 'bf16' }: OrthogonaliseOptions = {}): Tensor {
  return scope(() => {
    const tall = (x.shape[1] as number) > (x.shape[2] as number);
    const unit = div(x, scaleShift(sqrt(sum(square(x), [1, 2], true)), 1, 1e-7));
    let y = compute === 'bf16' ? cast(unit, 'bf16') : unit;
    for (let step = 0; step < steps; step++) {
      const gram = matmul(y, y, tall ? { transposeA: true } : { transposeB: true }); // [K, S, S], S the smaller side
      const cubic = add(scaleShift(gram, b, 0), scaleShift(matmul(gram, gram), c, 0)); // [K, S, S]
      y = add(scaleShift(y, a, 0), tall ? matmul(y, cubic) : matmul(cubic, y)); // [K, R, C]
    }
    return compute === 'bf16' ? cast(y, 'f32') : y;
  });
}

/** Parameters whose matrices have one shape; they lie one after another in the flat buffers. */
interface Stack {
  readonly rows: number;
  readonly columns: number;
  /** Matrices an entry holds. */
  readonly counts: readonly number[];
}

export class Muon implements Optimiser {
  readonly lr: number;
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** The optimiser of the other parameters; undefined where Muon takes all. */
  readonly rest: AdamW | undefined;
  #steps = 0;
  readonly #layout: FlatLayout;
  readonly #stacks: readonly Stack[];
  readonly #values: Tensor;
  readonly #momentum: Tensor;
  readonly #options: Required<Omit<MuonOptions, 'rest' | 'match' | 'packed' | 'lr'>>;

  /**
   * The parameters that require a gradient move into flat buffers: handles made of them before keep the old values.
   * @throws E_OPTION, E_USAGE for parameters that are not f32
   */
  constructor(parameters: ReadonlyMap<string, Tensor>, options: MuonOptions) {
    this.lr = checkPositive('Muon: lr', options.lr);
    this.#options = {
      momentum: checkOption('Muon: momentum', options.momentum ?? 0.95, 0, 1),
      nesterov: options.nesterov ?? true,
      decay: checkOption('Muon: decay', options.decay ?? 0, 0),
      compute: options.compute ?? 'bf16',
      orthogonalSteps: checkOption('Muon: orthogonalSteps', options.orthogonalSteps ?? 5, 1, 33),
    };
    const entries = trainedEntries(parameters);
    const taken = pathRule('Muon: match', options.match, parameters.keys());
    const isMatrix = ([path, tensor]: Entry) => taken(path) === true && tensor.rank === 2 && tensor.size > 0;
    const matrices = entries.filter(isMatrix);
    if (matrices.length === 0)
      throw new WordmaskError('E_OPTION', 'Muon: match takes no trained parameter of two axes: use AdamW');
    const others = entries.filter((entry) => !isMatrix(entry));
    const stacks = stackByShape(matrices, packedRule(options.packed, parameters));
    this.#stacks = stacks.map(({ stack }) => stack);
    this.#layout = new FlatLayout(stacks.flatMap(({ members }) => members));
    this.parameters = new Map(entries);
    this.#values = this.#layout.adoptParameters();
    this.#momentum = this.#layout.zeros();
    this.rest = others.length > 0 ? new AdamW(new Map(others), options.rest) : undefined;
  }

  get steps(): number {
    return this.#steps;
  }

  step(gradients: Gradients, options: StepOptions = {}): void {
    const factor = rateFactor(this.lr, options);
    const found = this.#layout.gradients(gradients);
    this.#steps++;
    noGrad(() => scope(() => this.#update(found, this.lr * factor, options.scale ?? 1)));
    this.rest?.step(gradients, { factor, scale: options.scale });
  }

  #update(found: readonly (Tensor | undefined)[], rate: number, scale: number): void {
    const { sizes } = this.#layout;
    const { momentum, nesterov, decay } = this.#options;
    blend(this.#momentum, sizes, found, { a: momentum, b: scale });
    const direction = scaleShift(this.#momentum, nesterov ? momentum : 1, 0); // [N]
    if (nesterov) blend(direction, sizes, found, { a: 1, b: scale });
    const steps = this.#orthogonal(direction);
    const present = steps.map((step, i) => (found[i] ? step : undefined));
    blend(this.#values, sizes, present, { a: 1 - rate * decay, b: -rate });
  }

  /** The step of each entry at rate 1, flat. */
  #orthogonal(direction: Tensor): Tensor[] {
    const { orthogonalSteps, compute } = this.#options;
    let begin = 0;
    return this.#stacks.flatMap(({ rows, columns, counts }) => {
      const total = counts.reduce((all, count) => all + count, 0);
      const matrix = rows * columns;
      const stacked = direction.slice(0, begin, begin + total * matrix).reshape(total, rows, columns); // [K, R, C]
      begin += total * matrix;
      const step = scaleShift(
        orthogonalise(stacked, { steps: orthogonalSteps, compute }),
        0.2 * Math.sqrt(Math.max(rows, columns)),
        0,
      ).reshape(total * matrix);
      let at = 0;
      return counts.map((count) => {
        at += count * matrix;
        return step.slice(0, at - count * matrix, at);
      });
    });
  }

  state(): Map<string, Tensor> {
    const state = new Map<string, Tensor>(this.rest?.state());
    this.#layout.entries.forEach(([path], i) => {
      state.set(`momentum.${path}`, this.#layout.view(this.#momentum, i));
    });
    return state.set('steps', Tensor.from(Int32Array.of(this.#steps)));
  }

  async load(state: ReadonlyMap<string, Tensor>): Promise<void> {
    const own = isolated(() => this.state());
    loadState('Muon', own, state);
    this.#steps = await (own.get('steps') as Tensor).item();
    await this.rest?.load(new Map([...state].filter(([name]) => !name.startsWith('momentum.'))));
    for (const view of own.values()) view.dispose();
  }

  dispose(): void {
    this.#values.dispose();
    this.#momentum.dispose();
    this.#layout.dispose();
    this.rest?.dispose();
  }
}

function packedRule(
  patterns: readonly string[] | undefined,
  parameters: ReadonlyMap<string, Tensor>,
): (entry: Entry) => boolean {
  const rule = patterns && pathRule('Muon: packed', patterns, parameters.keys());
  return ([path, { shape }]) => {
    const isPacked = rule ? rule(path) === true : packedNames.test(path) && shape[0] === 3 * (shape[1] as number);
    if (isPacked && (shape[0] as number) % 3 !== 0)
      throw new WordmaskError(
        'E_OPTION',
        `Muon: packed: '${path}' has ${shape[0]} rows, which do not make three matrices`,
      );
    return isPacked;
  };
}

function stackByShape(
  matrices: readonly Entry[],
  isPacked: (entry: Entry) => boolean,
): { stack: Stack; members: Entry[] }[] {
  const stacks = new Map<string, { stack: Stack & { counts: number[] }; members: Entry[] }>();
  for (const entry of matrices) {
    const [height = 0, columns = 0] = entry[1].shape;
    const count = isPacked(entry) ? 3 : 1;
    const rows = height / count;
    const key = `${rows}x${columns}`;
    const found = stacks.get(key) ?? { stack: { rows, columns, counts: [] }, members: [] };
    stacks.set(key, found);
    found.stack.counts.push(count);
    found.members.push(entry);
  }
  return [...stacks.values()];
}
