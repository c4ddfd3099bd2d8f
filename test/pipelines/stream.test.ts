/** Streams: order, how far the source is read ahead, failures, and leaving early. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import type { ImageInput } from '#lib/image/decode.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import type { StreamOptions } from '#lib/pipelines/stream.js';
import { clipTinyFolder, needsData } from '../helpers/data.js';
import { heldBytes } from '../helpers/memory.js';
import { differences, waves } from '../helpers/pictures.js';

t.setTimeout(300_000);

const folder = needsData.skip ? '' : await clipTinyFolder();
const small: SegmentOptions = { shortSide: 64, crop: 32, stride: 16, refine: 'none' };
const sizes = [
  [200, 160],
  [20, 20],
  [90, 70],
  [10, 30],
  [150, 60],
  [30, 30],
] as const;

t.test('order and results', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const labels = ['cat', 'dog', 'sky'];
  const pictures = sizes.map(([w, h], i) => waves(w, h, i));
  const alone = await Promise.all(pictures.map((picture) => model.segment(picture, labels, small)));
  for (const batch of [1, 'auto', 4, 64] as const) {
    const seen: number[] = [];
    for await (const result of model.stream(pictures, labels, { ...small, batch } as StreamOptions)) {
      if (!result.ok) throw result.error;
      seen.push(result.index);
      t.equal(result.input, pictures[result.index]);
      t.same(differences(result.value, alone[result.index] as never), [], `batch ${batch}, picture ${result.index}`);
    }
    t.same(seen, [0, 1, 2, 3, 4, 5]);
  }
  const anyOrder: number[] = [];
  for await (const result of model.stream(pictures, labels, { ...small, batch: 6, ordered: false } as StreamOptions))
    anyOrder.push(result.index);
  t.same([...anyOrder].sort(), [0, 1, 2, 3, 4, 5]);
  t.ok((await model.stream([], labels, small as StreamOptions).next()).done);
  await model.dispose();
});

t.test('the source is read as fast as results are taken', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  for (const [batch, most] of [
    [1, 1],
    ['auto', 2],
    [5, 5],
  ] as const) {
    let given = 0;
    let taken = 0;
    let ahead = 0;
    let closed = false;
    async function* source(): AsyncGenerator<ImageInput> {
      try {
        for (let i = 0; i < 14; i++) {
          given++;
          ahead = Math.max(ahead, given - taken);
          yield waves(20, 20, i);
        }
      } finally {
        closed = true;
      }
    }
    for await (const result of model.stream(source(), ['cat'], { ...small, batch } as StreamOptions)) {
      await delay(5);
      t.ok(result.ok);
      taken++;
      if (taken === 9) break;
    }
    t.ok(
      ahead <= most + 1 && given < 9 + most + 2,
      `batch ${batch}: at most ${ahead} ahead, ${given} given for 9 taken`,
    );
    t.ok(closed, 'leaving early closes the source');
  }
  await model.dispose();
});

t.test('failures', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const inputs: ImageInput[] = [
    waves(20, 20),
    new Uint8Array([1, 2, 3]),
    waves(20, 20, 2),
    '/nowhere/at all.png',
    waves(0, 5),
    waves(20, 20, 3),
  ];
  const codes: (string | undefined)[] = [];
  for await (const result of model.stream(inputs, ['cat'], small as StreamOptions))
    codes.push(result.ok ? undefined : result.error.code);
  t.same(codes, [undefined, 'E_IMAGE_FORMAT', undefined, 'E_USAGE', codes[4], undefined]);
  t.match(codes[4], /^E_(IMAGE_SIZE|USAGE)$/);
  const before: number[] = [];
  await t.rejects(
    async () => {
      for await (const result of model.stream(inputs, ['cat'], { ...small, onError: 'throw' } as StreamOptions))
        before.push(result.index);
    },
    { code: 'E_IMAGE_FORMAT' },
  );
  t.same(before, [0]);
  for (const [args, code] of [
    [[[], ['cat'], { batch: 0 }], 'E_OPTION'],
    [[[], ['cat'], { batch: 65 }], 'E_OPTION'],
    [[[], ['cat'], { onError: 'ignore' }], 'E_OPTION'],
    [[[], ['cat'], { ordred: true }], 'E_OPTION'],
    [[7, ['cat'], {}], 'E_USAGE'],
    [['abc', ['cat'], {}], 'E_USAGE'],
    [[[], [], {}], 'E_VOCAB'],
  ] as const) {
    await t.rejects(
      model.stream(...(args as unknown as Parameters<typeof model.stream>)).next(),
      { code },
      JSON.stringify(args),
    );
  }
  await t.rejects(
    async () => {
      function* broken(): Generator<ImageInput> {
        yield waves(10, 10);
        throw new RangeError('mine');
      }
      for await (const result of model.stream(broken(), ['cat'], small as StreamOptions)) t.ok(result.ok);
    },
    RangeError,
    "an error of the source is the caller's own",
  );
  await model.dispose();
});

t.test('aborts', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  await model.segment(waves(20, 20), ['cat'], small);
  const held = await heldBytes();
  for (const onError of ['yield', 'throw'] as const) {
    const controller = new AbortController();
    const reason = new RangeError('mine');
    let seen = 0;
    await t.rejects(async () => {
      for await (const result of model.stream(
        Array.from({ length: 50 }, (_, i) => waves(120, 90, i)),
        ['cat'],
        { ...small, onError, signal: controller.signal } as StreamOptions,
      )) {
        t.ok(result.ok);
        if (++seen === 3) controller.abort(reason);
      }
    }, reason);
    t.equal(seen, 3);
  }
  const controller = new AbortController();
  let asked = 0;
  const stuck: AsyncIterable<ImageInput> = {
    [Symbol.asyncIterator]: () => ({
      next: () =>
        asked++ === 0 ? Promise.resolve({ done: false, value: waves(10, 10) }) : new Promise<never>(() => undefined),
    }),
  };
  const stream = model.stream(stuck, ['cat'], { ...small, batch: 1, signal: controller.signal } as StreamOptions);
  t.ok((await stream.next()).value?.ok);
  const waiting = stream.next();
  await delay(20);
  controller.abort('mine');
  t.equal(await waiting.catch((error) => error), 'mine', 'a source that gives nothing is left alone');
  await t.rejects(
    model.stream([], ['cat'], { signal: AbortSignal.abort(new RangeError('gone')) } as StreamOptions).next(),
    RangeError,
  );
  for (let i = 0; i < 50 && (await heldBytes()) !== held; i++) await delay(10);
  t.equal(await heldBytes(), held);
  await model.dispose();
});
