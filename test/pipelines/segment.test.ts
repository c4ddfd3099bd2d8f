/** `segment` from the outside: what must not change the result, what must, and how the planes fit each other. */
import t, { type Test } from 'tap';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import type { Segmentation } from '#lib/pipelines/segmentation.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { connectedComponents } from '#lib/post/arrays.js';
import { needsData } from '../helpers/data.js';
import { disposeModels, everything, list, modelOf, small, withBudget } from '../helpers/models.js';
import { differences, waves, words } from '../helpers/pictures.js';

t.setTimeout(300_000);
t.teardown(disposeModels);

t.test('chunks and bands change no bit', needsData, async (t) => {
  const picture = waves(75, 90);
  for (const [system, extra] of [
    ['naclip', {}],
    ['maskclip', { keySmoothing: 0.5, promptDenoising: 0.1 }],
    ['sclip', { size: 40 }],
  ] as const) {
    const model = await modelOf(system);
    for (const count of [1, 7, 300, 900]) {
      const vocab = list(words(count));
      const options: SegmentOptions = { ...small, ...extra, outputs: ['score', 'margin', 'entropy', 'topk'], k: 3 };
      const whole = await model.segment(picture, vocab, options);
      // 16 rows and one query at once; 16 rows and many; a few bands.
      for (const budget of count <= 7 ? [1, 1 << 16, 1 << 18] : [1 << 16, 1 << 18]) {
        const cut = await withBudget(model, budget, () => model.segment(picture, vocab, options));
        t.same(differences(whole, cut), [], `${system}, ${count} labels, budget ${budget}`);
      }
      t.same(
        differences(whole, await model.segment(picture, vocab, { ...options, tile: 7 })),
        [],
        `${system}, ${count} labels, 7 rows at once`,
      );
    }
  }
});

t.test('PAMR in bands changes no bit', needsData, async (t) => {
  const model = await modelOf('naclip');
  const picture = waves(60, 150);
  const refine = { name: 'pamr' as const, steps: 3, dilations: [1, 3] };
  for (const count of [1, 7, 60]) {
    const options: SegmentOptions = { ...small, refine, outputs: ['score', 'margin', 'topk'] };
    const vocab = list(words(count));
    const whole = await model.segment(picture, vocab, options);
    for (const budget of [1, 1 << 18]) {
      const cut = await withBudget(model, budget, () => model.segment(picture, vocab, options));
      t.same(differences(whole, cut), [], `${count} labels, budget ${budget}`);
    }
    const plain = await model.segment(picture, vocab, small);
    if (count > 1) t.notSame(differences(plain, whole), [], 'and it does something');
  }
});

t.test('planes fit each other', needsData, async (t) => {
  for (const system of ['clip', 'naclip', 'sclip', 'clearclip', 'maskclip']) {
    const model = await modelOf(system);
    const vocab = Vocabulary.from(['cat', 'dog', 'tree', 'sky', 'sea'], { templates: 'none' });
    for (const refine of ['none', { name: 'pamr', steps: 2, dilations: [1, 2] }] as const) {
      const result = await model.segment(waves(50, 41, 2), vocab, {
        ...small,
        refine: refine as SegmentOptions['refine'],
        outputs: everything,
        k: 5,
      });
      checkPlanes(t, result, `${system} ${JSON.stringify(refine)}`);
    }
  }
});

