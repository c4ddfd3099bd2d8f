/** Pairs for tests of caption training: small pictures of noise and sentences about them, all a function of their number. */
import type { PairSample, StepContext } from '#lib/nn/trainable.js';
import { Random } from '#lib/util/random.js';

const colours = ['red', 'green', 'blue', 'white'];
const things = ['house', 'car', 'tree', 'boat', 'ball', 'fish'];
const places = ['on the grass', 'by the sea', 'in the snow', 'on a road'];

/** Lists of words as a recipe's `nouns`. */
export const pairNouns = [
  ...things.map((thing) => [thing]),
  ['grass', 'lawn'],
  ['sea', 'water'],
  ['snow'],
  ['road', 'street'],
];

export function captionOf(number: number): string {
  const random = new Random(number).fork('caption');
  const count = random.chance(0.3) ? 'two' : 'a';
  const thing = random.pick(things);
  return `${count} ${random.pick(colours)} ${thing}${count === 'two' ? 's' : ''} ${random.pick(places)}.`;
}

export function captionPair(number: number, side: number): PairSample {
  const random = new Random(number).fork('picture');
  const data = Uint8Array.from({ length: side * side * 3 }, () => random.int(256));
  return { key: `pair ${number}`, image: { data, width: side, height: side }, captions: [captionOf(number)] };
}

export function stepContext(step: number, steps: number, compute: 'f32' | 'bf16' = 'f32'): StepContext {
  return { step, steps, part: 0, random: new Random(7).fork(step), compute };
}

/** What a recipe would hand to the system `clip`, at the size of a toy. */
export function toyRequest(compute: 'f32' | 'bf16' = 'f32') {
  return {
    model: {
      vision: { image: 24, patch: 8, width: 32, layers: 2, heads: 2 },
      text: { width: 32, layers: 2, heads: 2, context: 16, vocabulary: 640 },
      projection: 24,
      patches: 0.7,
    },
    losses: { valuePath: 0.25, nounPatch: { nouns: pairNouns, templates: ['a {}', 'there is a {}.'] } },
    compute,
    random: new Random(3),
    captions: async (limit: number) => Array.from({ length: Math.min(limit, 400) }, (_, i) => captionOf(i)),
  } as const;
}

/** The same for the system `blip`. */
export function toyMatchRequest(compute: 'f32' | 'bf16' = 'f32') {
  return {
    model: {
      vision: { image: 24, patch: 8, width: 32, layers: 2, heads: 2 },
      text: {
        width: 32,
        layers: 4,
        heads: 4,
        context: 16,
        vocabulary: 200,
        nounLists: { nouns: pairNouns, share: 0.3 },
      },
      projection: 24,
      patches: 0.7,
    },
    losses: {},
    compute,
    random: new Random(3),
    captions: async (limit: number) => Array.from({ length: Math.min(limit, 400) }, (_, i) => captionOf(i)),
  } as const;
}
