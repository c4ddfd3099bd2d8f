/** What `explain` returns: the map of one word over a picture, and how it came about. */
import { basename, dirname, extname, join } from 'node:path';
import type { FormatFile, Plane } from '../formats/format.js';
import { type HeatMapOptions, renderHeatMap, valueText } from '../image/heat-map.js';
import type { RgbImage } from '../image/overlay.js';
import { writePng } from '../image/png.js';
import { show, WordmaskError } from '../util/errors.js';
import { writeFileAtomic } from '../util/files.js';
import { nearest } from '../util/nearest.js';
import { inSlices } from '../util/slices.js';
import { encodeNpy } from '../weights/npy.js';
import { writeSafetensors } from '../weights/safetensors-writer.js';
import type { Vocabulary } from './vocabulary.js';

/**
 * What the values are: `similarity` of picture and word (a cosine) where the word stood alone, `probability` of the word among others,
 * `salience` as the system defines it.
 */
export type ExplanationValues = 'similarity' | 'probability' | 'salience';

export type ExplanationFormat = 'overlay' | 'map' | 'npy' | 'safetensors';

export interface ExplanationSaveOptions extends HeatMapOptions {
  /** `overlay` (colours over the picture), `map` (grey PNG), `npy`, `safetensors`; by default what the extension says, overlay for PNG. */
  format?: ExplanationFormat;
  /** Values of the first and last colour or grey (lowest and highest of the map): the same for several maps makes them comparable. */
  range?: readonly [number, number];
  /** Bits of a grey PNG (8). */
  bits?: 8 | 16;
}

const extensions: Readonly<Record<ExplanationFormat, string>> = {
  overlay: '.png',
  map: '.png',
  npy: '.npy',
  safetensors: '.safetensors',
};
const explanationFormats = Object.keys(extensions) as readonly ExplanationFormat[];

interface Parts {
  readonly data: Float32Array;
  readonly width: number;
  readonly height: number;
  readonly label: Vocabulary['labels'][number];
  readonly values: ExplanationValues;
  readonly against: Vocabulary | undefined;
  readonly timings: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
  readonly provenance: Readonly<Record<string, unknown>>;
  readonly image: { readonly data: Uint8Array } | undefined;
  readonly signal?: AbortSignal;
}

export class Explanation implements Plane {
  readonly width: number;
  readonly height: number;
  /** [H, W], row by row. */
  readonly data: Float32Array;
  readonly shape: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly offset = 0;
  /** Name of the label. */
  readonly label: string;
  readonly prompts: readonly string[];
  readonly values: ExplanationValues;
  /** What the word competed with; undefined: it stood alone. */
  readonly against: Vocabulary | undefined;
  /** Lowest and highest value. */
  readonly low: number;
  readonly high: number;
  /** Pixel of the highest value, the first in reading order. */
  readonly peak: { readonly x: number; readonly y: number };
  /** Milliseconds by stage; what serves several words stands with each of them. */
  readonly timings: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
  /** Everything needed to repeat the map: versions, hashes, options. No paths, times or host names. */
  readonly provenance: Readonly<Record<string, unknown>>;
  readonly #image: Uint8Array | undefined;

  private constructor(parts: Parts, { low, high, at }: Range) {
    const { width, height, label } = parts;
    this.width = width;
    this.height = height;
    this.data = parts.data;
    this.shape = [height, width];
    this.stride = [width, 1];
    this.label = label.name;
    this.prompts = label.prompts;
    this.values = parts.values;
    this.against = parts.against;
    [this.low, this.high] = [low, high];
    this.peak = { x: at % width, y: Math.floor(at / width) };
    this.timings = parts.timings;
    this.warnings = [
      ...parts.warnings,
      ...(low === high ? [`the map of ${show(label.name)} has the same value everywhere: it says nothing`] : []),
    ];
    const { values, prompts } = this;
    this.provenance = { ...parts.provenance, explain: { label: label.name, prompts, values, low, high } };
    this.#image = parts.image?.data;
  }

  /** For the pipeline. */
  static async of(parts: Parts): Promise<Explanation> {
    return new Explanation(parts, await rangeOf(parts.data, parts.signal));
  }