function checkPlanes(t: Test, result: Segmentation, name: string): void {
  const { width, height, labels } = result;
  const pixels = width * height;
  const classes = result.vocab.labels.length;
  const p = result.probabilities?.data as Float32Array;
  const plane = (key: 'score' | 'margin' | 'entropy') => result[key]?.data as Float32Array;
  t.same(result.probabilities?.shape, [classes, height, width]);
  t.same(result.topk?.shape, [5, height, width]);
  const worst = { score: 0, margin: 0, entropy: 0, sum: 0, topk: 0 };
  let wrong = 0;
  for (let i = 0; i < pixels; i++) {
    const column = Array.from({ length: classes }, (_, c) => p[c * pixels + i] as number);
    const [first = 0, second = 0] = [...column].sort((a, b) => b - a);
    // A tie may go either way in the volume.
    if ((column[labels[i] as number] as number) < first - 1e-6) wrong++;
    if (result.topk?.data[i] !== labels[i]) wrong++;
    const entropy = -column.reduce((total, x) => total + (x > 0 ? x * Math.log(x) : 0), 0);
    const far = (key: keyof typeof worst, value: number) => void (worst[key] = Math.max(worst[key], Math.abs(value)));
    far('score', (plane('score')[i] as number) - first);
    far('margin', (plane('margin')[i] as number) - (first - second));
    far('entropy', (plane('entropy')[i] as number) - entropy);
    far('sum', column.reduce((a, b) => a + b, 0) - 1);
    for (let k = 0; k < 5; k++)
      far(
        'topk',
        (result.topkScores?.data[k * pixels + i] as number) - ([...column].sort((a, b) => b - a)[k] as number),
      );
  }
  t.equal(wrong, 0, `${name}: labels are the best of the volume and the first of topk`);
  for (const [key, error] of Object.entries(worst))
    t.ok(error < 2e-5, `${name}: ${key} off by ${error.toExponential(1)}`);
  const areas = result.segments.reduce((total, segment) => total + (segment.area ?? 0), 0);
  t.equal(areas, pixels, `${name}: segments cover the picture`);
  for (const segment of result.segments) {
    t.equal(labels.filter((label) => label === segment.label).length, segment.area);
    t.ok(
      segment.mask.toBitmap().every((on, i) => (on === 1) === (labels[i] === segment.label)),
      `${name}: mask of label ${segment.label}`,
    );
    const mean =
      plane('score').reduce((total, x, i) => (labels[i] === segment.label ? total + x : total), 0) /
      (segment.area ?? 0);
    t.ok(Math.abs(mean - (segment.score as number)) < 1e-6);
  }
}

t.test('several prompts: max of probabilities, mean of features', needsData, async (t) => {
  const model = await modelOf('naclip');
  const picture = waves(48, 40, 3);
  const labels = [
    { name: 'pet', prompts: ['cat', 'dog'] },
    { name: 'plant', prompts: ['tree', 'bush', 'grass'] },
    'sky',
  ];
  const flat = ['cat', 'dog', 'tree', 'bush', 'grass', 'sky'];
  const options: SegmentOptions = { ...small, outputs: ['score', 'probabilities'] };
  const joined = await model.segment(picture, Vocabulary.from(labels, { templates: 'none' }), options);
  const single = await model.segment(picture, list(flat), options);
  const owner = [0, 0, 1, 1, 1, 2];
  t.ok(
    joined.labels.every((label, i) => label === owner[single.labels[i] as number]),
    'the winner is the owner of the best prompt',
  );
  // NACLIP's probabilities are divided by their sum where a label has several prompts: order and winner stay.
  t.ok(joined.score?.data.every((x, i) => x >= (single.score?.data[i] as number) - 1e-6));
  const plain = await model.segment(picture, Vocabulary.from(labels, { templates: 'none' }), {
    ...options,
    renormalise: false,
  });
  t.ok(
    plain.score?.data.every((x, i) => Math.abs(x - (single.score?.data[i] as number)) < 1e-6),
    'without that they are the maximum itself',
  );

  const mean = await model.segment(picture, Vocabulary.from(labels, { templates: 'none', ensemble: 'mean' }), {
    ...options,
  });
  t.ok(
    mean.labels.some((label, i) => label !== joined.labels[i]),
    'means of features are another question',
  );
  t.ok(
    mean.probabilities?.shape[0] === 3 &&
      Math.abs((mean.probabilities.data as Float32Array).reduce((a, b) => a + b, 0) / (48 * 40) - 1) < 1e-4,
  );
  const alone = await model.segment(picture, Vocabulary.from(flat, { templates: 'none', ensemble: 'mean' }), options);
  t.same(differences(alone, single), [], 'with one prompt each both are the same');
});

