/**
 * One training step of the built-in CLIP (drawn-scenes.md section 2): three loss terms forward and backward, and a plain
 * gradient step in the place of the optimiser. Synthetic data of the recipe's sizes: pairs a second, time by op, memory.
 */
import { buildClip, type ClipConfig, type ClipModel, randomClip } from '#lib/backbones/clip/index.js';
import { addon } from '#lib/binding/addon.js';
import {
  add,
  assign,
  backward,
  fill,
  l2Normalise,
  memory,
  mul,
  noGrad,
  requireGrad,
  resetPeakMemory,
  scope,
  setThreads,
  sgdStep,
  sync,
  Tensor,
  trimMemory,
} from '#lib/engine/index.js';
import { contrastive, nounPatch, valuePath } from '#lib/nn/losses/index.js';
import { print } from '../harness.js';

const tiny: ClipConfig = {
  embed: 128,
  vision: { width: 128, layers: 4, heads: 2, ffn: 512, activation: 'gelu', eps: 1e-5, imageSize: 64, patch: 8 },
  text: {
    ...{ width: 128, layers: 2, heads: 2, ffn: 512, activation: 'gelu', eps: 1e-5 },
    ...{ vocabulary: 1024, positions: 32, eosTokenId: 1023 },
  },
};
const nounCount = 64;
const nounTokens = 8;

/** Host arrays of one batch: half of the patches of each image, captions of 8 to 20 tokens, the nouns of the batch. */
interface Batch {
  readonly rows: Float32Array;
  readonly places: Int32Array;
  readonly kept: number;
  readonly lengths: readonly number[];
  readonly named: Float32Array;
}

function makeBatch(size: number): Batch {
  let state = 1;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const { imageSize, patch } = tiny.vision;
  const patches = (imageSize / patch) ** 2;
  const kept = patches / 2;
  const places = new Int32Array(size * kept);
  for (let b = 0; b < size; b++) {
    const order = Array.from({ length: patches }, (_, i) => [random(), i] as const).sort(([a], [c]) => a - c);
    for (let k = 0; k < kept; k++) places[b * kept + k] = (order[k] as readonly [number, number])[1];
  }
  return {
    rows: Float32Array.from({ length: size * kept * 3 * patch ** 2 }, () => random() * 2 - 1),
    places,
    kept,
    lengths: Array.from({ length: size }, () => 8 + Math.floor(random() * 13)),
    named: Float32Array.from({ length: size * nounCount }, () => (random() < 3 / nounCount ? 1 : 0)),
  };
}

interface Trained {
  readonly model: ClipModel;
  readonly noun: { logScale: Tensor; bias: Tensor };
  readonly parameters: readonly Tensor[];
  readonly flat: Tensor;
  readonly momentum: Tensor;
  readonly sizes: Tensor;
}

function losses({ model, noun }: Trained, batch: Batch): Tensor {
  const size = batch.lengths.length;
  const { patch } = tiny.vision;
  const places = Tensor.from(batch.places, [size, batch.kept]);
  const tokens = model.embedSome(Tensor.from(batch.rows, [size, batch.kept, 3 * patch ** 2]), places);
  const { image, patches: raw } = model.readVision(tokens); // [B, E], [B, K, E]
  const patches = l2Normalise(raw as Tensor);
  const text = encode(model, batch.lengths);
  const nouns = encode(
    model,
    Array.from({ length: nounCount }, () => nounTokens),
  );
  const scale = { logitScale: model.parameters.get('logit_scale') as Tensor };
  const named = Tensor.from(batch.named, [size, nounCount]);
  return add(
    contrastive(image, text, scale),
    add(
      mul(valuePath(patches, text, scale), 0.25),
      mul(nounPatch(patches, nouns, named, { ...noun, sharpness: 10, unnamedWeight: 0.3 }), 0.4),
    ),
  );
}

/** Texts of the given lengths -> [T, E]; the tokens are of no account. */
function encode(model: ClipModel, lengths: readonly number[]): Tensor {
  const longest = Math.max(...lengths);
  const ids = Int32Array.from({ length: lengths.length * longest }, (_, i) => (i * 7919) % tiny.text.vocabulary);
  const ends = Int32Array.from(lengths, (n) => n - 1);
  return model.readText(Tensor.from(ids, [lengths.length, longest]), ends);
}

function step(trained: Trained, batch: Batch): void {
  scope(() => {
    const grads = backward(losses(trained, batch));
    const { flat, momentum, sizes, parameters } = trained;
    noGrad(() =>
      sgdStep(
        { parameters: flat, momentum, sizes },
        parameters.map((parameter) => grads.get(parameter)),
        { rate: 1e-4 },
      ),
    );
  });
}

