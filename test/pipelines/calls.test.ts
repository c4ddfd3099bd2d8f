/** Calls of one model: features kept, calls side by side, plans, option names. */
import t from 'tap';
import { resetPeakMemory } from '#lib/engine/index.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import type { Segmentation } from '#lib/pipelines/segmentation.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { needsData } from '../helpers/data.js';
import { liveBytes } from '../helpers/memory.js';
import { disposeModels, list, modelOf, small, withBudget } from '../helpers/models.js';
import { differences, waves, words } from '../helpers/pictures.js';

t.setTimeout(300_000);
t.teardown(disposeModels);

t.test('encode once, ask often', needsData, async (t) => {
  for (const system of ['naclip', 'maskclip']) {
    const model = await modelOf(system);
    const picture = waves(70, 52, 8);
    const encoderOptions = { shortSide: 64, crop: 32, stride: 16, ...(system === 'maskclip' && { keySmoothing: 0.5 }) };
    using features = await model.encode(picture, encoderOptions);
    t.ok(features.width === 70 && features.height === 52 && features.bytes > 0);
    for (const labels of [['cat', 'dog'], words(40)]) {
      for (const refine of [
        'none',
        { name: 'pamr', steps: 2, dilations: [1, 2] },
        { name: 'crf', iterations: 2 },
      ] as const) {
        const options = { ...encoderOptions, refine: refine as never, outputs: ['score'] } as SegmentOptions;
        const direct = await model.segment(picture, list(labels), options);
        const asked = await model.segment(features, list(labels), options);
        t.same(differences(direct, asked), [], `${system} ${labels.length} ${JSON.stringify(refine)}`);
      }
    }
    await t.rejects(model.segment(features, list(['cat']), { ...encoderOptions, stride: 8 }), {
      code: 'E_OPTION',
      message: /stride = 16.*8.*encode the picture again/,
    });
    const other = await modelOf('clip');
    await t.rejects(other.segment(features, list(['cat']), encoderOptions), {
      code: 'E_USAGE',
      message: /another model/,
    });
    features.dispose();
    await t.rejects(model.segment(features, list(['cat']), encoderOptions), { code: 'E_DISPOSED' });
  }
});

t.test('calls side by side give what they give alone', needsData, async (t) => {
  const model = await modelOf('naclip');
  const jobs = Array.from(
    { length: 8 },
    (_, i) => () =>
      model.segment(
        waves(40 + 7 * i, 60 - 3 * i, i),
        Vocabulary.from(words(3 + 5 * i), { templates: i % 2 ? 'none' : 'clip7' }),
        {
          ...small,
          refine:
            i % 3 === 0
              ? ({ name: 'pamr', steps: 2, dilations: [1, 2] } as never)
              : i % 3 === 1
                ? 'none'
                : ({ name: 'crf', iterations: 2 } as never),
          outputs: ['score', 'margin', 'topk'],
        },
      ),
  );
  const alone: Segmentation[] = [];
  for (const job of jobs) alone.push(await job());
  const together = await Promise.all(jobs.map((job) => job()));
  together.forEach((result, i) => t.same(differences(result, alone[i] as Segmentation), [], `job ${i}`));
});

t.test('plan', needsData, async (t) => {
  const model = await modelOf('naclip');
  const cases: [number, number, number, SegmentOptions][] = [
    [120, 90, 5, small],
    [640, 480, 5, { refine: 'none' }],
    [640, 480, 300, { refine: 'none' }],
    [640, 480, 20, { refine: 'pamr' }],
    [320, 240, 8, { refine: 'crf' }],
    [320, 240, 30, { ...small, outputs: ['probabilities', 'topk'] }],
  ];
  for (const [width, height, count, options] of cases) {
    const vocab = list(words(count));
    const plan = model.plan(width, height, vocab, options);
    await model.segment(waves(width, height), vocab, options); // fills the caches of grids
    const before = await liveBytes();
    resetPeakMemory();
    const { liveBytes: start = 0 } = model.memory().cpu ?? {};
    await model.segment(waves(width, height), vocab, options);
    const used = (model.memory().cpu?.peakBytes ?? 0) - start;
    const name = `${width} x ${height}, ${count} labels, ${plan.route}: planned ${plan.deviceBytes}, used ${used}`;
    t.ok(plan.fits && used <= plan.deviceBytes, name);
    t.ok(plan.deviceBytes <= 12 * used + (1 << 20), `not far too much: ${name}`);
    t.equal(await liveBytes(), before);
  }
  const big = model.plan(6000, 4000, list(words(847)), { refine: 'crf' });
  t.equal(big.route, 'crf-volume');
  t.notOk(
    await withBudget(model, 4 * 2 ** 30, async () => model.plan(6000, 4000, list(words(847)), { refine: 'crf' }).fits),
    'a CRF of 847 labels over 24 megapixels',
  );
  t.ok(
    await withBudget(
      model,
      1.4 * 2 ** 30,
      async () => model.plan(6000, 4000, list(words(847)), { refine: 'pamr' }).fits,
    ),
    'PAMR fits',
  );
  t.throws(() => model.plan(0, 10, ['cat']), { code: 'E_USAGE' });
  t.throws(() => model.plan(10, 70000, ['cat']), { code: 'E_USAGE' });
});

t.test('options are checked by name', needsData, async (t) => {
  const model = await modelOf('naclip');
  const wrong: [SegmentOptions, RegExp][] = [
    [{ refin: 'crf' }, /"refin", did you mean 'refine'/],
    [{ sigm: 3 }, /did you mean 'sigma'/],
    [{ Sigma: -1 }, /Sigma/],
    [{ sigma: -1 }, /sigma/],
    [{ refine: 'crff' as never }, /refine/],
    [{ refine: { name: 'pamr', iterations: 3 } as never }, /refine/],
    [{ outputs: ['scores' as never] }, /outputs/],
    [{ k: 0 }, /\bk\b/],
    [{ threshold: 2 }, /threshold/],
    [{ size: 0 }, /size/],
    [{ window: -1 }, /window/],
    [{ timeoutMs: 0 }, /timeoutMs/],
    [{ timeoutMs: 1e12 }, /timeoutMs/],
    [{ signal: {} as never }, /signal/],
    [{ task: 'instance' as never }, /task/],
    [{ preset: 'voc22' }, /did you mean 'voc2[01]'/],
    [{ minArea: 1.5 }, /minArea/],
    [{ templates: 'clip8' }, /clip80|clip7/],
    [{ pamr: { steps: 1, dilation: [2] } }, /pamr/],
    [{ mean: [1, 2] }, /mean/],
    [{ constructor: 1 as never }, /constructor/],
    [{ toString: 1 as never }, /toString/],
  ];
  for (const [options, message] of wrong)
    await t.rejects(
      model.segment(waves(20, 20), ['cat'], options),
      { code: 'E_OPTION', message },
      JSON.stringify(options),
    );
  await t.rejects(model.segment(waves(20, 20), ['cat'], null as never), { code: 'E_USAGE' });
  await t.rejects(model.encode(waves(20, 20), { refin: 1 }), { code: 'E_OPTION' });
  await t.rejects(model.segment(waves(20, 20), 'cat' as never), { code: 'E_USAGE' });
  t.equal((await model.segment(waves(20, 20), ['cat'], { ...small, preset: 'voc20' })).labels.length, 400);
});
