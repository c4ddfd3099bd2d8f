/** From a label map to segments and back: what the formats that list regions rest on. */
import { type Mask, masksOfLabels, paintMask } from '../image/mask.js';
import { WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import {
  checkResult,
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

/** The segments to write with the names of their labels, letting the event loop turn between them. */
export async function* namedSegments(
  result: LabelResult,
  signal?: AbortSignal,
): AsyncGenerator<LabelSegment & { readonly name: string }> {
  checkResult(result);
  const names = new Map(result.legend.map(({ index, name }) => [index, name]));
  const slices = new Slices(signal);
  for (const segment of await segmentsOf(result, signal)) {
    yield { ...segment, name: names.get(segment.label) as string };
    if (slices.due) await slices.pause();
  }
}

/** A segment that was read; `score` counts where it is a number. */
export function readSegment(id: number, label: number, mask: Mask, score: unknown): LabelSegment {
  return { id, label, area: mask.area, bbox: mask.bbox, mask, ...(typeof score === 'number' && { score }) };
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

/** What a file says about its picture besides segments and legend. */
interface Picture {
  readonly width: number;
  readonly height: number;
  readonly provenance?: Provenance;
  readonly signal?: AbortSignal;
}

/** As `resultOfSegments`, of segments whose labels and ids are the file's own. @throws E_USAGE for a label that the legend lacks, an id twice */
export async function finishSegments(
  segments: readonly LabelSegment[],
  legend: readonly LegendEntry[],
  picture: Picture,
): Promise<LabelResult> {
  const known = new Set(legend.map(({ index }) => index));
  const ids = new Set<number>();
  for (const { id, label } of segments) {
    if (!known.has(label))
      throw new WordmaskError('E_USAGE', `segment ${id} has label ${label}, which the legend lacks`);
    if (ids.has(id)) throw new WordmaskError('E_USAGE', `segment id ${id} occurs twice`);
    ids.add(id);
  }
  return resultOfSegments(segments, legend, picture);
}

/** A result of segments that were read: labels painted, segments kept unless the map says all. */
export async function resultOfSegments(
  segments: readonly LabelSegment[],
  legend: readonly LegendEntry[],
  { width, height, provenance, signal }: Picture,
): Promise<LabelResult> {
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