t.test('background policies', needsData, async (t) => {
  const model = await modelOf('naclip');
  const picture = waves(64, 48, 4);
  const names = ['cat', 'dog', 'tree', 'sky'];
  const run = (labels: Parameters<typeof Vocabulary.from>[0], background: unknown, extra: SegmentOptions = {}) =>
    model.segment(picture, Vocabulary.from(labels, { templates: 'none', background: background as never }), {
      ...small,
      outputs: ['score', 'margin'],
      ...extra,
    });
  const none = await run(names, { mode: 'none' });
  const score = none.score?.data as Float32Array;
  const margin = none.margin?.data as Float32Array;
  const middle = (values: Float32Array) => [...values].sort((a, b) => a - b)[values.length >> 1] as number;
  const nothing = 255;
  t.ok(
    none.labels.every((label) => label < 4),
    'none: every pixel has a label',
  );
  t.same(differences(await run(names, 'auto'), none), [], 'auto: naclip has no threshold of its own');

  const cut = middle(score);
  const threshold = await run(names, { mode: 'threshold', value: cut });
  t.ok(
    threshold.labels.every((label, i) => label === ((score[i] as number) < cut ? nothing : none.labels[i])),
    'threshold: nothing below it',
  );
  t.same(
    differences(await run(names, { mode: 'none' }, { threshold: cut }), threshold),
    [],
    'the option overrides the vocabulary',
  );
  t.same(
    differences(await run(names, { mode: 'none' }, { background: { mode: 'threshold', value: cut } }), threshold),
    [],
  );
  t.same(
    differences(await run(names, 'auto', { probThreshold: cut }), threshold),
    [],
    'auto takes what the system says',
  );
  t.same([...new Set((await run(names, { mode: 'threshold', value: 1 })).labels)], [nothing]);
  t.same(
    await counts(threshold),
    threshold.segments.map(({ label, area }) => [label, area]),
  );

  const lead = middle(margin);
  const led = await run(names, { mode: 'margin', value: lead });
  t.ok(
    led.labels.every((label, i) => label === ((margin[i] as number) < lead ? nothing : none.labels[i])),
    'margin: the winner must lead',
  );

  // A marked label takes what is background; one without words of its own wins nothing else.
  const marked = [...names, { name: 'background', background: true }];
  const bounded = await run(marked, { mode: 'threshold', value: cut });
  t.ok(
    bounded.labels.every((label, i) => label === ((score[i] as number) < cut ? 4 : none.labels[i])),
    'threshold with a marked label',
  );
  t.ok(
    (await run(marked, { mode: 'none' })).labels.every((label, i) => label === none.labels[i]),
    'a label without words wins nothing',
  );

  const hidden = await run(names, { mode: 'prompts', prompts: ['sea', 'road'] });
  const open5 = await run([...names, 'sea', 'road'], { mode: 'none' });
  t.ok(
    hidden.labels.every((label, i) => label === ((open5.labels[i] as number) >= 4 ? nothing : open5.labels[i])),
    'prompts: background words compete and are nothing',
  );
  const shown = await run(marked, { mode: 'prompts', prompts: ['sea', 'road'] });
  t.ok(
    shown.labels.every((label, i) => label === Math.min(4, open5.labels[i] as number)),
    'prompts with a marked label',
  );
  const mean = await model.segment(
    picture,
    Vocabulary.from(names, {
      templates: 'none',
      ensemble: 'mean',
      background: { mode: 'prompts', prompts: ['sea', 'road'] },
    }),
    { ...small },
  );
  t.same(mean.labels, hidden.labels, 'prompts stay single under the mean ensemble');
  t.ok((await run(names, 'prompts')).labels.length === 64 * 48, 'the built-in words');

  const firstIs = [{ name: 'void', background: true, prompts: ['sea'] }, ...names];
  const first = await run(firstIs, { mode: 'threshold', value: cut });
  t.ok(first.labels.some((label) => label === 0));
  t.equal(first.mask('void').area, first.labels.filter((label) => label === 0).length);
  await t.rejects(run(names, { mode: 'none' }, { background: { mode: 'threshhold', value: 1 } }), {
    code: 'E_OPTION',
    message: /threshold/,
  });
});

async function counts(result: Segmentation): Promise<[number, number][]> {
  const areas = new Map<number, number>();
  for (const label of result.labels) if (label !== 255) areas.set(label, (areas.get(label) ?? 0) + 1);
  return [...areas].sort(([a], [b]) => a - b);
}

t.test('restriction to labels of the vocabulary', needsData, async (t) => {
  const model = await modelOf('naclip');
  const picture = waves(64, 48, 5);
  const vocab = list(['cat', 'dog', 'tree', 'sky', 'sea']);
  const options: SegmentOptions = { ...small, outputs: ['score', 'margin', 'topk', 'probabilities'], k: 5 };
  for (const refine of ['none', { name: 'crf', iterations: 2 }] as const) {
    const part = await model.segment(picture, vocab, { ...options, refine: refine as never, labels: ['sea', 'dog'] });
    const alone = await model.segment(picture, list(['dog', 'sea']), { ...options, refine: refine as never, k: 2 });
    t.ok(
      part.labels.every((label, i) => label === [1, 4][alone.labels[i] as number]),
      'as if the others were not there',
    );
    t.ok(part.score?.data.every((x, i) => Math.abs(x - (alone.score?.data[i] as number)) < 1e-6));
    t.ok(part.probabilities?.data.every((x, i) => [1, 4].includes(Math.floor(i / (64 * 48))) || x < 1e-4));
  }
  t.same(
    (await model.segment(picture, vocab, { ...small, labels: ['DOG'] })).segments.map(({ label }) => label),
    [1],
  );
  await t.rejects(model.segment(picture, vocab, { ...small, labels: ['dogg'] }), {
    code: 'E_OPTION',
    message: /did you mean "dog"/,
  });
  await t.rejects(model.segment(picture, vocab, { ...small, labels: [] }), { code: 'E_OPTION', message: /labels/ });
  const marked = Vocabulary.from(['cat', { name: 'background', background: true }], { templates: 'none' });
  await t.rejects(model.segment(picture, marked, { ...small, labels: ['background'] }), {
    code: 'E_OPTION',
    message: /no words/,
  });
});

