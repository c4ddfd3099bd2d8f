/** The losses of MGCA: against an independent implementation (data/systems/mgca/losses-b4), the stored form, and by themselves. */
import { readFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import {
  backward,
  fill,
  gather,
  l2Normalise,
  losses,
  memory,
  randomNormal,
  requireGrad,
  resetPeakMemory,
  scope,
  sync,
  Tensor,
  trimMemory,
} from '#lib/entry/train.js';
import { decode, decoderTensors, initialDecoder } from '#lib/systems/mgca/decoder.js';
import { data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { storedStats } from '../helpers/mgca-stored.js';

const { mgca, mgcaCounts, mgcaFromStats, mgcaLossOptions, mgcaStats } = losses;
type Options = losses.MgcaLossOptions;

const tensor = (array: Loaded | undefined) => Tensor.from((array as Loaded).data, (array as Loaded).shape);
const values = async (x: Tensor | undefined) => Array.from(await (x as Tensor).data());

/** Gradients are compared by size: relative to the largest number of the expected array, at least 1. */
function compare(t: Test, name: string, actual: ArrayLike<number>, want: Loaded, tolerance = 1e-4): void {
  const scale = Math.max(1, ...Array.from(want.data, Math.abs));
  const error = maxError(actual, want.data) / scale;
  t.ok(error <= tolerance, `${name}: error ${error.toExponential(2)}`);
}

const reference = data('systems', 'mgca', 'losses-b4');
const pixelMajor = (x: Tensor) => x.permute(0, 2, 3, 1).contiguous();

t.test('losses and all gradients of the reference case', needsData, async (t) => {
  const note = JSON.parse(await readFile(`${reference}/note.json`, 'utf8')) as {
    variants: Record<
      string,
      { options: Partial<Options>; object_pixels: number; negative_region_pixels: number; positive_rank: number }
    >;
  };
  const expected = await loadAll(`${reference}/expected.safetensors`);
  for (const [variant, { options, ...counts }] of Object.entries(note.variants)) {
    t.same(
      mgcaCounts(84, mgcaLossOptions(options)),
      { positives: counts.object_pixels, negatives: counts.negative_region_pixels, rank: counts.positive_rank },
      `${variant}: counts`,
    );
    for (const term of variant === 'default'
      ? (['total', 'object', 'region', 'pixel'] as const)
      : (['total'] as const)) {
      await scope(async () => {
        const parameters = new Map(
          [...decoderTensors(24).keys()].map((name) => [name, requireGrad(tensor(expected.get(`parameters.${name}`)))]),
        );
        const features = requireGrad(tensor(expected.get('features')));
        const embeddings = decode(pixelMajor(features), parameters, 'f32'); // [B, 2h, 2w, D]
        const [b = 0, h = 0, w = 0, d = 0] = embeddings.shape;
        const found = mgca(embeddings.reshape(b, h * w, d), tensor(expected.get('text')), options);
        const list = [found.object, found.region, found.pixel, found.total];
        const got = (await Promise.all(list.map((x) => x.item()))) as number[];
        compare(
          t,
          `${variant}: losses`,
          got,
          expected.get(`${variant}.losses_object_region_pixel_total`) as Loaded,
          1e-5,
        );
        if (term === 'total' && variant === 'default')
          compare(t, 'embeddings', await values(embeddings.permute(0, 3, 1, 2)), expected.get('embeddings') as Loaded);
        const grads = backward(found[term], { wrt: [embeddings, features, ...parameters.values()] });
        const dEmbeddings = expected.get(`${variant}.${term}.d_embeddings`) as Loaded;
        // The file's array of this one entry was summed over two backward passes: it is twice the sum of its three parts.
        const passes = variant === 'default' && term === 'total' ? 2 : 1;
        compare(
          t,
          `${variant}.${term}: d embeddings`,
          (await values(grads.get(embeddings)?.permute(0, 3, 1, 2))).map((x) => x * passes),
          dEmbeddings,
        );
        const dFeatures = expected.get(`${variant}.${term}.d_features`);
        if (dFeatures) compare(t, 'd features', await values(grads.get(features)), dFeatures);
        for (const [name, parameter] of parameters)
          compare(
            t,
            `${variant}.${term}: d ${name}`,
            await values(grads.get(parameter)),
            expected.get(`${variant}.${term}.d.${name}`) as Loaded,
          );
      });
    }
  }
});

/** Embeddings [B, N, D] and texts [B, D] whose products are of order 1. */
function problem(b: number, n: number, d: number, seed = 1): { embeddings: Tensor; text: Tensor } {
  return {
    embeddings: requireGrad(randomNormal([b, n, d], { seed })),
    text: randomNormal([b, d], { seed, offset: 1 << 20 }),
  };
}

const relative = (actual: readonly number[], want: readonly number[]) =>
  Math.sqrt(
    actual.reduce((sum, x, i) => sum + (x - (want[i] as number)) ** 2, 0) / want.reduce((sum, x) => sum + x * x, 0),
  );

t.test('by tiles as stored', async (t) => {
  const variants: Partial<Options>[] = [
    {},
    { pixelSim: 'cosine/tau' },
    { softmaxTemperature: 3, thetaOf: 'object' },
    { detachP: true, divideRegionByWeight: true },
  ];
  for (const given of variants) {
    await scope(async () => {
      const { embeddings, text } = problem(9, 100, 40);
      const options = mgcaLossOptions(given);
      const stored = mgcaFromStats(
        storedStats(embeddings, text, {
          ...mgcaCounts(100, options),
          temperature: options.softmaxTemperature,
          cosinePixels: options.pixelSim !== 'dot',
          detach: options.detachP,
          divideByWeight: options.divideRegionByWeight,
        }),
        text,
        options,
      );
      const tiled = mgca(embeddings, text, given);
      const name = JSON.stringify(given);
      for (const term of ['object', 'region', 'pixel', 'total'] as const)
        t.ok(Math.abs((await tiled[term].item()) - (await stored[term].item())) < 1e-5, `${name}: ${term}`);
      const want = await values(backward(stored.total, { wrt: [embeddings] }).get(embeddings));
      const got = await values(backward(tiled.total, { wrt: [embeddings] }).get(embeddings));
      const error = relative(got, want);
      t.ok(error < 1e-5, `${name}: gradient ${error.toExponential(2)}`);
    });
  }
});

t.test('memory does not grow with images x texts x pixels', async (t) => {
  const [b, n, d] = [160, 400, 24];
  const { embeddings, text } = problem(b, n, d);
  await sync();
  trimMemory();
  resetPeakMemory();
  const before = memory().cpu?.liveBytes ?? 0;
  await scope(async () => {
    const grads = backward(mgca(embeddings, text).total, { wrt: [embeddings] });
    await grads.get(embeddings)?.data();
  });
  const used = (memory().cpu?.peakBytes ?? 0) - before;
  const stored = b * b * n * 4;
  t.ok(used < stored / 4, `${used} bytes, the similarities alone would be ${stored}`);
});

t.test('parts of a batch give the whole', async (t) => {
  const { embeddings, text } = problem(6, 50, 16);
  const options = mgcaLossOptions();
  const whole = mgcaStats(embeddings, text, options);
  const part = mgcaStats(embeddings.slice(0, 2, 5).contiguous(), text, options, 2);
  for (const name of ['regions', 'cosines', 'pixels'] as const)
    t.same(await values(part[name]), await values(whole[name].slice(0, 2, 5)), name);
});

t.test('one pair has nothing to tell apart', async (t) => {
  const { embeddings, text } = problem(1, 30, 8);
  const { object, region, pixel, total } = mgca(embeddings, text);
  for (const loss of [object, region, pixel, total]) t.equal(await loss.item(), 0);
});

t.test('equal texts: the loss from image to text is log B', async (t) => {
  const { embeddings, text } = problem(5, 30, 8);
  const same = gather(text, fill([5], 2, 'i32'));
  const { regions } = mgcaStats(embeddings, same, mgcaLossOptions());
  const [rows] = [await values(l2Normalise(regions))];
  t.equal(rows.length, 40);
  const { object } = mgca(embeddings, same);
  // Every image has the same cosine with each text: both directions, if all texts are one.
  const cosines = await Promise.all(
    Array.from({ length: 5 }, async (_, i) => {
      const unit = await values(l2Normalise(same.slice(0, i, i + 1)));
      return unit.reduce((sum, x, c) => sum + x * (rows[i * 8 + c] as number), 0) / 0.07;
    }),
  );
  const total = Math.log(cosines.reduce((sum, x) => sum + Math.exp(x), 0));
  const columns = cosines.reduce((sum, x) => sum + total - x, 0) / 5;
  t.ok(Math.abs((await object.item()) - (Math.log(5) + columns) / 2) < 1e-5);
});

t.test('the order of the pairs does not matter', async (t) => {
  const { embeddings, text } = problem(6, 40, 16);
  const order = [3, 0, 5, 1, 4, 2];
  const mixed = gather(embeddings.reshape(6, 640), Tensor.from(Int32Array.from(order))).reshape(6, 40, 16);
  const before = mgca(embeddings, text);
  const after = mgca(mixed, gather(text, Tensor.from(Int32Array.from(order))));
  for (const term of ['object', 'region', 'pixel', 'total'] as const)
    t.ok(Math.abs((await before[term].item()) - (await after[term].item())) < 1e-5, term);
});

t.test('central differences in f64', async (t) => {
  for (const pixelSim of ['dot', 'cosine/tau'] as const) {
    for (const term of ['object', 'region', 'pixel'] as const) {
      const at = randomNormal([3, 16, 8], { seed: 7, dtype: 'f64' });
      const text = randomNormal([3, 8], { seed: 8, dtype: 'f64' });
      const x = requireGrad(at.detach());
      const grad = await values(backward(mgca(x, text, { pixelSim })[term], { wrt: [x] }).get(x));
      const host = Float64Array.from(await values(at));
      const step = 1e-6;
      let worst = 0;
      for (let i = 0; i < host.length; i += 7) {
        const shifted = async (by: number) => {
          const moved = host.slice();
          moved[i]! += by;
          return mgca(Tensor.from(moved, [3, 16, 8]), text, { pixelSim })[term].item();
        };
        const slope = ((await shifted(step)) - (await shifted(-step))) / (2 * step);
        worst = Math.max(worst, Math.abs(slope - (grad[i] as number)) / Math.max(1e-3, Math.abs(slope)));
      }
      t.ok(worst < 1e-5, `${pixelSim} ${term}: ${worst.toExponential(2)}`);
    }
  }
});

t.test('decoder: size, gates at 0, first gradients', async (t) => {
  const size = [...decoderTensors(512).values()].reduce((sum, shape) => sum + shape.reduce((p, d) => p * d, 1), 0);
  t.equal(size, 4_721_666);
  const parameters = initialDecoder(12, 3);
  for (const parameter of parameters.values()) requireGrad(parameter);
  const features = randomNormal([2, 3, 5, 12], { seed: 5 });
  const out = decode(features, parameters, 'f32');
  const wide = await values(out);
  const narrow = await values(features);
  t.same(
    wide,
    wide.map((_, at) => {
      const [c, x, y, i] = [at % 12, Math.floor(at / 12) % 10, Math.floor(at / 120) % 6, Math.floor(at / 720)];
      return narrow[((i * 3 + (y >> 1)) * 5 + (x >> 1)) * 12 + c];
    }),
    'the enlargement, bit for bit',
  );
  const loss = mgca(out.reshape(2, 60, 12), randomNormal([2, 12], { seed: 6 })).total;
  const grads = backward(loss);
  for (const [name, parameter] of parameters) {
    const moves = (await values(grads.get(parameter))).some((x) => x !== 0);
    t.equal(moves, name.endsWith('gate'), name);
  }
});

t.test('options that cannot be', async (t) => {
  const bad: [Record<string, unknown>, RegExp][] = [
    [{ alpah: 0.4 }, /alpah.*did you mean 'alpha'/],
    [{ alpha: 0 }, /alpha must be a number above 0/],
    [{ thetaOf: 'pixel' }, /thetaOf must be image or object/],
    [{ detachP: 1 }, /detachP must be true or false/],
    [{ object: 0, region: 0, pixel: 0 }, /nothing is left/],
  ];
  for (const [options, message] of bad) t.throws(() => mgcaLossOptions(options), { code: 'E_OPTION', message });
  const { embeddings, text } = problem(2, 8, 4);
  t.throws(() => mgca(embeddings, text.slice(0, 0, 1)), { code: 'E_OPTION' });
});
