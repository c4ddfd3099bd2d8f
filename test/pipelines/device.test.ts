/** The built-in model on a device of a module against the CPU: whole calls, refiners, bf16, sizes at the edge, memory. */
import t from 'tap';
import { onDevice, sync } from '#lib/engine/index.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { heldBytes } from '../helpers/memory.js';
import { agreement, differences, waves, words } from '../helpers/pictures.js';
import { deviceUnderTest as device, noDevice } from '../helpers/simt.js';

t.setTimeout(1_800_000);
const skip = noDevice();
const names = ['disc', 'box', 'star', 'sky', 'grass'];
// Small: threads of kernels are fibers here.
const picture = waves(40, 36);
/** One window. */
const quick: SegmentOptions = { size: 64 };
const opened = (place: string, dtype = 'fp32') => open('tiny', { device: place, dtype, onLog: () => undefined });

t.test('labels of whole calls', { skip }, async (t) => {
  await using here = await opened('cpu');
  await using there = await opened(device);
  t.same([there.info.device, there.info.dtype], [device, 'fp32']);
  const vocab = Vocabulary.from(names, { templates: 'none' });
  for (const refine of ['none', 'pamr', 'crf'] as const) {
    const options: SegmentOptions = { ...quick, refine, outputs: ['score', 'margin', 'entropy', 'topk'] };
    const [cpu, far] = [await here.segment(picture, vocab, options), await there.segment(picture, vocab, options)];
    t.ok(new Set(cpu.labels).size > 1, `${refine}: more than one label`);
    t.ok(agreement(cpu, far) >= 0.999, `${refine}: ${agreement(cpu, far)} of the labels agree`);
    t.same(far.provenance.device, device);
  }
  const again = await there.segment(picture, vocab, quick);
  t.same(differences(again, await there.segment(picture, vocab, quick)), [], 'the same bytes twice');
});

t.test('bf16 where no dtype is named', { skip }, async (t) => {
  await using here = await opened('cpu');
  await using there = await opened(device, 'auto');
  t.equal(there.info.dtype, 'bf16');
  const vocab = Vocabulary.from(names, { templates: 'none' });
  const share = agreement(await here.segment(picture, vocab, quick), await there.segment(picture, vocab, quick));
  t.ok(share >= 0.98, `${share} of the labels agree`);
});

t.test('sizes at the edge', { skip }, async (t) => {
  await using here = await opened('cpu');
  await using there = await opened(device);
  // Compiled once: text features depend on the encoder alone.
  const vocab = await here.vocabulary(words(3000), { templates: 'none' });
  t.ok(
    agreement(await here.segment(picture, vocab, quick), await there.segment(picture, vocab, quick)) >= 0.999,
    '3,000 labels',
  );
  const few = Vocabulary.from(names, { templates: 'none' });
  const pixel = { data: Uint8Array.of(200, 10, 10), width: 1, height: 1, channels: 3 as const };
  t.equal((await there.segment(pixel, few)).labels[0], (await here.segment(pixel, few)).labels[0], 'one pixel');
  for await (const _ of there.stream([], few)) t.fail('no picture, no result');
  await t.rejects(there.segment({ ...pixel, width: 0, data: new Uint8Array() }, few), { code: /E_/ });
  t.equal((await there.segment(pixel, few)).labels.length, 1, 'and the next call works');
});

t.test('bytes come back', { skip }, async (t) => {
  const held = async (): Promise<number> => {
    await onDevice(device, () => sync());
    return heldBytes(device);
  };
  const before = await held();
  const model = await opened(device);
  const vocab = Vocabulary.from(names, { templates: 'none' });
  await model.segment(picture, vocab, quick);
  const first = await held();
  await model.segment(picture, vocab, quick);
  t.equal(await held(), first, 'a second call leaves nothing');
  t.ok(first - before >= model.info.sizes.parametersBytes / 2, 'the weights are there');
  await model.dispose();
  t.equal(await held(), before);
});
