/**
 * Values that an op refuses and that only its kernels can see: on a device the next await that depends on them gets the same error
 * as on the CPU, nobody else hears of it, and the device works on.
 */
import t from 'tap';
import {
  adamwStep,
  add,
  blend,
  classProbabilities,
  crossEntropy,
  denseCrfOp,
  fill,
  gather,
  normaliseImage,
  type OpCard,
  onDevice,
  opCards,
  run,
  scatterAdd,
  scope,
  scoreInit,
  scoreUpdate,
  selfAttention,
  sgdStep,
  sum,
  sync,
  Tensor,
  takeAlong,
  takeAlongBwd,
  windowMerge,
  windowPatches,
  windowUpsample,
} from '#lib/engine/index.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

const skip = noDevice();
t.setTimeout(600_000);

const card = (name: string) => opCards().get(name) as OpCard;
const ints = (values: readonly number[], shape?: readonly number[]) => Tensor.from(Int32Array.from(values), shape);
const floats = (values: readonly number[], shape?: readonly number[]) => Tensor.from(Float32Array.from(values), shape);
const image = () => Tensor.from(new Uint8Array(6 * 8 * 3).fill(9), [6, 8, 3]);
const thirds = () => floats([0.5, 0.5, 0.5]);
const merge = { canvas: [6, 8], window: [4, 4] } as const;
const scores = { scale: 1, sum: true, second: false, moment: false, topk: 0 };
const boxes = (...values: number[][]) => ints(values.flat(), [values.length, 4]);
const good = [0, 0, 4, 4];
const nan = (shape: readonly [number, number, number], ...places: number[]) => {
  const values = new Float32Array(shape[0] * shape[1] * shape[2]).fill(0.25);
  for (const place of places) values[place] = Number.NaN;
  return Tensor.from(values, shape);
};
const group = () => ({ parameters: fill([7], 1), moments: fill([2, 7], 0), sizes: ints([3, 4]) });
const adam = { scale: 1, beta1: 0.9, beta2: 0.99, keep: 1, rate: 0.1, correction: 1, eps: 1e-8 };

/** What each makes is refused on the current device, with this text on the CPU. */
const scenes: Record<string, [RegExp, () => Tensor, string?]> = {
  gather: [/index 3 at position 1 is outside 0\.\.2/, () => gather(fill([3, 5], 1), ints([0, 3, -7, 2]))],
  'gather, negative': [/index -1 at position 2 /, () => gather(fill([3, 8], 1, 'bf16'), ints([0, 1, -1, 9]))],
  scatter_add: [/index 4 at position 1 is outside 0\.\.3/, () => scatterAdd(fill([3, 2], 1), ints([0, 4, 9]), 4)],
  'scatter_add to nothing': [
    /index 0 at position 0 is outside 0\.\.-1/,
    () => scatterAdd(fill([2, 2], 1), ints([0, 0]), 0),
  ],
  take_along: [/index 5 at position 3 /, () => takeAlong(fill([2, 5], 1), ints([0, 4, 1, 5], [2, 2]))],
  take_along_bwd: [
    /index -2 at position 2 is outside 0\.\.3/,
    () => takeAlongBwd(fill([2, 2], 1), ints([0, 3, -2, 4], [2, 2]), 4),
  ],
  'take_along_bwd to nothing': [/index 1 at position 0 /, () => takeAlongBwd(fill([1, 1], 1), ints([1], [1, 1]), 0)],
  cross_entropy: [
    /target 3 of row 2 is outside 0\.\.2 \(ignored: -100\)/,
    () => crossEntropy(fill([4, 3], 1), ints([0, -100, 3, -1])),
  ],
  cross_entropy_bwd: [
    /target -1 of row 1 is outside 0\.\.1 \(ignored: 7\)/,
    () => run(card('cross_entropy_bwd'), [fill([3, 2], 1), ints([7, -1, 2]), fill([3], 1)], { ignore: 7 })[0] as Tensor,
  ],
  'adamw, too large': [
    /the sizes go beyond the flat buffer/,
    () => {
      const { parameters, moments } = group();
      adamwStep({ parameters, moments, half: undefined, sizes: ints([3, 5]) }, [fill([3], 1), fill([5], 1)], adam);
      return parameters;
    },
  ],
  'sgd, another size': [
    /tensor 1 must have 4 f32 elements, has 3 f32/,
    () => {
      const { parameters, sizes } = group();
      sgdStep({ parameters, momentum: fill([7], 0), sizes }, [fill([3], 1), fill([3], 1)], { rate: 0.1 });
      return parameters;
    },
  ],
  'blend, a part of nothing': [
    /tensor 0 must have 3 f32 elements, has 0 f32/,
    () => {
      const { parameters, sizes } = group();
      blend(parameters, sizes, [fill([0], 1), fill([4], 1)], { a: 0.5, b: 0.5 });
      return parameters;
    },
  ],
  'blend, too little': [
    /the sizes do not cover the flat buffer/,
    () => {
      const { parameters } = group();
      blend(parameters, ints([3, 3]), [fill([3], 1), undefined], { a: 0.5, b: 0.5 });
      return parameters;
    },
  ],
  window_patches: [
    /box 1 \(0, 5, 4, 9\) must be 4 x 4 inside 6 x 8/,
    () =>
      windowPatches(image(), boxes(good, [0, 5, 4, 9], [-1, 0, 3, 4]), thirds(), thirds(), {
        height: 4,
        width: 4,
        patch: 2,
      }),
  ],
  'window_patches, std': [
    /std must be positive, got -0\.25 for channel 1/,
    () => windowPatches(image(), boxes(good), thirds(), floats([1, -0.25, 0]), { height: 4, width: 4, patch: 2 }),
  ],
  normalise_image: [
    /std must be positive, got 0 for channel 2/,
    () => normaliseImage(image(), thirds(), floats([1, 2, 0])),
  ],
  window_upsample: [
    /box 1 \(2, 4, 6, 7\) must be 4 x 4 inside 6 x 8/,
    () => windowUpsample(fill([2, 3, 2, 2], 1), boxes(good, [2, 4, 6, 7]), merge),
  ],
  'window_upsample, padding': [
    /a box of 5 x 4 with its padding must lie inside the stretched map of 4 x 4/,
    () => windowUpsample(fill([1, 3, 2, 2], 1), boxes([0, 0, 5, 4]), merge),
  ],
  window_merge: [
    /query_class\[1\] must be -1\.\.2\^24, got -2/,
    () => windowMerge(scoreInit(6, 8), fill([1, 3, 2, 2], 1), boxes(good), ints([0, -2, 1 << 25]), merge, scores),
  ],
  score_update: [
    /query_class\[2\] must be -1\.\.2\^24, got 16777217/,
    () => scoreUpdate(scoreInit(3, 5), fill([3, 3, 5], 1), ints([0, -1, 16_777_217]), scores),
  ],
  class_probabilities: [
    /query_class\[1\] is 2, there are 2 classes/,
    () => classProbabilities(fill([3, 2, 2], 1), ints([0, 2, 5]), { scale: 1, classes: 2 }),
  ],
  self_attention: [
    /starts must rise from 0 to the 5 rows of qkv/,
    () => selfAttention(fill([1, 5, 96], 1), { heads: 1, starts: ints([0, 4, 3, 5]) }),
  ],
  self_attention_bwd: [
    /starts must rise from 0 to the 5 rows of qkv/,
    () =>
      run(card('self_attention_bwd'), [fill([1, 5, 96], 1), undefined, ints([0, 4]), fill([1, 5, 32], 1)], {
        heads: 1,
        scale: 0.1,
        causal: false,
      })[0] as Tensor,
  ],
  dense_crf: [
    /unary is NaN at class 1, y 2, x 3/,
    () => denseCrfOp(undefined, nan([3, 20, 21], 1 * 420 + 2 * 21 + 3, 2 * 420, 419 + 420), [], 0),
    'E_NUMERIC',
  ],
};

