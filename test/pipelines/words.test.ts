/** Which words take part in a call and what its planes may hold; streams whose source waits for results. */
import t from 'tap';
import type { ImageInput } from '#lib/image/decode.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { miniFolder } from '../helpers/fixture.js';
import { differences, waves } from '../helpers/pictures.js';

const small = { shortSide: 32, crop: 0, refine: 'none', templates: ['a {}.'] } as const;
const names = ['cat', 'dog', 'tree', 'sky'];
const nothing = 255;
let opened: Promise<Model> | undefined;
const mini = () => (opened ??= open(`naclip:${miniFolder()}`));
t.teardown(async () => (await opened)?.dispose());

t.test('background words given with the call', async (t) => {
  const model = await mini();
  const picture = waves(60, 44, 3);
  const policy = { mode: 'prompts', prompts: ['sea', 'road', 'wall', 'car', 'door', 'hat', 'cup', 'hand'] };
  const with5 = Vocabulary.from(names, { background: policy as never });
  const options = { ...small, outputs: ['score', 'topk'] as never, k: 6 };
  const fixed = await model.segment(picture, with5, options);
  const given = await model.segment(picture, names, { ...options, background: policy });
  t.same(differences(fixed, given), [], 'as if the vocabulary had them');
  t.equal(given.provenance.vocabulary, fixed.provenance.vocabulary);
  t.ok(fixed.labels.includes(nothing), 'some pixels are background');
  t.ok(
    [...((fixed.topk?.data ?? [9]) as Int32Array)].every((label) => label >= -1 && label < names.length),
    'topk names labels or nothing',
  );
  t.same(
    differences(
      await model.segment(picture, with5, { ...options, background: 'none' }),
      await model.segment(picture, names, { ...options, background: 'none' }),
    ),
    [],
    'and they go when the call says so',
  );
  t.equal(
    model.plan(60, 44, with5, options).deviceBytes,
    model.plan(60, 44, Vocabulary.from(names), { ...options, background: policy }).deviceBytes,
  );
});

t.test('background words of a marked label stay single under the mean ensemble', async (t) => {
  const model = await mini();
  const picture = waves(60, 44, 4);
  const background = { mode: 'prompts', prompts: ['sea', 'road'] } as never;
  const marked = Vocabulary.from([...names, { name: 'rest', background: true }], { background, ensemble: 'mean' });
  const plain = Vocabulary.from(names, { background, ensemble: 'mean' });
  const [a, b] = [await model.segment(picture, marked, small), await model.segment(picture, plain, small)];
  t.ok(a.labels.every((label, i) => label === (b.labels[i] === nothing ? names.length : b.labels[i])));
});

t.test('a restriction leaves the marked background out', async (t) => {
  const model = await mini();
  const picture = waves(60, 44, 5);
  const vocab = Vocabulary.from([...names, { name: 'rest', background: true }], {
    background: { mode: 'threshold', value: 0.95 },
  });
  const of = async (labels?: string[]) =>
    new Set((await model.segment(picture, vocab, { ...small, ...(labels && { labels }) })).labels);
  t.ok((await of()).has(4));
  t.ok(!(await of(['cat', 'dog'])).has(4), 'below the threshold is nothing then');
  t.ok((await of(['cat', 'dog', 'REST'])).has(4), 'unless it is named');
  t.same((await model.segment(picture, vocab, { ...small, labels: ['cat'] })).provenance.options, {
    ...((await model.segment(picture, vocab, small)).provenance.options as object),
    labels: ['cat'],
  });
});

t.test('the area rule knows its background', async (t) => {
  const model = await mini();
  const picture = waves(60, 44, 6);
  const first = await model.segment(
    picture,
    Vocabulary.from([{ name: 'rest', prompts: ['sea'], background: true }, ...names]),
    { ...small, areaThreshold: 0.5 },
  );
  const last = await model.segment(
    picture,
    Vocabulary.from([...names, { name: 'rest', prompts: ['sea'], background: true }]),
    { ...small, areaThreshold: 0.5 },
  );
  t.ok(
    first.labels.every((label, i) => label === [1, 2, 3, 4, 0][last.labels[i] as number]),
    'wherever it stands in the list',
  );
});

t.test('values out of range', async (t) => {
  const model = await mini();
  const picture = waves(60, 44, 7);
  for (const outputs of [[], ['score', 'topk'], ['probabilities']]) {
    await t.rejects(model.segment(picture, names, { ...small, std: [1e-38, 1, 1], outputs: outputs as never }), {
      code: 'E_NUMERIC',
      message: /not finite/,
    });
  }
  await model.segment(picture, names, small);
  using features = await model.encode(picture, { ...small, maxSide: 30 });
  await model.segment(features, names, small);
  await t.rejects(model.segment(features, names, { ...small, maxSide: 20 }), { code: 'E_OPTION', message: /maxSide/ });
});

t.test('streams', async (t) => {
  const model = await mini();
  const seen: number[] = [];
  async function* dialogue(): AsyncGenerator<ImageInput> {
    for (let i = 0; i < 4; i++) {
      // The next question comes with the last answer.
      while (seen.length < i) await new Promise((resolve) => setTimeout(resolve, 1));
      yield waves(40, 40, i + 1);
    }
  }
  for await (const result of model.stream(dialogue(), names, small)) {
    t.ok(result.ok);
    seen.push(result.index);
  }
  t.same(seen, [0, 1, 2, 3], 'a source that waits for results gets them');

  let closed = false;
  function* endless(): Generator<ImageInput> {
    try {
      for (;;) yield waves(40, 40, 1);
    } finally {
      closed = true;
    }
  }
  for await (const result of model.stream(endless(), names, { ...small, batch: 4, ordered: false })) {
    t.ok(result.ok);
    break;
  }
  t.ok(closed, 'the source is told when the consumer stops');
  function* broken(): Generator<ImageInput> {
    yield waves(40, 40, 1);
    throw new RangeError('mine');
  }
  await t.rejects(
    (async () => {
      for await (const _ of model.stream(broken(), names, small))
        await new Promise((resolve) => setTimeout(resolve, 5));
    })(),
    RangeError,
  );
  const controller = new AbortController();
  const silent = model.stream(
    (async function* (): AsyncGenerator<ImageInput> {
      await new Promise(() => {});
      yield waves(4, 4);
    })(),
    names,
    { ...small, signal: controller.signal },
  );
  setTimeout(() => controller.abort(new RangeError('enough')), 20);
  await t.rejects(silent.next(), RangeError);
});
