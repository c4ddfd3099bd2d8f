/**
 * Mask proposals: class activation maps of a CLIP's last block, refined by the attention of its last blocks (clip-as-rnn.md
 * section 3; clipcam.py, after CLIP-ES, arXiv 2212.09506).
 */
import { clipCams, lastBlocks, type OpenedClip } from '../../backbones/clip/index.js';
import { clipMean, clipStd } from '../../backbones/clip/preprocess.js';
import {
  add,
  concat,
  div,
  matmul,
  mul,
  normaliseImage,
  relu,
  resize,
  scaleShift,
  scope,
  sum,
  Tensor,
} from '../../engine/index.js';
import type { DecodedImage } from '../../image/decode.js';
import type { Trace } from '../../post/read-out.js';
import { type Box, boxMask, mapBoxes } from './boxes.js';

/** Sides are rounded up to multiples of this, whatever the patch is. */
const sideStep = 16;
/** Attention maps whose mean is the affinity. */
const lastAttention = 8;
const balanceRounds = 3;

/** What one picture gives for any texts. */
export interface CamPicture {
  /** Input of the last block [1, 1+P, D]. */
  readonly hidden: Tensor;
  /** [P, P] */
  readonly affinity: Tensor;
  readonly grid: readonly [height: number, width: number];
}

/** Belongs to the scope of the caller. */
export function camPicture(clip: OpenedClip, image: DecodedImage, trace?: Trace): CamPicture {
  return scope(() => {
    const [width, height] = [image.width, image.height].map((side) => Math.ceil(side / sideStep) * sideStep);
    const picture = Tensor.from(image.data, [image.height, image.width, 3], 'u8');
    const squared = resize(picture, { width: width as number, height: height as number, mode: 'pil_bicubic' });
    const [mean, std] = [clipMean, clipStd].map((values) => Tensor.from(Float32Array.from(values)));
    const pixels = normaliseImage(squared, mean as Tensor, std as Tensor, { unit: true }); // [3, H', W']
    trace?.put('normalised_input', pixels);
    const count = Math.min(lastAttention, clip.config.vision.layers);
    const { hidden, attention, grid } = lastBlocks(clip.model, pixels.reshape(1, ...pixels.shape), {
      count,
      positions: 'bilinear-f16',
    });
    trace?.put('last_block_input', hidden);
    const patches = attention.slice(0, 1).slice(1, 1).contiguous(); // [P, P]
    trace?.put('attention_mean_of_last_8', patches);
    const balanced = affinity(patches);
    trace?.put('affinity', balanced);
    return { hidden, affinity: balanced, grid };
  });
}

/** Columns and rows divided by their sums in turn, made symmetric, squared. [P, P] */
export function affinity(attention: Tensor): Tensor {
  return scope(() => {
    let w = attention;
    for (let round = 0; round < balanceRounds; round++) {
      w = div(w, sum(w, 0, true));
      w = div(w, sum(w, 1, true));
    }
    const symmetric = scaleShift(add(w, w.permute(1, 0).contiguous()), 0.5, 0);
    return matmul(symmetric, symmetric);
  });
}

/** Bytes that `camPicture` holds at once, beside the pixels. */
export function camBytes(clip: OpenedClip, width: number, height: number): number {
  const { patch, width: channels, heads } = clip.config.vision;
  const sides = [width, height].map((side) => Math.floor((Math.ceil(side / sideStep) * sideStep) / patch));
  const tokens = 1 + (sides[0] as number) * (sides[1] as number);
  return 4 * ((heads + 6) * tokens ** 2 + 24 * tokens * channels);
}

export interface MapTexts {
  /** Unit rows [n, E] and [m, E]. */
  readonly foreground: Tensor;
  readonly background: Tensor;
}

/**
 * Maps of all texts, refined and scaled to 0..1, one row of P cells each. In `refer` mode each text competes with the background alone; a text whose map is all zero is tried again
 * without background, which changes nothing for a text that is alone.
 */
