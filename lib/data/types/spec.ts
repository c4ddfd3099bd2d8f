/** What the file of a data set says about it; lib/data/dataset/ does the reading. */
import type { ClassEntry } from '../../text/lists.js';
import type { EvalItem, LabelRule } from '../types.js';

/** Values of label files and what they stand for. The order is always map, zero reduction, ignore (evaluation.md section 6). */
export interface StoredLabels {
  /** Bits a sample: 8 bits also come as palette index. */
  readonly bits: 8 | 16;
  /** Name of the map, for reports; `none`. */
  readonly labelMap: string;
  /** Stored value to mapped value; what is not in it is out of range. Without a map values stay. */
  readonly map?: ReadonlyMap<number, number>;
  /** 0 becomes `ignore`, others are lowered by one. `guarded` keeps `ignore`; `wrapping` is plain unsigned arithmetic. */
  readonly reduceZero?: 'guarded' | 'wrapping';
  readonly ignore: number;
  /** `voc`: a palette must be VOC's colour map, or the indices mean something else. `any`: grey of any depth, any palette. */
  readonly palette?: 'voc' | 'any';
}

/** Label files of one kind in a folder: what follows the common stem, and how they are stored. */
export interface TruthFiles {
  readonly suffix: string;
  readonly stored: string;
}

/** One folder layout that a data set is found in. */
export interface Layout {
  readonly name: string;
  /** Folders from the root down to the data set's own; leading ones may be left out when the root lies deeper. */
  readonly base: string;
  /** Picture folders below `base`; the first that exists is taken. */
  readonly images: readonly string[];
  readonly imageSuffixes: readonly string[];
  /** Folder of label files, or JSON file of panoptic and instance data, below `base`. */
  readonly truth: string;
  /** Tried in order; the first kind that is there is read. Empty for JSON. */
  readonly truthFiles: readonly TruthFiles[];
  /** `maps`: a file a picture. `panoptic`: COCO panoptic JSON and RGB PNGs. `instances`: COCO detection JSON. */
  readonly form?: 'maps' | 'panoptic' | 'instances';
  /** List files below `base`; the first that exists is taken. */
  readonly lists?: readonly string[];
  /** Without a list: pictures are those with a label (`truth`), or both folders must agree. */
  readonly members?: 'truth' | 'both';
}

export interface DatasetSpec {
  readonly name: string;
  readonly kind: 'semantic' | 'panoptic';
  /** The first is the default. */
  readonly splits: readonly string[];
  /** The first is the default. */
  readonly rules: readonly LabelRule[];
  /** Pictures of a split that papers report on. */
  readonly published?: Readonly<Record<string, number>>;
  layouts(split: string, rule: LabelRule): readonly Layout[];
  /** How files of this kind are stored, under a rule. `folder` data: as the options say. */
  stored(kind: string, rule: LabelRule): StoredLabels;
  /** Index = value in the label maps; undefined where a file must name them. */
  classes(rule: LabelRule): readonly ClassEntry[] | undefined;
  /** Category ids of JSON data in class order, or stored id to class index of instance data. */
  readonly categoryIds?: () => readonly number[];
  /** A data set without files. */
  make?(split: string): readonly EvalItem[];
}

/** Pictures as the decoders take them. */
export const pictureSuffixes: readonly string[] = ['.jpg', '.jpeg', '.png', '.webp'];

/** A class that has labels but no words of its own. */
export function unasked(name: string, color?: readonly [number, number, number]): ClassEntry {
  return { name, prompts: [], ...(color && { color }) };
}
