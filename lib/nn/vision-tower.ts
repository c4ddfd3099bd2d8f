/**
 * The vision transformer that vision-language models share (arXiv 2010.11929): patches, class token, position table of any grid,
 * pre-norm blocks, final norm. What differs between families (patch bias, norm in front, activation, eps) is a parameter.
 */
import {
  add,
  cast,
  classTokenEmbed,
  concat,
  gather,
  layerNorm,
  patchify,
  resize,
  retain,
  scope,
  type Tensor,
} from '../engine/index.js';
import type { Activation, Compute, Linear } from './linear.js';
import type { TensorMaps } from './tensor-maps.js';
import { type BlockOptions, type BlockWeights, type Norm, transformerBlock } from './transformer.js';

export interface TowerSizes {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly ffn: number;
  readonly activation: Activation;
  readonly eps: number;
}

export interface VisionSizes extends TowerSizes {
  readonly imageSize: number;
  readonly patch: number;
}

export interface Taps {
  hidden?(index: number, x: Tensor): void;
  attention?(index: number, map: Tensor): void;
}

/**
 * How a position table [1 + g*g, D] meets another grid: `exact` resizes bicubically by the size ratio, `bilinear` bilinearly,
 * `plus0.1` bicubically with coordinates by the factor (n + 0.1) / g (naclip.md section 7), `bilinear-f16` bilinearly and rounded
 * to half precision whatever the grid (clip-as-rnn.md section 3).
 */
export type PositionRule = 'exact' | 'plus0.1' | 'bilinear' | 'bilinear-f16';

/** The table for h x w patches: its first row as it is, the others resized -> [1 + h*w, D]. */
export function resizePositions(table: Tensor, h: number, w: number, rule: PositionRule): Tensor {
  const [rows = 0, width = 0] = table.shape;
  const side = Math.round(Math.sqrt(rows - 1));
  return scope(() => {
    const image = table.slice(0, 1).reshape(side, side, width).permute(2, 0, 1).contiguous(); // [D, g, g]
    const scale = rule === 'plus0.1' ? { y: (h + 0.1) / side, x: (w + 0.1) / side } : undefined;
    const mode = rule.startsWith('bilinear') ? 'torch_bilinear' : 'torch_bicubic';
    const resized = resize(image, { width: w, height: h, mode, scale }); // [D, h, w]
    const whole = concat([table.slice(0, 0, 1), resized.permute(1, 2, 0).reshape(h * w, width)], 0); // [1 + h*w, D]
    return rule === 'bilinear-f16' ? cast(cast(whole, 'f16'), 'f32') : whole;
  });
}

/** Tables of the grids used last, where no gradient flows. */
export class PositionTables {
  private readonly cache = new Map<string, Tensor>();

  constructor(private readonly limit = 16) {}

  at(table: Tensor, h: number, w: number, rule: PositionRule): Tensor {
    const side = Math.round(Math.sqrt((table.shape[0] as number) - 1));
    const same = rule === 'plus0.1' ? h * w === side * side : h === side && w === side;
    if (same && rule !== 'bilinear-f16') return table;
    const key = `${h}x${w}:${rule}`;
    const cached = this.cache.get(key);
    if (cached) return cached;
    const resized = resizePositions(table, h, w, rule);
    if (resized.requiresGrad) return resized;
    if (this.cache.size >= this.limit) this.dispose();
    this.cache.set(key, retain(resized));
    return resized;
  }

  dispose(): void {
    for (const table of this.cache.values()) table.dispose();
    this.cache.clear();
  }
}

/**
 * Blocks one after another, x [B, L, D] -> [B, L, D]; a hidden state is freed once it is used, unless it is tapped or on the tape.
 * @param options of block i
 * @param first number of blocks[0], for the taps
 */
export function runBlocks(
  input: Tensor,
  blocks: readonly BlockWeights[],
  options: (index: number) => BlockOptions,
  taps: Taps = {},
  first = 0,
): Tensor {
  return scope(() => {
    let x = input;
    if (first === 0) taps.hidden?.(0, x);
    blocks.forEach((weights, i) => {
      const number = first + i;
      const onAttention = taps.attention && ((map: Tensor) => taps.attention?.(number, map));
      const next = transformerBlock(x, weights, { ...options(number), onAttention });
      if (x !== input && !x.requiresGrad && !taps.hidden) x.dispose();
      x = next;
      taps.hidden?.(number + 1, x);
    });
    return x;
  });
}

export interface VisionParts {
  /** [D] or [1, 1, D] */
  readonly classToken: Tensor;
  /** [1 + g*g, D] or [1, 1 + g*g, D] */
  readonly positions: Tensor;
  readonly patch: Linear;
  readonly blocks: readonly BlockWeights[];
  readonly preNorm?: Norm;
  readonly finalNorm: Norm;
}

export class VisionTower {
  private readonly tables = new PositionTables();

  constructor(
    readonly sizes: VisionSizes,
    readonly compute: Compute,
    private readonly parts: VisionParts,
    private readonly rule: PositionRule,
  ) {}

  /** Pixels [B, 3, H, W], normalised -> tokens in front of the first block [B, 1+P, D]; a remainder of a patch is dropped. */
  embed(pixels: Tensor): Tensor {
    const { width, patch, eps } = this.sizes;
    const { classToken, positions, preNorm } = this.parts;
    const [h, w] = [2, 3].map((axis) => Math.floor((pixels.shape[axis] as number) / patch)) as [number, number];
    return scope(() => {
      const patches = this.parts.patch.forward(patchify(pixels, patch), { out: 'f32' }); // [B, P, D]
      const table = this.tables.at(positions.reshape(-1, width), h, w, this.rule);
      const tokens = classTokenEmbed(patches, classToken.reshape(width), table); // [B, 1+P, D]
      return preNorm ? layerNorm(tokens, preNorm.gain, preNorm.bias, eps) : tokens;
    });
  }

