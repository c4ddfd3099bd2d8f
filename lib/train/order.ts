/**
 * The order of an epoch without a list of it: a permutation of 0..count-1 computed place by place (a Feistel network on the
 * smallest even number of bits that holds `count`, walked on until it lands inside). Any place of any epoch is known at once,
 * so a resumed run needs nothing but its step.
 */
import { Random } from '../util/random.js';

const rounds = 6;

export class EpochOrder {
  readonly #half: number;
  readonly #mask: number;
  readonly #keys: readonly number[];

  /** @param count samples of an epoch, 1 to 2^40 */
  constructor(
    readonly count: number,
    seed: number,
    epoch: number,
  ) {
    let half = 1;
    while (2 ** (2 * half) < count) half++;
    this.#half = half;
    this.#mask = 2 ** half - 1;
    const random = new Random(seed).fork('order').fork(epoch);
    this.#keys = Array.from({ length: rounds }, () => random.bits());
  }

  /** Which sample stands at a place of the epoch. */
  at(place: number): number {
    let value = place;
    do value = this.#permute(value);
    while (value >= this.count);
    return value;
  }

  #permute(value: number): number {
    let left = Math.floor(value / (this.#mask + 1));
    let right = value % (this.#mask + 1);
    for (const key of this.#keys) {
      const next = (left ^ (mix(right ^ key) & this.#mask)) >>> 0;
      left = right;
      right = next;
    }
    return left * (this.#mask + 1) + right;
  }

  get bits(): number {
    return 2 * this.#half;
  }
}

/** A 32-bit finaliser (MurmurHash3): every input bit reaches every output bit. */
function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
