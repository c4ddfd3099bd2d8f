/** A trainable system small enough to watch: two layers for the mean colours of a picture, a table for the caption. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { assign, gelu, linear, losses, mul, randomNormal, requireGrad, scope, Tensor } from '#lib/entry/train.js';
import { writePng } from '#lib/image/png.js';
import type { Trainable, TrainSystem } from '#lib/nn/trainable.js';
import { Random } from '#lib/util/random.js';

const cells = 4;
const inputs = 3 * cells * cells;
const words = 64;

export interface ToyOptions {
  /** Numbers of an embedding. */
  readonly size?: () => number;
  /** Steps whose loss becomes NaN. */
  readonly badSteps?: (step: number) => boolean;
  /** The step after which a weight becomes infinite. */
  readonly breakAfter?: () => number;
  /** Whether a save at this moment meets a name that no disk takes. */
  readonly badSave?: () => boolean;
  readonly onPrepare?: (step: number, keys: readonly string[]) => void;
}

export const toySystem =
  ({ size, badSteps, badSave, breakAfter, onPrepare }: ToyOptions = {}): TrainSystem =>
  async ({ random }): Promise<Trainable> => {
    const width = size?.() ?? 16;
    const make = (name: string, shape: number[], deviation: number): Tensor =>
      requireGrad(randomNormal(shape, { seed: random.fork(name).bits(), deviation }));
    const parameters = new Map<string, Tensor>([
      ['image.fc1.weight', make('fc1', [width, inputs], 0.2)],
      ['image.fc1.bias', requireGrad(Tensor.from(new Float32Array(width)))],
      ['image.fc2.weight', make('fc2', [width, width], 0.2)],
      ['text.table', make('table', [width, words], 0.5)],
      ['scale', requireGrad(Tensor.from([2.5]))],
    ]);
    let updates = 0;
    const get = (name: string): Tensor => parameters.get(name) as Tensor;
    return {
      parameters,
      prepare: (samples, context) => {
        onPrepare?.(
          context.step,
          samples.map(({ key }) => key),
        );
        const pixels = new Float32Array(samples.length * inputs);
        const bags = new Float32Array(samples.length * words);
        samples.forEach(({ image, captions }, i) => {
          cellMeans(image, pixels.subarray(i * inputs, (i + 1) * inputs));
          // A little noise stands for augmentation: resume has to repeat it.
          for (let k = 0; k < inputs; k++) pixels[i * inputs + k]! += 0.01 * context.random.normal();
          for (const word of captions[0]!.split(' ')) bags[i * words + wordIndex(word)]! += 1;
        });
        return {
          pixels: { data: pixels, shape: [samples.length, inputs] },
          bags: { data: bags, shape: [samples.length, words] },
        };
      },
      losses: (batch, { step }) =>
        scope(() => {
          const pixels = Tensor.from(batch.pixels!.data, batch.pixels!.shape);
          const hidden = gelu(linear(pixels, get('image.fc1.weight'), { bias: get('image.fc1.bias') }));
          const image = linear(hidden, get('image.fc2.weight'));
          const text = linear(Tensor.from(batch.bags!.data, batch.bags!.shape), get('text.table'));
          const total = losses.contrastive(image, text, { logitScale: get('scale') });
          return { total: badSteps?.(step) ? mul(total, Tensor.scalar(Number.NaN)) : total };
        }),
      afterUpdate: () => {
        if (++updates !== breakAfter?.()) return;
        const broken = Tensor.from([Number.POSITIVE_INFINITY]);
        assign(get('scale'), broken);
        broken.dispose();
      },
      describe: () => ({ [badSave?.() ? 'x'.repeat(300) : 'toy.json']: '{"toy": true}\n' }),
      dispose: () => {
        for (const tensor of parameters.values()) tensor.dispose();
      },
    };
  };

function cellMeans(
  { data, width: w, height: h }: { data: Uint8Array; width: number; height: number },
  out: Float32Array,
): void {
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const cell = Math.floor((y * cells) / h) * cells + Math.floor((x * cells) / w);
      for (let c = 0; c < 3; c++)
        out[cell * 3 + c]! += ((data[(y * w + x) * 3 + c]! / 255 - 0.5) * 2 * cells * cells) / (w * h);
    }
}

function wordIndex(word: string): number {
  let hash = 7;
  for (let i = 0; i < word.length; i++) hash = (hash * 31 + word.charCodeAt(i)) % words;
  return hash;
}

const colours: readonly (readonly [string, readonly [number, number, number]])[] = [
  ['red', [220, 30, 30]],
  ['green', [30, 200, 40]],
  ['blue', [40, 50, 220]],
  ['yellow', [230, 220, 40]],
];

/** A folder of two-coloured pictures with captions.jsonl. */
export async function writePairs(folder: string, count: number, seed = 1): Promise<void> {
  await mkdir(folder, { recursive: true });
  const lines: string[] = [];
  for (let i = 0; i < count; i++) {
    const random = new Random(seed).fork(i);
    const [left, right] = [colours[i % 4]!, colours[(i >> 2) % 4]!];
    const data = new Uint8Array(8 * 8 * 3);
    for (let p = 0; p < 64; p++) {
      const [, rgb] = p % 8 < 4 ? left : right;
      rgb.forEach((value, c) => (data[p * 3 + c] = value + random.int(20)));
    }
    await writeFile(join(folder, `${i}.png`), await writePng({ data, width: 8, height: 8, kind: 'rgb' }));
    lines.push(JSON.stringify({ image: `${i}.png`, caption: `left ${left[0]} right${right[0]} number${i}` }));
  }
  await writeFile(join(folder, 'captions.jsonl'), `${lines.join('\n')}\n`);
}

/** A recipe for it; `changes` at the top level. */
export function toyRecipe(data: string, changes: Record<string, unknown> = {}) {
  return {
    system: 'toy',
    data: { kind: 'folder' as const, path: data },
    batch: 8,
    steps: 60,
    optimiser: { kind: 'adamw' as const, rate: 0.02 },
    schedule: { kind: 'cosine' as const, warmup: 5 },
    clip: 1,
    seed: 3,
    save: { every: 10, keep: 3 },
    log: { every: 1 },
    loader: { workers: 0, prefetch: 2 },
    ...changes,
  };
}
