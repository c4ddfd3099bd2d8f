/**
 * CLIP (Radford et al. 2021, arXiv 2103.00020): a pre-norm ViT and a causal text transformer with one embedding space.
 * Follows the published code as Hugging Face restates it. Differences: none in the default configuration; the last
 * vision block takes the attention variants of dense-CLIP methods as parameters.
 */
import {
  add,
  classTokenEmbed,
  concat,
  gather,
  layerNorm,
  patchify,
  prefersSelfAttention,
  scope,
  Tensor,
} from '../../engine/index.js';
import type { Activation, Compute, Linear } from '../../nn/linear.js';
import {
  type AttentionKind,
  type BlockOptions,
  type BlockWeights,
  type Norm,
  readBlock,
  readPackedBlock,
} from '../../nn/transformer.js';
import { type PositionRule, PositionTables, runBlocks as run, type Taps } from '../../nn/vision-tower.js';
import type { ClipConfig, TowerConfig } from './config.js';

export type { PositionRule, Taps } from '../../nn/vision-tower.js';

/** What a dense method changes in the vision tower. */
export interface VisionVariant {
  readonly attention?: AttentionKind;
  readonly residual?: boolean;
  readonly ffn?: boolean;
  readonly sigma?: number;
  readonly positions?: PositionRule;
  /** Overrides of the config, for parity with code that built the tower differently. */
  readonly activation?: Activation;
  readonly eps?: number;
}

export interface TowerWeights {
  readonly blocks: readonly BlockWeights[];
}

export class ClipModel {
  private readonly tables = new PositionTables();

  constructor(
    readonly config: ClipConfig,
    readonly compute: Compute,
    /** Tensors by Hugging Face name: all of them in a trainable model, the unpacked ones otherwise. */
    readonly parameters: ReadonlyMap<string, Tensor>,
    private readonly vision: TowerWeights & { patch: Linear; projection: Linear },
    private readonly text: TowerWeights & { projection: Linear },
  ) {}

  private parameter(name: string): Tensor {
    return this.parameters.get(name) as Tensor;
  }

  private norm(name: string): Norm {
    return { gain: this.parameter(`${name}.weight`), bias: this.parameter(`${name}.bias`) };
  }

  /** Position table for a patch grid, [1 + h*w, D]. Cached per grid where no gradient flows. */
  positionTable(h: number, w: number, rule: PositionRule): Tensor {
    const table = this.parameter('vision_model.embeddings.position_embedding.weight');
    return this.tables.at(table, h, w, rule);
  }

  /** Patch rows [N, h*w, 3*p*p] -> tokens after the pre-norm [N, 1 + h*w, D]. */
  embedPatches(rows: Tensor, grid: readonly [number, number], variant: VisionVariant = {}): Tensor {
    return scope(() => {
      const patches = this.vision.patch.forward(rows, { out: 'f32' }); // [N, P, D]
      const tokens = classTokenEmbed(
        patches,
        this.parameter('vision_model.embeddings.class_embedding'),
        this.positionTable(grid[0], grid[1], variant.positions ?? 'exact'),
      ); // [N, 1+P, D]
      const norm = this.norm('vision_model.pre_layrnorm');
      return layerNorm(tokens, norm.gain, norm.bias, variant.eps ?? this.config.vision.eps);
    });
  }

  /**
   * As `embedPatches` for some patches of each image: rows [N, K, 3*p*p] of the patches `places` (i32 [N, K], row by row from 0) ->
   * tokens [N, 1 + K, D]. Leaving patches out is how a ViT trains at half the cost (arXiv 2212.00794).
   */
  embedSome(rows: Tensor, places: Tensor): Tensor {
    return scope(() => {
      const table = this.parameter('vision_model.embeddings.position_embedding.weight');
      const batch = places.shape[0] as number;
      const width = this.config.vision.width;
      const patches = this.vision.patch.forward(rows, { out: 'f32' }); // [N, K, D]
      const placed = add(patches, gather(table.slice(0, 1), places)); // [N, K, D]
      const first = add(this.parameter('vision_model.embeddings.class_embedding'), table.select(0, 0)); // [D]
      const tokens = concat([first.reshape(1, 1, width).expand(batch, 1, width), placed], 1); // [N, 1 + K, D]
      const norm = this.norm('vision_model.pre_layrnorm');
      return layerNorm(tokens, norm.gain, norm.bias, this.config.vision.eps);
    });
  }

