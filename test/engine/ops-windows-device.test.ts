/** Window and image ops on a device: what no single sample shows. */
import t, { type Test } from 'tap';
import {
  classProbabilities,
  connectedComponents,
  type ResizeMode,
  resize,
  type ScoreOptions,
  scope,
  scoreInit,
  scoreUpdate,
  segmentStats,
  Tensor,
  windowMerge,
  windowPatches,
  windowUpsample,
} from '#lib/engine/index.js';
import { seeded } from '../helpers/samples.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

const skip = noDevice();
const scoped = (body: (t: Test) => Promise<void>) => (t: Test) => scope(() => body(t));
const normal = (name: string, ...shape: number[]): Tensor => {
  const next = seeded(name);
  return Tensor.from(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 6 * next() - 3),
    shape,
  );
};
const bytes = (name: string, ...shape: number[]): Tensor => {
  const next = seeded(name);
  return Tensor.from(
    Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 256 * next()),
    shape,
  );
};
const integers = (values: number[], ...shape: number[]): Tensor =>
  Tensor.from(Int32Array.from(values), shape.length > 0 ? shape : [values.length]);
const merge = { canvas: [14, 40], window: [9, 24], out: [17, 45] } as const;
const boxes = integers([0, 0, 9, 24, 5, 16, 14, 40, 5, 0, 14, 24], 3, 4);

t.test(
  'any cut of the vocabulary gives the bits of one pass',
  { skip },
  scoped(async (t) => {
    const there = (x: Tensor): Tensor => x.to(deviceUnderTest);
    const logits = there(normal('logits', 3, 11, 2, 3));
    const classes = [0, 1, -1, 2, 1, 0, 3, 3, 2, -1, 0];
    const options: ScoreOptions = { scale: 2.5, second: true, moment: true, topk: 2 };
    const empty = (): Tensor => there(scoreInit(17, 45, 2));
    const whole = await windowMerge(empty(), logits, there(boxes), there(integers(classes)), merge, options).data();
    const volume = windowUpsample(logits, there(boxes), merge);
    for (const cuts of [[11], [1, 11], [4, 5, 11]]) {
      let state = empty();
      let from = 0;
      for (const to of cuts) {
        state = scoreUpdate(state, volume.slice(0, from, to), there(integers(classes.slice(from, to))), options);
        from = to;
      }
      t.same(await state.data(), whole, `cut at ${cuts}`);
    }
  }),
);

t.test(
  'a box that does not fit is refused as on the cpu',
  { skip },
  scoped(async (t) => {
    const there = (x: Tensor): Tensor => x.to(deviceUnderTest);
    const logits = normal('logits', 1, 2, 2, 3);
    const mean = Tensor.from([1, 2, 3]);
    const picture = bytes('image', 14, 40, 3);
    const options = { height: 9, width: 24, patch: 4 };
    for (const box of [
      [0, 0, 9, 41],
      [-100000, 0, 9, 24],
      [6, 17, 15, 41],
    ]) {
      const wrong = integers(box, 1, 4);
      const refused = { code: 'E_OPTION', message: /box 0/ };
      await t.rejects(windowUpsample(logits, wrong, merge).data(), refused);
      await t.rejects(windowUpsample(there(logits), there(wrong), merge).data(), refused, `merged with ${box}`);
      await t.rejects(
        windowPatches(there(picture), there(wrong), there(mean), there(mean), options).data(),
        refused,
        `patches of ${box}`,
      );
    }
  }),
);

t.test(
  'images of any size resize to the same bytes as on the cpu',
  { skip },
  scoped(async (t) => {
    const modes: ResizeMode[] = [
      'pil_bilinear',
      'pil_bicubic',
      'opencv_linear',
      'opencv_area',
      'pil_nearest',
      'opencv_nearest',
    ];
    const next = seeded('sizes');
    const side = (): number => 1 + Math.floor(70 * next());
    for (let round = 0; round < 6; round++) {
      const image = bytes(`image ${round}`, side(), side(), 1 + (round % 4));
      const size = { width: side(), height: side() };
      for (const mode of modes) {
        const expected = await resize(image, { ...size, mode }).data();
        t.same(
          await resize(image.to(deviceUnderTest), { ...size, mode }).data(),
          expected,
          `${mode} ${image.shape} to ${size.width} x ${size.height}`,
        );
      }
    }
  }),
);

t.test(
  'regions have the numbers and measures of the cpu',
  { skip },
  scoped(async (t) => {
    const next = seeded('labels');
    for (const [height, width, classes] of [
      [60, 97, 2],
      [5, 400, 3],
      [129, 31, 1],
    ] as const) {
      const labels = Tensor.from(
        Uint8Array.from({ length: height * width }, () => classes * next()),
        [height, width],
      );
      for (const connectivity of [4, 8] as const) {
        const all = async (x: Tensor) => {
          const { components, count } = connectedComponents(x, { connectivity });
          const n = (await count.data())[0] as number;
          const { area, bbox, first } = segmentStats(components, n);
          return Promise.all([components, area, bbox, first].map((tensor) => tensor.data()));
        };
        t.same(await all(labels.to(deviceUnderTest)), await all(labels), `${height} x ${width}, ${connectivity}`);
      }
    }
  }),
);

t.test(
  'a softmax over more queries than a block can hold',
  { skip },
  scoped(async (t) => {
    const logits = normal('many', 2000, 1, 3);
    const classes = integers(Array.from({ length: 2000 }, (_, s) => (s * 7) % 5));
    const options = { scale: 3, classes: 5 };
    const expected = await classProbabilities(logits, classes, options).data();
    const seen = await classProbabilities(logits.to(deviceUnderTest), classes.to(deviceUnderTest), options).data();
    t.ok(seen.every((p, i) => Math.abs((p as number) - (expected[i] as number)) <= 1e-5 * (expected[i] as number)));
  }),
);
