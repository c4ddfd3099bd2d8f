/** Plans a scene: what lies and stands where, in which colour, in which light, seen how. A plan is a function of seed and options. */

import { Random } from '../../util/random.js';
import {
  classIndex,
  freeColours,
  heldOutPairs,
  type Pattern,
  type SceneKind,
  type StuffName,
  sceneKinds,
  stuffNames,
  type ThingColour,
  type ThingName,
  thingNames,
  typicalColours,
} from './classes.js';
import { kindSpecs } from './kinds.js';
import { type ResolvedOptions, resolveOptions, type SceneOptions } from './options.js';
import type { SplitName } from './splits.js';
import { planStuff, type StuffPlan } from './stuff.js';
import { thingShapes } from './things/index.js';

export interface ThingPlan {
  readonly name: ThingName;
  /** Index in `sceneClasses`. */
  readonly class: number;
  readonly colour: ThingColour;
  readonly pattern: Pattern;
  /** Things of one group share class, colour and pattern, and are counted together. */
  readonly group: number;
  /** Origin (middle of the foot, or centre) in scene units (1 = shorter side of the picture). */
  readonly x: number;
  readonly y: number;
  /** Length of the longer side in scene units. */
  readonly extent: number;
  readonly mirrored: boolean;
  /** Turns, clockwise. */
  readonly turn: number;
  readonly seed: number;
}

export interface ScenePlan {
  readonly seed: number;
  readonly split: SplitName;
  readonly kind: SceneKind;
  readonly closeUp: boolean;
  readonly night: boolean;
  /** Width and height of the picture in scene units; the shorter is 1. */
  readonly bounds: { readonly width: number; readonly height: number };
  /** zoom >= 1; u, v: left upper corner of what is seen, in scene units. */
  readonly camera: { readonly zoom: number; readonly u: number; readonly v: number };
  readonly stuff: readonly StuffPlan[];
  /** From far to near: instance i + 1 is things[i]. */
  readonly things: readonly ThingPlan[];
  /** Direction to the light, shadows, colour cast, blur, grain. */
  readonly light: { readonly x: number; readonly y: number; readonly shadows: boolean };
  readonly gain: readonly [number, number, number];
  readonly blur: number;
  readonly grain: number;
  readonly paper: boolean;
}

/** Share of regions and things that are drawn from all classes whatever the kind of the scene. */
const FREE = 0.15;

/** @throws E_OPTION for unknown or unusable options, naming them */
export function planScene(seed: number, options: SceneOptions = {}): ScenePlan {
  const settings = resolveOptions(seed, options);
  const root = new Random(seed).fork('scene');
  const kind = root.pick(sceneKinds);
  const spec = kindSpecs[kind];
  const closeUp = root.chance(settings.closeUps);
  const night = root.chance(spec.night);
  const shorter = Math.min(settings.width, settings.height);
  const bounds = { width: settings.width / shorter, height: settings.height / shorter };
  const stuff = planRegions(kind, bounds, night, root.fork('stuff'));
  const things = closeUp
    ? planCloseUp(kind, stuff, bounds, settings, root.fork('things'))
    : planThings(kind, stuff, bounds, settings, root.fork('things'));
  const look = root.fork('look');
  const [side, up] = [look.uniform(-1, 1), look.uniform(-1, -0.35)];
  const length = Math.sqrt(side * side + up * up);
  const level = night ? look.uniform(0.55, 0.72) : look.uniform(0.93, 1.04);
  const cast = (): number => level * look.uniform(0.93, 1.07);
  return {
    seed,
    split: settings.split,
    kind,
    closeUp,
    night,
    bounds,
    camera: planCamera(closeUp, bounds, things, settings, root.fork('camera')),
    stuff,
    things,
    light: { x: side / length, y: up / length, shadows: look.chance(0.6) },
    gain: [cast(), cast(), cast()],
    blur: look.chance(0.5) ? look.uniform(0, 0.1) : 0,
    grain: look.uniform(0.5, 5),
    paper: settings.style === 'paper',
  };
}

function planRegions(
  kind: SceneKind,
  bounds: { width: number; height: number },
  night: boolean,
  random: Random,
): StuffPlan[] {
  const { layouts } = kindSpecs[kind];
  const [, ...names] = layouts[random.weighted(layouts.map(([weight]) => weight))] as readonly [number, ...StuffName[]];
  for (let i = 0; i < names.length; i++) {
    if (!random.chance(FREE)) continue;
    const other = random.pick(stuffNames);
    if (!names.includes(other)) names[i] = other;
  }
  const cuts =
    names.length === 2 ? [0, random.uniform(0.36, 0.6)] : [0, random.uniform(0.26, 0.4), random.uniform(0.54, 0.68)];
  return names.map((name, i) =>
    planStuff(name, (cuts[i] as number) * bounds.height, bounds.width, night, random.fork(i)),
  );
}

