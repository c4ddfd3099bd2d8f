/** Pictures of a report: best, median and worst, each with its truth, the prediction and where they differ. */
import type { EvalDataset, EvalItem, LabelPlane } from '../../data/dataset.js';
import { decodeImage } from '../../image/decode.js';
import { type RgbImage, renderOverlay } from '../../image/overlay.js';
import { type Colour, paletteFor } from '../../image/palette.js';
import { encodeWebp, shrinkLabels, shrinkRgb } from '../../image/thumbnail.js';
import type { EvalImage, EvalReport } from '../report-types.js';

export const pictureGroups = ['best', 'median', 'worst'] as const;
export type PictureGroup = (typeof pictureGroups)[number];

export interface ReportPicture {
  readonly group: PictureGroup;
  readonly id: string;
  readonly mIoU: number | null;
  /** Share of right pixels. */
  readonly right: number | null;
  readonly parts: readonly { readonly title: string; readonly bytes: Uint8Array; readonly type: string }[];
  /** Classes of truth and prediction, largest area first. */
  readonly legend: readonly { readonly name: string; readonly colour: Colour }[];
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
const mostLegend = 12;
const leastShare = 0.005;
const alpha = 0.65;
const right: Colour = [90, 160, 220];
const wrong: Colour = [225, 80, 30];

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
  const colours = paletteFor(report.dataset.colors.map((colour) => colour ?? undefined));
  const pictures: ReportPicture[] = [];
  let bytes = 0;
  for (const { group, image } of choosePictures(report.images, count)) {
    signal?.throwIfAborted();
    try {
      const item = items.get(image.id);
      if (!item) throw new Error('the data set does not hold it');
      const picture = await drawPicture(item, image, await predict(item, image), {
        report,
        dataset,
        colours,
        side,
        signal,
      });
      bytes += picture.parts.reduce((sum, part) => sum + part.bytes.length, 0);
      if (bytes > mostBytes) throw new Error(`the pictures of the report have ${mostBytes} bytes already`);
      pictures.push({ ...picture, group });
    } catch (error) {
      // A report without a picture is still one.
      signal?.throwIfAborted();
      onWarn?.(`the report leaves out the picture ${image.id}: ${(error as Error).message}`);
    }
  }
  return pictures;
}

interface Drawing {
  readonly report: EvalReport;
  readonly dataset: EvalDataset;
  readonly colours: readonly Colour[];
  readonly side: number;
  readonly signal?: AbortSignal;
}

async function drawPicture(
  item: EvalItem,
  image: EvalImage,
  prediction: LabelPlane,
  drawing: Drawing,
): Promise<Omit<ReportPicture, 'group'>> {
  const { report, dataset, colours, side, signal } = drawing;
  const whole: RgbImage = item.picture ? await item.picture(signal) : await decodeImage(item.image, { signal });
  const rgb = await shrinkRgb(whole, side);
  const label = await item.label(signal);
  const truth = shrinkLabels(label.data, label, rgb);
  const found = shrinkLabels(prediction.data, prediction, rgb);
  const legend = report.dataset.classes.map((name, index) => ({ index, name, color: colours[index] as Colour }));
  const overlay = async (labels: Uint8Array | Uint16Array): Promise<RgbImage> =>
    renderOverlay(
      { image: rgb.data, width: rgb.width, height: rgb.height, labels, legend },
      { alpha, legend: false, signal },
    );
  const shown = [
    ['picture', rgb],
    ['truth', await overlay(withoutOthers(truth, legend.length))],
    ['prediction', await overlay(withoutOthers(found, legend.length))],
    ['difference', difference(rgb, truth, found, dataset.ignore)],
  ] as const;
  return {
    id: image.id,
    mIoU: image.mIoU,
    right: image.valid > 0 ? image.correct / image.valid : null,
    parts: await Promise.all(
      shown.map(async ([title, picture]) => ({ title, bytes: await encodeWebp(picture), type: 'image/webp' })),
    ),
    legend: legendOf([truth, found], legend),
  };
}

/** What is no class gets the value that an overlay leaves uncoloured. */
function withoutOthers<T extends Uint8Array | Uint16Array>(labels: T, classes: number): T {
  const nothing = labels instanceof Uint16Array ? 65_535 : 255;
  return labels.map((label) => (label < classes ? label : nothing)) as T;
}

/** Grey picture with right pixels bluish and wrong ones in orange; what does not count stays grey and dark. */
function difference(
  { data, width, height }: RgbImage,
  truth: ArrayLike<number>,
  found: ArrayLike<number>,
  ignore: number,
): RgbImage {
  const out = new Uint8Array(data.length);
  for (let i = 0; i < width * height; i++) {
    const at = 3 * i;
    const grey = 0.3 * (data[at] as number) + 0.59 * (data[at + 1] as number) + 0.11 * (data[at + 2] as number);
    const counts = truth[i] !== ignore;
    const colour = truth[i] === found[i] ? right : wrong;
    const weight = truth[i] === found[i] ? 0.3 : 0.75;
    for (let c = 0; c < 3; c++)
      out[at + c] = counts ? (1 - weight) * grey + weight * (colour[c] as number) : 0.35 * grey;
  }
  return { data: out, width, height };
}

function legendOf(
  maps: readonly ArrayLike<number>[],
  legend: readonly { index: number; name: string; color: Colour }[],
): ReportPicture['legend'] {
  const areas = new Float64Array(legend.length);
  let total = 0;
  for (const map of maps)
    for (let i = 0; i < map.length; i++) {
      const label = map[i] as number;
      if (label >= legend.length) continue;
      areas[label] = (areas[label] as number) + 1;
      total++;
    }
  return legend
    .filter(({ index }) => (areas[index] as number) > leastShare * total)
    .sort((a, b) => (areas[b.index] as number) - (areas[a.index] as number))
    .slice(0, mostLegend)
    .map(({ name, color }) => ({ name, colour: color }));
}
