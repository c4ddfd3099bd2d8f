/**
 * Counter-based random numbers for host code: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011). Number n of a stream depends on the stream's key and n alone, and nothing here calls a function of the machine's
 * mathematics library, so the same seed gives the same numbers everywhere.
 */
import { show, WordmaskError } from './errors.js';

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const scale = 2 ** -32;

/** High 32 bits of the product of two unsigned 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  return (aHigh * bHigh + Math.floor(middle / 65536) + (aLow * bHigh + (middle & 0xffff)) / 65536) >>> 0;
}

/** Block of four words for a 128-bit counter under a 64-bit key. */
function philox(out: Uint32Array, keyLow: number, keyHigh: number, counter: readonly [number, number, number, number]) {
  let [a, b, c, d] = counter;
  let [k0, k1] = [keyLow, keyHigh];
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(M0, a);
    const high1 = mulHigh(M1, c);
    const low0 = Math.imul(M0, a);
    const low1 = Math.imul(M1, c);
    a = (high1 ^ b ^ k0) >>> 0;
    b = low1 >>> 0;
    c = (high0 ^ d ^ k1) >>> 0;
    d = low0 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  out[0] = a;
  out[1] = b;
  out[2] = c;
  out[3] = d;
}

/** Two 32-bit hashes (FNV-1a from two starts) of a name; a number counts as its decimal digits with a mark in front. */
function hash(name: string | number): [number, number] {
  const text = typeof name === 'number' ? `#${name}` : name;
  let [a, b] = [0x811c9dc5, 0x2f0b4c47];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code ^ (b >>> 15), 0x85ebca6b);
  }
  return [a >>> 0, b >>> 0];
}

/** Natural logarithm of a positive normal number from + - * / alone (series of artanh, relative error under 1e-15). */
function logarithm(x: number): number {
  let exponent = 0;
  let m = x;
  for (; m < Math.SQRT1_2; exponent--) m *= 2;
  for (; m > Math.SQRT2; exponent++) m /= 2;
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let sum = 0;
  for (let k = 21; k > 0; k -= 2) sum = sum * z + 1 / k;
  return exponent * Math.LN2 + 2 * s * sum;
}

/**
 * A stream of random numbers. `new Random(seed).fork(step).fork('crop')` is a function of seed, step and use: streams of
 * different names are independent, and neither order nor number of draws elsewhere matters.
 */
export class Random {
  readonly #block = new Uint32Array(4);
  readonly #low: number;
  readonly #high: number;
  #drawn = 0;

  /** @param seed a whole number of at most 53 bits. @throws E_OPTION for others */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed))
      throw new WordmaskError('E_OPTION', `seed must be a whole number within +-(2^53 - 1), got ${show(seed)}`);
    this.#low = seed >>> 0;
    this.#high = Math.floor(seed / 2 ** 32) >>> 0;
  }

  /** An independent stream named by a word or a number; this one does not move. */
  fork(name: string | number): Random {
    const [a, b] = hash(name);
    const key = new Uint32Array(4);
    philox(key, this.#low, this.#high, [a, b, 1, 0]);
    return new Random((key[0] as number) + ((key[1] as number) & 0x1fffff) * 2 ** 32);
  }

  /** 32 random bits, 0..2^32 - 1. */
  bits(): number {
    const at = this.#drawn++ & 3;
    if (at === 0) {
      const block = Math.floor(this.#drawn / 4);
      philox(this.#block, this.#low, this.#high, [block >>> 0, Math.floor(block * scale), 0, 0]);
    }
    return this.#block[at] as number;
  }

  /** 0 <= x < 1 in steps of 2^-32; with bounds low <= x < high. */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.bits() * scale);
  }

  /** A whole number 0..n-1, n up to 2^32. */
  int(n: number): number {
    return Math.floor(this.bits() * scale * n);
  }

  /** True with probability p. */
  chance(p: number): boolean {
    return this.bits() * scale < p;
  }

  /** Normal distribution of mean 0 and deviation 1 (Marsaglia's polar method; one of its two numbers is used). */
  normal(): number {
    for (;;) {
      const x = this.uniform(-1, 1);
      const y = this.uniform(-1, 1);
      const s = x * x + y * y;
      if (s > 0 && s < 1) return x * Math.sqrt((-2 * logarithm(s)) / s);
    }
  }

  /** One of the items. @throws E_USAGE for an empty list */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new WordmaskError('E_USAGE', 'pick needs at least one item, got an empty list');
    return items[this.int(items.length)] as T;
  }

  /** Index drawn in proportion to weights that are not negative and not all zero. */
  weighted(weights: readonly number[]): number {
    let rest = this.uniform() * weights.reduce((sum, weight) => sum + weight, 0);
    let last = 0;
    for (let i = 0; i < weights.length; i++) {
      const weight = weights[i] as number;
      if (weight <= 0) continue;
      if (rest < weight) return i;
      rest -= weight;
      last = i;
    }
    return last;
  }

  /** A new array with the items in random order. */
  shuffle<T>(items: readonly T[]): T[] {
    const out = items.slice();
    for (let i = out.length - 1; i > 0; i--) {
      const k = this.int(i + 1);
      const held = out[i] as T;
      out[i] = out[k] as T;
      out[k] = held;
    }
    return out;
  }
}
