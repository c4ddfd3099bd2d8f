/**
 * What a CLIP in training finds in pairs that it does not learn from: the right caption of each picture among a hundred, and, where
 * the class of every pixel is known, the mean IoU of its patches on the value path (MaskCLIP's read-out, whole picture, nearest
 * patch). A sign of how the training goes; docs/drawn-scenes.md has the figures of finished models.
 */
import type { ClipModel } from '../../backbones/clip/index.js';
import { argmax, l2Normalise, matmul, mean, noGrad, scope, Tensor } from '../../engine/index.js';
import { countConfusion } from '../../engine/ops/host/confusion.js';
import type { HeldOut, PairSample } from '../../nn/trainable.js';
import { fillTemplate, templateSet } from '../../text/index.js';
import { Random } from '../../util/random.js';
import { Slices } from '../../util/slices.js';
import { type BatchPlan, encode, prepareBatch } from './train-batch.js';

/** Captions among which the right one is looked for, and pictures in work at once. */
const among = 100;

export interface ClipTest {
  /** Of a batch plan what concerns pictures and texts. */
  readonly plan: BatchPlan;
  /** Of the class names; a set of the package by name. */
  readonly templates: string | readonly string[] | undefined;
  readonly compute: 'f32' | 'bf16';
  readonly heldOut: HeldOut;
}

/** Shares from 0 to 1: `retrieval`, and with classes `mIoU` and `pixelAccuracy`. */
export async function testClip(clip: ClipModel, test: ClipTest): Promise<Record<string, number>> {
  const { samples, classes } = test.heldOut;
  const side = test.plan.image;
  const labelled = samples.every(({ labels, image }) => labels?.length === side * side && image.width === side);
  const words = classes && labelled ? await classRows(clip, test, classes) : undefined;
  let right = 0;
  const counts = new Float64Array(words && classes ? classes.length * (classes.length + 1) : 0);
  try {
    for (let at = 0; at < samples.length; at += among) {
      const group = samples.slice(at, at + among);
      const answer = await answers(clip, test, group, words);
      right += answer.right;
      if (!answer.labels || !classes) continue;
      const truth = Buffer.concat(group.map(({ labels }) => labels as Uint8Array));
      const found = await countConfusion(answer.labels, truth, { numClasses: classes.length });
      for (const [i, count] of found.entries()) counts[i] = (counts[i] as number) + count;
    }
  } finally {
    words?.dispose();
  }
  return { retrieval: right / samples.length, ...(words && classes && figures(counts, classes.length)) };
}

/** Unit embeddings of the class names, means over the templates. [C, E] */
async function classRows(clip: ClipModel, { plan, templates }: ClipTest, classes: readonly string[]): Promise<Tensor> {
  const list = typeof templates === 'string' ? templateSet(templates) : (templates ?? ['a {}']);
  const texts = classes.flatMap((name) => list.map((template) => fillTemplate(template, name)));
  const { ids, ends } = encode(plan.tokenizer, texts, plan.context);
  return noGrad(() =>
    scope(() => {
      const rows = l2Normalise(clip.readText(Tensor.from(ids.data, ids.shape), ends.data)); // [C * T, E]
      const width = rows.shape[1] as number;
      return l2Normalise(mean(rows.reshape(classes.length, list.length, width), 1)); // [C, E]
    }),
  );
}

interface Answers {
  /** Pictures whose own caption is the most alike. */
  readonly right: number;
  /** Class of each pixel, picture by picture. */
  readonly labels?: Uint8Array;
}

async function answers(
  clip: ClipModel,
  { plan, compute }: ClipTest,
  samples: readonly PairSample[],
  words: Tensor | undefined,
): Promise<Answers> {
  // All patches, and one stream of random numbers: pictures that need a crop get the same one each time.
  const context = { step: 1, steps: 1, part: 0, random: new Random(0).fork('test'), compute };
  const first = samples.map((sample) => ({ ...sample, captions: sample.captions.slice(0, 1) }));
  const whole = { ...plan, patches: 1, nounPatch: undefined, patchLabels: undefined };
  const { rows, places, ids, ends } = await prepareBatch(first, whole, context);
  const [nearest, classOf] = await scope(() =>
    noGrad(() => {
      const pixels = Tensor.from(rows.data, rows.shape, rows.data instanceof Uint16Array ? 'bf16' : 'f32');
      const tokens = clip.embedSome(pixels, Tensor.from(places.data, places.shape));
      const { image, patches } = clip.readVision(tokens, words !== undefined); // [B, E], [B, K, E]
      const text = clip.readText(Tensor.from(ids.data, ids.shape), ends.data); // [B, E]
      const cosines = matmul(l2Normalise(image), l2Normalise(text), { transposeB: true }); // [B, B]
      const of =
        patches && words && matmul(patches.reshape(-1, patches.shape[2] as number), words, { transposeB: true }); // [B * K, C]
      return Promise.all([argmax(cosines).data(), of && argmax(of).data()]);
    }),
  );
  const right = (nearest as Int32Array).reduce((sum, caption, i) => sum + Number(caption === i), 0);
  if (!classOf) return { right };
  return { right, labels: await spread(classOf as Int32Array, samples.length, plan) };
}

/** Classes of patches to pixels. */
async function spread(classOf: Int32Array, count: number, { image: side, patch }: BatchPlan): Promise<Uint8Array> {
  const grid = side / patch;
  const labels = new Uint8Array(count * side * side);
  const slices = new Slices();
  for (let row = 0; row < count * side; row++) {
    if (slices.due) await slices.pause();
    const [picture, y] = [Math.floor(row / side), row % side];
    const first = picture * grid * grid + Math.floor(y / patch) * grid;
    for (let x = 0; x < grid; x++)
      labels.fill(classOf[first + x] as number, row * side + x * patch, row * side + (x + 1) * patch);
  }
  return labels;
}

/** Of a confusion matrix [C, C + 1]: mean IoU over the classes that occur, and share of the pixels that are right. */
function figures(counts: Float64Array, classes: number): { mIoU: number; pixelAccuracy: number } {
  const at = (row: number, column: number): number => counts[row * (classes + 1) + column] as number;
  const every = Array.from({ length: classes }, (_, c) => c);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const rows = every.map((c) => sum([...every, classes].map((k) => at(c, k))));
  const ious = every
    .filter((c) => (rows[c] as number) > 0)
    .map((c) => at(c, c) / ((rows[c] as number) + sum(every.map((k) => at(k, c))) - at(c, c)));
  return { mIoU: sum(ious) / ious.length, pixelAccuracy: sum(every.map((c) => at(c, c))) / sum(rows) };
}
