/**
 * GradCAM passes with Salience DropOut (sections 5 and 6 of the method's page): each pass asks the matching model where it looks for
 * the caption's words, and blanks the patches that it looked at most before the next one.
 */
import { scope, Tensor } from '../../engine/index.js';
import type { MatchingModel } from '../../nn/matching.js';
import type { PredictContext } from '../../post/predictor.js';
import type { Caption } from './caption.js';
import { addRows, blankPatches, clearCells, dropCount, highestCells, salience } from './drop.js';
import type { MatchQueue } from './match-queue.js';
import type { PnpOptions } from './options.js';

export interface Passes {
  /** w0 Z_0 + Z_1 + ... of each caption, [T-1, P]. */
  readonly sums: readonly Float32Array[];
}

export interface PassInput {
  /** Normalised, [3, S, S]. */
  readonly pixels: Float32Array;
  readonly size: number;
  /** What a dropped patch is filled with. */
  readonly blank: readonly [number, number, number];
  readonly captions: readonly Caption[];
}

/** Names of values of one pass that `trace` stacks over passes. */
export const passTraces = [
  'normalised_input',
  'itm_logits',
  'salience',
  'salience_all_heads',
  'salience_kept',
  'patch_scores',
] as const;

/** Values of the model's towers over the whole picture, and what the model calls them; BridgeTower's towers have others. */
const towerValues: Readonly<Record<string, string>> = {
  image_tokens: 'image_tokens',
  'text.last_hidden': 'text.last_hidden',
  'multimodal.last_hidden': 'multimodal.last_hidden',
  'multimodal.image_last_hidden': 'multimodal.image_last_hidden',
  image_feature: 'image_embeds',
  text_feature: 'text_embeds',
};

/** Those that a model has: only mPLUG's picture goes through layers of the fusion. */
export function towerTraces({ kind }: MatchingModel): string[] {
  if (kind === 'bridgetower') return [];
  return Object.keys(towerValues).filter((name) => kind === 'mplug' || name !== 'multimodal.image_last_hidden');
}

export async function runPasses(
  model: MatchingModel,
  queue: MatchQueue,
  input: PassInput,
  options: PnpOptions,
  context: PredictContext,
): Promise<Passes> {
  const { captions, size } = input;
  const patches = Math.floor(size / model.patch) ** 2;
  const sums = captions.map(({ ids }) => new Float32Array((ids.length - 1) * patches));
  const dropped: number[] = [];
  const stack = new TraceStack(context);
  for (let pass = 0; pass < options.passes; pass++) {
    context.signal?.throwIfAborted();
    const gone = new Set(dropped);
    const found = await lookAt(model, queue, input, gone, options, stack);
    const scores = new Float32Array(patches);
    for (const [c, rows] of found.entries()) {
      const { spans } = captions[c] as Caption;
      stack.put('salience', rows, [rows.length / patches, size / model.patch, size / model.patch]);
      clearCells(rows, patches, gone);
      stack.put('salience_kept', rows, [rows.length / patches, size / model.patch, size / model.patch]);
      addRows(scores, rows, spans[0]?.begin ?? 0, spans.at(-1)?.end ?? 0);
      accumulate(sums[c] as Float32Array, rows, pass === 0 ? options.firstPassWeight : 1);
    }
    stack.put('patch_scores', scores, [patches]);
    const taken = highestCells(scores, dropCount(options.drop, pass, patches));
    stack.list('dropped_patches', taken);
    dropped.push(...taken);
    stack.next();
  }
  stack.finish(options);
  return { sums };
}

function accumulate(sum: Float32Array, rows: Float32Array, factor: number): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + factor * (rows[i] as number);
}

/** Salience rows of every caption over the picture with the dropped patches blanked, [T-1, P] each. */
async function lookAt(
  model: MatchingModel,
  queue: MatchQueue,
  { pixels, size, blank, captions }: PassInput,
  gone: ReadonlySet<number>,
  options: PnpOptions,
  stack: TraceStack,
): Promise<Float32Array[]> {
  const seen = gone.size > 0 ? pixels.slice() : pixels;
  blankPatches(seen, size, model.patch, gone, blank);
  stack.put('normalised_input', seen, [3, size, size]);
  const ids = captions.map((caption) => caption.ids);
  const place = { layer: options.layer, heads: [options.head] };
  const { probabilities, gradient, logits, shape } = await queue.ask({
    pixels: seen,
    size,
    captions: ids,
    place,
    signal: stack.signal,
  });
  stack.put('itm_logits', logits, [captions.length, 2]);
  await stack.inspect(model, seen, size, ids, options.layer);
  const [longest, keys] = shape;
  return ids.map(({ length }, c) => {
    const part = (values: Float32Array): Float32Array =>
      values.subarray(c * longest * keys, (c * longest + length) * keys);
    return salience(part(probabilities), part(gradient), length, keys - 1);
  });
}

