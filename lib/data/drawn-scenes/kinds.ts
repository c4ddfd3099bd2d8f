/** Kinds of scenes: which stuff lies where and which things are at home there, as context goes with class in photographs. */
import type { SceneKind, StuffName, ThingName } from './classes.js';

export interface KindSpec {
  /** Regions from top to bottom, with weights. */
  readonly layouts: readonly (readonly [weight: number, ...regions: StuffName[]])[];
  /** Weights of likely things. */
  readonly things: Readonly<Partial<Record<ThingName, number>>>;
  /** Probability of night light. */
  readonly night: number;
}

export const kindSpecs: Readonly<Record<SceneKind, KindSpec>> = {
  seaside: {
    layouts: [
      [6, 'sky', 'sea', 'sand'],
      [1, 'sky', 'sea'],
      [2, 'sea', 'sand'],
      [2, 'sky', 'mountain', 'sand'],
    ],
    things: { boat: 3, fish: 3, bird: 1, umbrella: 3, ball: 1.5, sun: 4, kite: 1, star: 0.5, cloud: 1 },
    night: 0,
  },
  street: {
    layouts: [
      [3, 'sky', 'brick wall', 'road'],
      [3, 'brick wall', 'road'],
      [2, 'sky', 'grass', 'road'],
      [1, 'sky', 'road'],
    ],
    things: { house: 2, car: 5, tree: 1, lamp: 1, flag: 0.5, fence: 1, bird: 0.5, chair: 1.5, bridge: 1, balloon: 1 },
    night: 0.05,
  },
  meadow: {
    layouts: [
      [3, 'sky', 'grass'],
      [2, 'sky', 'mountain', 'grass'],
      [3, 'sky', 'wheat field', 'grass'],
      [3, 'sky', 'wheat field'],
      [3, 'sky', 'mountain', 'wheat field'],
    ],
    things: { tree: 2, flower: 4, mushroom: 6, fence: 1.5, house: 1, sun: 3, cloud: 2, kite: 1, bird: 1, balloon: 1 },
    night: 0,
  },
  winter: {
    layouts: [
      [2, 'sky', 'snow'],
      [4, 'sky', 'mountain', 'snow'],
      [2, 'mountain', 'snow'],
    ],
    things: { house: 2, tree: 2, fence: 3, cloud: 2, bird: 1.5, lamp: 0.5, star: 0.5, cup: 1, bridge: 2, chair: 0.5 },
    night: 0.1,
  },
  room: {
    layouts: [[1, 'brick wall', 'wooden floor']],
    things: { chair: 6, table: 5, cup: 5, lamp: 2, ball: 1.5, flower: 1, umbrella: 1, balloon: 0.5, fish: 0.5 },
    night: 0.05,
  },
  night: {
    layouts: [
      [2, 'sky', 'mountain', 'grass'],
      [2, 'sky', 'road'],
      [1, 'sky', 'sea'],
      [2, 'sky', 'mountain', 'snow'],
      [1, 'sky', 'grass', 'road'],
    ],
    things: { moon: 5, star: 4, rocket: 4, lamp: 1.5, house: 1, car: 1, tree: 1, mushroom: 0.5 },
    night: 1,
  },
  harbour: {
    layouts: [
      [3, 'sky', 'sea', 'wooden floor'],
      [2, 'sky', 'sea', 'road'],
      [2, 'sky', 'mountain', 'sea'],
      [1, 'sea', 'wooden floor'],
    ],
    things: { boat: 4, bridge: 3, fish: 2.5, flag: 1.5, bird: 1.5, cloud: 2, lamp: 0.5, table: 1, moon: 1, sun: 1 },
    night: 0.1,
  },
  fair: {
    layouts: [
      [2, 'sky', 'grass', 'road'],
      [2, 'sky', 'sand'],
      [2, 'sky', 'grass'],
      [3, 'sky', 'wheat field', 'road'],
      [2, 'sky', 'wheat field'],
      [1, 'sky', 'wooden floor'],
    ],
    things: { balloon: 6, kite: 6, flag: 3, ball: 2.5, rocket: 3, star: 1, umbrella: 2, table: 1, moon: 0.5, sun: 1 },
    night: 0.05,
  },
};
