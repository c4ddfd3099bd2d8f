/** From a label map to segments and back: what the formats that list regions rest on. */
import { masksOfLabels, paintMask } from '../image/mask.js';
import { WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import {
  type LabelArray,
  type LabelResult,
  type LabelSegment,
  type LegendEntry,
  labelArray,
  labelCount,
  nothingOf,
  type Provenance,
} from './format.js';

/** The result's own segments, else one for each label that occurs, with id = label + 1. */
export async function segmentsOf(result: LabelResult, signal?: AbortSignal): Promise<readonly LabelSegment[]> {
  if (result.segments) return result.segments;
  const masks = await masksOfLabels(result.labels, result.width, result.height, nothingOf(result.labels), signal);
  const known = new Set(result.legend.map(({ index }) => index));
  return [...masks].map(([label, mask]) => {
    if (!known.has(label)) throw new WordmaskError('E_USAGE', `label ${label} occurs in the map but not in the legend`);
    return { id: label + 1, label, mask };
  });
}

/** Label map in which segments lie over one another by rising score, those without a score lowest, in list order. */
export async function labelsOfSegments(
  segments: readonly LabelSegment[],
  legend: readonly LegendEntry[],
  width: number,
  height: number,
  signal?: AbortSignal,
): Promise<LabelArray> {
  const labels = await labelArray(labelCount(legend), width * height, signal);
  const slices = new Slices(signal);
  for (const { mask, label } of [...segments].sort((a, b) => (a.score ?? -1) - (b.score ?? -1))) {
    paintMask(labels, mask, label);
    if (slices.due) await slices.pause();
  }
  return labels;
}

/** True when every segment is the whole of its label: then the map says all, and segments need not be kept. */
export function isSemantic(segments: readonly LabelSegment[]): boolean {
  return segments.every(({ id, label, score }) => id === label + 1 && score === undefined);
}

/** A result of segments that were read: labels painted, segments kept unless the map says all. */
export async function finishSegments(
  segments: readonly LabelSegment[],
  legend: readonly LegendEntry[],
  {
    width,
    height,
    provenance,
    signal,
  }: { width: number; height: number; provenance?: Provenance; signal?: AbortSignal },
): Promise<LabelResult> {
  const known = new Set(legend.map(({ index }) => index));
  const ids = new Set<number>();
  for (const { id, label } of segments) {
    if (!known.has(label))
      throw new WordmaskError('E_USAGE', `segment ${id} has label ${label}, which the legend lacks`);
    if (ids.has(id)) throw new WordmaskError('E_USAGE', `segment id ${id} occurs twice`);
    ids.add(id);
  }
  const labels = await labelsOfSegments(segments, legend, width, height, signal);
  return {
    width,
    height,
    labels,
    legend,
    ...(!isSemantic(segments) && { segments }),
    ...(provenance && { provenance }),
  };
}
