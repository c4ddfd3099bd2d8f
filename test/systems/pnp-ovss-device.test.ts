/** PnP-OVSS on a device of a module against the CPU: pictures together, steps, refiners, the search. */
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import { clipTinyFolder, data, maxError, needsData } from '../helpers/data.js';
import { agreement, waves } from '../helpers/pictures.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

t.setTimeout(900_000);

const skip = needsData.skip || noDevice();
const words = ['astronaut', 'flag', 'space shuttle'];
const options = { imageSize: 48, layer: 1, head: 3, passes: 2, drop: { kind: 'topk', n: 4 } } as const;

async function openBoth(t: Test): Promise<[cpu: Model, far: Model]> {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-pnp-device-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const name of ['config.json', 'model.safetensors'])
    await copyFile(data('reference-models/blip-itm-tiny', name), join(folder, name));
  await copyFile(data('vocab/bert-base-uncased-vocab.txt'), join(folder, 'vocab.txt'));
  const encoders = { clip: await clipTinyFolder() };
  const opened = (device: string) => open(`pnp-ovss:${folder}`, { device, encoders, onLog: () => undefined });
  const both: [Model, Model] = [await opened('cpu'), await opened(deviceUnderTest)];
  t.teardown(() => Promise.all(both.map((model) => model.dispose())));
  return both;
}

t.test('the same on a device', { skip }, async (t) => {
  const [cpu, far] = await openBoth(t);
  t.same([far.info.device, far.info.dtype], [deviceUnderTest, 'fp32'], 'gradients are taken in fp32');
  const pictures = [waves(40, 36), waves(30, 44, 1)];
  const of = (model: Model) =>
    Promise.all(pictures.map((picture) => model.segment(picture, words, { ...options, refine: 'none' })));
  const [near, remote] = [await of(cpu), await of(far)];
  for (const [i, result] of near.entries()) {
    const share = agreement(result, remote[i] as typeof result);
    t.ok(share >= 0.999, `picture ${i}: ${share} of the labels agree`);
  }
  const steps = [
    'salience',
    'patch_scores',
    'cross_attention.1',
    'cross_attention_gradient.1',
    'unary',
    'crf_marginals',
  ];
  const [here, there] = await Promise.all(
    [cpu, far].map((model) => model.trace(pictures[0] as never, words, steps, options)),
  );
  for (const step of steps) {
    const want = here?.[step]?.data ?? [];
    const scale = maxError(want, new Float32Array(want.length));
    const error = maxError(there?.[step]?.data ?? [], want) / scale;
    t.ok(error < (step === 'crf_marginals' ? 1e-2 : 1e-4), `${step}: ${error}`);
  }
  const search = { what: 'search', evaluations: 1, segment: { imageSize: 48 } } as const;
  const best = await Promise.all([cpu, far].map((model) => model.tune([pictures[0] as never], words, search)));
  t.same(best[1]?.tuning, best[0]?.tuning, 'the search ends at the same setting');
});
