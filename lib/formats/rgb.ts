/**
 * `rgb`: one colour a label. The legend in the text chunk maps colours back to labels; a file of another tool is
 * read with the legend given. Labels that would share a colour get neighbouring ones, so that reading is exact.
 */
import { type Colour, packColour, paletteFor, vocColour } from '../image/palette.js';
import { readPng, writePng } from '../image/png.js';
import { WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import {
  checkResult,
  fileBytes,
  fromText,
  isColour,
  type LabelFormat,
  type LegendEntry,
  labelArray,
  labelCount,
  nothingOf,
  textOf,
} from './format.js';

const black: Colour = [0, 0, 0];
const vocVoid = vocColour(255);

export const rgb: LabelFormat = {
  name: 'rgb',
  extension: '.png',
  async write(result, options = {}) {
    checkResult(result);
    const { width, height, labels, legend } = result;
    const nothing = freeNothing(legend);
    const colours = paletteFor(
      legend.map(({ color }) => color),
      { unique: true, reserved: [nothing] },
    );
    // -1 where the legend has no such label.
    const table = new Int32Array(labelCount(legend)).fill(-1);
    legend.forEach(({ index }, i) => (table[index] = packColour(colours[i] as Colour)));
    const [none, blank] = [nothingOf(labels), packColour(nothing)];
    const data = new Uint8Array(labels.length * 3);
    await inSlices(
      labels.length,
      1 << 18,
      (begin, end) => {
        for (let i = begin; i < end; i++) {
          const label = labels[i] as number;
          const colour = label === none ? blank : (table[label] ?? -1);
          if (colour < 0) throw new WordmaskError('E_USAGE', `label ${label} at pixel ${i} is not in the legend`);
          data[3 * i] = colour;
          data[3 * i + 1] = colour >> 8;
          data[3 * i + 2] = colour >> 16;
        }
      },
      options.signal,
    );
    const text = textOf(result, { colors: colours, nothing });
    return writePng({ width, height, kind: 'rgb', data }, { text, filter: 'none', signal: options.signal });
  },
  async read(input, options = {}) {
    const image = await readPng(fileBytes(input, '.png', 'rgb'), { signal: options.signal });
    if ((image.kind !== 'rgb' && image.kind !== 'rgba') || image.bitDepth !== 8)
      throw new WordmaskError(
        'E_IMAGE_FORMAT',
        `an rgb label map is an 8-bit RGB PNG, this one is ${image.kind} with ${image.bitDepth} bits`,
      );
    const { legend: stored, provenance, extra } = fromText(image.text);
    const legend = options.legend ?? stored;
    if (!legend)
      throw new WordmaskError('E_USAGE', 'this rgb label map carries no legend: pass one with a color for each label');
    const byColour = colourTable(legend, stored ?? [], extra);
    const labels = await labelArray(labelCount(legend), image.width * image.height, options.signal);
    const { data, channels } = image;
    await inSlices(
      labels.length,
      1 << 18,
      (begin, end) => {
        let [last, index]: [number, number | undefined] = [-1, undefined];
        for (let i = begin; i < end; i++) {
          const at = i * channels;
          const colour = (data[at] as number) | ((data[at + 1] as number) << 8) | ((data[at + 2] as number) << 16);
          if (colour !== last) index = byColour.get((last = colour));
          if (index === undefined)
            throw new WordmaskError(
              'E_USAGE',
              `colour ${data.slice(at, at + 3).join(', ')} at pixel ${i} belongs to no label of the legend`,
            );
          if (index >= 0) labels[i] = index;
        }
      },
      options.signal,
    );
    return { width: image.width, height: image.height, labels, legend, ...(provenance && { provenance }) };
  },
};

/** Black, or white where a label has black itself. */
function freeNothing(legend: readonly LegendEntry[]): Colour {
  const taken = new Set(legend.flatMap(({ color }) => (color ? [packColour(color)] : [])));
  return taken.has(0) && !taken.has(0xffffff) ? [255, 255, 255] : black;
}

/** From packed colour to label, -1 for nothing. The colours that the file says it used come before those of the legend. */
function colourTable(
  legend: readonly LegendEntry[],
  stored: readonly LegendEntry[],
  extra: Record<string, unknown>,
): Map<number, number> {
  const used = Array.isArray(extra.colors) ? (extra.colors as unknown[]) : [];
  const usedFor = new Map(stored.map(({ index }, i) => [index, used[i]]));
  const nothing = packColour(isColour(extra.nothing) ? extra.nothing : freeNothing(legend));
  const table = new Map<number, number>();
  for (const { index, name, color } of legend) {
    const colour = usedFor.get(index) ?? color;
    if (!isColour(colour))
      throw new WordmaskError(
        'E_USAGE',
        `label ${JSON.stringify(name)} has no color, so an rgb map cannot be read with this legend`,
      );
    if (table.has(packColour(colour)))
      throw new WordmaskError(
        'E_USAGE',
        `label ${JSON.stringify(name)} shares its color ${colour.join(', ')} with another, so an rgb map cannot be read with this legend`,
      );
    table.set(packColour(colour), index);
  }
  // VOC's void colour, as coloured truth of other tools has it, unless a label claims it.
  for (const value of [nothing, packColour(vocVoid)]) if (!table.has(value)) table.set(value, -1);
  return table;
}
