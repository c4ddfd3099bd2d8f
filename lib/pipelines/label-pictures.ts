/** Labels of a picture for the eye: beside the picture and, where they are known, the true ones. */
import { type RgbImage, renderOverlay } from '../image/overlay.js';
import { type Colour, distinctPalette } from '../image/palette.js';
import { writePng } from '../image/png.js';

/** Share of the pixels below which a label is left out of the legend. */
const leastShare = 0.005;
/** Weight of the colours over the picture. */
const alpha = 0.65;

type Labels = Uint8Array | Uint16Array | Uint32Array;

export interface LabelPictures {
  /** PNGs of one size: the picture, its true labels where they are known, the labels found. */
  readonly parts: readonly { readonly title: string; readonly bytes: Uint8Array }[];
  /** Labels found and true ones, largest area first. */
  readonly legend: readonly { readonly name: string; readonly colour: Colour }[];
  /** Share of pixels whose label is right, where the true ones are known. */
  readonly right?: number;
}

/**
 * @param image RGB u8 [H, W, 3]
 * @param labels [H, W], indices into `words`; others stay uncoloured
 * @param truth the same, as it should be
 */
export async function labelPictures({
  image,
  words,
  labels,
  truth,
}: {
  readonly image: RgbImage;
  readonly words: readonly string[];
  readonly labels: Labels;
  readonly truth?: Uint8Array;
}): Promise<LabelPictures> {
  const { data, width, height } = image;
  const colours = distinctPalette(words.length);
  const legend = words.map((name, index) => ({ index, name, color: colours[index] as Colour }));
  const png = (rgb: Uint8Array): Promise<Uint8Array> =>
    writePng({ data: rgb, width, height, kind: 'rgb' }, { level: 9 });
  const overlay = async (shown: Labels): Promise<Uint8Array> =>
    png((await renderOverlay({ image: data, width, height, labels: shown, legend }, { alpha, legend: false })).data);
  const areas = new Array<number>(words.length).fill(0);
  for (const each of truth ? [truth, labels] : [labels])
    for (const label of each) if (label < words.length) areas[label] = (areas[label] as number) + 1;
  const area = ({ index }: { index: number }): number => areas[index] as number;
  return {
    parts: [
      { title: 'picture', bytes: await png(data) },
      ...(truth ? [{ title: 'true labels', bytes: await overlay(truth) }] : []),
      { title: 'labels found', bytes: await overlay(labels) },
    ],
    legend: legend
      .filter((entry) => area(entry) >= leastShare * labels.length)
      .sort((a, b) => area(b) - area(a))
      .map(({ name, color }) => ({ name, colour: color })),
    ...(truth && { right: truth.reduce((sum, label, i) => sum + Number(label === labels[i]), 0) / truth.length }),
  };
}
