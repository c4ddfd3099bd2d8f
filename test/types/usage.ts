/** Compiled, never run: the public types as a program of a user meets them. */
import {
  type Mask,
  type Model,
  open,
  plan,
  type Segmentation,
  type StreamResult,
  Vocabulary,
  WordmaskError,
} from 'wordmask';
import { type Backbone, loadBackbone, preprocess } from 'wordmask/backbones';
import { confusion, semanticScores } from 'wordmask/eval';
import { type FormatFile, type LabelResult, readLabels, saveLabels, writeLabels } from 'wordmask/formats';
import { type ArrayResult, attention, denseCrf, pamr, resize, slidingWindows } from 'wordmask/native';
import { classes, loadTokenizer, templates } from 'wordmask/text';
import { backward, losses, matmul, requireGrad, scope, softmax, Tensor } from 'wordmask/train';

/** Exactly these two types, in both directions. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function assertType<_T extends true>(): void {}

export async function readme(paths: string[], signal: AbortSignal): Promise<void> {
  await using model = await open('naclip:openai/clip-vit-base-patch16', {
    device: 'auto',
    dtype: 'auto',
    memory: '4GiB',
    signal,
  });
  const vocab = await model.vocabulary(
    ['cat', 'dog|puppy', { name: 'grass', prompts: ['grass', 'lawn'], color: [0, 128, 0] }],
    {
      templates: 'clip80',
      background: { mode: 'threshold', value: 0.4 },
    },
  );
  const result = await model.segment('photo.jpg', vocab, { refine: 'crf', outputs: ['labels', 'score'] });
  assertType<Same<typeof result, Segmentation>>();
  await result.save('photo.png', { format: 'voc' });
  using features = await model.encode('photo.jpg');
  const other = await model.segment(features, await model.vocabulary(['person']));
  const mask: Mask = other.mask('person');
  const both = mask.and(result.mask(0)).area + mask.iou(result.mask('cat'));
  for await (const r of model.stream(paths, vocab, { batch: 'auto', ordered: true, onError: 'yield' })) {
    if (r.ok) assertType<Same<typeof r.value, Segmentation>>();
    else assertType<Same<typeof r.error, WordmaskError>>();
  }
  const { deviceBytes, fits } = model.plan(640, 480, vocab, { refine: 'none' });
  const again: number = plan(model, 640, 480, vocab, {}).tiles;
  const files: FormatFile[] = await result.encode('coco');
  const record: LabelResult = result.toResult();
  await saveLabels('photo.json', record, { format: 'coco' });
  console.log(both, deviceBytes, fits, again, files, result.score?.data[0], record.legend);
}

export async function inputs(model: Model): Promise<void> {
  const raw = { data: new Uint8Array(12), width: 2, height: 2, channels: 3 };
  await model.segment(raw, ['cat']);
  await model.segment(new URL('file:///photo.png'), ['cat'], { size: 224, background: { mode: 'auto' } });
  await model.segment(new Uint8Array(8), Vocabulary.from(['cat']).add(['dog']).subset(['cat']));
  // @ts-expect-error a number is no picture
  await model.segment(5, ['cat']);
  // @ts-expect-error an unknown output
  await model.segment(raw, ['cat'], { outputs: ['scores'] });
  // @ts-expect-error an unknown background mode
  await model.vocabulary(['cat'], { background: { mode: 'treshold' } });
  try {
    await model.segment(raw, []);
  } catch (error) {
    if (error instanceof WordmaskError && error.code === 'E_VOCAB') console.log(error.details, error.retryable);
    // @ts-expect-error not an error code
    if (error instanceof WordmaskError && error.code === 'E_VOCABULARY') console.log(error);
  }
}

export function partial(results: StreamResult[]): string[] {
  return results.map((r) => (r.ok ? `${r.value.width} x ${r.value.height}` : r.error.message));
}

export async function lower(folder: string): Promise<void> {
  const backbone: Backbone = await loadBackbone(folder, { dtype: 'fp32' });
  const { image_embeds } = await backbone.inspect({ pixel_values: await preprocess('photo.jpg', 224) }, [
    'image_embeds',
  ]);
  const values = backbone.forward({ pixel_values: Tensor.from(new Float32Array(3 * 32 * 32), [1, 3, 32, 32]) }, [
    'image_embeds',
  ]);
  const array = { data: new Float32Array(16), shape: [1, 1, 4, 4] };
  const result: ArrayResult = await attention(array, array, array, {
    causal: true,
    mask: { data: [0, 1], shape: [1, 2] },
  });
  await denseCrf(
    { data: new Uint8Array(12), width: 2, height: 2 },
    { data: new Float32Array(8), shape: [2, 2, 2] },
    {
      gaussian: { sxy: 3, compat: 3 },
      bilateral: { sxy: [80, 80], srgb: 13, compat: 10 },
      iterations: 5,
    },
  );
  await pamr(array, array, { dilations: [1, 2], iterations: 1 });
  await resize(array, { width: 8, height: 8, mode: 'torch_bicubic', scale: 2.1 });
  // @ts-expect-error an unknown mode
  await resize(array, { width: 8, height: 8, mode: 'bicubic' });
  const boxes: Int32Array = slidingWindows(640, 480, { crop: 224, stride: 112 }).data;
  const tokenizer = await loadTokenizer(folder);
  const ids: number[] = tokenizer.encode('a cat', { maxLength: 77 });
  const many: number[][] = tokenizer.encode(['a cat', 'a dog']);
  const scores = semanticScores(confusion(new Uint8Array(4), new Uint8Array(4), { numClasses: 2, ignore: 255 }));
  const labels = await readLabels('voc', new Uint8Array(8));
  console.log(
    image_embeds?.shape,
    values,
    result.data,
    boxes,
    ids,
    many,
    scores.mIoU,
    labels.width,
    await writeLabels('png', labels),
    classes,
    templates,
  );
}

export async function train(): Promise<number> {
  return scope(async () => {
    const weight = requireGrad(Tensor.from(new Float32Array(4), [2, 2]));
    const rows = softmax(matmul(weight, weight));
    const loss = losses.contrastive(rows, rows, { logitScale: Tensor.from(Float32Array.of(Math.log(10))) });
    const gradient = backward(loss, { wrt: [weight] }).get(weight);
    return (await gradient?.data())?.length ?? 0;
  });
}
