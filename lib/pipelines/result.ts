/** From label planes of whatever system to a Segmentation. */
import { type LabelArray, labelArray } from '../formats/format.js';
import type { Planes } from '../post/read-out.js';
import { inSlices } from '../util/slices.js';
import { packageVersion } from '../util/version.js';
import type { ModelInfo } from './parts.js';
import type { CheckedOptions } from './segment-options.js';
import { plane, Segmentation, type SegmentationParts, segmentsOf } from './segmentation.js';
import type { Vocabulary } from './vocabulary.js';

type Common = CheckedOptions['common'];

/** What a call found, before it is put into the user's terms. */
export interface Finding {
  readonly width: number;
  readonly height: number;
  readonly vocab: Vocabulary;
  readonly planes: Planes;
  readonly common: Common;
  readonly warnings: readonly string[];
  readonly timings: Record<string, number>;
  /** Writes the time since its last call into `timings`. */
  readonly clock: (stage: string) => void;
  readonly provenance: Readonly<Record<string, unknown>>;
  /** Absent where the picture was a tensor. */
  readonly image?: { readonly data: Uint8Array; readonly width: number; readonly height: number };
}

export async function finishCall(found: Finding): Promise<Segmentation> {
  const { width, height, vocab, planes, common, warnings, timings, clock, provenance, image } = found;
  const labels = await narrow(planes.labels, vocab, common.signal);
  await hideClasses(planes.topkLabels, vocab.labels.length, common.signal);
  const segments = await segmentsOf(labels, width, height, vocab.labels.length, planes.score, common.signal);
  clock('output');
  return new Segmentation({
    width,
    height,
    labels,
    vocab,
    segments,
    warnings,
    timings,
    planes: planesOf(planes, common, width, height, vocab.labels.length),
    provenance,
    ...(common.keepImage !== false && image && { image }),
  });
}

/** Everything needed to repeat a call; `options` are those of the system and the rules of the call. */
export function provenanceOf(
  info: ModelInfo,
  vocab: Vocabulary,
  input: string,
  common: Common,
  options: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return {
    wordmask: packageVersion,
    system: info.system,
    model: info.hash,
    vocabulary: vocab.hash,
    input,
    device: info.device,
    dtype: info.dtype,
    deterministic: true,
    options: {
      ...options,
      minArea: common.minArea ?? 0,
      ...(common.labels && { labels: common.labels }),
      ...(common.maxSide !== undefined && { maxSide: common.maxSide }),
    },
  };
}

/** Class indices as the smallest label array; classes beyond the labels (hidden background) and -1 become nothing. */
async function narrow(classes: Int32Array, vocab: Vocabulary, signal?: AbortSignal): Promise<LabelArray> {
  const count = vocab.labels.length;
  const labels = await labelArray(count, classes.length);
  await inSlices(
    classes.length,
    1 << 18,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const value = classes[i] as number;
        if (value >= 0 && value < count) labels[i] = value;
      }
    },
    signal,
  );
  return labels;
}

/** The classes of background words and of a threshold are no labels: -1, in place. */
async function hideClasses(classes: Int32Array | undefined, labels: number, signal?: AbortSignal): Promise<void> {
  if (!classes) return;
  await inSlices(
    classes.length,
    1 << 18,
    (begin, end) => {
      for (let i = begin; i < end; i++) if ((classes[i] as number) >= labels) classes[i] = -1;
    },
    signal,
  );
}

function planesOf(
  planes: Planes,
  common: Common,
  width: number,
  height: number,
  labels: number,
): SegmentationParts['planes'] {
  const wanted = common.outputs ?? [];
  const map = [height, width];
  const k = (planes.topkLabels?.length ?? 0) / (width * height);
  return {
    ...(wanted.includes('score') && { score: plane(planes.score, map) }),
    ...(planes.margin && { margin: plane(planes.margin, map) }),
    ...(planes.entropy && { entropy: plane(planes.entropy, map) }),
    ...(planes.topkLabels && {
      topk: plane(planes.topkLabels, [k, ...map]),
      topkScores: plane(planes.topkScores as Float32Array, [k, ...map]),
    }),
    // The hidden class of background words is no label.
    ...(planes.probabilities && {
      probabilities: plane(planes.probabilities.subarray(0, labels * width * height), [labels, ...map]),
    }),
  };
}

/** Adds the time since its last call to a stage. */
export function stopwatch(timings: Record<string, number>): (stage: string) => void {
  let last = performance.now();
  return (stage) => {
    const now = performance.now();
    timings[stage] = (timings[stage] ?? 0) + now - last;
    last = now;
  };
}
