/** Raw inputs of a published model, and the names of the values asked for. */
import { dtypeOfArray, Tensor } from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import type { BackboneInput } from './backbone.js';
import { type KeyMask, lengthMask, type TextBatch } from './bert.js';

export type Inputs = Readonly<Record<string, BackboneInput>>;

/** @throws E_USAGE where it is missing */
export function input(inputs: Inputs, name: string): Tensor {
  const value = inputs[name];
  if (value === undefined)
    throw new WordmaskError('E_USAGE', `inspect: the input '${name}' is needed for the values asked for`);
  if (value instanceof Tensor) return value;
  const data = value.data as ArrayLike<number | bigint>;
  // Ids and masks may come as 64-bit or unsigned integers; they are small.
  if (/(_ids|_mask)$/.test(name)) return Tensor.from(Int32Array.from(data, Number), value.shape, 'i32');
  return Tensor.from(value.data, value.shape, dtypeOfArray(value.data));
}

/** Normalised pixels [B, 3, H, W] with sides of at least a patch. @throws E_USAGE */
export function pixelInput(inputs: Inputs, patch: number): Tensor {
  const pixels = input(inputs, 'pixel_values');
  const [, channels, height = 0, width = 0] = pixels.shape;
  const float = pixels.dtype === 'f32' || pixels.dtype === 'bf16';
  if (float && pixels.rank === 4 && channels === 3 && height >= patch && width >= patch) return pixels;
  throw new WordmaskError(
    'E_USAGE',
    `pixel_values must be f32 or bf16 of shape [B, 3, H, W] with sides of at least ${patch}, got ${pixels.dtype}[${pixels.shape.join(', ')}]`,
  );
}

/**
 * `input_ids` [B, L] with `attention_mask` and `token_type_ids` if they are there.
 * @throws E_USAGE for wrong shapes, too many tokens, or ids outside the vocabulary
 */
export function textInput(
  inputs: Inputs,
  limits: { readonly maxTokens: number; readonly vocabulary: number; readonly types?: number },
): TextBatch {
  const ids = input(inputs, 'input_ids');
  const [batch = 0, length = 0] = ids.shape;
  if (ids.rank !== 2 || length === 0 || length > limits.maxTokens) {
    throw new WordmaskError(
      'E_USAGE',
      `inspect: input_ids must have shape [B, L] with L from 1 to ${limits.maxTokens}, got [${ids.shape.join(', ')}]`,
    );
  }
  const types = inputs.token_type_ids && checkedIds('token_type_ids', inputs, ids.shape, limits.types ?? 1);
  return {
    ids: checkedIds('input_ids', inputs, ids.shape, limits.vocabulary),
    batch,
    length,
    ...maskInput(inputs, 'attention_mask', batch, length),
    ...(types ? { types } : {}),
  };
}

function checkedIds(name: string, inputs: Inputs, shape: readonly number[], limit: number): Int32Array {
  const tensor = input(inputs, name);
  if (tensor.rank !== 2 || tensor.shape.some((d, i) => d !== shape[i])) {
    throw new WordmaskError(
      'E_USAGE',
      `inspect: ${name} must have the shape [${shape.join(', ')}], got [${tensor.shape.join(', ')}]`,
    );
  }
  const ids = Int32Array.from(tensor.dataSync() as Int32Array);
  const bad = ids.find((id) => id < 0 || id >= limit);
  if (bad === undefined) return ids;
  throw new WordmaskError('E_USAGE', `inspect: ${name} holds ${bad}, the model knows 0 to ${limit - 1}`);
}

/** A mask of ones and zeros [B, L]: lengths where the ones come first, else a term that takes the zeros' keys away. */
export function maskInput(
  inputs: Inputs,
  name: string,
  batch: number,
  length: number,
): { mask: KeyMask; lengths?: readonly number[] } {
  if (inputs[name] === undefined) return { mask: {} };
  const mask = input(inputs, name);
  if (mask.rank !== 2 || mask.shape[0] !== batch || mask.shape[1] !== length) {
    throw new WordmaskError(
      'E_USAGE',
      `inspect: ${name} must have the shape [${batch}, ${length}], got [${mask.shape.join(', ')}]`,
    );
  }
  const host = mask.dataSync();
  const rows = Array.from({ length: batch }, (_, i) => host.subarray(i * length, (i + 1) * length));
  const lengths = rows.map((row) => row.findLastIndex((x) => x !== 0) + 1);
  if (rows.every((row, i) => (lengths[i] as number) > 0 && !row.subarray(0, lengths[i]).includes(0)))
    return { mask: lengthMask(lengths), lengths };
  // As the published models do: a finite term, so that a row without any key stays defined.
  const bias = Float32Array.from(host, (x) => (x === 0 ? -3.4028234663852886e38 : 0));
  return { mask: { bias: Tensor.from(bias, [batch, 1, 1, length]) } };
}

/** Names of values as the model knows them. @throws E_OPTION for one it does not have */
export function knownNames(
  names: readonly string[],
  known: ReadonlySet<string>,
  alias: (name: string) => string,
): string[] {
  return names.map((name) => {
    const resolved = known.has(name) ? name : alias(name);
    if (known.has(resolved)) return resolved;
    const guess = nearest(resolved, known);
    throw new WordmaskError(
      'E_OPTION',
      `inspect: unknown value ${show(name)}${guess ? `, did you mean '${guess}'?` : ''} (see \`names\`)`,
      { details: { name } },
    );
  });
}
