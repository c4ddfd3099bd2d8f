/**
 * `cvat`: CVAT's "segmentation mask" archive (label map, class PNG, object PNG) with its XML beside the PNGs, whose
 * masks are row-major run lengths inside the box. Class and object colours are VOC's; colour 0 is background.
 */
import { Mask, masksOfLabels, paintMask } from '../image/mask.js';
import { packColour, vocColour, vocPalette } from '../image/palette.js';
import { writePng } from '../image/png.js';
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { escapeXml, unescapeXml } from '../util/xml.js';
import {
  checkResult,
  type FormatFile,
  fileBytes,
  fromText,
  type LabelFormat,
  type LabelResult,
  type LabelSegment,
  type LegendEntry,
  textOf,
} from './format.js';
import { readSingleChannel } from './label-png.js';
import { finishSegments, labelsOfSegments, readSegment, segmentsOf } from './segments.js';
import { readZip, writeZip } from './zip.js';

export const cvat: LabelFormat = {
  name: 'cvat',
  extension: '.zip',
  async write(result, options = {}) {
    checkResult(result);
    const { width, height, legend } = result;
    const stem = options.stem ?? 'labels';
    if (legend.some(({ index }) => index >= 255))
      throw new WordmaskError('E_OPTION', 'cvat archives hold at most 255 labels: write png, which goes up to 65535');
    const segments = await segmentsOf(result, options.signal);
    if (segments.length > 255)
      throw new WordmaskError('E_OPTION', `cvat archives hold at most 255 objects a picture, got ${segments.length}`);
    const shown = await labelsOfSegments(segments, legend, width, height, options.signal);
    const classes = new Uint8Array(width * height);
    for (let i = 0; i < classes.length; i++) classes[i] = shown[i] === 255 ? 0 : (shown[i] as number) + 1;
    const objects = new Uint8Array(width * height);
    segments.forEach(({ mask }, k) => paintMask(objects, mask, k + 1));
    const png = (data: Uint8Array) =>
      writePng(
        { width, height, kind: 'palette', data, palette: vocPalette() },
        { text: textOf(result), signal: options.signal },
      );
    const files: FormatFile[] = [
      { name: 'labelmap.txt', bytes: Buffer.from(labelMapText(legend), 'utf8') },
      { name: 'ImageSets/Segmentation/default.txt', bytes: Buffer.from(`${stem}\n`, 'utf8') },
      { name: `SegmentationClass/${stem}.png`, bytes: await png(classes) },
      { name: `SegmentationObject/${stem}.png`, bytes: await png(objects) },
      {
        name: 'annotations.xml',
        bytes: Buffer.from(annotationsXml(result, segments, options.imageFile ?? stem), 'utf8'),
      },
    ];
    return writeZip(files);
  },
  async read(input, options = {}) {
    const files = await readZip(
      fileBytes(input, '.zip', 'cvat'),
      (name) => name === 'labelmap.txt' || name === 'annotations.xml' || /^SegmentationClass\/[^/]+\.png$/.test(name),
    );
    const png = files.find(({ name }) => name.endsWith('.png'));
    if (!png) throw new WordmaskError('E_USAGE', 'the cvat archive holds no SegmentationClass PNG');
    const image = await readSingleChannel(png.bytes, 'cvat', options.signal);
    const found = fromText(image.text);
    const labelMap = files.find(({ name }) => name === 'labelmap.txt');
    const legend =
      options.legend ?? found.legend ?? (labelMap && parseLabelMap(Buffer.from(labelMap.bytes).toString('utf8')));
    if (!legend) throw new WordmaskError('E_USAGE', 'the cvat archive holds no labelmap.txt: pass a legend');
    const size = { width: image.width, height: image.height, provenance: found.provenance, signal: options.signal };
    const xml = files.find(({ name }) => name === 'annotations.xml');
    if (xml)
      return finishSegments(
        await readMasks(Buffer.from(xml.bytes).toString('utf8'), legend, image.width, image.height, options.signal),
        legend,
        size,
      );
    return finishSegments(await classSegments(image.data, legend, image.width, image.height), legend, size);
  },
};

/** CVAT separates the fields of a line by colons, so a colon in a name becomes a space here; the PNG keeps the name exactly. */
function labelMapText(legend: readonly LegendEntry[]): string {
  const lines = legend.map(
    ({ index, name }) => `${name.replace(/[:\r\n#]/g, ' ')}:${vocColour(index + 1).join(',')}::`,
  );
  return `# label:color_rgb:parts:actions\nbackground:0,0,0::\n${lines.join('\n')}\n`;
}

