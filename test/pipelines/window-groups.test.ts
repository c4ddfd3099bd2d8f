/** Windows of several pictures in one group: nobody sees the others, whoever comes, goes or fails. */
import t, { type Test } from 'tap';
import { Tensor } from '#lib/engine/index.js';
import type { Model } from '#lib/pipelines/model.js';
import { checkSegmentOptions, type SegmentOptions } from '#lib/pipelines/segment-options.js';
import type { Segmentation } from '#lib/pipelines/segmentation.js';
import type { StreamOptions } from '#lib/pipelines/stream.js';
import { WordmaskError } from '#lib/util/errors.js';
import { needsData } from '../helpers/data.js';
import { heldBytes } from '../helpers/memory.js';
import { disposeModels, list, modelOf, small } from '../helpers/models.js';
import { differences, waves } from '../helpers/pictures.js';

t.setTimeout(120_000);
t.teardown(disposeModels);

/** One window a picture, of one size. */
const single: SegmentOptions = { shortSide: 32, crop: 32, stride: 16, refine: 'none', outputs: ['score', 'margin'] };
const labels = list(['cat', 'dog', 'sky']);

/** Sees what the encoder is given. */
async function watched<T>(
  model: Model,
  fn: (groups: number[]) => Promise<T>,
  before: (windows: number) => void = () => {},
): Promise<T> {
  const encoder = model.dense.parts.system.encoder as { encode: (rows: Tensor, ...rest: never[]) => unknown };
  const { encode } = encoder;
  const groups: number[] = [];
  encoder.encode = (rows, ...rest) => {
    before(rows.shape[0] as number);
    groups.push(rows.shape[0] as number);
    return encode(rows, ...rest);
  };
  try {
    return await fn(groups);
  } finally {
    encoder.encode = encode;
  }
}

const total = (groups: readonly number[]) => groups.reduce((sum, group) => sum + group, 0);

async function alone(model: Model, pictures: ReturnType<typeof waves>[], options: SegmentOptions) {
  const results: Segmentation[] = [];
  for (const picture of pictures) results.push(await model.segment(picture, labels, options));
  return results;
}

function sameAs(t: Test, results: readonly Segmentation[], wanted: readonly Segmentation[], what: string): void {
  results.forEach((result, i) => t.same(differences(result, wanted[i] as Segmentation), [], `${what}, picture ${i}`));
}

t.test('calls side by side share groups and give the same bytes', needsData, async (t) => {
  for (const system of ['naclip', 'maskclip']) {
    const model = await modelOf(system);
    const options = { ...single, ...(system === 'maskclip' && { keySmoothing: 0.5 }) };
    const pictures = Array.from({ length: 20 }, (_, i) => waves(32, 32, i));
    const wanted = await alone(model, pictures, options);
    const held = await heldBytes();
    await watched(model, async (groups) => {
      const together = await Promise.all(pictures.map((picture) => model.segment(picture, labels, options)));
      sameAs(t, together, wanted, system);
      t.equal(total(groups), 20);
      t.ok(groups.length < 12 && Math.max(...groups) === 8, `groups of ${groups}`);
    });
    t.equal(await heldBytes(), held);
    await watched(model, async (groups) => {
      const kept = await Promise.all(pictures.map((picture) => model.encode(picture, options)));
      t.ok(groups.length < 12, `groups of ${groups}`);
      const own = await model.encode(pictures[0] as never, options);
      const bytes = own.bytes;
      own.dispose();
      t.ok((await heldBytes()) - held <= 20 * 2 * bytes, 'features kept do not keep those of others');
      const asked = await Promise.all(kept.map((features) => model.segment(features, labels, options)));
      sameAs(t, asked, wanted, `${system}, encoded before`);
      for (const features of kept) features.dispose();
    });
    t.equal(await heldBytes(), held);
  }
});

t.test('large and small pictures, other settings', needsData, async (t) => {
  const model = await modelOf('naclip');
  const pictures = Array.from({ length: 14 }, (_, i) => (i % 3 === 1 ? waves(150, 60 + i, i) : waves(32, 32, i)));
  const kinds: SegmentOptions[] = [
    single,
    { ...single, shortSide: 48 },
    { ...single, sigma: 2 },
    { ...single, attention: 'vanilla', residual: true, ffn: true },
  ];
  const optionsOf = (i: number) => kinds[Math.floor(i / 2) % kinds.length] as SegmentOptions;
  const wanted: Segmentation[] = [];
  for (const [i, picture] of pictures.entries()) wanted.push(await model.segment(picture, labels, optionsOf(i)));
  await watched(model, async (groups) => {
    const calls = pictures.map((picture, i) => model.segment(picture, labels, optionsOf(i)));
    sameAs(t, await Promise.all(calls), wanted, 'mixed');
    t.ok(groups.every((group) => group <= 8));
  });
});

t.test('streams fill groups', needsData, async (t) => {
  const model = await modelOf('naclip');
  const pictures = Array.from({ length: 40 }, (_, i) => waves(32, 32, i));
  const wanted = await alone(model, pictures, single);
  for (const batch of ['auto', 1, 16] as const) {
    await watched(model, async (groups) => {
      const results: Segmentation[] = [];
      for await (const result of model.stream(pictures, labels, { ...single, batch } as StreamOptions)) {
        if (!result.ok) throw result.error;
        results.push(result.value);
      }
      sameAs(t, results, wanted, `batch ${batch}`);
      t.equal(results.length, 40);
      t.equal(total(groups), 40);
      if (batch === 1) t.same(groups, Array(40).fill(1));
      else t.ok(Math.max(...groups) >= 4 && groups.length < 25, `batch ${batch}: groups of ${groups}`);
    });
  }
});

