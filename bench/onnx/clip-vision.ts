/** The vision tower of a CLIP folder as an ONNX file: what an exporter writes, pixels [N, 3, S, S] -> patches [N, P, E]. */
import type { ClipConfig } from '#lib/backbones/clip/index.js';
import { loadAll } from '../../test/helpers/data.js';
import { OnnxGraph } from './graph.js';

class VisionGraph {
  readonly graph = new OnnxGraph('clip_vision');

  constructor(
    private readonly weights: Map<string, { data: ArrayLike<number>; shape: number[] }>,
    private readonly config: ClipConfig,
  ) {}

  constant(name: string): string {
    const { data, shape } = this.get(name);
    return this.graph.constant(name, data, shape);
  }

  private get(name: string): { data: Float32Array; shape: number[] } {
    const found = this.weights.get(`vision_model.${name}`) ?? this.weights.get(name);
    if (!found) throw new Error(`the weights hold no ${name}`);
    return { data: found.data as Float32Array, shape: found.shape };
  }

  /** x W^T + b, with W stored transposed as MatMul wants it. */
  linear(x: string, name: string, bias = true): string {
    const { data, shape } = this.get(`${name}.weight`);
    const [n, k] = shape as [number, number];
    const turned = new Float32Array(n * k);
    for (let i = 0; i < n; i++) for (let j = 0; j < k; j++) turned[j * n + i] = data[i * k + j] as number;
    const product = this.graph.node('MatMul', [x, this.graph.constant(`${name}.weight^T`, turned, [k, n])]);
    return bias ? this.graph.node('Add', [product, this.constant(`${name}.bias`)]) : product;
  }

  norm(x: string, name: string): string {
    return this.graph.node('LayerNormalization', [x, this.constant(`${name}.weight`), this.constant(`${name}.bias`)], {
      axis: 2,
      epsilon: { float: this.config.vision.eps },
    });
  }

  private heads(x: string, order: readonly number[]): string {
    const { heads, width } = this.config.vision;
    const split = this.graph.node('Reshape', [x, this.graph.ints([0, 0, heads, width / heads])]);
    return this.graph.node('Transpose', [split], { perm: order });
  }

  attention(x: string, at: string): string {
    const { heads, width } = this.config.vision;
    const g = this.graph;
    const q = g.node('Mul', [this.linear(x, `${at}.q_proj`), g.scalar(1 / Math.sqrt(width / heads))]);
    const keys = this.heads(this.linear(x, `${at}.k_proj`), [0, 2, 3, 1]);
    const scores = g.node('MatMul', [this.heads(q, [0, 2, 1, 3]), keys]);
    const mixed = g.node('MatMul', [
      g.node('Softmax', [scores], { axis: 3 }),
      this.heads(this.linear(x, `${at}.v_proj`), [0, 2, 1, 3]),
    ]);
    const joined = g.node('Reshape', [g.node('Transpose', [mixed], { perm: [0, 2, 1, 3] }), g.ints([0, 0, width])]);
    return this.linear(joined, `${at}.out_proj`);
  }

  activation(x: string): string {
    const g = this.graph;
    if (this.config.vision.activation === 'quick_gelu')
      return g.node('Mul', [x, g.node('Sigmoid', [g.node('Mul', [x, g.scalar(1.702)])])]);
    const half = g.node('Add', [g.node('Erf', [g.node('Mul', [x, g.scalar(Math.SQRT1_2)])]), g.scalar(1)]);
    return g.node('Mul', [g.node('Mul', [x, half]), g.scalar(0.5)]);
  }

  block(x: string, at: string): string {
    const y = this.graph.node('Add', [x, this.attention(this.norm(x, `${at}.layer_norm1`), `${at}.self_attn`)]);
    const hidden = this.activation(this.linear(this.norm(y, `${at}.layer_norm2`), `${at}.mlp.fc1`));
    return this.graph.node('Add', [y, this.linear(hidden, `${at}.mlp.fc2`)]);
  }

  build(): OnnxGraph {
    const { vision, embed } = this.config;
    const { imageSize, patch, width } = vision;
    const g = this.graph;
    const pixels = g.input('pixel_values', ['N', 3, imageSize, imageSize]);
    const map = g.node('Conv', [pixels, this.constant('embeddings.patch_embedding.weight')], {
      kernel_shape: [patch, patch],
      strides: [patch, patch],
    });
    const patches = g.node('Transpose', [g.node('Reshape', [map, g.ints([0, width, -1])])], { perm: [0, 2, 1] });
    const { data } = this.get('embeddings.class_embedding');
    const batch = g.node('Slice', [g.node('Shape', [pixels]), g.ints([0]), g.ints([1])]);
    const classShape = g.node('Concat', [batch, g.ints([1, width])], { axis: 0 });
    const classToken = g.node('Expand', [g.constant('class_token', data, [1, 1, width]), classShape]);
    const tokens = g.node('Add', [
      g.node('Concat', [classToken, patches], { axis: 1 }),
      this.constant('embeddings.position_embedding.weight'),
    ]);
    let x = this.norm(tokens, 'pre_layrnorm');
    for (let i = 0; i < vision.layers; i++) x = this.block(x, `encoder.layers.${i}`);
    const kept = g.node('Slice', [x, g.ints([1]), g.ints([1_000_000]), g.ints([1])]);
    const projected = this.linear(this.norm(kept, 'post_layernorm'), 'visual_projection', false);
    g.node('Identity', [projected], {}, { output: 'projected_patches' });
    g.output('projected_patches', ['N', (imageSize / patch) ** 2, embed]);
    return g;
  }
}

/** Writes `path` from DIR/model.safetensors (f32). */
export async function writeVisionOnnx(folder: string, config: ClipConfig, path: string): Promise<void> {
  await new VisionGraph(await loadAll(`${folder}/model.safetensors`), config).build().save(path);
}
