/** Classes, colours and their partition (drawn-scenes.md section 1). The order of `sceneClasses` is the label order. */
import type { Colour } from '../../image/palette.js';

export const stuffNames = [
  'sky',
  'sea',
  'sand',
  'grass',
  'road',
  'snow',
  'brick wall',
  'wooden floor',
  'mountain',
  'wheat field',
] as const;

export const thingNames = [
  'house',
  'car',
  'tree',
  'boat',
  'sun',
  'moon',
  'cloud',
  'ball',
  'star',
  'flower',
  'fish',
  'bird',
  'umbrella',
  'kite',
  'balloon',
  'chair',
  'table',
  'cup',
  'mushroom',
  'rocket',
  'flag',
  'fence',
  'lamp',
  'bridge',
] as const;

export type StuffName = (typeof stuffNames)[number];
export type ThingName = (typeof thingNames)[number];
export type SceneClass = StuffName | ThingName;

/** 34 names: 10 stuff, then 24 things. */
export const sceneClasses: readonly SceneClass[] = [...stuffNames, ...thingNames];

/** Index in `sceneClasses`. */
export const classIndex: ReadonlyMap<SceneClass, number> = new Map(sceneClasses.map((name, i) => [name, i]));

export const thingColours = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'white', 'black'] as const;
export type ThingColour = (typeof thingColours)[number];

/** Mean of each colour; scenes vary around it. */
export const colourValues: Readonly<Record<ThingColour, Colour>> = {
  red: [212, 32, 34],
  orange: [246, 134, 22],
  yellow: [248, 216, 40],
  green: [38, 150, 54],
  blue: [36, 84, 214],
  purple: [124, 42, 170],
  pink: [250, 138, 188],
  white: [242, 242, 240],
  black: [30, 30, 34],
};

/** Each colour is typical of two to four things, so it helps to name one and never decides. */
export const typicalColours: Readonly<Record<ThingName, ThingColour>> = {
  house: 'pink',
  car: 'red',
  tree: 'green',
  boat: 'white',
  sun: 'yellow',
  moon: 'white',
  cloud: 'white',
  ball: 'orange',
  star: 'yellow',
  flower: 'pink',
  fish: 'orange',
  bird: 'blue',
  umbrella: 'purple',
  kite: 'purple',
  balloon: 'red',
  chair: 'green',
  table: 'black',
  cup: 'blue',
  mushroom: 'red',
  rocket: 'black',
  flag: 'blue',
  fence: 'white',
  lamp: 'yellow',
  bridge: 'orange',
};

export const patterns = ['plain', 'striped', 'dotted'] as const;
export type Pattern = (typeof patterns)[number];

/** Twenty (colour, thing) pairs that occur in the scenes of split `test-composition` and in no others. */
export const heldOutPairs: readonly (readonly [ThingColour, ThingName])[] = [
  ['blue', 'house'],
  ['green', 'car'],
  ['purple', 'tree'],
  ['yellow', 'boat'],
  ['red', 'moon'],
  ['pink', 'cloud'],
  ['black', 'ball'],
  ['green', 'star'],
  ['orange', 'flower'],
  ['purple', 'fish'],
  ['red', 'bird'],
  ['orange', 'umbrella'],
  ['white', 'kite'],
  ['black', 'balloon'],
  ['yellow', 'chair'],
  ['pink', 'table'],
  ['white', 'cup'],
  ['blue', 'mushroom'],
  ['green', 'rocket'],
  ['red', 'fence'],
];

const heldOut = new Set(heldOutPairs.map(([colour, thing]) => `${colour} ${thing}`));

export function isHeldOut(colour: ThingColour, thing: ThingName): boolean {
  return heldOut.has(`${colour} ${thing}`);
}

/** The colours that a thing may have outside of `test-composition`. */
export const freeColours: Readonly<Record<ThingName, readonly ThingColour[]>> = Object.fromEntries(
  thingNames.map((thing) => [thing, thingColours.filter((colour) => !isHeldOut(colour, thing))]),
) as Record<ThingName, ThingColour[]>;

/** For systems trained on masks: unseen classes keep their captions but lose their masks. */
export const unseenClasses: readonly SceneClass[] = [
  'snow',
  'wheat field',
  'boat',
  'moon',
  'bird',
  'umbrella',
  'cup',
  'fence',
];
export const seenClasses: readonly SceneClass[] = sceneClasses.filter((name) => !unseenClasses.includes(name));

export const sceneKinds = ['seaside', 'street', 'meadow', 'winter', 'room', 'night', 'harbour', 'fair'] as const;
export type SceneKind = (typeof sceneKinds)[number];