/** Values of all passes by name, joined to one array each when all are there. */
class TraceStack {
  readonly #values = new Map<string, { data: Float32Array[]; shape: number[] }>();
  readonly #lists = new Map<string, number[][]>();
  #pass = 0;

  constructor(private readonly context: PredictContext) {}

  /** A copy of the values; several of one pass stand one behind the other along their first axis. */
  put(name: string, data: Float32Array, shape: readonly number[]): void {
    if (!this.context.trace?.wants(name)) return;
    const value = this.#values.get(name) ?? { data: [], shape: [] };
    value.data.push(data.slice());
    if (this.#pass === 0)
      value.shape =
        value.shape.length === 0 ? [...shape] : [(value.shape[0] as number) + (shape[0] as number), ...shape.slice(1)];
    this.#values.set(name, value);
  }

  list(name: string, data: readonly number[]): void {
    if (this.context.trace?.wants(name)) this.#lists.set(name, [...(this.#lists.get(name) ?? []), [...data]]);
  }

  next(): void {
    this.#pass++;
  }

  get signal(): AbortSignal | undefined {
    return this.context.signal;
  }

  /** Values of the model itself, where somebody asked for them. */
  async inspect(
    model: MatchingModel,
    pixels: Float32Array,
    size: number,
    ids: readonly (readonly number[])[],
    chosen: number,
  ): Promise<void> {
    if (!this.context.trace) return;
    await scope(async () => {
      const image = Tensor.from(pixels, [1, 3, size, size]);
      await this.heads(model, image, ids, chosen);
      await this.towers(model, image, ids);
    });
  }

  /** Attention and gradient of whole layers, of all heads: what the method itself never makes. */
  async heads(model: MatchingModel, image: Tensor, ids: readonly (readonly number[])[], chosen: number): Promise<void> {
    const { trace } = this.context;
    // Captions of a split list differ in length: their attentions are no array.
    if (!trace || ids.length !== 1) return;
    const all = Array.from({ length: model.heads }, (_, head) => head);
    for (const layer of model.layers) {
      const names = [`cross_attention.${layer}`, `cross_attention_gradient.${layer}`] as const;
      const own = layer === chosen && trace.wants('salience_all_heads');
      if (!own && !names.some((name) => trace.wants(name))) continue;
      for (const caption of ids) {
        const found = model.crossAttention(image, caption, { layer, heads: all });
        const [a, g] = (await Promise.all([found.probabilities.data(), found.gradient.data()])) as [
          Float32Array,
          Float32Array,
        ];
        const shape = [...found.probabilities.shape];
        this.put(names[0], a, shape);
        this.put(names[1], g, shape);
        if (own)
          this.put('salience_all_heads', clamped(a, g, shape), [...shape.slice(0, -1), (shape.at(-1) as number) - 1]);
      }
    }
  }

  /** Of the first pass, which sees the whole picture. */
  async towers(model: MatchingModel, image: Tensor, ids: readonly (readonly number[])[]): Promise<void> {
    const { trace } = this.context;
    const names = Object.keys(towerValues).filter((name) => trace?.wants(name));
    if (!trace || this.#pass > 0 || ids.length !== 1 || names.length === 0) return;
    const found = model.values(
      image,
      ids[0] as readonly number[],
      names.map((name) => towerValues[name] as string),
    );
    for (const name of names) trace.put(name, found[towerValues[name] as string] as Tensor);
  }

  finish({ passes }: PnpOptions): void {
    const { trace } = this.context;
    for (const [name, { data, shape }] of this.#values) {
      const joined = new Float32Array(data.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of data) {
        joined.set(part, at);
        at += part.length;
      }
      trace?.put(name, Tensor.from(joined, [passes, ...shape]));
    }
    for (const [name, lists] of this.#lists) {
      const [first] = lists;
      const even = lists.every(({ length }) => length === first?.length);
      const flat = Int32Array.from(lists.flat());
      trace?.put(name, Tensor.from(flat, even ? [lists.length, first?.length ?? 0] : [flat.length]));
    }
  }
}

/** A * max(G, 0) of every token, without the class token's column. [h, T, 1+P] -> [h, T, P] */
function clamped(a: Float32Array, g: Float32Array, shape: readonly number[]): Float32Array {
  const keys = shape.at(-1) as number;
  const rows = a.length / keys;
  const out = new Float32Array(rows * (keys - 1));
  for (let row = 0; row < rows; row++)
    for (let p = 1; p < keys; p++) {
      const at = row * keys + p;
      out[row * (keys - 1) + p - 1] = (a[at] as number) * Math.max(g[at] as number, 0);
    }
  return out;
}