/** Parameters are views of one buffer, as optimisers take them. */
function build(compute: 'f32' | 'bf16'): Trained {
  const start = randomClip(tiny, 1);
  start.set('noun_scale', Tensor.scalar(Math.log(10)));
  start.set('noun_bias', Tensor.scalar(-3));
  const flat = fill([[...start.values()].reduce((sum, { size }) => sum + size, 0)], 0);
  let begin = 0;
  const views = new Map<string, Tensor>();
  for (const [name, tensor] of start) {
    const view = flat.slice(0, begin, begin + tensor.size).reshape(tensor.shape);
    assign(view, tensor);
    views.set(name, requireGrad(view));
    begin += tensor.size;
  }
  const sizes = Tensor.from(Int32Array.from(start.values(), ({ size }) => size));
  const take = (name: string) => views.get(name) as Tensor;
  const noun = { logScale: take('noun_scale'), bias: take('noun_bias') };
  const parameters = [...views.values()];
  const model = buildClip(tiny, views, { compute, trainable: true });
  return { model, noun, parameters, flat, momentum: fill(flat.shape, 0), sizes };
}

export interface TrainStepOptions {
  readonly threads: readonly number[];
  readonly batch: number;
  readonly seconds: number;
  readonly profile: boolean;
  /** `f32`, `bf16` or nothing for both. */
  readonly only: readonly string[];
}

export async function benchTrainStep(options: TrainStepOptions): Promise<void> {
  const batch = makeBatch(options.batch);
  for (const compute of (['bf16', 'f32'] as const).filter(
    (name) => options.only.length === 0 || options.only.includes(name),
  )) {
    const trained = build(compute);
    for (const threads of options.threads) {
      setThreads(threads);
      for (let i = 0; i < 10; i++) {
        step(trained, batch);
        await sync();
      }
      trimMemory();
      resetPeakMemory();
      const walls: number[] = [];
      let queueing = 0;
      const cpu = process.cpuUsage();
      const end = performance.now() + options.seconds * 1000;
      while (walls.length < 5 || performance.now() < end) {
        const start = performance.now();
        step(trained, batch);
        queueing += performance.now() - start;
        await sync();
        walls.push(performance.now() - start);
      }
      const used = process.cpuUsage(cpu);
      walls.sort((a, b) => a - b);
      const median = walls[walls.length >> 1] as number;
      print({
        name: 'train step',
        dtype: compute,
        threads,
        batch: options.batch,
        median,
        best: walls[0],
        runs: walls.length,
        'pairs a second': (options.batch / median) * 1000,
        'best pairs a second': (options.batch / (walls[0] as number)) * 1000,
        'cpu ms a step': (used.user + used.system) / 1000 / walls.length,
        'event loop ms a step': queueing / walls.length,
        'peak resident MB': process.resourceUsage().maxRSS / 1000,
        'peak MB': (memory().cpu?.peakBytes ?? 0) / 1e6,
      });
      if (options.profile) profile(trained, batch, compute, threads);
    }
  }
}

/** Processor time of each op alone, with the queue drained before and after it; queueing it, some 10 us, is in every figure. */
function profile(trained: Trained, batch: Batch, compute: string, threads: number): void {
  const native = addon();
  const { run } = native;
  const times = new Map<string, number[]>();
  const rounds = 5;
  native.run = (op, ...rest) => {
    native.synchronise();
    const start = process.cpuUsage();
    const outputs = run.call(native, op, ...rest);
    native.synchronise();
    const { user, system } = process.cpuUsage(start);
    const shape = process.env.WORDMASK_BENCH_SHAPES
      ? ` ${Array.from(rest[1] as Float64Array)
          .join(' ')
          .slice(0, 60)}`
      : '';
    times.set(op + shape, [...(times.get(op + shape) ?? []), (user + system) / 1000]);
    return outputs;
  };
  try {
    for (let i = 0; i < rounds; i++) step(trained, batch);
  } finally {
    native.run = run;
  }
  const rows = [...times].map(([op, list]) => ({
    op,
    calls: list.length / rounds,
    ms: list.reduce((a, b) => a + b, 0) / rounds,
  }));
  const total = rows.reduce((sum, { ms }) => sum + ms, 0);
  for (const { op, calls, ms } of rows.sort((a, b) => b.ms - a.ms).slice(0, 40))
    print({ name: 'profile', dtype: compute, threads, op, calls, 'ms a step': ms, share: ms / total });
}
