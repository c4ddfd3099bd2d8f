/** A labelled picture for a page: small, with its truth, what was predicted, and where the two differ. */
import { decodeImage, type ImageInput } from '../image/decode.js';
import { type RgbImage, renderOverlay } from '../image/overlay.js';
import { type Colour, paletteFor } from '../image/palette.js';
import { encodeWebp, shrinkLabels, shrinkRgb } from '../image/thumbnail.js';

interface LabelMap {
  readonly width: number;
  readonly height: number;
  /** [H, W] */
  readonly data: Uint8Array | Uint16Array;
}

export interface TruthPicture {
  readonly image: ImageInput;
  readonly truth: LabelMap;
  /** Indices of classes; anything else is none. */
  readonly prediction: LabelMap;
  /** Value of the truth that does not count. */
  readonly ignore: number;
  readonly classes: readonly string[];
  /** A colour a class, where it has one. */
  readonly colours: readonly (Colour | undefined)[];
  /** Longest side. */
  readonly side: number;
  readonly signal?: AbortSignal;
}

export interface TruthPictures {
  readonly parts: readonly { readonly title: string; readonly bytes: Uint8Array; readonly type: string }[];
  /** Classes of truth and prediction, largest area first. */
  readonly legend: readonly { readonly name: string; readonly colour: Colour }[];
}

const mostLegend = 12;
const leastShare = 0.005;
/** Weight of the labels' colours over the picture. */
const alpha = 0.65;
const right: Colour = [90, 160, 220];
const wrong: Colour = [225, 80, 30];

/** Four WebP pictures. @throws as `decodeImage` */
export async function truthPictures(request: TruthPicture): Promise<TruthPictures> {
  const { signal } = request;
  const rgb = await shrinkRgb(await decodeImage(request.image, { signal }), request.side);
  const { width, height } = rgb;
  const truth = shrinkLabels(request.truth.data, request.truth, rgb);
  const found = shrinkLabels(request.prediction.data, request.prediction, rgb);
  const colours = paletteFor(request.colours);
  const legend = request.classes.map((name, index) => ({ index, name, color: colours[index] as Colour }));
  const overlay = (labels: Uint8Array | Uint16Array): Promise<RgbImage> =>
    renderOverlay(
      { image: rgb.data, width, height, labels: withoutOthers(labels, legend.length), legend },
      { alpha, legend: false, signal },
    );
  const shown = [
    ['picture', rgb],
    ['truth', await overlay(truth)],
    ['prediction', await overlay(found)],
    ['difference', difference(rgb, truth, found, request.ignore)],
  ] as const;
  return {
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
    const [colour, weight] = truth[i] === found[i] ? [right, 0.3] : [wrong, 0.75];
    for (let c = 0; c < 3; c++)
      out[at + c] = truth[i] === ignore ? 0.35 * grey : (1 - weight) * grey + weight * (colour[c] as number);
  }
  return { data: out, width, height };
}

function legendOf(
  maps: readonly ArrayLike<number>[],
  legend: readonly { index: number; name: string; color: Colour }[],
): TruthPictures['legend'] {
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
