/** What `segment` returns: label map, planes, segments, legend, and how it came about. */
import type {
  FormatFile,
  LabelArray,
  LabelResult,
  LabelSegment,
  LegendEntry,
  Plane,
  WriteOptions,
} from '../formats/format.js';
import { saveLabels, writeLabels } from '../formats/index.js';
import { type Box, Mask, masksOfLabels } from '../image/mask.js';
import { type OverlayOptions, type RgbImage, renderOverlay } from '../image/overlay.js';
import { show, WordmaskError } from '../util/errors.js';
import { inSlices, Slices } from '../util/slices.js';
import type { Vocabulary } from './vocabulary.js';

/** A plane in the shape `ndarray` takes. */
export interface ResultPlane extends Plane {
  readonly stride: readonly number[];
  readonly offset: 0;
}

/** The pixels of one label. */
export interface Segment extends LabelSegment {
  readonly area: number;
  readonly bbox: Box;
  readonly mask: Mask;
}

export interface SegmentationParts {
  readonly width: number;
  readonly height: number;
  readonly labels: LabelArray;
  readonly vocab: Vocabulary;
  readonly planes: Partial<
    Record<'score' | 'margin' | 'entropy' | 'topk' | 'topkScores' | 'probabilities', ResultPlane>
  >;
  readonly segments: readonly Segment[];
  readonly timings: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
  readonly provenance: Readonly<Record<string, unknown>>;
  readonly image?: { readonly data: Uint8Array; readonly width: number; readonly height: number };
}

export class Segmentation {
  readonly width: number;
  readonly height: number;
  /** [H, W] indices into `vocab.labels`; the highest value of the type means nothing. */
  readonly labels: LabelArray;
  readonly vocab: Vocabulary;
  /** Winner's probability [H, W]. */
  readonly score?: ResultPlane;
  /** Winner's probability minus that of the second label [H, W]. */
  readonly margin?: ResultPlane;
  /** Entropy in nats of the softmax over all prompts [H, W]. */
  readonly entropy?: ResultPlane;
  /** The k best labels, best first, i32 [k, H, W]. */
  readonly topk?: ResultPlane;
  /** Their probabilities, f32 [k, H, W]. */
  readonly topkScores?: ResultPlane;
  /** All label probabilities, f32 [Q, H, W]. */
  readonly probabilities?: ResultPlane;
  /** One segment a label that occurs, in order of labels. */
  readonly segments: readonly Segment[];
  /** Milliseconds by stage. */
  readonly timings: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
  /** Everything needed to repeat the result: versions, hashes, options. No paths, times or host names. */
  readonly provenance: Readonly<Record<string, unknown>>;
  readonly #image: SegmentationParts['image'];

  constructor(parts: SegmentationParts) {
    this.width = parts.width;
    this.height = parts.height;
    this.labels = parts.labels;
    this.vocab = parts.vocab;
    this.segments = parts.segments;
    this.timings = parts.timings;
    this.warnings = parts.warnings;
    this.provenance = parts.provenance;
    this.#image = parts.image;
    Object.assign(this, parts.planes);
  }

  /** Name, index and colour of every label. */
  legend(): LegendEntry[] {
    return this.vocab.legend();
  }

  /** The pixels of a label, by name or index. @throws E_LABEL */
  mask(label: string | number): Mask {
    const index = this.vocab.indexOf(label);
    return (
      this.segments.find((segment) => segment.label === index)?.mask ??
      Mask.fromRle({ size: [this.height, this.width], counts: [this.width * this.height] })
    );
  }

  /** RGB picture with colours, contours and legend. The image is the one segmented unless another is given. */
  overlay(options: OverlayOptions & { image?: Uint8Array } = {}): Promise<RgbImage> {
    const { image = this.#image?.data, ...rest } = options;
    return renderOverlay(
      { image, width: this.width, height: this.height, labels: this.labels, legend: this.legend() },
      rest,
    );
  }

  /** The files of a format (user-interfaces.md section 7), the main one first. */
  encode(format: string, options: WriteOptions = {}): Promise<FormatFile[]> {
    return writeLabels(format, this.toResult(), this.#withImage(options));
  }

  /** Writes a format's files; returns their paths. */
  save(path: string, options: WriteOptions & { format?: string } = {}): Promise<string[]> {
    if (typeof path !== 'string' || path === '')
      throw new WordmaskError('E_USAGE', `save: needs a path, got ${show(path)}`);
    return saveLabels(path, this.toResult(), this.#withImage(options));
  }

  /** The plain record every format writer takes. */
  toResult(): LabelResult {
    const { width, height, labels, segments, score, margin, entropy, topk, probabilities, provenance } = this;
    return {
      width,
      height,
      labels,
      legend: this.legend(),
      segments,
      score,
      margin,
      entropy,
      topk,
      probabilities,
      provenance,
    };
  }

  toJSON(): Record<string, unknown> {
    return {
      width: this.width,
      height: this.height,
      legend: this.legend(),
      segments: this.segments.map(({ id, label, score, area, bbox, mask }) => ({
        id,
        label,
        score,
        area,
        bbox,
        mask: mask.toRle({ compressed: true }),
      })),
      timings: this.timings,
      warnings: this.warnings,
      provenance: this.provenance,
    };
  }

  #withImage<T extends WriteOptions>(options: T): T {
    return this.#image && !options.image ? { ...options, image: this.#image } : options;
  }
}

export function plane(data: ResultPlane['data'], shape: readonly number[]): ResultPlane {
  const stride = shape.map((_, i) => shape.slice(i + 1).reduce((n, d) => n * d, 1));
  return { data, shape, stride, offset: 0 };
}

/** One segment a label: its pixels, area, box, and mean score. */
export async function segmentsOf(
  labels: LabelArray,
  width: number,
  height: number,
  count: number,
  score: Float32Array | undefined,
  signal?: AbortSignal,
): Promise<Segment[]> {
  const nothing = 2 ** (8 * labels.BYTES_PER_ELEMENT) - 1;
  const masks = await masksOfLabels(labels, width, height, nothing, signal);
  const sums = new Float64Array(count);
  if (score) {
    await inSlices(
      labels.length,
      1 << 18,
      (begin, end) => {
        for (let i = begin; i < end; i++) {
          const label = labels[i] as number;
          if (label < count) sums[label] = (sums[label] as number) + (score[i] as number);
        }
      },
      signal,
    );
  }
  const slices = new Slices(signal);
  const segments: Segment[] = [];
  for (const [label, mask] of masks) {
    const { area } = mask;
    segments.push({
      id: label + 1,
      label,
      area,
      bbox: mask.bbox,
      mask,
      ...(score && { score: (sums[label] as number) / area }),
    });
    if (slices.due) await slices.pause();
  }
  return segments;
}
