/** What every encoder family offers for raw use: values by name, parameters, embeddings. */
import { type HostArray, noGrad, scope, type Tensor } from '../engine/index.js';

export type BackboneInput = Tensor | HostArray;

export interface Backbone {
  /** `model_type` of config.json. */
  readonly kind: string;
  readonly config: unknown;
  /** Trainable tensors by name. Empty where the model was opened in a reduced precision. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Names `inspect` and `forward` know; `N` stands for a layer. */
  readonly names: readonly string[];
  /** Runs the model on raw inputs as the published model takes them; values as host arrays. @throws E_OPTION for an unknown name */
  inspect(
    inputs: Readonly<Record<string, BackboneInput>>,
    names: readonly string[],
  ): Promise<Record<string, HostArray & { shape: number[] }>>;
  /** The same as tensors on the tape. */
  forward(inputs: Readonly<Record<string, BackboneInput>>, names: readonly string[]): Record<string, Tensor>;
  /** Normalised pixels [B, 3, H, W] -> embeddings [B, E], unit length. */
  encodeImage(pixels: BackboneInput): Promise<HostArray>;
  /** Texts -> embeddings [B, E], unit length. */
  encodeText(texts: string | readonly string[]): Promise<HostArray>;
  dispose(): void;
}

/** A backbone's `inspect` from its `forward`: without a tape, on the host, everything else freed. */
export function inspectWith(forward: Backbone['forward']): Backbone['inspect'] {
  return async (inputs, names) => {
    const tensors = noGrad(() => scope(() => forward(inputs, names)));
    const found: Record<string, HostArray & { shape: number[] }> = {};
    try {
      for (const [name, tensor] of Object.entries(tensors))
        found[name] = (await tensor.toArray()) as HostArray & { shape: number[] };
    } finally {
      for (const tensor of Object.values(tensors)) tensor.dispose();
    }
    return found;
  };
}

/** One value of `compute`, without a tape, on the host. */
export async function hostValue(compute: () => Tensor): Promise<HostArray> {
  const result = noGrad(() => scope(compute));
  try {
    return await result.toArray();
  } finally {
    result.dispose();
  }
}
