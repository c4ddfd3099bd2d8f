/** Layers made from the tensors of a checkpoint: trainable, or packed once for inference with the originals dropped. */
import { concat, isolated, requireGrad, type Tensor } from '../engine/index.js';
import { type Compute, denseLinear, joinedLinear, type Linear, packedLinear } from './linear.js';
import type { Norm } from './transformer.js';

export interface MapOptions {
  readonly compute: Compute;
  /** Keep every tensor (f32) and let gradients flow to all of them. */
  readonly trainable?: boolean;
}

export class TensorMaps {
  private readonly made: Linear[] = [];

  constructor(
    /** By name; what a layer copies into another layout leaves the map. */
    readonly tensors: Map<string, Tensor>,
    readonly options: MapOptions,
  ) {
    if (options.trainable) for (const tensor of tensors.values()) requireGrad(tensor);
  }

  get(name: string): Tensor {
    return this.tensors.get(name) as Tensor;
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** `NAME.weight` and `NAME.bias`. */
  norm(name: string): Norm {
    return { gain: this.get(`${name}.weight`), bias: this.get(`${name}.bias`) };
  }

  /** The map `NAME.weight` [N, K] (or `shape` of it) with `NAME.bias` if there is one, in the layout of the fastest kernel. */
  packed(name: string, shape?: readonly [number, number]): Linear {
    return this.pair(`${name}.weight`, `${name}.bias`, shape);
  }

  /** As `packed`, from two tensors by their whole names. */
  pair(weightName: string, biasName: string, shape?: readonly [number, number]): Linear {
    const weight = this.get(weightName);
    const bias = this.tensors.get(biasName);
    if (this.options.trainable) return this.own(denseLinear(weight, bias, this.options.compute));
    const matrix = shape ? weight.reshape(shape) : weight;
    const layer = packedLinear(matrix, bias, this.options.compute);
    if (matrix !== weight) matrix.dispose();
    // The original would be a second copy: only what kernels read as it is stays.
    weight.dispose();
    this.tensors.delete(weightName);
    this.tensors.delete(biasName);
    return this.own(layer);
  }

  /** The map as it is: gradients can pass through it to its input. */
  dense(name: string): Linear {
    return denseLinear(this.get(`${name}.weight`), this.tensors.get(`${name}.bias`), this.options.compute);
  }

  /** Several maps of one input as one [..., sum N_i]; `dense` lets gradients pass through it. */
  joined(names: readonly string[], form: 'packed' | 'dense'): Linear {
    const parts = names.map((name) => ({ weight: this.get(`${name}.weight`), bias: this.get(`${name}.bias`) }));
    if (this.options.trainable) return joinedLinear(parts, this.options.compute);
    const [weight, bias] = isolated(() =>
      (['weight', 'bias'] as const).map((part) =>
        concat(
          parts.map((one) => one[part]),
          0,
        ),
      ),
    ) as [Tensor, Tensor];
    for (const name of names) {
      for (const part of ['weight', 'bias']) {
        this.get(`${name}.${part}`).dispose();
        this.tensors.delete(`${name}.${part}`);
      }
    }
    if (form === 'dense') return this.own(denseLinear(weight, bias, this.options.compute));
    const layer = this.own(packedLinear(weight, bias, this.options.compute));
    weight.dispose();
    return layer;
  }

  private own(layer: Linear): Linear {
    this.made.push(layer);
    return layer;
  }

  dispose(): void {
    for (const layer of this.made) layer.dispose();
    for (const tensor of this.tensors.values()) tensor.dispose();
  }
}