t.test('areas', needsData, async (t) => {
  const model = await modelOf('sclip');
  const picture = waves(80, 60, 6);
  const vocab = list(['wall', 'cat', 'dog', 'tree', 'sky', 'sea', 'car']);
  const before = await model.segment(picture, vocab, small);
  const foreground = before.segments.filter(({ label }) => label > 0).map(({ label, area = 0 }) => ({ label, area }));
  const total = foreground.reduce((sum, { area }) => sum + area, 0);
  const shares = foreground.map(({ area }) => area / total).sort((a, b) => a - b);
  const cut = shares[Math.floor(shares.length / 2)] as number;
  const after = await model.segment(picture, vocab, { ...small, areaThreshold: cut });
  const kept = new Set(foreground.filter(({ area }) => area / total > cut).map(({ label }) => label));
  t.ok(
    after.segments.every(({ label }) => label === 0 || kept.has(label)),
    'areaThreshold: small classes give way',
  );
  t.ok(
    before.labels.every((label, i) => (label === 0 || kept.has(label) ? after.labels[i] === label : true)),
    'winners that stay keep their pixels',
  );

  for (const minArea of [2, 30, 400]) {
    const result = await model.segment(picture, vocab, { ...small, minArea });
    const pieces = await connectedComponents(
      { data: Int32Array.from(result.labels), shape: [60, 80] },
      { connectivity: 8, nothing: 255 },
    );
    const sizes = new Map<number, number>();
    for (const id of pieces.data) if (id > 0) sizes.set(id, (sizes.get(id) ?? 0) + 1);
    t.ok(
      [...sizes.values()].every((size) => size >= minArea),
      `minArea ${minArea}`,
    );
    t.ok(result.labels.every((label, i) => label === 255 || label === before.labels[i]));
  }
});

t.test('CRF: no iterations are no CRF, thresholds are a class of their own', needsData, async (t) => {
  const model = await modelOf('naclip');
  const picture = waves(56, 44, 7);
  for (const labels of [
    ['cat', 'dog', 'tree', 'sky'],
    [{ name: 'pet', prompts: ['cat', 'dog'] }, 'tree', 'sky'],
  ]) {
    const vocab = Vocabulary.from(labels, { templates: 'none' });
    for (const threshold of [0, 0.3]) {
      // The CRF sees class maxima as they are, so the plain map is taken that way too.
      const plain = await model.segment(picture, vocab, { ...small, threshold, renormalise: false });
      const zero = await model.segment(picture, vocab, {
        ...small,
        threshold,
        refine: { name: 'crf', iterations: 0 },
        outputs: ['score', 'probabilities'],
      });
      const differ = Array.from(plain.labels).filter((label, i) => label !== zero.labels[i]).length;
      t.ok(differ <= 2, `${labels.length} labels, threshold ${threshold}: ${differ} pixels differ`);
      t.equal(zero.probabilities?.shape[0], labels.length);
    }
  }
  const vocab = list(['cat', 'dog', 'tree']);
  const marked = Vocabulary.from(['cat', 'dog', 'tree', { name: 'rest', background: true, prompts: ['sea'] }], {
    templates: 'none',
  });
  for (const v of [vocab, marked]) {
    const result = await model.segment(picture, v, {
      ...small,
      threshold: 0.45,
      refine: { name: 'crf', iterations: 3 },
    });
    t.ok(result.labels.every((label) => label < v.labels.length || label === 255));
  }
  await t.rejects(
    withBudget(model, 1 << 18, () => model.segment(picture, vocab, { ...small, refine: 'crf' })),
    { code: 'E_MEMORY_PLAN', message: /crf.*3 labels over 56 x 44 .* budget is 262144/ },
  );
  await t.rejects(
    withBudget(model, 1 << 10, () => model.segment(picture, vocab, { ...small, outputs: ['probabilities'] })),
    { code: 'E_MEMORY_PLAN', message: /probabilities/ },
  );
});