interface GroupPlan {
  readonly name: ThingName;
  readonly colour: ThingColour;
  readonly pattern: Pattern;
}

function planGroup(kind: SceneKind, settings: ResolvedOptions, taken: readonly ThingName[], random: Random): GroupPlan {
  const pattern = random.chance(0.66) ? 'plain' : random.chance(0.5) ? 'striped' : 'dotted';
  if (settings.split === 'test-composition') {
    const free = heldOutPairs.filter(([, thing]) => !taken.includes(thing));
    const [colour, name] = random.pick(free);
    return { name, colour, pattern };
  }
  const weights = thingNames.map((name) => (taken.includes(name) ? 0 : (kindSpecs[kind].things[name] ?? 0)));
  const likely = weights.some((weight) => weight > 0) && !random.chance(FREE);
  const name = likely
    ? (thingNames[random.weighted(weights)] as ThingName)
    : random.pick(thingNames.filter((thing) => !taken.includes(thing)));
  if (random.chance(settings.typicalColour)) return { name, colour: typicalColours[name], pattern };
  return { name, colour: random.pick(freeColours[name]), pattern };
}

/** Lowest and highest place of a thing's origin. */
function stand(name: ThingName, stuff: readonly StuffPlan[], height: number, random: Random): [number, number] {
  const { place, anchor } = thingShapes[name];
  const bottomOf = (i: number): number => stuff[i + 1]?.top ?? height;
  const lift = anchor === 'centre' ? 0.12 : 0;
  if (place === 'air') {
    const sky = stuff.findIndex((region) => region.name === 'sky');
    return sky === 0 ? [0.14, Math.max(bottomOf(0) * 0.9, 0.3)] : [0.16, 0.5 * height];
  }
  const sea = stuff.findIndex((region) => region.name === 'sea');
  const ground = stuff.findLastIndex((region) => region.name !== 'sky' && region.name !== 'sea');
  const at = place === 'water' && sea >= 0 ? sea : ground >= 0 ? ground : stuff.length - 1;
  const top = (stuff[at] as StuffPlan).top;
  const first = at === 0 ? 0.45 * height : top;
  const [low, high] = [first + 0.12 * (bottomOf(at) - first), bottomOf(at) - 0.03];
  return random.chance(0.12) ? [low, height - 0.03] : [low - lift, high - lift];
}

/** Apparent size by distance: things lower in the picture are nearer. */
function perspective(name: ThingName, y: number, height: number): number {
  return thingShapes[name].place === 'air' ? 1.02 : 0.8 + 0.4 * (y / height);
}

interface Bounds {
  readonly width: number;
  readonly height: number;
}

/** Box of a thing in scene units: left, top, right, bottom. */
export function thingBox(thing: {
  name: ThingName;
  x: number;
  y: number;
  extent: number;
}): [number, number, number, number] {
  const { box, anchor } = thingShapes[thing.name];
  const unit = thing.extent / Math.max(box[0], box[1]);
  const [w, h] = [box[0] * unit, box[1] * unit];
  const bottom = anchor === 'foot' ? thing.y : thing.y + h / 2;
  return [thing.x - w / 2, bottom - h, thing.x + w / 2, bottom];
}

/** Largest share of the smaller box that two boxes have in common. */
function overlap(a: readonly number[], b: readonly number[]): number {
  const [ax0 = 0, ay0 = 0, ax1 = 0, ay1 = 0] = a;
  const [bx0 = 0, by0 = 0, bx1 = 0, by1 = 0] = b;
  const w = Math.min(ax1, bx1) - Math.max(ax0, bx0);
  const h = Math.min(ay1, by1) - Math.max(ay0, by0);
  if (w <= 0 || h <= 0) return 0;
  return (w * h) / Math.min((ax1 - ax0) * (ay1 - ay0), (bx1 - bx0) * (by1 - by0));
}

function planThings(
  kind: SceneKind,
  stuff: readonly StuffPlan[],
  bounds: Bounds,
  settings: ResolvedOptions,
  random: Random,
): ThingPlan[] {
  const wanted = 1 + random.weighted([2, 4, 5, 5, 5]);
  const things: ThingPlan[] = [];
  const names: ThingName[] = [];
  for (let group = 0; things.length < wanted; group++) {
    const own = random.fork(group);
    const plan = planGroup(kind, settings, names, own);
    names.push(plan.name);
    const count = Math.min(1 + own.weighted([7, 2, 1]), wanted - things.length);
    const small = thingShapes[plan.name].small;
    const extent = small ? own.uniform(0.31, 0.54) : own.uniform(0.38, 0.62);
    for (let i = 0; i < count; i++)
      things.push(placeThing(plan, group, extent / (1 + 0.12 * (count - 1)), { stuff, bounds, things }, own));
  }
  return farToNear(things);
}

