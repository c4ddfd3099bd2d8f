/** Images with captions, as readers give them and systems learn from them; both layers see these types here. */

/** RGB, 8 bits, row by row without padding. */
export interface PairImage {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** One image with its captions. */
export interface PairSample {
  /** Names the sample in messages: a path, a key in a shard, a seed. */
  readonly key: string;
  readonly image: PairImage;
  /** At least one. */
  readonly captions: readonly string[];
  /** Nouns named by the captions, where the data set lists them. */
  readonly nouns?: readonly string[];
  /** Class of each pixel of the image [H, W], where a yardstick trains on masks; captions need none. */
  readonly labels?: Uint8Array;
}
