/**
 * What a matching model in training finds in pairs that it does not learn from: the right caption of each picture among a hundred by
 * the contrastive side, and how often the match head tells pairs from wrong ones: from the wrong caption that is most alike, and
 * from any.
 */
import { add, argmax, l2Normalise, matmul, noGrad, scope, Tensor } from '../../engine/index.js';
import type { HeldOut, PairSample } from '../../nn/trainable.js';
import { Random } from '../../util/random.js';
import type { BlipTrainable } from './train.js';
import { type BatchPlan, prepareBatch } from './train-batch.js';

/** Captions among which the right one is looked for, and pictures in work at once. */
const among = 100;

export interface BlipTest {
  readonly plan: BatchPlan;
  readonly compute: 'f32' | 'bf16';
  readonly heldOut: HeldOut;
}

/**
 * Shares from 0 to 1: `retrieval`; `matching`, answers of the match head that are right on pairs and on the wrong pairs most
 * alike, as many of each; `matchingAny`, the same with the caption of the next picture.
 */
export async function testBlip(model: BlipTrainable, test: BlipTest): Promise<Record<string, number>> {
  const { samples } = test.heldOut;
  const sums = { retrieval: 0, matching: 0, matchingAny: 0 };
  let count = 0;
  for (let at = 0; at < samples.length; at += among) {
    const group = samples.slice(at, at + among);
    if (group.length < 2) break;
    const found = await answers(model, test, group);
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += found[key];
    count += group.length;
  }
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, count > 0 ? sum / count : 0]));
}

/** Numbers of right answers, of `samples.length` each. */
async function answers(
  model: BlipTrainable,
  { plan, compute }: BlipTest,
  samples: readonly PairSample[],
): Promise<{ retrieval: number; matching: number; matchingAny: number }> {
  // All patches, and one stream of random numbers: pictures that need a crop get the same one each time.
  const context = { step: 1, steps: 1, part: 0, random: new Random(0).fork('test'), compute };
  const first = samples.map((sample) => ({ ...sample, captions: sample.captions.slice(0, 1) }));
  const batch = await prepareBatch(first, { ...plan, patches: 1, lists: undefined }, context);
  const size = samples.length;
  const own = Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? -4 : 0));
  const [nearest, fits] = await scope(() =>
    noGrad(() => {
      const { tokens, image, text } = model.sides(batch);
      const cosines = matmul(l2Normalise(image), l2Normalise(text), { transposeB: true }); // [B, B]
      const texts = argmax(add(cosines, Tensor.from(own, [size, size])));
      const images = Tensor.from(Int32Array.from({ length: size }, (_, i) => (i + 1) % size));
      const logits = model.match(batch, tokens, { texts, images }); // [3B, 2]
      return Promise.all([argmax(cosines).data(), argmax(logits).data()]);
    }),
  );
  const right = (from: number, want: number): number =>
    (fits as Int32Array).subarray(from, from + size).reduce((sum, answer) => sum + Number(answer === want), 0);
  const pairs = right(0, 1);
  return {
    retrieval: (nearest as Int32Array).reduce((sum, caption, i) => sum + Number(caption === i), 0),
    matching: (pairs + right(size, 0)) / 2,
    matchingAny: (pairs + right(2 * size, 0)) / 2,
  };
}
