/**
 * The confusion matrix of label maps (evaluation.md section 6): rows are labels, columns predictions, the last column
 * predictions outside the classes, which count against the label only. Counts are exact below 2^53.
 */
import { countPairs, countPairsSync, type PairCounts } from '../../engine/ops/host/confusion.js';
import { show, WordmaskError } from '../../util/errors.js';
import { inSlices } from '../../util/slices.js';
import {
  type ClassOptions,
  classTest,
  type FlatMap,
  flatMap,
  type IntegerArray,
  type LabelMap,
  mapPair,
} from './maps.js';

export interface ConfusionMatrix {
  /** [C, C + 1] row by row. */
  data: Float64Array;
  shape: [number, number];
}

/** Counts one pair of maps. Throws E_USAGE for maps of different size or labels that are neither class nor ignored. */
export function confusion(pred: LabelMap, label: LabelMap, options: ClassOptions): ConfusionMatrix {
  return new Confusion(options).add(pred, label).matrix();
}

/** Sums confusion matrices over a data set; shards add up to exactly what one pass gives. */
export class Confusion {
  readonly #options: ClassOptions;
  readonly #classOf: (value: number) => number;
  readonly #counts: Float64Array;

  constructor(options: ClassOptions) {
    this.#options = options;
    this.#classOf = classTest(options);
    this.#counts = new Float64Array(options.numClasses * (options.numClasses + 1));
  }

  /** Counts one pair at once: 24 megapixels take some 50 ms. */
  add(pred: LabelMap, label: LabelMap): this {
    const maps = mapPair(pred, label);
    if (isNative(maps))
      return this.#addPairs(countPairsSync(maps.pred.data, maps.label.data, this.#pairOptions()), maps);
    // One pair is counted apart first: an error in the middle must leave the sums as they were.
    const counts = new Float64Array(this.#counts.length);
    this.#count(counts, maps.pred.data, maps.label.data, 0, maps.label.data.length);
    return this.#addCounts(counts);
  }

  /** As `add`, beside the event loop. */
  async addAsync(pred: LabelMap, label: LabelMap, signal?: AbortSignal): Promise<this> {
    const maps = mapPair(pred, label);
    if (isNative(maps)) {
      const pairs = await countPairs(maps.pred.data, maps.label.data, this.#pairOptions());
      signal?.throwIfAborted();
      return this.#addPairs(pairs, maps);
    }
    const counts = new Float64Array(this.#counts.length);
    await inSlices(
      maps.label.data.length,
      1 << 20,
      (begin, end) => this.#count(counts, maps.pred.data, maps.label.data, begin, end),
      signal,
    );
    return this.#addCounts(counts);
  }

  #pairOptions(): { numClasses: number; ignore: number[] } {
    const { numClasses, ignore = 255 } = this.#options;
    const list = ignore === null ? [] : typeof ignore === 'number' ? [ignore] : ignore;
    return { numClasses, ignore: list.filter((value) => Number.isInteger(value)).map((value) => value >>> 0) };
  }

  /** @throws E_USAGE for a label that is neither a class nor ignored; nothing is counted then */
  #addPairs({ cells, counts, outside, outsideValue }: PairCounts, { label }: { label: FlatMap }): this {
    if (outside > 0) this.#classOf(label.data instanceof Int32Array ? outsideValue | 0 : outsideValue);
    cells.forEach((cell, i) => {
      this.#counts[cell] = (this.#counts[cell] as number) + (counts[i] as number);
    });
    return this;
  }

  #count(counts: Float64Array, pred: ArrayLike<number>, label: ArrayLike<number>, first: number, last: number): void {
    const { numClasses } = this.#options;
    for (let i = first; i < last; ) {
      const [value, guess, begin] = [label[i] as number, pred[i] as number, i];
      while (i < last && label[i] === value && pred[i] === guess) i++;
      const row = this.#classOf(value);
      if (row < 0) continue;
      const cell = row * (numClasses + 1) + (guess >= 0 && guess < numClasses ? guess : numClasses);
      counts[cell] = (counts[cell] as number) + i - begin;
    }
  }

  merge(other: Confusion | ConfusionMatrix): this {
    const { data, shape } = other instanceof Confusion ? other.matrix() : other;
    const { numClasses } = this.#options;
    if (shape[0] !== numClasses || shape[1] !== numClasses + 1)
      throw new WordmaskError(
        'E_USAGE',
        `only counts of the same ${numClasses} classes can be merged, got shape ${show(shape)}`,
      );
    return this.#addCounts(data);
  }

  #addCounts(counts: Float64Array): this {
    for (let cell = 0; cell < counts.length; cell++)
      this.#counts[cell] = (this.#counts[cell] as number) + (counts[cell] as number);
    return this;
  }

  matrix(): ConfusionMatrix {
    const { numClasses } = this.#options;
    return { data: this.#counts.slice(), shape: [numClasses, numClasses + 1] };
  }
}

type NativeArray = Uint8Array | Uint8ClampedArray | Uint16Array | Uint32Array | Int32Array;

/** Unsigned samples are counted natively, and i32, whose negative values lie above all classes. */
function isNative(maps: {
  pred: FlatMap;
  label: FlatMap;
}): maps is { pred: { data: NativeArray }; label: { data: NativeArray } } {
  return [maps.pred, maps.label].every(({ data }) =>
    [Uint8Array, Uint8ClampedArray, Uint16Array, Uint32Array, Int32Array].some((type) => data instanceof type),
  );
}

/**
 * Data sets whose label 0 means "other": 0 becomes ignored, every other label one less. Ignored (the highest value of
 * an unsigned type, else 255) stays ignored. Returns a new array of the same type.
 */
export function reduceZeroLabel<T extends LabelMap>(labels: T): T {
  const { data, shape } = flatMap(labels, 'labels');
  const ignored = data instanceof Uint16Array ? 65_535 : data instanceof Uint32Array ? 2 ** 32 - 1 : 255;
  const out = (Array.isArray(data) ? data.slice() : (data as IntegerArray).slice()) as IntegerArray;
  for (let i = 0; i < out.length; i++) {
    const value = data[i] as number;
    out[i] = value === 0 || value === ignored ? ignored : value - 1;
  }
  return (shape ? { data: out, shape: [...shape] } : out) as unknown as T;
}
