/** One label file: what it may look like, and its pixels as class indices. Values are read as stored, never as colours. */
import { imageLimits } from '../../image/limits.js';
import { type Colour, vocColour } from '../../image/palette.js';
import { isPng, type PngKind, readPng } from '../../image/png.js';
import { isTiff, readTiff } from '../../image/tiff.js';
import type { ClassEntry } from '../../text/lists.js';
import { isWordmaskError, WordmaskError } from '../../util/errors.js';
import { readFileLimited } from '../../util/files.js';
import type { StoredLabels } from '../types/spec.js';
import type { LabelPlane } from '../types.js';
import { throughTable, type UnknownValues, valueTable } from './value-table.js';

/** What can be told of a label file before its pixels are read. */
export interface LabelLook {
  readonly format: string;
  readonly kind?: PngKind;
  readonly bitDepth: number;
  readonly channels: number;
  readonly palette?: Uint8Array;
}

/** Reads the label files of one kind: knows how they must look and what their values stand for. */
export class LabelReader {
  /** Index = stored value. */
  readonly table: Int32Array;
  readonly #colours: readonly (Colour | undefined)[];

  constructor(
    readonly stored: StoredLabels,
    classes: readonly ClassEntry[],
  ) {
    this.table = valueTable(stored, classes.length);
    this.#colours = [...this.table.subarray(0, 256)].map((index) => classes[index]?.color);
  }

  /** What is wrong with the kind of file, or undefined. Values are another matter. */
  wrongLook({ format, kind, bitDepth, channels, palette }: LabelLook): string | undefined {
    const { bits } = this.stored;
    const any = this.stored.palette === 'any';
    if (format === 'jpeg') return 'is a JPEG: its compression changes label values; labels are PNG or TIFF files';
    if (channels !== 1)
      return `has ${channels} channels${kind ? ` (${kind})` : ''}: a label map has one, with indices in it and not colours`;
    if (kind === 'palette') {
      if (bits === 16 && !any) return `is a palette PNG with ${bitDepth} bits: these labels have 16 bits a pixel`;
      return any || palette === undefined ? undefined : this.#wrongPalette(palette);
    }
    if (any || bitDepth === bits) return undefined;
    return `has ${bitDepth} bits a pixel where these labels have ${bits}: its values mean something else`;
  }

  /**
   * A palette that label tools write is VOC's colour map, the data set's own colours or grey steps. Any other one is left by a
   * program that sorted the colours (a picture editor, an optimiser), and with them the indices. VOC's files have VOC's colours.
   */
  #wrongPalette(palette: Uint8Array): string | undefined {
    const differs = (due: (index: number) => Colour | undefined): number => {
      for (let i = 0; 3 * i < palette.length; i++)
        if (due(i)?.some((value, c) => value !== palette[3 * i + c])) return i;
      return -1;
    };
    const fromVoc = differs((i) => (i <= 20 ? vocColour(i) : undefined));
    if (fromVoc < 0) return undefined;
    const found = [...palette.subarray(3 * fromVoc, 3 * fromVoc + 3)].join(' ');
    if (this.stored.palette === 'voc')
      return `has another palette than VOC's (index ${fromVoc} is ${found}, not ${vocColour(fromVoc).join(' ')}): some program has renumbered its values`;
    if (differs((i) => [i, i, i]) < 0) return undefined;
    if (this.#colours.some((colour) => colour) && differs((i) => this.#colours[i]) < 0) return undefined;
    return `has a palette that is neither VOC's, nor grey steps, nor the data set's own (index ${fromVoc} is ${found}): some program has renumbered its values; labels of this data set are grey`;
  }

  /**
   * Class indices of a label file.
   * @throws E_IMAGE_FORMAT for a file of the wrong look and for values that the data set does not know (with their counts),
   * E_IMAGE_CORRUPT, E_IMAGE_SIZE, E_DISK; each names the file
   */
  async read(path: string, signal?: AbortSignal): Promise<LabelPlane> {
    const image = await naming(path, async () => {
      const bytes = await readFileLimited(path, { limit: imageLimits().fileBytes, signal });
      if (isTiff(bytes)) return { format: 'tiff', ...(await readTiff(bytes, { signal })) };
      if (isPng(bytes)) return { format: 'png', ...(await readPng(bytes, { signal })) };
      const code = bytes.length === 0 ? 'E_IMAGE_CORRUPT' : 'E_IMAGE_FORMAT';
      throw new WordmaskError(
        code,
        bytes.length === 0 ? 'the file is empty' : 'labels are PNG or TIFF files, this is neither',
      );
    });
    const wrong = this.wrongLook(image);
    if (wrong !== undefined) throw labelError(path, wrong, { bitDepth: image.bitDepth });
    const { data, unknown } = await throughTable(image.data, this.table, signal);
    if (unknown.size > 0) throw unknownValues(path, unknown);
    return { width: image.width, height: image.height, data };
  }
}

/** Puts the file's name before a decoder's message. */
export async function naming<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!isWordmaskError(cause) || cause.message.includes(path)) throw cause;
    throw new WordmaskError(cause.code, `${path}: ${cause.message}`, { cause, details: { ...cause.details, path } });
  }
}

export function labelError(path: string, problem: string, details: object = {}): WordmaskError {
  return new WordmaskError('E_IMAGE_FORMAT', `label ${path} ${problem}`, { details: { path, ...details } });
}

const mostValues = 8;

function unknownValues(path: string, unknown: UnknownValues): WordmaskError {
  const all = [...unknown];
  const shown = all.slice(0, mostValues).map(([value, count]) => `${value} (${count} pixel${count === 1 ? '' : 's'})`);
  const rest = all.length > mostValues ? ` and ${all.length - mostValues} more values` : '';
  const pixels = all.reduce((sum, [, count]) => sum + count, 0);
  return labelError(path, `holds values that the data set does not know: ${shown.join(', ')}${rest}`, {
    values: all.slice(0, 256).map(([value, count]) => ({ value, count })),
    pixels,
  });
}
