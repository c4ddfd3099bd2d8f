/** Steps that the PNG label formats share: narrowing, value checks, legend of a file that was read. */
import { type PngImage, type PngText, readPng, writePng } from '../image/png.js';
import { isTiff, readTiff } from '../image/tiff.js';
import { show, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import {
  anonymousLegend,
  checkResult,
  fromText,
  type LabelArray,
  type LabelResult,
  type LegendEntry,
  labelCount,
  nothingOf,
  type ReadOptions,
  textOf,
} from './format.js';

const SLICE = 1 << 20;

/**
 * `labels` through a table from value to value; `nothing` stands for the highest value of the source type. Values
 * outside 0..count-1 are refused, because they could not be read back.
 */
export async function mapLabels<T extends LabelArray>(
  labels: LabelArray,
  count: number,
  out: T,
  shift: number,
  nothing: number,
  signal?: AbortSignal,
): Promise<T> {
  const none = nothingOf(labels);
  await inSlices(
    labels.length,
    SLICE,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const value = labels[i] as number;
        if (value === none) out[i] = nothing;
        else if (value < count) out[i] = value + shift;
        else throw new WordmaskError('E_USAGE', `label ${value} at pixel ${i} is outside the legend's 0..${count - 1}`);
      }
    },
    signal,
  );
  return out;
}

/** A grey PNG of label + `shift`, 8 bits up to 255 labels, else 16; nothing is 0, or the highest value of the depth. */
export async function writeGrey(
  format: string,
  result: LabelResult,
  { shift, nothing }: { readonly shift: number; readonly nothing: 'zero' | 'highest' },
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  checkResult(result);
  const { width, height, labels, legend } = result;
  const count = labelCount(legend);
  if (count > 65_535)
    throw new WordmaskError('E_OPTION', `${format} holds at most 65535 labels, got ${count}: write npy or safetensors`);
  const out = count <= 255 ? new Uint8Array(labels.length) : new Uint16Array(labels.length);
  const none = nothing === 'zero' ? 0 : 2 ** (8 * out.BYTES_PER_ELEMENT) - 1;
  const data = await mapLabels(labels, count, out, shift, none, signal);
  return writePng({ width, height, kind: 'grey', data }, { text: textOf(result), signal });
}

/** Which values occur, in slices. */
export async function presentLabels(labels: LabelArray, signal?: AbortSignal): Promise<Set<number>> {
  const present = new Set<number>();
  await inSlices(
    labels.length,
    SLICE,
    (begin, end) => {
      let last = -1;
      for (let i = begin; i < end; i++) {
        const value = labels[i] as number;
        if (value !== last) present.add((last = value));
      }
    },
    signal,
  );
  present.delete(nothingOf(labels));
  return present;
}

/** Reads a PNG whose single channel holds labels: grey of any depth or palette indices. */
export async function readSingleChannel(bytes: Uint8Array, format: string, signal?: AbortSignal): Promise<PngImage> {
  const png = await readPng(bytes, { ...(signal && { signal }) });
  if (png.channels !== 1) {
    throw new WordmaskError(
      'E_IMAGE_FORMAT',
      `a ${format} label map is a grey or palette PNG, this one is ${png.kind}: read it as rgb or coco-panoptic, or convert it`,
      { details: { kind: png.kind } },
    );
  }
  return png;
}

/** What the label formats need of a file. */
export type LabelImage = Readonly<Pick<PngImage, 'width' | 'height' | 'bitDepth' | 'data'>> & {
  readonly text: readonly PngText[];
};

/** As `readSingleChannel`, or a TIFF of one channel, as some benchmarks keep their labels. */
export async function readLabelImage(bytes: Uint8Array, format: string, signal?: AbortSignal): Promise<LabelImage> {
  return isTiff(bytes) ? readTiff(bytes, { signal }) : readSingleChannel(bytes, format, signal);
}

/** Legend and provenance for labels that were read: the option's, else the file's, else made-up names. */
export async function completeResult(
  image: LabelImage,
  labels: LabelArray,
  options: ReadOptions,
): Promise<LabelResult> {
  const found = fromText(image.text);
  const present = await presentLabels(labels, options.signal);
  const legend = await checkedLegend(options.legend ?? found.legend, present);
  return {
    width: image.width,
    height: image.height,
    labels,
    legend,
    ...(found.provenance && { provenance: found.provenance }),
  };
}

/** The given legend if it covers all values, with an error if it does not; made-up names when none is given. */
export async function checkedLegend(
  legend: readonly LegendEntry[] | undefined,
  present: ReadonlySet<number>,
): Promise<readonly LegendEntry[]> {
  if (!legend) return anonymousLegend(present);
  const count = labelCount(legend);
  const strange = [...present].find((value) => value >= count);
  if (strange !== undefined)
    throw new WordmaskError('E_USAGE', `the map holds label ${strange}, the legend ends at ${show(count - 1)}`);
  return legend;
}
