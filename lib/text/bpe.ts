/**
 * Byte-pair encoding as GPT-2 and CLIP use it: the bytes of a word become symbols, then the neighbouring pair of the lowest
 * rank is joined until no pair has a rank. A heap over the pairs keeps long words at O(n log n).
 */
import { WordmaskError } from '../util/errors.js';

/**
 * The printable character that stands for each byte in vocabularies of this kind: printable Latin-1 characters stand for
 * themselves, the other bytes for U+0100 and up in order.
 */
export const byteSymbols: readonly string[] = (() => {
  const symbols = new Array<string>(256);
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    symbols[byte] = String.fromCharCode(printable ? byte : next++);
  }
  return symbols;
})();

/** Bytes in the order of the original CLIP vocabulary: the printable ones first. */
export const byteOrder: readonly string[] = [...byteSymbols].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0));

const encoder = new TextEncoder();
const cachedWords = 16384;

export class Bpe {
  /** Joined pair "left right" -> rank. A blank cannot occur inside a symbol. */
  private readonly ranks: ReadonlyMap<string, number>;
  private readonly cache = new Map<string, readonly number[]>();

  /**
   * @param vocabulary symbol -> id
   * @param merges pairs "left right" in order of rank
   * @param suffix appended to the last symbol of each word (`</w>` in CLIP, empty in GPT-2)
   */
  constructor(
    private readonly vocabulary: ReadonlyMap<string, number>,
    merges: readonly string[],
    private readonly suffix: string,
  ) {
    const ranks = new Map<string, number>();
    merges.forEach((pair, rank) => ranks.set(pair, rank));
    this.ranks = ranks;
  }

  /** Ids of one word (the piece that the pattern cut out), not split further. @throws E_TOKENIZER for a symbol without id */
  encodeWord(word: string): readonly number[] {
    const known = this.cache.get(word);
    if (known) return known;
    const ids = this.merge(this.symbols(word)).map((symbol) => this.id(symbol));
    if (word.length <= 64) {
      if (this.cache.size >= cachedWords) this.cache.clear();
      this.cache.set(word, ids);
    }
    return ids;
  }

  private id(symbol: string): number {
    const id = this.vocabulary.get(symbol);
    if (id !== undefined) return id;
    throw new WordmaskError(
      'E_TOKENIZER',
      `the vocabulary has no entry for the symbol ${JSON.stringify(symbol)} that the merges make: the tokenizer's files do not belong together`,
      { details: { symbol } },
    );
  }

  private symbols(word: string): string[] {
    const symbols = Array.from(encoder.encode(word), (byte) => byteSymbols[byte] as string);
    const last = symbols.length - 1;
    if (last >= 0) symbols[last] += this.suffix;
    return symbols;
  }

  private rank(left: string, right: string): number {
    return this.ranks.get(`${left} ${right}`) ?? Infinity;
  }

  private merge(symbols: string[]): string[] {
    const count = symbols.length;
    if (count < 2) return symbols;
    const next = Int32Array.from(symbols, (_, i) => (i + 1 < count ? i + 1 : -1));
    const previous = Int32Array.from(symbols, (_, i) => i - 1);
    const gone = new Uint8Array(count);
    const heap = new PairHeap();
    const offer = (left: number): void => {
      const right = left < 0 ? -1 : (next[left] as number);
      if (right < 0) return;
      const rank = this.rank(symbols[left] as string, symbols[right] as string);
      if (rank !== Infinity) heap.push({ rank, left, text: symbols[left] as string, right: symbols[right] as string });
    };
    for (let i = 0; i + 1 < count; i++) offer(i);
    for (let pair = heap.pop(); pair; pair = heap.pop()) {
      const { left } = pair;
      const right = next[left] as number;
      // An entry is stale when one of its symbols has been joined since.
      if (gone[left] || right < 0 || symbols[left] !== pair.text || symbols[right] !== pair.right) continue;
      symbols[left] = pair.text + pair.right;
      gone[right] = 1;
      const after = next[right] as number;
      next[left] = after;
      if (after >= 0) previous[after] = left;
      offer(previous[left] as number);
      offer(left);
    }
    return symbols.filter((_, i) => !gone[i]);
  }
}

interface Pair {
  rank: number;
  left: number;
  text: string;
  right: string;
}

/** Binary heap: lowest rank first, leftmost first among equals. */
class PairHeap {
  private readonly items: Pair[] = [];

  push(pair: Pair): void {
    const { items } = this;
    let at = items.push(pair) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(pair, items[parent] as Pair)) break;
      items[at] = items[parent] as Pair;
      at = parent;
    }
    items[at] = pair;
  }

  pop(): Pair | undefined {
    const { items } = this;
    const top = items[0];
    const last = items.pop();
    if (top === undefined || last === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && before(items[child + 1] as Pair, items[child] as Pair)) child++;
      if (!before(items[child] as Pair, last)) break;
      items[at] = items[child] as Pair;
      at = child;
    }
    items[at] = last;
    return top;
  }
}

function before(a: Pair, b: Pair): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.left < b.left);
}
