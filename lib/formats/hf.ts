/** `hf`: list of `{ label, score, mask }` as Hugging Face's segmentation pipelines give it, mask as base64 PNG of 0 and 255. */
import { Mask } from '../image/mask.js';
import { writeMaskPng } from '../image/png.js';
import { show, WordmaskError } from '../util/errors.js';
import {
  fileBytes,
  fromText,
  type LabelFormat,
  type LabelSegment,
  type LegendEntry,
  type Provenance,
  textOf,
} from './format.js';
import { isObject, jsonBytes, parseJson, textField } from './json.js';
import { readSingleChannel } from './label-png.js';
import { namedSegments, readSegment, resultOfSegments } from './segments.js';

export const hf: LabelFormat = {
  name: 'hf',
  extension: '.json',
  async write(result, options = {}) {
    const list = [];
    for await (const { id, label, name, score, mask } of namedSegments(result, options.signal)) {
      const text = textOf(result, { id, index: label });
      const png = await writeMaskPng(mask, { text, signal: options.signal });
      list.push({ label: name, score: score ?? null, mask: Buffer.from(png).toString('base64') });
    }
    return jsonBytes(list);
  },
  async read(input, options = {}) {
    const list = parseJson(fileBytes(input, '.json', 'hf'), 'hf');
    if (!Array.isArray(list) || !list.every(isObject))
      throw new WordmaskError('E_USAGE', `an hf file is a list of { label, score, mask }, got ${show(list)}`);
    let [width, height] = [options.width, options.height];
    let legend: readonly LegendEntry[] | undefined = options.legend;
    let provenance: Provenance | undefined;
    const byName = new Map(legend?.map(({ index, name }) => [name, index]));
    const segments: LabelSegment[] = [];
    for (const item of list) {
      const name = textField(item, 'label', 'hf entry');
      const png = await readSingleChannel(
        Buffer.from(textField(item, 'mask', 'hf entry'), 'base64'),
        'hf',
        options.signal,
      );
      if ((width !== undefined && png.width !== width) || (height !== undefined && png.height !== height))
        throw new WordmaskError(
          'E_USAGE',
          `hf mask of ${show(name)} is ${png.width} x ${png.height}, expected ${width} x ${height}`,
        );
      [width, height] = [png.width, png.height];
      const own = fromText(png.text);
      legend ??= own.legend;
      provenance ??= own.provenance;
      const label = labelOf(name, own.extra.index, legend, byName);
      const mask = Mask.fromBitmap(png.data, width, height);
      const id =
        Number.isInteger(own.extra.id) && (own.extra.id as number) > 0 ? (own.extra.id as number) : segments.length + 1;
      segments.push(readSegment(id, label, mask, item.score));
    }
    if (width === undefined || height === undefined)
      throw new WordmaskError(
        'E_USAGE',
        'this hf file holds no mask, so the size of the picture is unknown: pass width and height',
      );
    const names = legend ?? [...byName].map(([name, index]) => ({ index, name }));
    return resultOfSegments(segments, names, { width, height, provenance, signal: options.signal });
  },
};

/** The index that our own files carry, else by name; without a legend names are numbered as they come. */
function labelOf(
  name: string,
  stored: unknown,
  legend: readonly LegendEntry[] | undefined,
  byName: Map<string, number>,
): number {
  if (legend?.some((entry) => entry.index === stored && entry.name === name)) return stored as number;
  const known = legend?.find((entry) => entry.name === name)?.index ?? byName.get(name);
  if (known !== undefined) return known;
  if (legend) throw new WordmaskError('E_USAGE', `hf label ${show(name)} is not in the legend`);
  byName.set(name, byName.size);
  return byName.size - 1;
}