function parseLabelMap(text: string): LegendEntry[] {
  const indexOf = new Map(Array.from({ length: 255 }, (_, index) => [packColour(vocColour(index + 1)), index]));
  const legend: LegendEntry[] = [];
  for (const line of text.split(/\r?\n/)) {
    const [, name, r, g, b] = /^([^#:][^:]*):(\d{1,3}),(\d{1,3}),(\d{1,3}):/.exec(line) ?? [];
    if (name === undefined) continue;
    const index = indexOf.get(packColour([Number(r), Number(g), Number(b)]));
    if (index !== undefined && !legend.some((entry) => entry.index === index)) legend.push({ index, name });
  }
  return legend;
}

function annotationsXml(
  { width, height, legend }: LabelResult,
  segments: readonly LabelSegment[],
  file: string,
): string {
  const names = new Map(legend.map(({ index, name }) => [index, name]));
  const masks = segments
    .filter(({ mask }) => mask.area > 0)
    .map(({ id, label, score, mask }) => {
      const [left, top, w, h] = mask.bbox;
      const attributes = `<attribute name="id">${id}</attribute><attribute name="index">${label}</attribute>${score === undefined ? '' : `<attribute name="score">${score}</attribute>`}`;
      return `    <mask label="${escapeXml(names.get(label) as string)}" source="auto" occluded="0" rle="${boxCounts(mask).join(', ')}" left="${left}" top="${top}" width="${w}" height="${h}" z_order="0">${attributes}</mask>`;
    });
  return `<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <image id="0" name="${escapeXml(file)}" width="${width}" height="${height}">\n${masks.join('\n')}\n  </image>\n</annotations>\n`;
}

/** Counts of zeros and ones in turn, row by row inside the mask's box, zeros first. */
function boxCounts(mask: Mask): number[] {
  const [left, top, width, height] = mask.bbox;
  const counts: number[] = [];
  let [value, run] = [0, 0];
  const bitmap = mask.toBitmap();
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + width; x++) {
      const bit = bitmap[y * mask.width + x] as number;
      if (bit !== value) {
        counts.push(run);
        [value, run] = [bit, 0];
      }
      run++;
    }
  }
  return [...counts, run];
}

async function readMasks(
  xml: string,
  legend: readonly LegendEntry[],
  width: number,
  height: number,
  signal?: AbortSignal,
): Promise<LabelSegment[]> {
  const slices = new Slices(signal);
  const segments: LabelSegment[] = [];
  for (const [, head, body] of xml.matchAll(
    /<mask ([^<>]*?)\/?>(?:((?:<attribute[^<>]*>[^<]*<\/attribute>\s*)*)<\/mask>)?/g,
  )) {
    const field = (name: string): string => new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(head as string)?.[1] ?? '';
    const extra = (name: string): string | undefined =>
      new RegExp(`<attribute name="${name}">([^<]*)</attribute>`).exec(body ?? '')?.[1];
    const mask = maskInBox(
      field('rle'),
      ['left', 'top', 'width', 'height'].map((name) => Number(field(name))) as [number, number, number, number],
      width,
      height,
    );
    const name = unescapeXml(field('label'));
    const label =
      legend.find((entry) => `${entry.index}` === extra('index'))?.index ??
      legend.find((entry) => entry.name === name)?.index;
    if (label === undefined) throw new WordmaskError('E_USAGE', `cvat label ${show(name)} is not in the label map`);
    const [id, score] = [Number(extra('id') ?? segments.length + 1), extra('score')];
    segments.push(readSegment(id, label, mask, score === undefined ? undefined : Number(score)));
    if (slices.due) await slices.pause();
  }
  return segments;
}

function maskInBox(
  text: string,
  [left, top, boxWidth, boxHeight]: [number, number, number, number],
  width: number,
  height: number,
): Mask {
  const inside =
    [left, top, boxWidth, boxHeight].every((side) => Number.isInteger(side) && side >= 0) &&
    left + boxWidth <= width &&
    top + boxHeight <= height;
  const counts = text.split(',').map((part) => (/^\s*\d{1,9}\s*$/.test(part) ? Number(part) : Number.NaN));
  if (!inside || counts.reduce((sum, count) => sum + count, 0) !== boxWidth * boxHeight) {
    throw new WordmaskError(
      'E_USAGE',
      `a cvat mask does not fit its box ${show([left, top, boxWidth, boxHeight])} in ${width} x ${height} pixels`,
    );
  }
  const bitmap = new Uint8Array(width * height);
  let at = 0;
  counts.forEach((count, i) => {
    if (i % 2 === 1)
      for (let k = at; k < at + count; k++)
        bitmap[(top + Math.floor(k / boxWidth)) * width + left + (k % boxWidth)] = 1;
    at += count;
  });
  return Mask.fromBitmap(bitmap, width, height);
}

/** Archives without XML: each class of the class PNG is one segment. */
async function classSegments(
  classes: ArrayLike<number>,
  legend: readonly LegendEntry[],
  width: number,
  height: number,
): Promise<LabelSegment[]> {
  const masks = await masksOfLabels(classes, width, height, 0);
  return [...masks].map(([value, mask]) => {
    if (!legend.some(({ index }) => index === value - 1))
      throw new WordmaskError('E_USAGE', `the cvat class PNG holds value ${value}, which the label map lacks`);
    return readSegment(value, value - 1, mask, undefined);
  });
}