  /**
   * As `embed` for some patches of each picture, on the table's own grid: rows [B, K, 3*p*p] of the patches `places` (i32 [B, K], row by
   * row from 0) -> tokens [B, 1+K, D]. Leaving patches out is how a ViT trains at half the cost (arXiv 2212.00794).
   */
  embedSome(rows: Tensor, places: Tensor): Tensor {
    const { width, eps } = this.sizes;
    const { classToken, positions, preNorm } = this.parts;
    const batch = places.shape[0] as number;
    return scope(() => {
      const table = positions.reshape(-1, width); // [1+P, D]
      const patches = this.parts.patch.forward(rows, { out: 'f32' }); // [B, K, D]
      const placed = add(patches, gather(table.slice(0, 1), places)); // [B, K, D]
      const first = add(classToken.reshape(width), table.select(0, 0)); // [D]
      const tokens = concat([first.reshape(1, 1, width).expand(batch, 1, width), placed], 1); // [B, 1+K, D]
      return preNorm ? layerNorm(tokens, preNorm.gain, preNorm.bias, eps) : tokens;
    });
  }

  /** Blocks from..to-1 on tokens [B, 1+P, D]. */
  blocks(x: Tensor, taps: Taps = {}, from = 0, to = this.sizes.layers): Tensor {
    const { heads, activation, eps } = this.sizes;
    const options = { heads, activation, eps, compute: this.compute };
    return runBlocks(x, this.parts.blocks.slice(from, to), () => options, taps, from);
  }

  finalNorm(x: Tensor): Tensor {
    const { gain, bias } = this.parts.finalNorm;
    return layerNorm(x, gain, bias, this.sizes.eps);
  }

  /** Pixels -> all tokens behind the final norm [B, 1+P, D]. */
  forward(pixels: Tensor, taps: Taps = {}): Tensor {
    return scope(() => this.finalNorm(this.blocks(this.embed(pixels), taps)));
  }

  dispose(): void {
    this.tables.dispose();
  }
}

/** Where a checkpoint keeps a tower's tensors, queries, keys and values being one map. */
export interface VisionNames {
  readonly classToken: string;
  readonly positions: string;
  /** Map of the patches: weight [D, 3, p, p], a bias beside it if there is one. */
  readonly patch: string;
  readonly block: (index: number) => {
    readonly norm1: string;
    readonly qkv: readonly [weight: string, bias: string];
    readonly out: string;
    readonly norm2: string;
    readonly fc1: string;
    readonly fc2: string;
  };
  readonly preNorm?: string;
  readonly finalNorm: string;
}

/** Adds name -> shape of a tower's tensors. `lead`: the class token is [1, 1, D] and the table [1, 1+P, D]. */
export function wantVision(
  wanted: Map<string, readonly number[]>,
  names: VisionNames,
  { width, layers, ffn, patch, imageSize }: VisionSizes,
  { lead, patchBias }: { readonly lead: boolean; readonly patchBias: boolean },
): void {
  const norm = (name: string) => {
    wanted.set(`${name}.weight`, [width]);
    wanted.set(`${name}.bias`, [width]);
  };
  const map = (weight: string, bias: string, rows: number, columns: number) => {
    wanted.set(weight, [rows, columns]);
    wanted.set(bias, [rows]);
  };
  const rows = 1 + Math.floor(imageSize / patch) ** 2;
  wanted.set(names.classToken, lead ? [1, 1, width] : [width]);
  wanted.set(names.positions, lead ? [1, rows, width] : [rows, width]);
  wanted.set(`${names.patch}.weight`, [width, 3, patch, patch]);
  if (patchBias) wanted.set(`${names.patch}.bias`, [width]);
  if (names.preNorm) norm(names.preNorm);
  norm(names.finalNorm);
  for (let i = 0; i < layers; i++) {
    const block = names.block(i);
    norm(block.norm1);
    map(...block.qkv, 3 * width, width);
    map(`${block.out}.weight`, `${block.out}.bias`, width, width);
    norm(block.norm2);
    map(`${block.fc1}.weight`, `${block.fc1}.bias`, ffn, width);
    map(`${block.fc2}.weight`, `${block.fc2}.bias`, width, ffn);
  }
}

export function visionTowerFrom(
  maps: TensorMaps,
  names: VisionNames,
  sizes: VisionSizes,
  rule: PositionRule,
): VisionTower {
  const blocks = Array.from({ length: sizes.layers }, (_, i) => {
    const { norm1, qkv, out, norm2, fc1, fc2 } = names.block(i);
    const joined = maps.pair(...qkv);
    return {
      norm1: maps.norm(norm1),
      qkv: joined,
      ...(maps.options.trainable ? { joint: joined } : {}),
      out: maps.packed(out),
      norm2: maps.norm(norm2),
      fc1: maps.packed(fc1),
      fc2: maps.packed(fc2),
    };
  });
  const parts = {
    classToken: maps.get(names.classToken),
    positions: maps.get(names.positions),
    patch: maps.packed(names.patch, [sizes.width, 3 * sizes.patch ** 2]),
    blocks,
    ...(names.preNorm ? { preNorm: maps.norm(names.preNorm) } : {}),
    finalNorm: maps.norm(names.finalNorm),
  };
  return new VisionTower(sizes, maps.options.compute, parts, rule);
}