  /**
   * What training reads of the vision tower: tokens behind the pre-norm [N, 1+K, D] -> `image` [N, E], the class token's embedding,
   * and `patches` [N, K, E] on MaskCLIP's value path, W_o(W_v ln_1 x), final norm, projection. Neither is normalised.
   */
  readVision(tokens: Tensor, wantPatches = true): { image: Tensor; patches?: Tensor } {
    const [batch = 0, length = 0] = tokens.shape;
    const { vision } = this.config;
    const last = this.vision.blocks.at(-1) as BlockWeights;
    return scope(() => {
      const x = runBlocks(tokens, this.vision.blocks.slice(0, -1), vision, this.compute, {}, [0, 0], {}, {});
      const rows = Tensor.from(Int32Array.from({ length: batch }, (_, i) => i * length));
      const { token, values } = readBlock(x, last, rows, { ...vision, compute: this.compute });
      const image = this.project(token); // [N, E]
      if (!wantPatches) return { image };
      return { image, patches: this.project(last.out.forward(values.slice(1, 1), { out: 'f32' })) };
    });
  }

  /**
   * Texts -> embeddings [T, E], not normalised, as training reads them: ids [T, L] i32 with each text's end token at `ends` [T], padding
   * behind it of any id.
   */
  readText(ids: Tensor, ends: Int32Array): Tensor {
    const length = ids.shape[1] as number;
    const { text } = this.config;
    const last = this.text.blocks.at(-1) as BlockWeights;
    const norm = this.norm('text_model.final_layer_norm');
    const packs = last.joint && prefersSelfAttention(this.compute, length, text.width / text.heads, ids.device);
    return scope(() => {
      const token = packs ? this.readPacked(ids, ends, last) : this.readPadded(ids, ends, last);
      return this.projectText(layerNorm(token, norm.gain, norm.bias, text.eps));
    });
  }

  private readPadded(ids: Tensor, ends: Int32Array, last: BlockWeights): Tensor {
    const length = ids.shape[1] as number;
    const { text } = this.config;
    const options = { causal: true };
    const blocks = this.text.blocks.slice(0, -1);
    const x = runBlocks(this.embedTokens(ids), blocks, text, this.compute, {}, [0, 0], {}, options);
    const rows = Tensor.from(Int32Array.from(ends, (end, i) => i * length + end));
    const keyLengths = Tensor.from(Int32Array.from(ends, (end) => end + 1));
    return readBlock(x, last, rows, { ...text, compute: this.compute, keyLengths }).token;
  }

  /** The tokens up to each end token behind one another: padding costs nothing. */
  private readPacked(ids: Tensor, ends: Int32Array, last: BlockWeights): Tensor {
    const length = ids.shape[1] as number;
    const { text } = this.config;
    const starts = new Int32Array(ends.length + 1);
    ends.forEach((end, i) => {
      starts[i + 1] = (starts[i] as number) + end + 1;
    });
    const total = starts[ends.length] as number;
    const [from, place] = [new Int32Array(total), new Int32Array(total)];
    ends.forEach((end, i) => {
      for (let j = 0; j <= end; j++) {
        from[(starts[i] as number) + j] = i * length + j;
        place[(starts[i] as number) + j] = j;
      }
    });
    const words = gather(ids.reshape(-1, 1), Tensor.from(from)).reshape(1, total);
    const x = add(
      gather(this.parameter('text_model.embeddings.token_embedding.weight'), words),
      gather(this.parameter('text_model.embeddings.position_embedding.weight'), Tensor.from(place).reshape(1, total)),
    ); // [1, R, D]
    const options = { causal: true, starts: Tensor.from(starts) };
    const blocks = this.text.blocks.slice(0, -1);
    const hidden = runBlocks(x, blocks, text, this.compute, {}, [0, 0], {}, options);
    const rows = Tensor.from(starts.subarray(1).map((start) => start - 1));
    return readPackedBlock(hidden, last, rows, { ...text, compute: this.compute, ...options });
  }

  /** Pixels [B, 3, H, W], normalised -> patch rows [B, h*w, 3*p*p]; a remainder of a patch is dropped. */
  patchRows(pixels: Tensor): { rows: Tensor; grid: [number, number] } {
    const { patch } = this.config.vision;
    const grid: [number, number] = [
      Math.floor((pixels.shape[2] as number) / patch),
      Math.floor((pixels.shape[3] as number) / patch),
    ];
    return { rows: patchify(pixels, patch), grid };
  }

  /** All blocks; `variant` concerns the last. Tokens [N, 1+P, D] -> [N, 1+P, D]. */
  visionBlocks(tokens: Tensor, grid: readonly [number, number], variant: VisionVariant = {}, taps: Taps = {}): Tensor {
    const { vision } = this.config;
    return runBlocks(tokens, this.vision.blocks, vision, this.compute, variant, grid, taps, {});
  }

  /** Vision blocks from..to-1 as they are published, x [N, 1+P, D]; gradients pass through the last one if it was loaded for them. */
  blockRange(x: Tensor, from: number, to: number, taps: Taps & Pick<BlockOptions, 'onNormed'> = {}): Tensor {
    const { heads, activation, eps } = this.config.vision;
    const options = { heads, activation, eps, compute: this.compute, onNormed: taps.onNormed };
    return run(x, this.vision.blocks.slice(from, to), () => options, taps, from);
  }

