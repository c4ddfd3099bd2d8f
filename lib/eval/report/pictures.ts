/** Pictures of a report: best, median and worst, each with its truth, the prediction and where they differ. */
import type { EvalDataset, EvalItem, LabelPlane } from '../../data/dataset.js';
import { type TruthPictures, truthPictures } from '../../pipelines/truth-pictures.js';
import type { EvalImage, EvalReport } from '../report-types.js';

export const pictureGroups = ['best', 'median', 'worst'] as const;
export type PictureGroup = (typeof pictureGroups)[number];

export interface ReportPicture extends TruthPictures {
  readonly group: PictureGroup;
  readonly id: string;
  readonly mIoU: number | null;
  /** Share of right pixels. */
  readonly right: number | null;
}

export interface PictureOptions {
  /** Pictures of each group (3). */
  readonly count?: number;
  /** Longest side of a thumbnail (320). */
  readonly side?: number;
  readonly signal?: AbortSignal;
  /** Told why a picture is left out. */
  readonly onWarn?: (message: string) => void;
}

/** Bytes of all thumbnails together; what would be more is left out. */
const mostBytes = 8 << 20;

/** The pictures that a report shows, by the mean IoU of each; none twice. */
export function choosePictures(
  images: readonly EvalImage[],
  count: number,
): { group: PictureGroup; image: EvalImage }[] {
  const ranked = images
    .filter(({ status, mIoU }) => status === 'done' && mIoU !== null)
    .sort((a, b) => (b.mIoU as number) - (a.mIoU as number) || a.index - b.index);
  const best = ranked.splice(0, count);
  const worst = ranked.splice(Math.max(0, ranked.length - count)).reverse();
  const median = ranked.splice(Math.max(0, Math.floor((ranked.length - count) / 2)), count);
  const group = (name: PictureGroup, list: EvalImage[]) => list.map((image) => ({ group: name, image }));
  return [...group('best', best), ...group('median', median), ...group('worst', worst)];
}

/**
 * Draws them.
 * @param predict label map of an item at its label's size: class indices, anything else is no class
 */
export async function reportPictures(
  report: EvalReport,
  dataset: EvalDataset,
  predict: (item: EvalItem, image: EvalImage) => Promise<LabelPlane>,
  options: PictureOptions = {},
): Promise<ReportPicture[]> {
  const { count = 3, side = 320, signal, onWarn } = options;
  const items = new Map(dataset.items.map((item) => [item.id, item]));
  const { classes, colors } = report.dataset;
  const look = { classes, colours: colors.map((colour) => colour ?? undefined), ignore: dataset.ignore, side, signal };
  const pictures: ReportPicture[] = [];
  let bytes = 0;
  for (const { group, image } of choosePictures(report.images, count)) {
    signal?.throwIfAborted();
    try {
      const item = items.get(image.id);
      if (!item) throw new Error('the data set does not hold it');
      const [source, truth] = [(await item.picture?.(signal)) ?? item.image, await item.label(signal)];
      const drawn = await truthPictures({ ...look, image: source, truth, prediction: await predict(item, image) });
      bytes += drawn.parts.reduce((sum, part) => sum + part.bytes.length, 0);
      if (bytes > mostBytes) throw new Error(`the pictures of the report have ${mostBytes} bytes already`);
      const right = image.valid > 0 ? image.correct / image.valid : null;
      pictures.push({ ...drawn, group, id: image.id, mIoU: image.mIoU, right });
    } catch (error) {
      // A report without a picture is still one.
      signal?.throwIfAborted();
      onWarn?.(`the report leaves out the picture ${image.id}: ${(error as Error).message}`);
    }
  }
  return pictures;
}
