/** Parameters of one group in one buffer, so that an update is one call. */
import { assign, fill, isolated, noGrad, scope, Tensor } from '../../engine/index.js';
import { show, WordmaskError } from '../../util/errors.js';
import type { Entry } from './groups.js';
import type { Gradients } from './optimiser.js';

/** Where the elements of each entry lie in flat buffers, which all have the same layout. */
export class FlatLayout {
  /** Elements of each entry, i32 [G]. */
  readonly sizes: Tensor;
  readonly size: number;
  private readonly begins: readonly number[];

  constructor(readonly entries: readonly Entry[]) {
    let size = 0;
    this.begins = entries.map(([path, tensor]) => {
      if (tensor.dtype !== 'f32')
        throw new WordmaskError('E_USAGE', `optimisers take f32 parameters, '${path}' is ${tensor.dtype}`);
      size += tensor.size;
      return size - tensor.size;
    });
    this.size = size;
    const sizes = Int32Array.from(entries, ([, tensor]) => tensor.size);
    this.sizes = isolated(() => Tensor.from(sizes, [sizes.length], 'i32', this.device));
  }

  private get device(): string | undefined {
    return this.entries[0]?.[1].device;
  }

  /** A buffer of zeros with `rows` values an element: [N], or [rows, N]. */
  zeros(rows = 1): Tensor {
    return isolated(() => fill(rows === 1 ? [this.size] : [rows, this.size], 0, 'f32', this.device));
  }

  /** A buffer [N] that holds the parameters from now on: they become views of it. */
  adoptParameters(): Tensor {
    const flat = this.zeros();
    this.entries.forEach(([, tensor], i) => {
      tensor.moveInto(flat, this.begins[i] as number);
    });
    return flat;
  }

  /** What a buffer [N] or row `row` of a buffer [rows, N] holds for entry `index`, in its shape. */
  view(flat: Tensor, index: number, row = 0): Tensor {
    const [, { shape }] = this.entries[index] as Entry;
    const begin = flat.offset + row * this.size + (this.begins[index] as number);
    return new Tensor(flat.storage, flat.dtype, shape, undefined, begin);
  }

  /** Gradients in the order of the entries. @throws E_USAGE for one of another shape */
  gradients(found: Gradients): (Tensor | undefined)[] {
    return this.entries.map(([path, tensor]) => {
      const grad =
        found instanceof Map ? found.get(path) : (found as { get(t: Tensor): Tensor | undefined }).get(tensor);
      if (grad && grad.size !== tensor.size)
        throw new WordmaskError(
          'E_USAGE',
          `step: the gradient of '${path}' has shape ${show(grad.shape)}, the parameter ${show(tensor.shape)}`,
        );
      return grad;
    });
  }

  dispose(): void {
    this.sizes.dispose();
  }
}

/** A named tensor of an optimiser's state. */
export type StateEntry = readonly [name: string, value: Tensor];

/** Copies the values of a checkpoint into the tensors of the same names. @throws E_CHECKPOINT naming all that differs */
export function loadState(who: string, own: ReadonlyMap<string, Tensor>, given: ReadonlyMap<string, Tensor>): void {
  const problems: string[] = [];
  for (const [name, { shape, dtype }] of own) {
    const value = given.get(name);
    if (!value) problems.push(`missing ${name}`);
    else if (value.dtype !== dtype || show(value.shape) !== show(shape))
      problems.push(`${name} is ${value.dtype}${show(value.shape)}, needed ${dtype}${show(shape)}`);
  }
  for (const name of given.keys()) if (!own.has(name)) problems.push(`unexpected ${name}`);
  if (problems.length > 0)
    throw new WordmaskError('E_CHECKPOINT', `${who}: the state belongs to other parameters: ${problems.join('; ')}`, {
      details: { problems },
    });
  noGrad(() =>
    scope(() => {
      for (const [name, target] of own) assign(target, (given.get(name) as Tensor).to(target.device));
    }),
  );
}