  /** Final norm and projection of any tokens [..., D] -> [..., E], not normalised. */
  project(tokens: Tensor, variant: VisionVariant = {}): Tensor {
    return scope(() => this.vision.projection.forward(this.postNorm(tokens, variant), { out: 'f32' }));
  }

  /** Projection alone of an already normed row [B, D] -> [B, E]. */
  projectPooled(pooled: Tensor): Tensor {
    return this.vision.projection.forward(pooled, { out: 'f32' });
  }

  /** Final norm [..., D] -> [..., D]. */
  postNorm(tokens: Tensor, variant: VisionVariant = {}): Tensor {
    const norm = this.norm('vision_model.post_layernorm');
    return layerNorm(tokens, norm.gain, norm.bias, variant.eps ?? this.config.vision.eps);
  }

  /**
   * What the last block's keys become behind its output map, class token left out: ln1 -> W_k -> W_out, with biases
   * (MaskCLIP's key tokens). `hidden` is the input of the last block [N, 1+P, D]; result [N, P, D].
   */
  keyTokens(hidden: Tensor, variant: VisionVariant = {}): Tensor {
    const last = this.vision.blocks.at(-1) as BlockWeights;
    return scope(() => {
      const normed = layerNorm(hidden, last.norm1.gain, last.norm1.bias, variant.eps ?? this.config.vision.eps, {
        bf16Out: this.compute === 'bf16',
      });
      const width = this.config.vision.width;
      const keys = last.k ? last.k.forward(normed) : (last.qkv as Linear).forward(normed).slice(2, width, 2 * width);
      return last.out.forward(keys.contiguous(), { out: 'f32' }).slice(1, 1);
    });
  }

  /** Token ids [B, L] i32 -> hidden states [B, L, D] after all blocks and the final norm. */
  encodeTextTokens(ids: Tensor, options: { keyLengths?: Tensor; taps?: Taps } = {}): Tensor {
    const { text } = this.config;
    return scope(() => {
      const hidden = runBlocks(
        this.embedTokens(ids),
        this.text.blocks,
        text,
        this.compute,
        {},
        [0, 0],
        options.taps ?? {},
        {
          causal: true,
          keyLengths: options.keyLengths,
        },
      );
      const norm = this.norm('text_model.final_layer_norm');
      return layerNorm(hidden, norm.gain, norm.bias, text.eps);
    });
  }

  /** Token ids [B, L] -> words with positions [B, L, D]. */
  private embedTokens(ids: Tensor): Tensor {
    const length = ids.shape[1] as number;
    return scope(() => {
      const words = gather(this.parameter('text_model.embeddings.token_embedding.weight'), ids);
      return add(words, this.parameter('text_model.embeddings.position_embedding.weight').slice(0, 0, length));
    });
  }

  /** Rows [B, D] of the final hidden states -> [B, E], not normalised. */
  projectText(pooled: Tensor): Tensor {
    return this.text.projection.forward(pooled, { out: 'f32' });
  }

  /** Where a row's feature is read: the first end token; files that say 2 mean the highest id (backbones-vlm.md section 7). */
  endPosition(ids: ArrayLike<number>): number {
    const { eosTokenId } = this.config.text;
    const values = Array.from(ids);
    if (eosTokenId === 2) return values.indexOf(Math.max(...values));
    const found = values.indexOf(eosTokenId);
    return found < 0 ? 0 : found;
  }

  dispose(): void {
    this.tables.dispose();
    for (const tensor of this.parameters.values()) tensor.dispose();
    this.vision.patch.dispose();
    this.vision.projection.dispose();
    this.text.projection.dispose();
    for (const block of [...this.vision.blocks, ...this.text.blocks]) {
      for (const layer of [block.qkv, block.q, block.k, block.v, block.out, block.fc1, block.fc2]) layer?.dispose();
    }
  }
}

function runBlocks(
  input: Tensor,
  blocks: readonly BlockWeights[],
  tower: TowerConfig,
  compute: Compute,
  variant: VisionVariant,
  grid: readonly [number, number],
  taps: Taps,
  text: { causal?: boolean; keyLengths?: Tensor; starts?: Tensor },
): Tensor {
  const options = {
    heads: tower.heads,
    activation: variant.activation ?? tower.activation,
    eps: variant.eps ?? tower.eps,
    compute,
    ...text,
  };
  const { attention, residual, ffn, sigma } = variant;
  const last = { ...options, attention, residual, ffn, sigma, grid };
  return run(input, blocks, (i) => (i === blocks.length - 1 ? last : options), taps);
}
