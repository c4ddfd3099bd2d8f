/**
 * Parameters of a model by dotted path, and the layers that use them. A model asks for its layers once; the map then goes to
 * `freeze`, to an optimiser and to the checkpoint writer.
 */
import { conv2d, gather, isolated, layerNorm, requireGrad, type Tensor } from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import type { Random } from '../util/random.js';
import * as init from './init.js';
import { type Compute, denseLinear, type Linear } from './linear.js';
import type { Norm } from './transformer.js';

/** Values of a new parameter, from its own stream. */
export type Initialiser = (shape: readonly number[], random: Random) => Tensor;

export interface LayerOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** Of the weight; default: uniform within fan-in^-1/2, as PyTorch's. The bias starts the same way, with the weight's fan. */
  readonly weight?: Initialiser;
  readonly biasInit?: Initialiser;
}

export interface Conv {
  /** Pixel-major maps x [B, H, W, C] -> [B, H', W', O]. */
  forward(x: Tensor): Tensor;
}

export interface Embedding {
  readonly weight: Tensor;
  /** i32 indices [...] -> rows [..., D]. */
  forward(indices: Tensor): Tensor;
}

export class Parameters {
  private constructor(
    /** All parameters of the tree, by full path. */
    readonly all: Map<string, Tensor>,
    private readonly prefix: string,
    private readonly random: Random,
    readonly compute: Compute,
  ) {}

  /** An empty tree. What a parameter starts as depends on the stream and its path, not on the order of the calls. */
  static start(random: Random, compute: Compute = 'f32'): Parameters {
    return new Parameters(new Map(), '', random, compute);
  }

  /** The part of the tree below a name: `at('blocks').at(3)` names `blocks.3.weight`. */
  at(name: string | number): Parameters {
    return new Parameters(this.all, `${this.prefix}${name}.`, this.random, this.compute);
  }

  /** A new parameter that requires a gradient. @throws E_USAGE for a path that exists */
  tensor(name: string, shape: readonly number[], initial: Initialiser): Tensor {
    const path = this.prefix + name;
    if (this.all.has(path)) throw new WordmaskError('E_USAGE', `there is a parameter ${show(path)} already`);
    const tensor = isolated(() => requireGrad(initial(shape, this.random.fork(path))));
    this.all.set(path, tensor);
    return tensor;
  }

  /** x [..., K] -> [..., N]: weight [N, K], bias [N]. */
  linear(name: string, inputs: number, outputs: number, options: LayerOptions = {}): Linear {
    const { weight, bias } = this.at(name).affine([outputs, inputs], options);
    return denseLinear(weight, bias, this.compute);
  }

  /** Square kernel of odd size, same-size output: weight [O, C, k, k], bias [O]. */
  conv2d(name: string, inputs: number, outputs: number, kernel: number, options: LayerOptions = {}): Conv {
    const { weight, bias } = this.at(name).affine([outputs, inputs, kernel, kernel], options);
    return { forward: (x) => conv2d(x, weight, { bias, padding: (kernel - 1) / 2 }) };
  }

  /** Gain 1 and bias 0 over the last axis. */
  norm(name: string, width: number): Norm & { forward(x: Tensor, eps?: number): Tensor } {
    const here = this.at(name);
    const gain = here.tensor('weight', [width], init.ones);
    const bias = here.tensor('bias', [width], init.zeros);
    return { gain, bias, forward: (x, eps = 1e-5) => layerNorm(x, gain, bias, eps) };
  }

  /** Rows [R, D], normal of deviation 0.02. */
  embedding(
    name: string,
    rows: number,
    width: number,
    initial: Initialiser = (shape, r) => init.normal(shape, r, 0.02),
  ): Embedding {
    const weight = this.at(name).tensor('weight', [rows, width], initial);
    return { weight, forward: (indices) => gather(weight, indices) };
  }

  private affine(shape: readonly number[], options: LayerOptions): { weight: Tensor; bias?: Tensor } {
    const fan = shape.slice(1).reduce((product, size) => product * size, 1);
    const plain: Initialiser = (dims, random) => init.uniform(dims, random, fan ** -0.5);
    const weight = this.tensor('weight', shape, options.weight ?? plain);
    if (options.bias === false) return { weight };
    return { weight, bias: this.tensor('bias', [shape[0] as number], options.biasInit ?? plain) };
  }

  dispose(): void {
    for (const tensor of this.all.values()) tensor.dispose();
    this.all.clear();
  }
}
