/**
 * Kernels on host arrays, for tools that have no tensors of their own: `{ data, shape }` (or an ndarray) in, the same out.
 * `attention`, `denseCrf` and `pamr` also take tensors, where they lie (`Tensor.fromDLPack` makes them of device pointers).
 * Names and shapes are those of user-interfaces.md section 12.
 */

import type { AttentionOptions, ResizeMode } from '../engine/index.js';
import {
  attention as attentionOp,
  gaussianBlur as blurOp,
  connectedComponents as componentsOp,
  type DType,
  noGrad,
  numel,
  onDevice,
  resize as resizeOp,
  resolveDevice,
  scope,
  Tensor,
  type TypedArray,
} from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { type CrfTerms, denseCrf as crfOp } from './dense-crf.js';
import { pamr as pamrOp } from './pamr.js';

/** A host array; an `ndarray` of any strides is accepted and made contiguous. */
export interface ArrayInput {
  readonly data: ArrayLike<number>;
  readonly shape: readonly number[];
  readonly stride?: readonly number[];
  readonly offset?: number;
}

export interface ArrayResult {
  readonly data: TypedArray;
  readonly shape: number[];
}

const constructors = { f32: Float32Array, u8: Uint8Array, i32: Int32Array, f64: Float64Array } as const;
type HostType = keyof typeof constructors;

/** Row-major copy of a host array as `dtype`. @throws E_USAGE naming the argument and what it must be */
export function contiguousArray(
  name: string,
  input: ArrayInput,
  dtype: HostType,
  ranks: readonly number[],
): { data: TypedArray; shape: number[] } {
  const wanted = `an array { data, shape } of rank ${ranks.join(' or ')}`;
  if (
    typeof input !== 'object' ||
    input === null ||
    !Array.isArray(input.shape) ||
    typeof input.data?.length !== 'number'
  ) {
    throw new WordmaskError('E_USAGE', `${name} must be ${wanted}, got ${show(input)}`);
  }
  const shape = [...input.shape];
  if (!ranks.includes(shape.length) || !shape.every((d) => Number.isInteger(d) && d >= 0))
    throw new WordmaskError('E_USAGE', `${name} must be ${wanted}, got shape [${shape.join(', ')}]`);
  const count = numel(shape);
  const offset = input.offset ?? 0;
  const strides = input.stride ?? [];
  // A view may lie in a larger buffer; without stride and offset the data are the array, and a rest means a wrong shape.
  if (input.stride === undefined && input.offset === undefined && input.data.length !== count) {
    throw new WordmaskError(
      'E_USAGE',
      `${name}: shape [${shape.join(', ')}] needs ${count} values, data has ${input.data.length}`,
    );
  }
  const dense = strides.length === 0 || shape.every((d, i) => d === 1 || strides[i] === numel(shape.slice(i + 1)));
  const highest = dense
    ? offset + count - 1
    : offset + shape.reduce((sum, d, i) => sum + Math.max(0, (d - 1) * (strides[i] as number)), 0);
  if (count > 0 && (offset < 0 || highest >= input.data.length))
    throw new WordmaskError(
      'E_USAGE',
      `${name}: shape [${shape.join(', ')}] needs ${highest + 1} values, data has ${input.data.length}`,
    );
  const target = new constructors[dtype](count);
  if (dense) {
    if (offset === 0 && count === input.data.length) target.set(input.data);
    else for (let i = 0; i < count; i++) target[i] = input.data[offset + i] as number;
    return { data: target, shape };
  }
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < count; i++) {
    target[i] = input.data[index.reduce((at, x, axis) => at + x * (strides[axis] as number), offset)] as number;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = (index[axis] as number) + 1;
      if (index[axis] !== shape[axis]) break;
      index[axis] = 0;
    }
  }
  return { data: target, shape };
}

function tensorOf(name: string, input: ArrayInput | Tensor, dtype: HostType, ranks: readonly number[]): Tensor {
  if (input instanceof Tensor) {
    if (ranks.includes(input.rank)) return input;
    throw new WordmaskError(
      'E_USAGE',
      `${name} must be of rank ${ranks.join(' or ')}, got a ${input.dtype}[${input.shape.join(', ')}] tensor`,
    );
  }
  const { data, shape } = contiguousArray(name, input, dtype, ranks);
  return Tensor.lend(data, shape, dtype as DType);
}

function compute(fn: () => Tensor): Promise<ArrayResult> {
  return noGrad(() => scope(async () => fn().contiguous().toArray()));
}

