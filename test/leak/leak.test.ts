/**
 * A thousand calls of each kind: device bytes stay exactly where they are, the process as good as.
 *
 * Resident memory is a coarse measure: V8 keeps young generations, malloc keeps arenas a thread, and both grow for a while.
 * A call that lost one small array (64 bytes) a time would hardly show; one that lost a label map, a tensor or a picture
 * (4 KiB and more) a time would show as 4 MB in a thousand calls. The bound stands above the noise seen (5 to 10 MB) and
 * below ten such losses a call.
 */
import t, { type Test } from 'tap';
import {
  add,
  backward,
  fill,
  matmul,
  mean,
  noGrad,
  requireGrad,
  scope,
  softmax,
  square,
  Tensor,
} from '#lib/engine/index.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { clipTinyFolder, needsData } from '../helpers/data.js';
import { collectGarbage, heldBytes } from '../helpers/memory.js';
import { waves } from '../helpers/pictures.js';

t.setTimeout(600_000);

const calls = 1000;
const residentBound = 24 << 20;

async function resident(): Promise<number> {
  const device = await heldBytes();
  collectGarbage();
  return process.memoryUsage().rss - device;
}

/** Calls side by side: one after another each would wait for several threads to wake, which takes long on a busy machine. */
const lanes = 8;

async function repeat(count: number, call: (i: number) => unknown): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < count; i = next++) await call(i);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function flat(t: Test, name: string, call: (i: number) => unknown): Promise<void> {
  await repeat(100, call);
  const [device, process] = [await heldBytes(), await resident()];
  await repeat(calls, call);
  // Fewer is no leak: handles that a collection found during the warm-up may go later.
  const held = await heldBytes();
  t.ok(held <= device, `${name}: device bytes ${held}, ${device} before`);
  const growth = (await resident()) - process;
  t.ok(growth < residentBound, `${name}: the process grew by ${(growth / 2 ** 20).toFixed(1)} MiB`);
}

const small: SegmentOptions = { shortSide: 16, crop: 16, stride: 8, refine: 'none' };
const folder = needsData.skip ? '' : await clipTinyFolder();

t.test('segment', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const vocab = await model.vocabulary(['cat', 'dog', 'sky'], { templates: 'none' });
  const picture = waves(24, 20);
  const kinds: SegmentOptions[] = [
    { ...small, outputs: ['score', 'margin', 'entropy', 'topk'] },
    { ...small, refine: { name: 'pamr', steps: 1, dilations: [1] }, minArea: 3 },
    { ...small, refine: { name: 'crf', iterations: 1 }, timeoutMs: 60_000 },
    { ...small, outputs: ['probabilities'], areaThreshold: 0.1, background: { mode: 'threshold', value: 0.2 } },
  ];
  await flat(t, 'segment', (i) => model.segment(picture, vocab, kinds[i % kinds.length]));
  await flat(t, 'segment that fails', (i) =>
    model.segment(i % 2 ? picture : new Uint8Array(9), vocab, { ...small, labels: ['horse'] }).catch(() => undefined),
  );
  await flat(t, 'segment that is aborted', async (i) => {
    const controller = new AbortController();
    const call = model.segment(picture, vocab, { ...small, signal: controller.signal }).catch(() => undefined);
    if (i % 3) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await call;
  });
  await model.dispose();
});

t.test('vocabulary, encode, stream', needsData, async (t) => {
  const model = await open(`clip:${folder}`);
  const picture = waves(24, 20);
  await flat(t, 'vocabulary', async (i) => {
    using vocab = await model.vocabulary([`word ${i}`, 'cat'], { templates: 'none' });
    vocab.add(['dog']).remove(['cat']);
  });
  await flat(t, 'encode', async (i) => {
    using features = await model.encode(picture, small);
    if (i % 10 === 0) await model.segment(features, ['cat', 'dog'], { ...small, background: 'none' });
  });
  await flat(t, 'encode without dispose', async () => void (await model.encode(picture, small)));
  const vocab = Vocabulary.from(['cat'], { templates: 'none' });
  async function* pictures() {
    for (let i = 0; i < 10; i++) yield picture;
  }
  await flat(t, 'streams of ten, every tenth call', async (i) => {
    if (i % 10) return;
    for await (const result of model.stream(pictures(), vocab, small)) if (!result.ok) throw result.error;
  });
  await model.dispose();
});

t.test('models opened and disposed of', needsData, async (t) => {
  const cycle = async () => {
    await using model = await open(`naclip:${folder}`);
    await model.segment(waves(20, 20), ['cat'], small);
  };
  for (let i = 0; i < 5; i++) await cycle();
  const [device, process] = [await heldBytes(), await resident()];
  for (let i = 0; i < 20; i++) await cycle();
  t.equal(await heldBytes(), device, 'device bytes');
  const growth = (await resident()) - process;
  t.ok(growth < residentBound, `the process grew by ${(growth / 2 ** 20).toFixed(1)} MiB`);
});

t.test('tensors and gradients', async (t) => {
  const w = requireGrad(
    Tensor.from(
      Array.from({ length: 64 }, (_, i) => Math.sin(i)),
      [8, 8],
    ),
  );
  await flat(t, 'tensors in scopes', () =>
    scope(async () => (await softmax(matmul(add(w.detach(), 1), fill([8, 8], 0.5)).permute(1, 0)).data()).length),
  );
  await flat(t, 'tensors that nobody frees', () => void add(fill([16, 16], 1), 1));
  await flat(t, 'backward', () =>
    scope(() => {
      const grads = backward(mean(square(softmax(matmul(fill([4, 8], 0.5), w)))));
      return noGrad(() => mean(grads.get(w) as Tensor)).data();
    }),
  );
  await flat(t, 'kernels that fail', (i) =>
    scope(() =>
      add(fill([1 << 20, 1 << 24], i), 1)
        .slice(0, 0, 1)
        .slice(1, 0, 1)
        .data()
        .catch(() => undefined),
    ),
  );
});
