/** Splits as ranges of seeds: the number of a scene says which split it belongs to. */
import { show, WordmaskError } from '../../util/errors.js';
import { heldOutPairs, seenClasses, unseenClasses } from './classes.js';

export const splitNames = ['train', 'val', 'test', 'test-composition', 'test-style'] as const;
export type SplitName = (typeof splitNames)[number];

export interface Split {
  readonly name: SplitName;
  /** Seed of the first scene; scene i has seed first + i. */
  readonly first: number;
  /** Number of scenes, Infinity for train. */
  readonly count: number;
}

const far = 2 ** 50;

/** Seed ranges, and the fixed lists that go with them. */
export const splits = {
  train: { name: 'train', first: 0, count: Infinity },
  val: { name: 'val', first: far, count: 500 },
  test: { name: 'test', first: far + 1e6, count: 1000 },
  'test-composition': { name: 'test-composition', first: far + 2e6, count: 500 },
  'test-style': { name: 'test-style', first: far + 3e6, count: 500 },
  heldOutPairs,
  seen: seenClasses,
  unseen: unseenClasses,
} as const satisfies Record<SplitName, Split> & Record<string, unknown>;

/** @throws E_OPTION naming the splits there are */
export function splitOf(name: string): Split {
  const known = splitNames.find((split) => split === name);
  if (known === undefined)
    throw new WordmaskError('E_OPTION', `split must be one of ${splitNames.join(', ')}, got ${show(name)}`);
  return splits[known];
}

/** The split that a seed lies in: train unless it is in the range of another. @throws E_OPTION for a negative or broken seed */
export function splitOfSeed(seed: number): SplitName {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new WordmaskError('E_OPTION', `seed must be a whole number from 0 to 2^53 - 1, got ${show(seed)}`);
  if (seed < far) return 'train';
  const found = splitNames.find(
    (name) => name !== 'train' && seed >= splits[name].first && seed < splits[name].first + splits[name].count,
  );
  return found ?? 'train';
}

/** Seeds of scenes begin .. begin + count - 1 of a split. @throws E_OPTION past its end */
export function splitSeeds(name: SplitName, count: number, begin = 0): number[] {
  const split = splitOf(name);
  if (
    !Number.isSafeInteger(begin) ||
    begin < 0 ||
    !Number.isSafeInteger(count) ||
    count < 0 ||
    begin + count > split.count
  )
    throw new WordmaskError(
      'E_OPTION',
      `split ${name} has ${split.count} scenes, got a range of ${show(count)} from ${show(begin)}`,
    );
  return Array.from({ length: count }, (_, i) => split.first + begin + i);
}
