/** `wordmask/formats`: readers and writers of all label formats, masks and the exact PNG codec; no model needed. */
export { formatNames, labelFormat, loadLabels, readLabels, saveLabels, writeLabels } from '../formats/index.js';
export type {
  FormatFile, LabelArray, LabelFormat, LabelResult, LabelSegment, LegendEntry, Plane, PlaneName, Provenance, ReadOptions, WriteOptions,
} from '../formats/format.js';
export { Mask, type Box, type Polygon, type Rle } from '../image/mask.js';
export { readPng, writePng, type PngImage, type PngInput, type PngText } from '../image/png.js';
export { distinctPalette, vocColour, vocPalette, type Colour } from '../image/palette.js';
export { WordmaskError } from '../util/errors.js';
