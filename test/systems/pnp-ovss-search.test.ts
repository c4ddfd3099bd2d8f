/** PnP-OVSS's search without masks: masks, CLIP's shares, rewards of a whole grid, and `model.tune`. */
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { decodeImage } from '#lib/image/decode.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import type { Rewarder } from '#lib/post/tuning.js';
import { countRewarded, matchShares, rewardMasks, splineResize } from '#lib/systems/pnp-ovss/reward.js';
import { search } from '#lib/systems/pnp-ovss/search.js';
import { clipTinyFolder, data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';

t.setTimeout(300_000);

interface Note {
  readonly parameters: {
    layer_counted_from_0: number;
    head_counted_from_0: number;
    min_att: number;
    clip_size: number;
  };
  readonly images: { class_names: string[]; reward: number }[];
  readonly search: {
    grid: {
      layer: number;
      head: number;
      min_att: number;
      reward_per_image: number[];
      smallest_difference_of_p: number;
    }[];
    fixed_samples: number[];
    trace: { best: { layer: number; head: number; min_att: number; reward: number } }[];
  };
}

async function openBlip(t: Test): Promise<Model> {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-search-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const name of ['config.json', 'model.safetensors'])
    await copyFile(data('reference-models/blip-itm-tiny', name), join(folder, name));
  await copyFile(data('vocab/bert-base-uncased-vocab.txt'), join(folder, 'vocab.txt'));
  const model = await open(`pnp-ovss:${folder}`, { device: 'cpu', encoders: { clip: await clipTinyFolder() } });
  t.teardown(() => model.dispose());
  return model;
}

const here = (...names: string[]) => data('systems/pnp-ovss-search/tiny', ...names);
const rowsOf = ({ data: values, shape }: Loaded): Float32Array[] =>
  Array.from({ length: shape[0] as number }, (_, i) =>
    Float32Array.from(values.slice(i * (shape[1] as number), (i + 1) * (shape[1] as number))),
  );

t.test('masks and shares', needsData, async (t) => {
  const { parameters: p, images } = JSON.parse(await readFile(here('note.json'), 'utf8')) as Note;
  const expected = await loadAll(here('expected.safetensors'));
  const of = (i: number, name: string) => expected.get(`image${i}.${name}`) as Loaded;
  for (const [i, image] of images.entries()) {
    const maps = of(i, 'class_maps');
    const found = await rewardMasks(maps.data as Float32Array, maps.shape[1] as number, p.clip_size, p.min_att, 0.04);
    t.ok(maxError(found.resized, of(i, 'mask_resized').data) < 1e-6, 'B-spline resize');
    t.ok(maxError(found.blurred, of(i, 'mask_blurred').data) < 1e-5, 'blur');
    t.equal(maxError(found.mask, of(i, 'mask').data), 0, 'mask');
    const shares = matchShares(rowsOf(of(i, 'image_embeds')), rowsOf(of(i, 'text_embeds')));
    t.ok(
      maxError(
        shares.flatMap((row) => [...row]),
        of(i, 'probabilities').data,
      ) < 1e-4,
    );
    t.equal(countRewarded(shares), image.reward);
  }
});

t.test('pure functions', async (t) => {
  t.same(
    [...splineResize(new Float32Array(9).fill(1), 3, 3)].map((x) => Math.round(1e6 * x) / 1e6),
    new Array(9).fill(1),
  );
  t.ok(
    splineResize(Float32Array.of(0, 1, 0, 0), 2, 9).every((x) => x >= 0 && x <= 1),
    'limited to the range',
  );
  const row = Float32Array.of(0.6, 0.8);
  const same = matchShares([row, row, row, row], [Float32Array.of(1, 0), Float32Array.of(0, 1)]);
  t.equal(countRewarded(same), 0, 'equal pictures earn nothing');
  const whole = await rewardMasks(new Float32Array(16).fill(3), 4, 8, 0.25, 0.04);
  t.ok(
    whole.mask.every((x) => x === 0),
    'a constant map shows nothing',
  );
});

t.test('rewards of a grid', needsData, async (t) => {
  const note = JSON.parse(await readFile(here('note.json'), 'utf8')) as Note;
  const model = await openBlip(t);
  const { searched } = model.calls;
  const rewarders: Rewarder[] = [];
  for (const { class_names: names } of note.images)
    rewarders.push(await search.rewarder(searched, { labels: names.map((name) => ({ name, prompts: [name] })) }));
  const pictures = await Promise.all(note.images.map((_, i) => decodeImage(here(`image-${i}.png`))));
  const totals: number[] = [];
  let unclear = 0;
  for (const point of note.search.grid) {
    const options = { layer: point.layer, head: point.head, threshold: point.min_att, imageSize: 48 };
    const found: number[] = [];
    for (const [i, picture] of pictures.entries())
      found.push(await model.work(undefined, () => (rewarders[i] as Rewarder).reward(picture, options)));
    totals.push(found.reduce((a, b) => a + b, 0));
    // Where shares are equal but for rounding, rounding decides.
    if (point.smallest_difference_of_p <= 1e-6) unclear++;
    else t.same(found, point.reward_per_image, `layer ${point.layer}, head ${point.head}, ${point.min_att}`);
  }
  t.ok(unclear < totals.length, `${unclear} of ${totals.length} points are decided by rounding`);
  const ones = note.search.fixed_samples.map((index) => ({ index, reward: totals[index] as number }));
  let best = ones[0] as (typeof ones)[number];
  for (const sample of ones) if (sample.reward > best.reward) best = sample;
  t.match(note.search.grid[best.index], { layer: 0, head: 1, min_att: 0.35 }, 'a later sample has to be better');
});

t.test('model.tune', needsData, async (t) => {
  const model = await openBlip(t);
  const pictures = [here('image-0.png'), here('image-1.png')];
  const words = ['person', 'flag', 'cup'];
  const options = { what: 'search', evaluations: 3, segment: { imageSize: 48 } } as const;
  const found = await model.tune(pictures, words, options);
  t.match(found, { what: 'search', rule: 'reward', system: 'pnp-ovss' });
  t.same(Object.keys(found.tuning).sort(), ['head', 'layer', 'threshold']);
  const layers = found.search?.evaluations.map(({ options }) => options.layer as number) ?? [];
  t.notOk(
    layers.includes(Math.max(...(model.info.traces.join().match(/(?<=cross_attention\.)\d+/g) ?? []).map(Number))),
  );
  t.same((await model.tune(pictures, words, options)).search, found.search, 'the same again');
  const result = await model.segment(pictures[0] as string, words, { imageSize: 48, ...found.tuning });
  t.equal(result.width, 96);
  const blur = await model.tune(pictures, words, {
    ...options,
    evaluations: 1,
    segment: { imageSize: 48, searchBlur: true },
  });
  t.ok('rewardBlur' in blur.tuning);
  await t.rejects(model.tune([], words, options), { code: 'E_USAGE' });
  await t.rejects(model.tune(pictures, ['cup'], options), { code: 'E_VOCAB', message: /two labels/ });
});