/** On the device of the first tensor among the operands unless one is named; a tensor where `main` is one. */
async function computeWhere(
  operands: readonly unknown[],
  main: ArrayInput | Tensor,
  fn: () => Tensor,
  device?: string,
): Promise<ArrayResult | Tensor> {
  const lies = operands.find((operand) => operand instanceof Tensor)?.device;
  const where = device === undefined ? lies : resolveDevice(device);
  const work = (): Promise<ArrayResult> | Tensor =>
    main instanceof Tensor ? noGrad(() => scope(() => fn().contiguous())) : compute(fn);
  return where === undefined ? work() : onDevice(where, work);
}

export type CrfImage = ArrayInput | Tensor | { data: Uint8Array; width: number; height: number } | null;

export interface DenseCrfOptions extends CrfTerms {
  readonly iterations?: number;
  /** cpu, cuda, cuda:N or auto; default: where a tensor among the operands lies, else the CPU. @throws E_DEVICE for one that cannot be used */
  readonly device?: string;
}

/**
 * Dense CRF (dense-crf.md): image RGB u8 [H, W, 3] (or `{ data, width, height }`, or null without a bilateral term), unary f32
 * [C, H, W] of negative log probabilities -> marginals f32 [C, H, W]: a tensor on the same device where the unary is one.
 */
export async function denseCrf(image: CrfImage, unary: Tensor, options?: DenseCrfOptions): Promise<Tensor>;
export async function denseCrf(image: CrfImage, unary: ArrayInput, options?: DenseCrfOptions): Promise<ArrayResult>;
export async function denseCrf(
  image: CrfImage,
  unary: ArrayInput | Tensor,
  options: DenseCrfOptions = {},
): Promise<ArrayResult | Tensor> {
  const { device, iterations = 10, ...terms } = options;
  const picture = image && ('width' in image ? { data: image.data, shape: [image.height, image.width, 3] } : image);
  const run = () =>
    crfOp(picture ? tensorOf('image', picture, 'u8', [3]) : undefined, tensorOf('unary', unary, 'f32', [3]), {
      ...terms,
      iterations,
    });
  return computeWhere([unary, picture], unary, run, device);
}

export interface ArrayPamrOptions {
  readonly dilations?: readonly number[];
  readonly iterations?: number;
}

/** Pixel-adaptive mask refinement: guide f32 [3, H, W], masks f32 [C, H, W] -> f32 [C, H, W], a tensor where the masks are one. */
export async function pamr(guide: ArrayInput | Tensor, masks: Tensor, options?: ArrayPamrOptions): Promise<Tensor>;
export async function pamr(
  guide: ArrayInput | Tensor,
  masks: ArrayInput,
  options?: ArrayPamrOptions,
): Promise<ArrayResult>;
export async function pamr(
  guide: ArrayInput | Tensor,
  masks: ArrayInput | Tensor,
  options: ArrayPamrOptions = {},
): Promise<ArrayResult | Tensor> {
  const { dilations = [8, 16], iterations = 10 } = options;
  return computeWhere([masks, guide], masks, () =>
    pamrOp(tensorOf('guide', guide, 'f32', [3]), tensorOf('masks', masks, 'f32', [3]), { dilations, iterations }),
  );
}

export interface ArrayAttentionOptions extends Pick<AttentionOptions, 'source' | 'causal' | 'scale'> {
  /** f32, broadcast to [B, H, Tq, Tk]. */
  readonly bias?: ArrayInput | Tensor;
  /** Broadcast to [B, H, Tq, Tk], or [B, Tq, Tk] for all heads; non-zero = blocked. */
  readonly mask?: ArrayInput;
}

/**
 * softmax(scale q k^T + bias + mask) v on [B, H, T, d] -> f32 [B, H, Tq, d]. A row whose keys are all blocked gives 0. Where q
 * is a tensor the result is one, of its dtype and on its device.
 */
