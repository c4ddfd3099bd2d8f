/** `wordmask/formats`: readers and writers of all label formats, masks and the exact PNG codec; no model needed. */

export type {
  FormatFile,
  LabelArray,
  LabelFormat,
  LabelResult,
  LabelSegment,
  LegendEntry,
  Plane,
  PlaneName,
  Provenance,
  ReadOptions,
  WriteOptions,
} from '../formats/format.js';
export { type Transform, worldFileTransform } from '../formats/geojson.js';
export { formatNames, labelFormat, loadLabels, readLabels, saveLabels, writeLabels } from '../formats/index.js';
export { type Box, Mask, type Polygon, type Rle } from '../image/mask.js';
export { type Colour, distinctPalette, vocColour, vocPalette } from '../image/palette.js';
export { type PngImage, type PngInput, type PngText, readPng, writePng } from '../image/png.js';
export { WordmaskError } from '../util/errors.js';
