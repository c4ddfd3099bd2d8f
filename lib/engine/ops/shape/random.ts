/** Random tensors by Philox 4x32-10: element i depends on the seed, the offset and i alone. */
import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type OpCard } from '../../card.js';
import { type DType, dtypeCode } from '../../dtype.js';
import { run } from '../../run.js';
import { numel } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { dimAttrs, packDims, unpackDims } from '../dims.js';
import { refFill } from '../reference.js';
import { dtypeAttr, refStore } from './fill.js';

/** Uniform in [a, b), or normal of mean a and deviation b. offset counts blocks of four elements. */
const attrs = { seedLow: 0, seedHigh: 0, offset: 0, a: 0, b: 1, dtype: 0, ...dimAttrs };
type RandomAttrs = typeof attrs;

/** Four 32-bit words of a block (Salmon et al., SC 2011), in exact integer arithmetic. */
export function refPhilox(seedLow: number, seedHigh: number, counter: number): number[] {
  const mask = 0xffffffffn;
  let words = [BigInt(counter) & mask, BigInt(counter) >> 32n, 0n, 0n] as [bigint, bigint, bigint, bigint];
  let keys = [BigInt(seedLow), BigInt(seedHigh)] as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const p = 0xd2511f53n * words[0];
    const q = 0xcd9e8d57n * words[2];
    words = [(q >> 32n) ^ words[1] ^ keys[0], q & mask, (p >> 32n) ^ words[3] ^ keys[1], p & mask];
    keys = [(keys[0] + 0x9e3779b9n) & mask, (keys[1] + 0xbb67ae85n) & mask];
  }
  return words.map(Number);
}

function randomCard(
  name: string,
  value: (words: number[], lane: number, a: RandomAttrs) => number,
): OpCard<RandomAttrs> {
  const sized = (...sizes: number[]) => packDims(name, sizes);
  const whole = (x: number, limit: number) => Number.isInteger(x) && x >= 0 && x <= limit;
  return defineOp({
    name,
    inputs: [],
    attrs,
    shape: (_, a) => {
      if (
        !whole(a.seedLow, 2 ** 32 - 1) ||
        !whole(a.seedHigh, 2 ** 32 - 1) ||
        !whole(a.offset, Number.MAX_SAFE_INTEGER)
      ) {
        throw new WordmaskError(
          'E_OPTION',
          `${name}: the seed is two numbers from 0 to 2^32 - 1 and the offset a whole number, got ${a.seedLow}, ${a.seedHigh}, ${a.offset}`,
        );
      }
      return [{ shape: unpackDims(a), dtype: dtypeAttr(name, a.dtype) }];
    },
    reference: (_, a) => [
      refFill(unpackDims(a), (_index, i) =>
        refStore(value(refPhilox(a.seedLow, a.seedHigh, a.offset + Math.floor(i / 4)), i % 4, a), a.dtype),
      ),
    ],
    samples: [
      { name: 'ragged', inputs: [], attrs: { seedLow: 42, ...sized(3, 7, 5) }, dtypes: ['f32'] },
      {
        name: 'later in the stream',
        inputs: [],
        attrs: { seedLow: 4000000000, seedHigh: 17, offset: 2 ** 32 + 9, a: -2, b: 3, ...sized(41) },
        dtypes: ['f32'],
      },
      { name: 'f64', inputs: [], attrs: { seedLow: 1, dtype: dtypeCode('f64'), ...sized(33) }, dtypes: ['f64'] },
      { name: 'empty', inputs: [], attrs: { ...sized(0) }, dtypes: ['f32'] },
    ],
    bench: [{ name: 'a million', inputs: [], attrs: { ...sized(1000000) } }],
  });
}

export const randomUniformCard = randomCard(
  'random_uniform',
  (words, lane, { a, b }) => a + (b - a) * ((words[lane] as number) >>> 8) * 2 ** -24,
);

export const randomNormalCard = randomCard('random_normal', (words, lane, { a, b }) => {
  const pair = lane < 2 ? 0 : 2;
  const radius = Math.sqrt(-2 * Math.log(((words[pair] as number) + 0.5) / 2 ** 32));
  const angle = 2 * Math.PI * (((words[pair + 1] as number) + 0.5) / 2 ** 32);
  return a + b * radius * (lane % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
});

export interface RandomOptions {
  /** A whole number from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Where in the seed's stream to begin, in blocks of four elements; see `randomBlocks`. */
  readonly offset?: number;
  readonly dtype?: DType;
}

function streamAttrs({
  seed,
  offset = 0,
  dtype = 'f32',
}: RandomOptions): Pick<RandomAttrs, 'seedLow' | 'seedHigh' | 'offset' | 'dtype'> {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new WordmaskError('E_OPTION', `seed must be a whole number from 0 to 2^53 - 1, got ${seed}`);
  return { seedLow: seed % 2 ** 32, seedHigh: Math.floor(seed / 2 ** 32), offset, dtype: dtypeCode(dtype) };
}

/** Blocks that a tensor of this shape uses up: add it to the offset for the next draw. */
export function randomBlocks(shape: readonly number[]): number {
  return Math.ceil(numel(shape) / 4);
}

/** Uniform values in [low, high), 24 bits each. @throws E_OPTION */
export function randomUniform(
  shape: readonly number[],
  options: RandomOptions & { readonly low?: number; readonly high?: number },
): Tensor {
  return run(randomUniformCard, [], {
    ...streamAttrs(options),
    a: options.low ?? 0,
    b: options.high ?? 1,
    ...packDims('random_uniform', shape),
  })[0] as Tensor;
}

/** Normal values (Box-Muller in f64). @throws E_OPTION */
export function randomNormal(
  shape: readonly number[],
  options: RandomOptions & { readonly mean?: number; readonly deviation?: number },
): Tensor {
  return run(randomNormalCard, [], {
    ...streamAttrs(options),
    a: options.mean ?? 0,
    b: options.deviation ?? 1,
    ...packDims('random_normal', shape),
  })[0] as Tensor;
}