export async function attention<T extends ArrayInput | Tensor>(
  q: T,
  k: ArrayInput | Tensor,
  v: ArrayInput | Tensor,
  options: ArrayAttentionOptions = {},
): Promise<T extends Tensor ? Tensor : ArrayResult> {
  const { source, causal, scale } = options;
  const run = () => {
    const [query, key, value] = [
      tensorOf('q', q, 'f32', [4]),
      tensorOf('k', k, 'f32', [4]),
      tensorOf('v', v, 'f32', [4]),
    ];
    const bias = options.bias && withRank4(tensorOf('bias', options.bias, 'f32', [2, 3, 4]));
    const [batch = 0, heads = 0, rows = 0] = query.shape;
    const columns = key.shape[2] as number;
    if (!options.mask) return attentionOp(query, key, value, { source, causal, scale, bias });
    const { bits, perHead } = packMask(options.mask, batch, heads, rows, columns);
    if (!perHead) return attentionOp(query, key, value, { source, causal, scale, bias, mask: bits });
    // The kernel's bit masks are shared by heads: heads become batch entries.
    const folded = (x: Tensor) => x.reshape(batch * heads, 1, x.shape[2] as number, x.shape[3] as number);
    const wide = bias && folded(bias.expand(batch, heads, rows, columns).contiguous());
    const out = attentionOp(folded(query), folded(key), folded(value), {
      source,
      causal,
      scale,
      bias: wide,
      mask: bits,
    });
    return out.reshape(batch, heads, rows, out.shape[3] as number);
  };
  return (await computeWhere([q, k, v, options.bias], q, run)) as T extends Tensor ? Tensor : ArrayResult;
}

function withRank4(tensor: Tensor): Tensor {
  return tensor.reshape(...new Array<number>(4 - tensor.rank).fill(1), ...tensor.shape);
}

/** Bits, 1 = blocked, u8 [B or B * H, Tq, ceil(Tk / 8)]. */
function packMask(
  mask: ArrayInput,
  batch: number,
  heads: number,
  rows: number,
  columns: number,
): { bits: Tensor; perHead: boolean } {
  const { data, shape } = contiguousArray('mask', mask, 'u8', [2, 3, 4]);
  const [b = 1, h = 1] = shape.length === 4 ? shape : shape.length === 3 ? [shape[0], 1] : [1, 1];
  if (shape.at(-1) !== columns || shape.at(-2) !== rows || ![1, batch].includes(b) || ![1, heads].includes(h)) {
    throw new WordmaskError(
      'E_USAGE',
      `mask must have shape [${rows}, ${columns}], [${batch}, ${rows}, ${columns}] or [${batch}, ${heads}, ${rows}, ${columns}], got [${shape.join(', ')}]`,
    );
  }
  const perHead = h > 1;
  const planes = perHead ? batch * heads : batch;
  const pitch = Math.ceil(columns / 8);
  const packed = new Uint8Array(planes * rows * pitch);
  for (let row = 0; row < planes * rows; row++) {
    const plane = Math.floor(row / rows);
    const source = perHead ? (b > 1 ? plane : plane % heads) : b > 1 ? plane : 0;
    const from = (source * rows + (row % rows)) * columns;
    for (let c = 0; c < columns; c++) {
      if (data[from + c]) packed[row * pitch + (c >> 3)] = (packed[row * pitch + (c >> 3)] as number) | (1 << (c & 7));
    }
  }
  return { bits: Tensor.from(packed, [planes, rows, pitch], 'u8'), perHead };
}

export interface ArrayResizeOptions {
  readonly width: number;
  readonly height: number;
  readonly mode: ResizeMode;
  readonly alignCorners?: boolean;
  readonly scale?: number | { readonly x: number; readonly y: number };
}

/** Resize of u8 [H, W, C] or f32 [..., H, W] (modes: kernels.md P1). */
export async function resize(array: ArrayInput, options: ArrayResizeOptions): Promise<ArrayResult> {
  const bytes = array?.data instanceof Uint8Array || array?.data instanceof Uint8ClampedArray;
  const wide = array?.data instanceof Float64Array;
  return compute(() =>
    resizeOp(tensorOf('array', array, bytes ? 'u8' : wide ? 'f64' : 'f32', bytes ? [3] : [2, 3, 4, 5]), options),
  );
}

/** Gaussian blur of f32 [..., H, W]; beyond the border the picture is reflected, the edge sample repeated. */
export async function gaussianBlur(
  array: ArrayInput,
  options: { sigma: number; truncate?: number },
): Promise<ArrayResult> {
  return compute(() => blurOp(tensorOf('array', array, 'f32', [2, 3, 4]), options));
}

/** Connected pieces of equal labels [H, W] -> i32 ids from 1 in raster order of their first pixel. */
export async function connectedComponents(
  labels: ArrayInput,
  options: { connectivity?: 4 | 8; nothing?: number } = {},
): Promise<ArrayResult> {
  return compute(() => componentsOp(tensorOf('labels', labels, 'i32', [2]), options).components);
}
