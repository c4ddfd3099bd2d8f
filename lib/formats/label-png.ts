/** Steps that the PNG label formats share: narrowing, value checks, legend of a file that was read. */
import { type PngImage, readPng } from '../image/png.js';
import { show, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import {
  anonymousLegend,
  fromText,
  type LabelArray,
  type LabelResult,
  type LegendEntry,
  labelCount,
  nothingOf,
  type ReadOptions,
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

/** Legend and provenance for labels that were read: the option's, else the file's, else made-up names. */
export async function completeResult(png: PngImage, labels: LabelArray, options: ReadOptions): Promise<LabelResult> {
  const found = fromText(png.text);
  const present = await presentLabels(labels, options.signal);
  const legend = await checkedLegend(options.legend ?? found.legend, present);
  return {
    width: png.width,
    height: png.height,
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
