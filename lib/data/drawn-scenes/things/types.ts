import type { Random } from '../../../util/random.js';
import type { Pen } from '../pen.js';

/** How a kind of thing looks and where it stands. */
export interface ThingShape {
  /** Width and height of an average one in local units; the larger is about 1. */
  readonly box: readonly [number, number];
  /** Local origin: middle of the foot, or centre. */
  readonly anchor: 'foot' | 'centre';
  /** Where it is at home: on ground, in the air, on water. */
  readonly place: 'ground' | 'air' | 'water';
  /** Largest rotation to either side, in turns. */
  readonly tilt: number;
  /** Small by nature: its extent is raised to at least 0.18. */
  readonly small?: boolean;
  /** Parts, proportions and pose vary with `random`. */
  draw(pen: Pen, random: Random): void;
}
