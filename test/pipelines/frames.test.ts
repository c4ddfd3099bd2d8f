/** Pictures that are tensors: read where they lie, with the results of the same pixels on the host. */
import t, { type Test } from 'tap';
import * as binding from '#lib/binding/addon.js';
import { Tensor } from '#lib/engine/index.js';
import { decodeImage } from '#lib/image/decode.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { heldBytes } from '../helpers/memory.js';
import { differences, waves } from '../helpers/pictures.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

t.setTimeout(1_800_000);
const picture = waves(30, 26);
const pixels = picture.data as Uint8Array;
const shape = [26, 30, 3];
const vocab = Vocabulary.from(['disc', 'box', 'sky'], { templates: 'none' });
/** One window. */
const quick: SegmentOptions = { size: 32, outputs: ['score', 'margin'] };

const onBoth = (name: string, body: (t: Test, model: Model, device: string) => Promise<void>) => {
  for (const device of ['cpu', deviceUnderTest])
    t.test(`${name}, ${device}`, { skip: device !== 'cpu' && noDevice() }, async (t) => {
      await using model = await open('tiny', { device, dtype: 'fp32', onLog: () => undefined });
      await body(t, model, device);
    });
};

/** Shapes of u8 tensors that come to the host meanwhile. */
async function readsOf<T>(fn: () => Promise<T>): Promise<{ value: T; shapes: string[] }> {
  const native = binding.addon() as { read: binding.Addon['read'] };
  const { read } = native;
  const shapes: string[] = [];
  native.read = (storage, meta, buffer, device) => {
    if (meta[1] === 5 && meta[0] === 3 && buffer.byteLength > 0) shapes.push(String(meta.slice(3, 6)));
    return read(storage, meta, buffer, device);
  };
  try {
    return { value: await fn(), shapes };
  } finally {
    native.read = read;
  }
}

onBoth('a frame gives what its pixels give', async (t, model, device) => {
  const frame = Tensor.from(pixels, shape, 'u8', device);
  const planar = new Uint8Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) planar[(i % 3) * 780 + Math.floor(i / 3)] = pixels[i] as number;
  const frames: Record<string, Tensor> = {
    itself: frame,
    'by DLPack': Tensor.fromDLPack(await frame.toDLPack()),
    'planes side by side': Tensor.from(planar, [3, 26, 30], 'u8', device).permute(1, 2, 0),
  };
  // The emulated device takes its time: what reads most there.
  const here = device === 'cpu';
  for (const refine of here ? (['none', 'pamr', 'crf'] as const) : (['crf'] as const)) {
    const wanted = await model.segment(picture, vocab, { ...quick, refine });
    for (const [what, tensor] of Object.entries(frames)) {
      if (!here && what === 'itself') continue;
      const { value, shapes } = await readsOf(() => model.segment(tensor, vocab, { ...quick, refine }));
      t.same(differences(value, wanted), [], `${what}, ${refine}`);
      t.same(shapes, [], 'no pixel comes to the host');
      t.match(value.provenance.input, /^tensor u8\[26, 30, 3\]/);
    }
  }
  if (!here) return;
  using features = await model.encode(frames['by DLPack'] as Tensor, quick);
  t.same([features.width, features.height], [30, 26]);
  t.same(differences(await model.segment(features, vocab, quick), await model.segment(picture, vocab, quick)), []);
  for (const tensor of Object.values(frames)) tensor.dispose();
  t.same(
    differences(await model.segment(features, vocab, quick), await model.segment(picture, vocab, quick)),
    [],
    'kept',
  );
});

onBoth('frames in a stream, disposed of at once', async (t, model, device) => {
  const wanted = await model.segment(picture, vocab, quick);
  const held = await heldBytes(device);
  function* frames() {
    for (let i = 0; i < (device === 'cpu' ? 3 : 1); i++) {
      const frame = Tensor.from(pixels, shape, 'u8', device);
      yield frame;
    }
  }
  for await (const result of model.stream(frames(), vocab, quick)) {
    if (!result.ok) throw result.error;
    (result.input as Tensor).dispose();
    t.same(differences(result.value, wanted), []);
  }
  const frame = Tensor.from(pixels, shape, 'u8', device);
  if (device !== 'cpu') return frame.dispose();
  const running = model.segment(frame, vocab, quick);
  frame.dispose();
  t.same(differences(await running, wanted), [], 'the call holds on to it');
  t.equal(await heldBytes(device), held);
});

onBoth('frames that do not fit are refused', async (t, model, device) => {
  const frame = (dims: readonly number[], dtype: 'u8' | 'f32' = 'u8', place = device) =>
    Tensor.from(new (dtype === 'u8' ? Uint8Array : Float32Array)(dims.reduce((n, d) => n * d, 1)), dims, dtype, place);
  const wrong: [Tensor, string][] = [
    [frame([4, 5, 3], 'f32'), 'E_USAGE'],
    [frame([4, 5, 4]), 'E_USAGE'],
    [frame([3, 4, 5]), 'E_USAGE'],
    [frame([4, 5]), 'E_USAGE'],
    [frame([1, 4, 5, 3]), 'E_USAGE'],
    [frame([0, 5, 3]), 'E_IMAGE_SIZE'],
    [frame([5, 0, 3]), 'E_IMAGE_SIZE'],
  ];
  if (!noDevice()) wrong.push([frame([4, 5, 3], 'u8', device === 'cpu' ? deviceUnderTest : 'cpu'), 'E_OPTION']);
  for (const [tensor, code] of wrong) {
    const text = `${tensor.dtype}[${tensor.shape}] on ${tensor.device}`;
    await t.rejects(model.segment(tensor, vocab, quick), { code }, text);
    await t.rejects(model.encode(tensor, quick), { code }, text);
    t.notOk(tensor.disposed, 'it stays the caller’s');
  }
  const large = { ...quick, limits: { pixels: 10 } };
  await t.rejects(model.segment(frame([4, 5, 3]), vocab, large), { code: 'E_IMAGE_SIZE' });
  const gone = frame([4, 5, 3]);
  gone.dispose();
  await t.rejects(model.segment(gone, vocab, quick), { code: 'E_DISPOSED' });
  await t.rejects(decodeImage(frame([4, 5, 3])), { code: 'E_USAGE', message: /tensor\.data\(\)/ });
  t.equal((await model.segment(frame([4, 5, 3]), vocab, quick)).labels.length, 20, 'the next call works');
});