t.test('large pictures among small ones wait decoded', needsData, async (t) => {
  const model = await modelOf('naclip');
  const sizes = [...Array(10).fill([32, 32]), ...Array(6).fill([3200, 2700]), ...Array(4).fill([40, 20])] as [
    number,
    number,
  ][];
  const pictures = sizes.map(([width, height]) => ({
    data: new Uint8Array(width * height * 3).fill(99),
    width,
    height,
    channels: 3 as const,
  }));
  const canvas = { ...single, outputs: ['labels'] as const };
  let [inWork, most] = [0, 0];
  const encode = model.dense.windows.encode.bind(model.dense.windows);
  model.dense.windows.encode = async (request) => {
    const large = request.plan.original.width > 1000 ? 1 : 0;
    inWork += large;
    most = Math.max(most, inWork);
    try {
      return await encode(request);
    } finally {
      inWork -= large;
    }
  };
  try {
    const seen: number[] = [];
    for await (const result of model.stream(pictures, labels, canvas as StreamOptions)) {
      if (!result.ok) throw result.error;
      seen.push(result.value.width);
    }
    t.same(
      seen,
      sizes.map(([width]) => width),
    );
    t.ok(most >= 1 && most <= 2, `at most ${most} large pictures at once`);
    const outcomes: boolean[] = [];
    for await (const result of model.stream(pictures, labels, { ...canvas, timeoutMs: 30 } as StreamOptions))
      outcomes.push(result.ok);
    t.equal(outcomes.length, pictures.length, 'pictures whose time is up leave their place');
  } finally {
    model.dense.windows.encode = encode;
  }
});

t.test('priority decides who goes first', needsData, async (t) => {
  const model = await modelOf('naclip');
  const order: string[] = [];
  const call = async (width: number, height: number, sigma: number, priority?: number) => {
    const { common, system } = checkSegmentOptions({ ...small, sigma }, model.dense.optionRules);
    const options = model.dense.options(system, common.preset);
    const plan = model.dense.parts.system.plan(width, height, options);
    const canvas = Tensor.from(new Uint8Array(plan.canvas.width * plan.canvas.height * 3).fill(99), [
      plan.canvas.height,
      plan.canvas.width,
      3,
    ]);
    const dense = await model.dense.windows.encode({ canvas, plan, options, groupSize: 8, priority });
    order.push(`${priority}`);
    for (const tensor of [canvas, dense.features]) tensor.dispose();
  };
  // All are in the queue before the first group has run. Other settings: groups of their own.
  await Promise.all([
    call(400, 300, 9, 1),
    ...[0, undefined, -1, 5, 2, 5].map((priority, i) => call(64, 64, 1 + i, priority)),
  ]);
  t.same(
    order.filter((priority) => priority !== '1'),
    ['5', '5', '2', '0', 'undefined', '-1'],
  );
  await t.rejects(model.encode(waves(64, 64), { priority: 'high' as never }), {
    code: 'E_OPTION',
    message: /priority/,
  });
});

t.test('who gives up leaves the others alone', needsData, async (t) => {
  const model = await modelOf('naclip');
  const pictures = Array.from({ length: 16 }, (_, i) => waves(32, 32, i));
  const wanted = await alone(model, pictures, single);
  const held = await heldBytes();
  for (let round = 0; round < 12; round++) {
    const controllers = pictures.map(() => new AbortController());
    const calls = pictures.map((picture, i) =>
      model
        .segment(picture, labels, { ...single, signal: (controllers[i] as AbortController).signal })
        .catch((error) => error),
    );
    for (let turns = 0; turns < round; turns++) await new Promise((resolve) => setImmediate(resolve));
    const all = round % 4 === 3;
    const reason = new RangeError(`round ${round}`);
    controllers.forEach((controller, i) => {
      if (all || i % 3) controller.abort(reason);
    });
    (await Promise.all(calls)).forEach((result, i) => {
      if (result === reason && (all || i % 3)) return;
      t.same(differences(result, wanted[i] as Segmentation), [], `round ${round}, picture ${i}`);
    });
  }
  t.equal(await heldBytes(), held);
});

t.test('failures', needsData, async (t) => {
  const model = await modelOf('naclip');
  const pictures = Array.from({ length: 12 }, (_, i) => waves(32, 32, i));
  const wanted = await alone(model, pictures, single);
  const held = await heldBytes();
  const calls = () => Promise.allSettled(pictures.map((picture) => model.segment(picture, labels, single)));
  await watched(
    model,
    async () => {
      for (const outcome of await calls()) {
        if (outcome.status === 'rejected') throw outcome.reason;
        const retreated = outcome.value.warnings.some((warning) =>
          /4 windows encoded at once instead of 8/.test(warning),
        );
        t.equal(retreated, outcome.value.warnings.length > 0);
      }
      sameAs(
        t,
        (await calls()).map((outcome) => (outcome as PromiseFulfilledResult<Segmentation>).value),
        wanted,
        'retreat',
      );
    },
    (windows) => {
      if (windows > 4) throw new WordmaskError('E_OOM', 'no room');
    },
  );
  await watched(
    model,
    async () => {
      for (const outcome of await calls()) t.match(outcome, { status: 'rejected', reason: { code: 'E_INTERNAL' } });
    },
    () => {
      throw new WordmaskError('E_INTERNAL', 'broken');
    },
  );
  sameAs(
    t,
    (await calls()).map((outcome) => (outcome as PromiseFulfilledResult<Segmentation>).value),
    wanted,
    'after',
  );
  t.equal(await heldBytes(), held);
});
