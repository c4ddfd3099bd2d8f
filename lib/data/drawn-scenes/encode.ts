/** Plan -> display list. */
import type { Colour } from '../../image/palette.js';
import { Random } from '../../util/random.js';
import { colourValues, patterns } from './classes.js';
import { cosTurns, type DisplayList, sinTurns } from './display-list.js';
import type { SceneSize } from './options.js';
import { type Affine, Pen } from './pen.js';
import { type ScenePlan, type ThingPlan, thingBox } from './plan.js';
import { writeStuff } from './stuff.js';
import { thingShapes } from './things/index.js';

interface View {
  readonly scale: number;
  readonly u: number;
  readonly v: number;
}

/** Appends the scene's display list; `size` is that of the drawing. */
export function encodeScene(list: DisplayList, plan: ScenePlan, size: SceneSize): void {
  const view = { scale: Math.min(size.width, size.height) * plan.camera.zoom, u: plan.camera.u, v: plan.camera.v };
  list.head({
    ...view,
    gain: plan.gain,
    blur: plan.blur,
    grain: plan.grain,
    seed: plan.seed % (1 << 24),
    paper: plan.paper,
    label: (plan.stuff[0] as { class: number }).class,
  });
  plan.stuff.forEach((region, i) => {
    writeStuff(list, region, plan.stuff[i + 1], view, plan.bounds);
  });
  plan.things.forEach((thing, i) => {
    if (plan.light.shadows) writeShadow(list, plan, thing, view);
    list.object(i + 1, thing.class);
    writeThing(list, plan, thing, view);
  });
}

function writeThing(list: DisplayList, plan: ScenePlan, thing: ThingPlan, view: View): void {
  const shape = thingShapes[thing.name];
  const random = new Random(thing.seed).fork(thing.name);
  const unit = (thing.extent / Math.max(shape.box[0], shape.box[1])) * view.scale;
  const stretch = random.uniform(0.93, 1.08);
  const [c, s] = [cosTurns(thing.turn), sinTurns(thing.turn)];
  const flip = thing.mirrored ? -1 : 1;
  const map: Affine = [
    unit * c * flip * stretch,
    -unit * s,
    (thing.x - view.u) * view.scale,
    unit * s * flip * stretch,
    unit * c,
    (thing.y - view.v) * view.scale,
  ];
  const base = colourValues[thing.colour];
  const [gain, shift] = [random.uniform(0.92, 1.06), () => random.uniform(-9, 9)];
  const main: Colour = [base[0] * gain + shift(), base[1] * gain + shift(), base[2] * gain + shift()];
  const pen = new Pen(list, {
    map,
    size: unit,
    main,
    pattern: patterns.indexOf(thing.pattern),
    cells: thing.pattern === 'dotted' ? random.uniform(5.5, 7.5) : random.uniform(4.5, 7),
    turn: random.pick([0, 0.25, 0.125, -0.125]),
    light: [plan.light.x, plan.light.y],
  });
  shape.draw(pen, random);
}

/** A soft dark ellipse at the foot, away from the light. */
function writeShadow(list: DisplayList, plan: ScenePlan, thing: ThingPlan, view: View): void {
  if (thingShapes[thing.name].place !== 'ground') return;
  const [x0, , x1, y1] = thingBox(thing);
  const half = (x1 - x0) / 2;
  const [x, y] = [(x0 + x1) / 2 - plan.light.x * half * 0.35, y1 - 0.005];
  list.object(255, 0);
  const [rx, ry] = [half * 1.05, half * 0.16 + 0.01];
  for (const [alpha, grow] of [
    [0.18, 1.12],
    [0.2, 0.92],
  ] as const) {
    list.paint({
      colour: [16, 18, 30],
      second: [0, 0, 0],
      alpha,
      pattern: 0,
      map: [1, 0, 0, 0, 1, 0],
      sharp: 1,
      light: [1, 0, 0],
    });
    for (let i = 0; i < 20; i++) {
      const [px, py] = [x + rx * grow * cosTurns(i / 20), y + ry * grow * sinTurns(i / 20)];
      list.point((px - view.u) * view.scale, (py - view.v) * view.scale);
    }
    list.contour();
    list.fill();
  }
}