  /** RGB picture: colours over the picture, and a strip with their values. @throws E_OPTION */
  overlay(options: Omit<ExplanationSaveOptions, 'format' | 'bits'> = {}): Promise<RgbImage> {
    const { range, ...rest } = options;
    const [low, high] = this.#range(range);
    const { width, height, data: values, label } = this;
    const title = `${label}: ${this.values}${this.against ? ` among ${this.against.labels.length}` : ''}`;
    return renderHeatMap({ image: this.#image, width, height, values, low, high, title }, rest);
  }

  /** The bytes of a format. @throws E_OPTION */
  async encode(format: ExplanationFormat, options: Omit<ExplanationSaveOptions, 'format'> = {}): Promise<Uint8Array> {
    const { bits = 8, ...drawing } = options;
    const { width, height, shape, data, provenance } = this;
    const text = [{ keyword: 'wordmask', text: JSON.stringify(provenance) }];
    const { signal } = options;
    switch (checkedFormat(format)) {
      case 'overlay':
        return writePng({ ...(await this.overlay(drawing)), kind: 'rgb' }, { text, signal });
      case 'map':
        return writePng(
          { width, height, kind: 'grey', data: await this.#grey(bits, this.#range(options.range), signal) },
          { text, signal },
        );
      case 'npy':
        return encodeNpy(data, [...shape]);
      case 'safetensors':
        return writeSafetensors(null, [['map', { shape, data }]], {
          metadata: { wordmask: JSON.stringify(provenance) },
          signal,
        });
    }
  }

  /** Writes a file, through a temporary name; returns its path. The extension may be left out where `format` says it. */
  async save(path: string, options: ExplanationSaveOptions = {}): Promise<string> {
    if (typeof path !== 'string' || path === '')
      throw new WordmaskError('E_USAGE', `save: needs a path, got ${show(path)}`);
    const { format = formatOf(path), ...rest } = options;
    const { name, bytes } = await this.file(basename(path), format, rest);
    const target = join(dirname(path), name);
    await writeFileAtomic(target, bytes, { signal: options.signal });
    return target;
  }

  /** A file of a format, with its extension. @throws E_OPTION */
  async file(
    name: string,
    format: ExplanationFormat,
    options: Omit<ExplanationSaveOptions, 'format'> = {},
  ): Promise<FormatFile> {
    const extension = extensions[checkedFormat(format)];
    const full = extname(name).toLowerCase() === extension ? name : `${name}${extension}`;
    return { name: full, bytes: await this.encode(format, options) };
  }

  /** What a list of results shows: everything but the values and the picture. */
  toJSON(): Record<string, unknown> {
    const { width, height, label, prompts, values, low, high, peak, timings, warnings, provenance } = this;
    const against = this.against?.labels.map(({ name }) => name);
    return { width, height, label, prompts, values, against, low, high, peak, timings, warnings, provenance };
  }

  #range(range: readonly [number, number] | undefined): readonly [number, number] {
    if (range === undefined) return [this.low, this.high];
    if (Array.isArray(range) && range.length === 2 && range.every(Number.isFinite) && range[0] < range[1]) return range;
    throw new WordmaskError('E_OPTION', `range must be two numbers, the lower one first, got ${show(range)}`, {
      details: { option: 'range', value: range },
    });
  }

  async #grey(
    bits: number,
    [low, high]: readonly [number, number],
    signal?: AbortSignal,
  ): Promise<Uint8Array | Uint16Array> {
    if (bits !== 8 && bits !== 16)
      throw new WordmaskError('E_OPTION', `bits must be 8 or 16, got ${show(bits)}`, {
        details: { option: 'bits', value: bits },
      });
    const { data } = this;
    const out = bits === 8 ? new Uint8Array(data.length) : new Uint16Array(data.length);
    const most = 2 ** bits - 1;
    const factor = high > low ? most / (high - low) : 0;
    await inSlices(
      data.length,
      1 << 18,
      (begin, end) => {
        for (let i = begin; i < end; i++)
          out[i] = Math.min(most, Math.max(0, Math.round(((data[i] as number) - low) * factor)));
      },
      signal,
    );
    return out;
  }
}

/** `low to high` with three digits. */
export function rangeText({ low, high }: { readonly low: number; readonly high: number }): string {
  return `${valueText(low)} to ${valueText(high)}`;
}

interface Range {
  readonly low: number;
  readonly high: number;
  /** Index of the highest value. */
  readonly at: number;
}

async function rangeOf(data: Float32Array, signal?: AbortSignal): Promise<Range> {
  let [low, high, at] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  await inSlices(
    data.length,
    1 << 18,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const value = data[i] as number;
        if (value < low) low = value;
        if (value > high) [high, at] = [value, i];
        if (Number.isNaN(value))
          throw new WordmaskError('E_NUMERIC', `the map holds a value that is not finite (number ${i})`);
      }
    },
    signal,
  );
  return { low, high, at };
}

/** @throws E_OPTION with the nearest name */
export function checkedFormat(format: string): ExplanationFormat {
  if (Object.hasOwn(extensions, format)) return format as ExplanationFormat;
  const guess = nearest(String(format), explanationFormats);
  throw new WordmaskError(
    'E_OPTION',
    `format must be one of ${explanationFormats.join(', ')}, got ${show(format)}${guess ? `; did you mean ${guess}?` : ''}`,
    { details: { option: 'format', allowed: explanationFormats } },
  );
}

/** With the dot. */
export function explanationExtension(format: ExplanationFormat): string {
  return extensions[format];
}

/** The format of an extension; a PNG is an overlay. @throws E_OPTION */
export function formatOf(path: string): ExplanationFormat {
  const extension = extname(path).toLowerCase();
  const found = explanationFormats.find((format) => extensions[format] === extension);
  if (found) return found;
  throw new WordmaskError(
    'E_OPTION',
    `the format of ${show(path)} cannot be told from its extension: end it in .png, .npy or .safetensors, or pass format, one of ${explanationFormats.join(', ')}`,
  );
}
