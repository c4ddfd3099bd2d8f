/**
 * What all label formats share: the plain result they write, the files they give, the record of where labels came
 * from. Nothing here needs a model, so any label map can be written, read and converted.
 */
import type { Box, Mask } from '../image/mask.js';
import type { Colour } from '../image/palette.js';
import type { PngText } from '../image/png.js';
import { show, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';

export type LabelArray = Uint8Array | Uint16Array | Uint32Array;

export interface LegendEntry {
  /** The value in the label map. */
  index: number;
  name: string;
  color?: Colour;
  group?: string;
  /** Countable (true) or stuff (false), where known. */
  thing?: boolean;
}

export interface LabelSegment {
  /** Unique in the picture, at least 1. */
  id: number;
  /** Index into the legend. */
  label: number;
  score?: number;
  area?: number;
  /** [x, y, width, height]. */
  bbox?: Box;
  mask: Mask;
}

/** Row-major plane of a result, [H, W] or [k, H, W]. */
export interface Plane {
  data: Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array | Float64Array;
  shape: readonly number[];
}

export type PlaneName = 'labels' | 'score' | 'margin' | 'entropy' | 'topk' | 'probabilities';
export type Provenance = Readonly<Record<string, unknown>>;

/** A labelled picture; `Segmentation` has this form. */
export interface LabelResult {
  width: number;
  height: number;
  /** [H, W] legend indices; the highest value of the type = nothing. */
  labels: LabelArray;
  legend: readonly LegendEntry[];
  segments?: readonly LabelSegment[];
  score?: Plane;
  margin?: Plane;
  entropy?: Plane;
  topk?: Plane;
  probabilities?: Plane;
  provenance?: Provenance;
}

/** One file of a result; `name` is relative to the folder it is saved in. */
export interface FormatFile {
  name: string;
  bytes: Uint8Array;
}

export interface WriteOptions {
  /** File name without extension (`labels`); multi-file formats derive their names from it. */
  stem?: string;
  /** The picture as RGB [H, W, 3], for `overlay`. */
  image?: { data: Uint8Array; width: number; height: number };
  /** COCO's id of the picture (1) and its file name. */
  imageId?: number;
  imageFile?: string;
  /** Overlay: weight of the colours (0.5), outlines (true), legend strip (true). */
  alpha?: number;
  contours?: boolean;
  showLegend?: boolean;
  /** Outline formats: largest distance in pixels of a dropped corner (0 = exact pixel edges). */
  tolerance?: number;
  /** `geojson`: X = a x + b y + c, Y = d x + e y + f as [a, b, c, d, e, f]. */
  transform?: readonly [number, number, number, number, number, number];
  /** `npy`: the plane to write (`labels`). */
  plane?: PlaneName;
  signal?: AbortSignal;
}

export interface ReadOptions {
  /** Names and colours, where the file does not carry them; also fixes the number of labels. */
  legend?: readonly LegendEntry[];
  /** Size of the picture, where the file may hold no mask to tell it. */
  width?: number;
  height?: number;
  /** COCO: which picture of the file (the only one, else the first). */
  imageId?: number;
  signal?: AbortSignal;
}

export interface LabelFormat {
  name: string;
  /** With the dot. */
  extension: string;
  /** One file as bytes, several as a list whose first entry is the main one. */
  write(result: LabelResult, options?: WriteOptions): Promise<Uint8Array | FormatFile[]>;
  /** Absent where a file does not determine labels. */
  read?(input: Uint8Array | readonly FormatFile[], options?: ReadOptions): Promise<LabelResult>;
}

/** The value that means "no label": the highest of the array's type. */
export function nothingOf(labels: LabelArray): number {
  return 2 ** (labels.BYTES_PER_ELEMENT * 8) - 1;
}

/** A label array for `count` labels, filled with nothing: 8 bits up to 255 labels, 16 up to 65,535, else 32. */
export async function labelArray(count: number, length: number, signal?: AbortSignal): Promise<LabelArray> {
  const labels =
    count <= 255 ? new Uint8Array(length) : count <= 65_535 ? new Uint16Array(length) : new Uint32Array(length);
  const nothing = nothingOf(labels);
  await inSlices(length, 4 << 20, (begin, end) => labels.fill(nothing, begin, end), signal);
  return labels;
}

/** Number of labels a legend speaks of: one more than its highest index. */
export function labelCount(legend: readonly LegendEntry[]): number {
  return legend.reduce((count, entry) => Math.max(count, entry.index + 1), 0);
}

/** Checks sizes, legend indices and segments; throws E_USAGE naming what is wrong. Label values are checked where they are used. */
export function checkResult(result: LabelResult): void {
  const { width, height, labels, legend } = result;
  if (!(labels instanceof Uint8Array) && !(labels instanceof Uint16Array) && !(labels instanceof Uint32Array)) {
    throw new WordmaskError('E_USAGE', `labels must be Uint8Array, Uint16Array or Uint32Array, got ${show(labels)}`);
  }
  if (
    !Number.isInteger(width) ||
    !Number.isInteger(height) ||
    width < 1 ||
    height < 1 ||
    labels.length !== width * height
  ) {
    throw new WordmaskError(
      'E_USAGE',
      `labels must hold width x height values, got ${labels.length} for ${show(width)} x ${show(height)}`,
    );
  }
  if (!Array.isArray(legend))
    throw new WordmaskError('E_USAGE', `legend must be a list of { index, name }, got ${show(legend)}`);
  const seen = new Set<number>();
  for (const entry of legend) {
    if (
      !Number.isInteger(entry?.index) ||
      entry.index < 0 ||
      entry.index >= nothingOf(labels) ||
      typeof entry.name !== 'string' ||
      seen.has(entry.index)
    ) {
      throw new WordmaskError(
        'E_USAGE',
        `legend entries need a text name and an index of their own from 0 to ${nothingOf(labels) - 1}, got ${show(entry?.index)}: ${show(entry?.name)}`,
      );
    }
    seen.add(entry.index);
  }
  const ids = new Set<number>();
  for (const { id, label, mask } of result.segments ?? []) {
    if (!Number.isInteger(id) || id < 1 || ids.has(id))
      throw new WordmaskError('E_USAGE', `segment ids must be whole, at least 1 and different, got ${show(id)}`);
    if (!seen.has(label))
      throw new WordmaskError('E_USAGE', `segment ${id} has label ${show(label)}, which the legend lacks`);
    if (mask.width !== width || mask.height !== height)
      throw new WordmaskError(
        'E_USAGE',
        `the mask of segment ${id} is ${mask.width} x ${mask.height}, the picture ${width} x ${height}`,
      );
    ids.add(id);
  }
}

/** Keywords of PNG text chunks: `wordmask` holds the provenance, `wordmask-legend` the names, both as JSON. */
export function textOf(result: LabelResult, extra: Record<string, unknown> = {}): PngText[] {
  const legend = { labels: result.legend, ...extra };
  return [
    ...(result.provenance ? [{ keyword: 'wordmask', text: JSON.stringify(result.provenance) }] : []),
    { keyword: 'wordmask-legend', text: JSON.stringify(legend) },
  ];
}

/** What text chunks say, as far as they are ours and well-formed; foreign text is not an error. */
export function fromText(text: readonly PngText[]): {
  legend?: LegendEntry[];
  provenance?: Provenance;
  extra: Record<string, unknown>;
} {
  const find = (keyword: string): Record<string, unknown> | undefined => {
    const found = text.find((entry) => entry.keyword === keyword);
    try {
      const value: unknown = found && JSON.parse(found.text);
      return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
    } catch {
      return undefined;
    }
  };
  const { labels, ...extra } = find('wordmask-legend') ?? {};
  const legend = parseLegend(labels);
  const provenance = find('wordmask');
  return { ...(legend && { legend }), ...(provenance && { provenance }), extra };
}

/** A legend from untrusted JSON: entries rebuilt key by key; undefined unless all are well-formed. */
export function parseLegend(value: unknown): LegendEntry[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const legend: LegendEntry[] = [];
  for (const item of value as Partial<LegendEntry>[]) {
    if (!Number.isInteger(item?.index) || (item.index as number) < 0 || typeof item.name !== 'string') return undefined;
    legend.push({
      index: item.index as number,
      name: item.name,
      ...(isColour(item.color) && { color: [item.color[0], item.color[1], item.color[2]] as const }),
      ...(typeof item.group === 'string' && { group: item.group }),
      ...(typeof item.thing === 'boolean' && { thing: item.thing }),
    });
  }
  return legend;
}

export function isColour(value: unknown): value is Colour {
  return (
    Array.isArray(value) &&
    value.length === 3 &&
    value.every((part) => Number.isInteger(part) && part >= 0 && part <= 255)
  );
}

/** Names for labels that a file does not name: `label 0`, `label 1`, ... for the values that occur. */
export function anonymousLegend(values: Iterable<number>): LegendEntry[] {
  return [...new Set(values)].sort((a, b) => a - b).map((index) => ({ index, name: `label ${index}` }));
}

/** The file whose name ends so, or the whole input when it is bare bytes. */
export function fileBytes(input: Uint8Array | readonly FormatFile[], extension: string, format: string): Uint8Array {
  if (input instanceof Uint8Array) return input;
  const found = Array.isArray(input)
    ? (input as readonly FormatFile[]).find(({ name }) => name.endsWith(extension))
    : undefined;
  if (!found)
    throw new WordmaskError(
      'E_USAGE',
      `reading ${format} needs a ${extension} file, got ${show(Array.isArray(input) ? input.map((file) => file.name) : input)}`,
    );
  return found.bytes;
}
