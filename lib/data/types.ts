/** What every source of training pairs offers. */
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