export async function proposals(
  clip: OpenedClip,
  picture: CamPicture,
  { foreground, background }: MapTexts,
  { mode, clipesThreshold }: { readonly mode: 'semantic' | 'refer'; readonly clipesThreshold: number },
  trace?: { readonly round: number; readonly trace: Trace | undefined },
): Promise<Float32Array[]> {
  const count = foreground.shape[0] as number;
  const all = Array.from({ length: count }, (_, i) => i);
  const first =
    mode === 'semantic'
      ? [await activations(clip, picture, concat([foreground, background], 0), all, trace?.trace)]
      : await inTurn(all, (i) =>
          activations(clip, picture, concat([foreground.slice(0, i, i + 1), background], 0), [0], trace?.trace),
        );
  put(
    trace,
    'ln1_gradient',
    first.flatMap(({ gradients }) => (gradients ? [gradients] : [])),
  );
  put(
    trace,
    'probabilities',
    first.map(({ probabilities }) => repeated(probabilities, mode === 'semantic' ? count : 1)),
  );
  const cams = first.flatMap(({ rows }) => rows);
  const empty = all.filter((i) => (cams[i] as Float32Array).every((value) => value === 0));
  if (empty.length > 0 && mode === 'semantic' && count > 1) {
    const again = await activations(clip, picture, foreground, empty, undefined);
    empty.forEach((i, k) => {
      cams[i] = again.rows[k] as Float32Array;
    });
  }
  const [height, width] = picture.grid;
  const boxes = cams.map((cam) => mapBoxes(cam, width, height, clipesThreshold));
  const maps = await refine(picture, cams, boxes, trace);
  const cells = (rows: readonly ArrayLike<number>[]): Tensor =>
    Tensor.from(Float32Array.from(rows.flatMap((row) => Array.from(row))), [count, height, width]);
  put(trace, 'cam', [cells(cams)]);
  put(trace, 'box_mask', [cells(boxes.map((list) => boxMask(list, width, height)))]);
  put(trace, 'boxes', [
    Tensor.from(Int32Array.from(boxes.flatMap((list, i) => list.flatMap((box) => [i, ...box]))), [
      boxes.flat().length,
      5,
    ]),
  ]);
  return maps;
}

interface Activations {
  readonly rows: Float32Array[];
  readonly probabilities: Tensor;
  readonly gradients?: Tensor;
}

/** Class activation maps from 0 to 1 of some texts against all. */
async function activations(
  clip: OpenedClip,
  { hidden, grid }: CamPicture,
  texts: Tensor,
  classes: readonly number[],
  trace: Trace | undefined,
): Promise<Activations> {
  const wanted = trace?.wants('round0.ln1_gradient') ?? false;
  const found = clipCams(clip.model, hidden, texts, classes, { scale: clip.logitScale, gradients: wanted });
  trace?.put('ln1_activation', planes(found.features, grid));
  const cams = scope(() => relu(matmul(found.weights, found.features, { transposeB: true }))); // [C, P]
  const values = (await cams.data()) as Float32Array;
  const patches = cams.shape[1] as number;
  const rows = classes.map((_, i) => scaled(values.slice(i * patches, (i + 1) * patches), 1e-15));
  const gradients = found.gradients
    ?.permute(0, 2, 1)
    .contiguous()
    .reshape(classes.length, -1, ...grid);
  return { rows, probabilities: found.probabilities, ...(gradients && { gradients }) };
}

/** Each column of the affinity counts inside the map's boxes alone. Rows of maps from 0 to 1. */
async function refine(
  { affinity: w, grid }: CamPicture,
  cams: readonly Float32Array[],
  boxes: readonly (readonly Box[])[],
  trace: Parameters<typeof put>[0],
): Promise<Float32Array[]> {
  const [height, width] = grid;
  const patches = height * width;
  const masked = new Float32Array(cams.length * patches);
  cams.forEach((cam, i) => {
    const mask = boxMask(boxes[i] as readonly Box[], width, height);
    for (let at = 0; at < patches; at++) masked[i * patches + at] = mask[at] ? (cam[at] as number) : 0;
  });
  return scope(async () => {
    // The affinity is symmetric up to rounding; the published product has it on the left.
    const refined = matmul(Tensor.from(masked, [cams.length, patches]), w, { transposeB: true }); // [n, P]
    put(trace, 'refined', [refined.reshape(cams.length, height, width)]);
    const values = (await refined.data()) as Float32Array;
    return cams.map((_, i) => scaled(values.slice(i * patches, (i + 1) * patches), 0));
  });
}

/** From 0 to 1; a constant map becomes 0. */
function scaled(values: Float32Array, epsilon: number): Float32Array {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const range = high - low + epsilon;
  return values.map((value) => (range > 0 ? (value - low) / range : 0));
}

/** Channels in front: [P, D] -> [D, h, w]. */
function planes(features: Tensor, grid: readonly [number, number]): Tensor {
  return scope(() =>
    features
      .permute(1, 0)
      .contiguous()
      .reshape(-1, ...grid),
  );
}

function repeated(row: Tensor, count: number): Tensor {
  return scope(() =>
    mul(
      row
        .reshape(1, -1)
        .expand(count, row.shape[0] as number)
        .contiguous(),
      1,
    ),
  );
}

function put(
  trace: { readonly round: number; readonly trace: Trace | undefined } | undefined,
  name: string,
  parts: readonly Tensor[],
): void {
  const full = `round${trace?.round}.${name}`;
  if (!trace?.trace?.wants(full) || parts.length === 0) return;
  trace.trace.put(full, parts.length === 1 ? (parts[0] as Tensor) : concat([...parts], 0));
}

async function inTurn<T>(indices: readonly number[], work: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (const index of indices) results.push(await work(index));
  return results;
}
