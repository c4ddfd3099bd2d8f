/** What an evaluation says: user-interfaces.md section 10. Fractions from 0 to 1; null where there is nothing to score. */
import type { EdgeCounts } from './edges.js';
import type { Protocol } from './protocol.js';

export const reportFormat = 'wordmask-eval/1';

export interface EvalMetrics {
  /** By the protocol's rule for absent classes. */
  readonly mIoU: number | null;
  /** Under both rules: a class that is predicted but in no label counts as 0, or is left out. */
  readonly mIoUZero: number | null;
  readonly mIoUSkip: number | null;
  readonly fwIoU: number | null;
  readonly pixelAccuracy: number | null;
  readonly meanAccuracy: number | null;
  /** Of a run that was asked for boundary scores: means over the classes that occur, and over those in a label. */
  readonly boundaryIoU?: number | null;
  readonly boundaryF?: number | null;
  /** Of a protocol with a split: mean IoU of seen and unseen classes, and their harmonic mean. */
  readonly seen?: number | null;
  readonly unseen?: number | null;
  readonly hIoU?: number | null;
}

export interface EvalClass {
  readonly index: number;
  readonly name: string;
  readonly iou: number | null;
  readonly accuracy: number | null;
  /** Pixels: predicted and true, true, predicted (pixels that count). */
  readonly intersection: number;
  readonly labelArea: number;
  readonly predictionArea: number;
  /** Those of the label's pixels that lie in failed pictures. */
  readonly missedArea: number;
  readonly boundaryIoU?: number | null;
  readonly boundaryF?: number | null;
  readonly split?: 'seen' | 'unseen';
}

/** Counts [C, C + 1] that are not 0, in rising order of row * (C + 1) + column; the last column is "no class". */
export interface SparseConfusion {
  readonly shape: readonly [number, number];
  readonly cells: readonly number[];
  readonly counts: readonly number[];
}

export interface EvalImage {
  /** Place in the whole data set, from 0. */
  readonly index: number;
  readonly id: string;
  readonly status: 'done' | 'failed';
  /** Pixels that count, and those of them that are right; 0 where the label could not be read. */
  readonly valid: number;
  readonly correct: number;
  /** Mean IoU over the classes that occur in this picture's label or prediction. */
  readonly mIoU: number | null;
  readonly width?: number;
  readonly height?: number;
  readonly warnings?: readonly string[];
  /** Of a failed picture. */
  readonly code?: string;
  readonly message?: string;
  /** Its label could not be read either: nothing of it is in the counts. */
  readonly uncounted?: boolean;
  /** File of the prediction, below the folder of `savePredictions`, and its SHA-256. */
  readonly prediction?: string;
  readonly predictionHash?: string;
}

export interface EvalCounts {
  /** Pictures of the whole data set as opened. */
  readonly items: number;
  /** Pictures that this run was to do (`limit`, `shard`). */
  readonly asked: number;
  readonly done: number;
  /** Failed pictures stay in the denominator: all their pixels count as wrong. */
  readonly failed: number;
  /** Failed pictures without a readable label, which no count can hold. */
  readonly uncounted: number;
  /** Pictures that the list names but the folder lacks (`partial`). */
  readonly missing: number;
  readonly validPixels: number;
  readonly correctPixels: number;
}

export interface EvalReference {
  /** Row, as the paper calls it. */
  readonly row: string;
  readonly metric: string;
  /** As a fraction. */
  readonly value: number;
  readonly trust: 'read' | 'recollected';
  readonly source: string;
  /** Measured minus published. */
  readonly difference: number | null;
  /** What keeps this run from being that row: other weights, fewer pictures, another choice. Empty: comparable. */
  readonly caveats: readonly string[];
}

/** What the run was, as opposed to what it found: two runs of one thing differ here alone. */
export interface EvalRun {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly imagesPerSecond: number | null;
  /** Milliseconds summed over pictures, by stage (decode, preprocess, encode, match, refine, output, label, count). */
  readonly stages: Readonly<Record<string, number>>;
  /** By picture, in the order of `images`: milliseconds by stage. */
  readonly timings: readonly (Readonly<Record<string, number>> | null)[];
  readonly limit: number | null;
  /** Shards that this report holds, of how many; null: not sharded. */
  readonly shards: { readonly held: readonly number[]; readonly of: number } | null;
  /** Pictures taken over from an interrupted run. */
  readonly resumed: number;
  /** Folder of saved predictions, as it was given. */
  readonly predictions?: string;
}

export interface EvalReport {
  readonly format: typeof reportFormat;
  readonly dataset: {
    readonly name: string;
    readonly kind: 'semantic' | 'panoptic';
    readonly classes: readonly string[];
    /** RGB by class, where the list has colours. */
    readonly colors: readonly (readonly [number, number, number] | null)[];
    /** Folders, list, label rule and what was missing, as the data set says it. */
    readonly source: Readonly<Record<string, unknown>>;
  };
  readonly protocol: Protocol;
  readonly protocolHash: string;
  readonly metrics: EvalMetrics;
  /** The same over the pictures that did not fail, where some did. */
  readonly metricsWithoutFailed?: EvalMetrics;
  readonly perClass: readonly EvalClass[];
  readonly confusion: SparseConfusion;
  /** What the boundary scores were made of, where they were asked for. */
  readonly edges?: EdgeCounts;
  readonly counts: EvalCounts;
  /** In the order of the data set. */
  readonly images: readonly EvalImage[];
  readonly warnings: readonly string[];
  readonly provenance: {
    readonly wordmask: string;
    readonly system: string;
    readonly model: string;
    readonly vocabulary: string;
    readonly device: string;
    readonly dtype: string;
    readonly deterministic: boolean;
  };
  readonly reference?: EvalReference;
  readonly run: EvalRun;
}
