/** What a system can say about finding its own settings from pictures that nobody annotated. */
import type { DecodedImage } from '../image/decode.js';

/** A picture as a rule for the background threshold sees it: the winner of each pixel and its probability, no threshold applied. */
export interface ScoredPicture {
  readonly width: number;
  readonly height: number;
  /** [H, W] indices of labels; the highest value of the type is nothing. */
  readonly labels: Uint8Array | Uint16Array | Uint32Array;
  /** [H, W] */
  readonly score: Float32Array;
}

/** A point of a rule's curve: a threshold and what the rule thinks of it, higher is better. */
export interface CurvePoint {
  readonly value: number;
  readonly merit: number;
}

export interface BackgroundRule {
  /** Paper and section. */
  readonly source: string;
  /** Reads every picture once, in order, and chooses among the thresholds of `grid` (rising). */
  choose(
    pictures: AsyncIterable<ScoredPicture>,
    grid: readonly number[],
  ): Promise<{ readonly value: number; readonly curve: readonly CurvePoint[] }>;
}

/** The words of a search, as the vocabulary has them. */
export interface SearchWords {
  readonly labels: readonly {
    readonly name: string;
    readonly prompts: readonly string[];
    readonly background?: boolean;
  }[];
}

/** Named grids of option values; the first name is the outermost. */
export type OptionGrid = Readonly<Record<string, readonly unknown[]>>;

/** Searched by itself; of groups with equal totals the first wins. */
export interface SearchGroup {
  readonly name: string;
  readonly grid: OptionGrid;
}

/** One set of options is worth the sum of its rewards over the pictures. */
export interface Rewarder {
  reward(picture: DecodedImage, options: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<number>;
  dispose?(): void;
}

export interface OptionSearch {
  /** Paper and section. */
  readonly source: string;
  /** Evaluations of each group. */
  readonly evaluations: number;
  /** @param system what the module's `build` or `open` gave @param fixed options of the call that the search leaves alone */
  groups(words: SearchWords, system: unknown, fixed: Readonly<Record<string, unknown>>): readonly SearchGroup[];
  /**
   * What judges a set of options, made once a search. `system` is what the module's `build` or `open` gave.
   * @throws E_VOCAB, E_OPTION where this vocabulary cannot be searched with
   */
  rewarder(system: unknown, words: SearchWords, signal?: AbortSignal): Promise<Rewarder>;
}

/** Parts that are absent are not defined for the system. */
export interface SystemTuning {
  readonly background?: BackgroundRule;
  readonly search?: OptionSearch;
}
