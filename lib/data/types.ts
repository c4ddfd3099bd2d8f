/** What sources of training pairs and data sets of labelled pictures offer. */
import type { ClassEntry } from '../text/lists.js';
import type { PairSample } from '../util/pair-sample.js';

export type { PairImage, PairSample } from '../util/pair-sample.js';

/** Which sample, and for the how-many-th time: a generated caption may be another one each time. */
export interface PairRequest {
  /** From 0 to `count` - 1. */
  readonly index: number;
  readonly epoch: number;
}

export interface PairSource {
  /** Names the source in messages. */
  readonly name: string;
  /** Samples of one epoch. */
  readonly count: number;
  /**
   * Samples in the order asked for. One that cannot be used is a PairProblem in its place; only what concerns the whole source rejects.
   */
  read(requests: readonly PairRequest[], signal?: AbortSignal): Promise<(PairSample | PairProblem)[]>;
  close(): Promise<void>;
}

/** A sample that cannot be used: unreadable image, no caption. */
export interface PairProblem {
  readonly key: string;
  /** Error code, such as E_IMAGE_CORRUPT. */
  readonly code: string;
  readonly problem: string;
}

export function isProblem(sample: PairSample | PairProblem): sample is PairProblem {
  return 'problem' in sample;
}

/** Pixels of one label map: class indices, row by row; the data set's `ignore` where none counts. */
export interface LabelPlane {
  readonly width: number;
  readonly height: number;
  /** [H, W] */
  readonly data: Uint8Array | Uint16Array;
}

/** Pixels of a picture that is made, not read. */
export interface MadePicture {
  /** RGB, [H, W, 3]. */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: 3;
}

/** One labelled picture of a data set. */
export interface EvalItem {
  /** Unique in the data set; the file's path below its folder, without ending. */
  readonly id: string;
  /** Path of the picture. */
  readonly image: string;
  /** The picture itself where no file holds it (drawn scenes without a folder); `image` is then only a name. */
  picture?(signal?: AbortSignal): Promise<MadePicture>;
  /**
   * The label map at its stored size: remapped, then zero-reduced, then with `ignore` where nothing counts.
   * @throws E_IMAGE_FORMAT naming file, values and counts where the map holds what the data set does not know, E_IMAGE_CORRUPT,
   * E_IMAGE_SIZE, E_DISK
   */
  label(signal?: AbortSignal): Promise<LabelPlane>;
  /** Of panoptic data: ids and segments as panopticQuality takes them. */
  panoptic?(signal?: AbortSignal): Promise<PanopticTruth>;
}

export interface PanopticTruth {
  readonly width: number;
  readonly height: number;
  /** id of each pixel, 0 = void. */
  readonly ids: Uint32Array;
  readonly segments: readonly PanopticSegment[];
}

/** One entry of `segments_info`, as stored. */
export interface PanopticSegment {
  readonly id: number;
  readonly categoryId: number;
  readonly area: number;
  readonly crowd: boolean;
}

/** How stored values become class indices. */
export type LabelRule = 'tcl' | 'd2' | 'pnp-ovss' | 'car';
export const labelRules: readonly LabelRule[] = ['tcl', 'd2', 'pnp-ovss', 'car'];

/** Where a data set came from and what was done to its labels: what a report says of it. */
export interface DatasetSource {
  /** Which of the known folder layouts was found; `explicit` for given folders, `made` for drawn scenes. */
  readonly layout: string;
  readonly split: string;
  /** Folders of pictures and label files, and the list that names the pictures where one was read. */
  readonly images: string;
  readonly truth: string;
  readonly list?: string;
  readonly labels: LabelRule;
  /** Name of the map from stored values to class indices; `none`. */
  readonly labelMap: string;
  readonly reduceZeroLabel: boolean;
  /** Number of pictures that papers report on, where the split is theirs. */
  readonly published?: number;
  /** Ids that the list (or one of the two folders) names and that are left out, with `partial`. */
  readonly missing: readonly string[];
  /** Files whose header cannot be read: they fail when their turn comes. */
  readonly damaged: readonly string[];
}

export interface EvalDataset {
  readonly name: string;
  readonly kind: 'semantic' | 'panoptic';
  /** Index = value in the label maps. A class without prompts is scored but never asked for. */
  readonly classes: readonly ClassEntry[];
  /** Value in the label maps of pixels that do not count. */
  readonly ignore: number;
  /** In the list's order, else sorted by id. */
  readonly items: readonly EvalItem[];
  readonly panoptic?: {
    /** Ground truth as panopticQuality reads it. */
    readonly json: string;
    readonly folder: string;
    /** Category ids in class order. */
    readonly categoryIds: readonly number[];
  };
  readonly source: DatasetSource;
}

export interface DatasetOptions {
  /** Folder that holds the data set's folders, in one of the known layouts. */
  readonly root?: string;
  readonly split?: string;
  /** Folder of pictures and folder of label files (or panoptic JSON); they win over `root`. */
  readonly images?: string;
  readonly truth?: string;
  /** File with an id a line, for given folders. */
  readonly list?: string;
  /** What follows the common stem in the file names of given folders, e.g. `_leftImg8bit.png`. */
  readonly imageSuffix?: string;
  readonly truthSuffix?: string;
  /** JSON file of class names (or `{ name, prompts }`) in label order. */
  readonly classes?: string;
  /** Value of `folder` data that does not count (255), and whether 0 does not count and 1 is the first class. */
  readonly ignore?: number;
  readonly reduceZeroLabel?: boolean;
  /** Go on with the pictures there are. */
  readonly partial?: boolean;
  readonly labels?: LabelRule;
  readonly signal?: AbortSignal;
}