function placeThing(
  plan: GroupPlan,
  group: number,
  extent: number,
  { stuff, bounds, things }: { stuff: readonly StuffPlan[]; bounds: Bounds; things: readonly ThingPlan[] },
  random: Random,
): ThingPlan {
  const { small, tilt } = thingShapes[plan.name];
  let best: { x: number; y: number; extent: number } | undefined;
  let least = Infinity;
  for (let attempt = 0; attempt < 8 && least > 0.02; attempt++) {
    const [low, high] = stand(plan.name, stuff, bounds.height, random);
    const y = random.uniform(low, Math.max(high, low + 0.02));
    const size = Math.max(
      extent * perspective(plan.name, y, bounds.height) * random.uniform(0.93, 1.07),
      small ? 0.18 : 0.2,
    );
    const margin = Math.min(size * 0.42, bounds.width / 2);
    const x = random.uniform(margin, bounds.width - margin);
    const box = thingBox({ name: plan.name, x, y, extent: size });
    const cut = Math.max(0, 0.02 - box[1]) / size;
    const cost = things.reduce((most, other) => Math.max(most, overlap(box, thingBox(other))), 0) + cut;
    if (cost < least) {
      least = cost;
      best = { x, y, extent: size };
    }
  }
  const spot = best as { x: number; y: number; extent: number };
  return finishThing(plan, group, spot, tilt, random);
}

function finishThing(
  plan: GroupPlan,
  group: number,
  spot: { x: number; y: number; extent: number },
  tilt: number,
  random: Random,
): ThingPlan {
  return {
    ...plan,
    ...spot,
    class: classIndex.get(plan.name) as number,
    group,
    mirrored: random.chance(0.5),
    turn: random.uniform(-tilt, tilt),
    seed: random.int(1 << 24),
  };
}

/** One or two things that fill much of the picture. */
function planCloseUp(
  kind: SceneKind,
  _stuff: readonly StuffPlan[],
  bounds: Bounds,
  settings: ResolvedOptions,
  random: Random,
): ThingPlan[] {
  const count = random.chance(0.62) ? 1 : 2;
  const things: ThingPlan[] = [];
  for (let i = 0; i < count; i++) {
    const own = random.fork(i);
    const plan = planGroup(
      kind,
      settings,
      things.map((thing) => thing.name),
      own,
    );
    const extent = count === 1 ? own.uniform(0.5, 0.9) : own.uniform(0.4, 0.62);
    const { anchor, tilt } = thingShapes[plan.name];
    const centre = bounds.height * own.uniform(0.42, 0.6);
    const half = bounds.width / 2;
    const x =
      count === 1
        ? half + own.uniform(-0.2, 0.2) * half
        : half * (i === 0 ? own.uniform(0.4, 0.62) : own.uniform(1.38, 1.6));
    const box = thingBox({ name: plan.name, x, y: 0, extent });
    const y = anchor === 'foot' ? centre + (box[3] - box[1]) / 2 : centre;
    things.push(finishThing(plan, i, { x, y, extent }, tilt, own));
  }
  return farToNear(things);
}

/** Things of the air first, then by their foot: what stands lower covers what stands higher. */
function farToNear(things: ThingPlan[]): ThingPlan[] {
  const depth = (thing: ThingPlan): number => (thingShapes[thing.name].place === 'air' ? -10 : 0) + thingBox(thing)[3];
  const order = things.map((thing, i) => ({ thing, i, depth: depth(thing) }));
  return order.sort((a, b) => a.depth - b.depth || a.i - b.i).map(({ thing }) => thing);
}

/** A zoom about a random point, oftener about a thing than anywhere. */
function planCamera(
  closeUp: boolean,
  bounds: Bounds,
  things: readonly ThingPlan[],
  settings: ResolvedOptions,
  random: Random,
): ScenePlan['camera'] {
  if (!random.chance(settings.camera)) return { zoom: 1, u: 0, v: 0 };
  const zoom = random.uniform(1, closeUp ? 1.35 : 2);
  const [x0, y0, x1, y1] = thingBox(random.pick(things));
  const near = random.chance(0.7);
  const x = near ? (x0 + x1) / 2 : random.uniform(0, bounds.width);
  const y = near ? (y0 + y1) / 2 : random.uniform(0, bounds.height);
  const corner = (at: number, size: number): number =>
    Math.min(Math.max(at - (size / zoom) * random.uniform(0.3, 0.7), 0), size - size / zoom);
  return { zoom, u: corner(x, bounds.width), v: corner(y, bounds.height) };
}
