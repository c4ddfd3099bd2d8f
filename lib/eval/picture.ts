/** One picture of an evaluation: its prediction against its label, as counts that are small enough to keep. */
import type { EvalItem, LabelPlane } from '../data/dataset.js';
import { countPairs } from '../engine/ops/host/confusion.js';
import { type LabelArray, type LegendEntry, nothingOf } from '../formats/format.js';
import { writeLabels } from '../formats/index.js';
import type { Segmentation } from '../pipelines/segmentation.js';
import { isWordmaskError, WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import { inSlices } from '../util/slices.js';
import { type EdgeCounts, pictureEdges } from './edges.js';
import { meanOfNumbers } from './metrics/semantic.js';

/** What is known of a picture when it is through: a line of the journal. */
export interface PictureRecord {
  /** Place in the data set. */
  readonly index: number;
  readonly id: string;
  readonly status: 'done' | 'failed';
  /** SHA-256 of the picture, of one that could be read. */
  readonly input?: string;
  readonly width?: number;
  readonly height?: number;
  /** Counts that are not 0, by row * (C + 1) + column. */
  readonly cells: readonly number[];
  readonly counts: readonly number[];
  /** What the boundary scores need, of a run that was asked for them. */
  readonly edges?: EdgeCounts;
  readonly warnings?: readonly string[];
  readonly code?: string;
  readonly message?: string;
  readonly uncounted?: boolean;
  readonly prediction?: string;
  readonly predictionHash?: string;
  /** Milliseconds by stage. */
  readonly timings: Readonly<Record<string, number>>;
}

/** A label map on its way, and how long it took; never rejects by itself. */
export interface ComingLabel {
  readonly plane: Promise<LabelPlane>;
  ms(): number;
}

/** Starts decoding. */
export function startLabel(item: EvalItem, signal: AbortSignal | undefined): ComingLabel {
  const started = performance.now();
  let ms = 0;
  const plane = item.label(signal).finally(() => (ms = performance.now() - started));
  plane.catch(() => undefined);
  return { plane, ms: () => ms };
}

/** How label values of a vocabulary become classes, and what counts. */
export interface Counting {
  readonly classes: readonly LegendEntry[];
  readonly ignore: number | null;
  /** Class of each label of the vocabulary. */
  readonly classOf: Int32Array;
  /** Count edges too. */
  readonly boundary: boolean;
}

/**
 * Counts a prediction against its label.
 * @throws what the label throws; E_IMAGE_SIZE when the sizes differ, E_IMAGE_CORRUPT for a value that is no class
 */
export async function countPicture(
  item: EvalItem,
  result: Segmentation,
  label: ComingLabel,
  counting: Counting,
): Promise<Pick<PictureRecord, 'cells' | 'counts' | 'edges' | 'timings'>> {
  const plane = await label.plane;
  if (plane.width !== result.width || plane.height !== result.height)
    throw new WordmaskError(
      'E_IMAGE_SIZE',
      `${item.id}: the label has ${plane.width} x ${plane.height} pixels, the picture ${result.width} x ${result.height}: they must agree (the picture with its orientation applied)`,
      { details: { id: item.id } },
    );
  const started = performance.now();
  const counts = await pairsOf(item, result.labels, plane, counting);
  return {
    ...counts,
    timings: { ...result.timings, label: label.ms(), count: performance.now() - started },
  };
}

/** A failed picture stays in the denominator: every pixel of its label that counts was missed. */
export async function countMissed(
  item: EvalItem,
  label: ComingLabel,
  counting: Counting,
): Promise<Pick<PictureRecord, 'cells' | 'counts' | 'edges' | 'uncounted'>> {
  try {
    const plane = await label.plane;
    return await pairsOf(item, new Uint16Array(plane.data.length).fill(65_535), plane, counting);
  } catch (error) {
    if (!isWordmaskError(error)) throw error;
    return { cells: [], counts: [], uncounted: true };
  }
}

async function pairsOf(
  item: EvalItem,
  pred: LabelArray,
  plane: LabelPlane,
  counting: Counting,
): Promise<Pick<PictureRecord, 'cells' | 'counts' | 'edges'>> {
  const { classes, ignore, classOf } = counting;
  const numClasses = classes.length;
  const found = await countPairs(pred, plane.data, { numClasses, ignore: ignore === null ? [] : [ignore] });
  if (found.outside > 0)
    throw new WordmaskError(
      'E_IMAGE_CORRUPT',
      `${item.id}: ${found.outside} pixels of the label are neither a class (0..${numClasses - 1}) nor ignored (${ignore}), the first is ${found.outsideValue}`,
      { details: { id: item.id, value: found.outsideValue, count: found.outside } },
    );
  const pairs = toClasses(found.cells, found.counts, numClasses, classOf);
  return { ...pairs, ...(counting.boundary && { edges: await edgesOf(pred, plane, counting, pairs.cells) }) };
}

/** Edges of the classes in prediction and label; `cells` says which occur. */
async function edgesOf(
  pred: LabelArray,
  { data, width, height }: LabelPlane,
  { classes, ignore, classOf }: Counting,
  cells: readonly number[],
): Promise<EdgeCounts> {
  const numClasses = classes.length;
  const rows = new Set(cells.map((cell) => Math.floor(cell / (numClasses + 1))));
  const guessed = new Set(cells.map((cell) => cell % (numClasses + 1)));
  const mapped = isIdentity(classOf, numClasses) ? pred : await mappedLabels(pred, classOf, numClasses, undefined);
  return pictureEdges(mapped, data, { width, height, numClasses, ignore }, rows, guessed);
}

function isIdentity(classOf: Int32Array, numClasses: number): boolean {
  return classOf.length === numClasses && classOf.every((c, i) => c === i);
}

/** From labels of the vocabulary to classes, where these are not the same. */
function toClasses(
  cells: Uint32Array,
  counts: Uint32Array,
  numClasses: number,
  classOf: Int32Array,
): { cells: number[]; counts: number[] } {
  if (isIdentity(classOf, numClasses)) return { cells: Array.from(cells), counts: Array.from(counts) };
  const sums = new Map<number, number>();
  cells.forEach((cell, i) => {
    const label = cell % (numClasses + 1);
    const moved = cell - label + (classOf[label] ?? numClasses);
    sums.set(moved, (sums.get(moved) ?? 0) + (counts[i] as number));
  });
  const sorted = [...sums].sort(([a], [b]) => a - b);
  return { cells: sorted.map(([cell]) => cell), counts: sorted.map(([, count]) => count) };
}

/** Pixels that count, pixels that are right, mean IoU over the classes in label or prediction. */
export function pictureScores(
  { cells, counts }: Pick<PictureRecord, 'cells' | 'counts'>,
  numClasses: number,
): { valid: number; correct: number; mIoU: number | null } {
  const areas = {
    both: new Float64Array(numClasses),
    label: new Float64Array(numClasses),
    pred: new Float64Array(numClasses),
  };
  const add = (list: Float64Array, c: number, count: number): void => {
    list[c] = (list[c] as number) + count;
  };
  let [valid, correct] = [0, 0];
  for (let i = 0; i < cells.length; i++) {
    const [cell, count] = [cells[i] as number, counts[i] as number];
    const row = Math.floor(cell / (numClasses + 1));
    const column = cell - row * (numClasses + 1);
    valid += count;
    add(areas.label, row, count);
    if (column < numClasses) add(areas.pred, column, count);
    if (row !== column) continue;
    correct += count;
    add(areas.both, row, count);
  }
  const ious = Array.from(
    areas.both,
    (shared, c) => shared / ((areas.label[c] as number) + (areas.pred[c] as number) - shared),
  );
  const mIoU = meanOfNumbers(ious);
  return { valid, correct, mIoU: Number.isNaN(mIoU) ? null : mIoU };
}

/** Labels of a vocabulary as classes; the highest value of the type stays "no class". */
export async function mappedLabels(
  labels: LabelArray,
  classOf: Int32Array,
  numClasses: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | Uint16Array> {
  const nothing = nothingOf(labels);
  const mapped = numClasses > 255 ? new Uint16Array(labels.length) : new Uint8Array(labels.length);
  const none = nothingOf(mapped);
  await inSlices(
    labels.length,
    1 << 18,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const value = labels[i] as number;
        mapped[i] = value === nothing ? none : (classOf[value] as number);
      }
    },
    signal,
  );
  return mapped;
}

/** A prediction as a grey PNG of class indices; the highest value is "no class". */
export async function predictionPng(
  { width, height, labels, provenance }: Segmentation,
  { classes, classOf }: Counting,
  signal: AbortSignal | undefined,
): Promise<{ bytes: Uint8Array; hash: string }> {
  const mapped = await mappedLabels(labels, classOf, classes.length, signal);
  const [file] = await writeLabels('png', { width, height, labels: mapped, legend: classes, provenance }, { signal });
  const { bytes } = file as { bytes: Uint8Array };
  return { bytes, hash: sha256(bytes) };
}
