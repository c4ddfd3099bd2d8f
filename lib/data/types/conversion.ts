/** What a conversion of raw data to label files says about itself; lib/data/dataset/ does the work. */
import type { StoredLabels } from './spec.js';

/** One step with outputs of its own; what it needs and what it writes is known before it runs. */
export interface ConversionTask {
  /** Names the step in messages and in the manifest: unique. */
  readonly name: string;
  /** Files that it is made from. */
  readonly inputs: readonly string[];
  /** Content that it is made from where that is part of a larger file. */
  readonly content?: string;
  /** Paths below the output folder, with /. */
  readonly outputs: readonly string[];
  /** Bytes of each output. @throws E_IMAGE_FORMAT, E_IMAGE_CORRUPT, E_IMAGE_SIZE naming the file */
  convert(signal?: AbortSignal): Promise<readonly Uint8Array[]>;
}

export type LabelFileType = 'tif' | 'png';

export interface ConversionChoices {
  /** Of 16-bit labels. */
  readonly type: LabelFileType;
  readonly signal?: AbortSignal;
}

interface ConversionBase {
  readonly kind: string;
  /** What is read and what is written, in a line. */
  readonly text: string;
  readonly input: 'folder' | 'file';
}

/** Every label file of one ending through a value table, to a grey PNG of another ending. */
export interface MapConversion extends ConversionBase {
  readonly form: 'maps';
  readonly from: string;
  /** Endings of files that are no input although they end in `from`. */
  readonly except: readonly string[];
  readonly to: string;
  readonly stored: () => StoredLabels;
  readonly classCount: number;
}

/** COCO panoptic JSON and PNGs to 8-bit class indices. */
export interface PanopticConversion extends ConversionBase {
  readonly form: 'panoptic';
  readonly categoryIds: () => readonly number[];
}

export interface OwnConversion extends ConversionBase {
  readonly form: 'own';
  tasks(input: string, choices: ConversionChoices): Promise<readonly ConversionTask[]>;
}

export type Conversion = MapConversion | PanopticConversion | OwnConversion;
