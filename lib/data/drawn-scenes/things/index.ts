/** The 24 things by name. */
import type { ThingName } from '../classes.js';
import { bridge, fence, flag, house, lamp } from './buildings.js';
import { chair, cup, table, umbrella } from './household.js';
import { fish, flower, mushroom, tree } from './nature.js';
import { ball, bird, cloud, moon, star, sun } from './sky.js';
import type { ThingShape } from './types.js';
import { balloon, boat, car, kite, rocket } from './vehicles.js';

export type { ThingShape } from './types.js';

export const thingShapes: Readonly<Record<ThingName, ThingShape>> = {
  house,
  car,
  tree,
  boat,
  sun,
  moon,
  cloud,
  ball,
  star,
  flower,
  fish,
  bird,
  umbrella,
  kite,
  balloon,
  chair,
  table,
  cup,
  mushroom,
  rocket,
  flag,
  fence,
  lamp,
  bridge,
};