const failure = (work: () => Tensor): Promise<{ code: string; message: string }> =>
  scope(async () => {
    const result = work();
    // Something between the op and the reader.
    return await add(result, result)
      .data()
      .then(() => ({ code: 'none', message: 'none' }))
      .catch(({ code, message }) => ({ code, message }));
  });

for (const [name, [text, work, code]] of Object.entries(scenes)) {
  t.test(name, { skip }, async (t) => {
    const here = await failure(work);
    t.match(here, { code: code ?? 'E_OPTION', message: text });
    const other = Tensor.from([1, 2]).to(deviceUnderTest);
    const there = await onDevice(deviceUnderTest, () => failure(work));
    t.same(there, here);
    t.same([...(await add(other, 1).data())], [2, 3], 'the next call works');
    other.dispose();
  });
}

t.test('who asks, and who does not', { skip }, (t) =>
  onDevice(deviceUnderTest, () =>
    scope(async () => {
      const refused = { code: 'E_OPTION', message: /^gather: index 9 at position 0 / };
      const x = fill([3, 4], 2);
      const bad = gather(x, ints([9]));
      const fine = gather(x, ints([1]));
      const [one, two, three] = [sum(bad), add(bad, fine), add(fine, fine)];
      const reads = [one.item(), two.data(), sync(), three.data(), bad.to('cpu').data()];
      const settled = await Promise.allSettled(reads);
      t.same(
        settled.map(({ status }) => status),
        ['rejected', 'rejected', 'fulfilled', 'fulfilled', 'rejected'],
        'what comes of it, and nothing else',
      );
      for (const at of [0, 1, 4]) t.match((settled[at] as PromiseRejectedResult).reason, refused);
      await t.rejects(bad.data(), refused, 'the tensor itself');
      t.throws(() => add(bad, 1).dataSync(), refused, 'a call behind the wait is left out');
      await t.rejects(add(gather(x, ints([7])), bad).data(), refused, 'the first error goes on');
      // In place: the target is no value any more.
      const state = scoreInit(2, 2);
      scoreUpdate(state, fill([1, 2, 2], 1), ints([-5]), scores);
      await t.rejects(state.data(), { message: /query_class\[0\] must be/ });
    }),
  ),
);

t.test('without anybody waiting', { skip }, (t) =>
  onDevice(deviceUnderTest, () =>
    scope(async () => {
      const x = fill([3, 2], 1);
      const [right, wrong] = [ints([2]), ints([3])];
      let good = gather(x, right);
      let bad = gather(x, wrong);
      // More than the queue lets stand open.
      for (let i = 0; i < 400; i++) {
        good = add(gather(x, right), good);
        if (i % 20 === 0) bad = add(gather(x, i === 200 ? wrong : right), bad);
      }
      t.same([...(await good.data())], [401, 401]);
      await t.rejects(bad.data(), { code: 'E_OPTION', message: /index 3 at position 0 is outside 0\.\.2/ });
    }),
  ),
);
