/** Stuff regions: their colours, texture settings and borders. */
import type { Colour } from '../../image/palette.js';
import type { Random } from '../../util/random.js';
import { classIndex, type StuffName } from './classes.js';
import { type DisplayList, sinTurns } from './display-list.js';

type Border = 'flat' | 'rolling' | 'ridge';

interface StuffLook {
  /** Base, dark, light of the texture, as native/host/draw_texture.cpp uses them. */
  readonly colours: readonly [Colour, Colour, Colour];
  readonly border: Border;
}

const looks: Readonly<Record<StuffName, StuffLook>> = {
  sky: {
    colours: [
      [88, 158, 236],
      [60, 120, 210],
      [206, 230, 250],
    ],
    border: 'flat',
  },
  sea: {
    colours: [
      [34, 120, 150],
      [12, 72, 112],
      [214, 238, 240],
    ],
    border: 'flat',
  },
  sand: {
    colours: [
      [226, 194, 138],
      [160, 122, 78],
      [244, 220, 172],
    ],
    border: 'rolling',
  },
  grass: {
    colours: [
      [74, 150, 50],
      [34, 92, 26],
      [128, 196, 72],
    ],
    border: 'rolling',
  },
  road: {
    colours: [
      [112, 112, 116],
      [76, 76, 82],
      [236, 232, 214],
    ],
    border: 'flat',
  },
  snow: {
    colours: [
      [244, 248, 252],
      [176, 198, 228],
      [255, 255, 255],
    ],
    border: 'rolling',
  },
  'brick wall': {
    colours: [
      [178, 84, 62],
      [136, 56, 44],
      [204, 194, 180],
    ],
    border: 'flat',
  },
  'wooden floor': {
    colours: [
      [150, 100, 56],
      [66, 38, 20],
      [196, 142, 88],
    ],
    border: 'flat',
  },
  mountain: {
    colours: [
      [148, 136, 146],
      [84, 78, 98],
      [240, 244, 250],
    ],
    border: 'ridge',
  },
  'wheat field': {
    colours: [
      [222, 174, 50],
      [128, 84, 18],
      [252, 226, 120],
    ],
    border: 'rolling',
  },
};

const nightSky: readonly [Colour, Colour, Colour] = [
  [22, 28, 86],
  [14, 18, 60],
  [84, 84, 158],
];

export interface StuffPlan {
  readonly name: StuffName;
  /** Index in `sceneClasses`. */
  readonly class: number;
  /** Height of its upper border in scene units (1 = shorter side of the picture). */
  readonly top: number;
  /** Upper border: x and y in turn from left to right, in scene units; empty for the first region. */
  readonly border: readonly number[];
  readonly seed: number;
  readonly colours: readonly [Colour, Colour, Colour];
  readonly parameter: number;
}

/** @param width of the picture in scene units */
export function planStuff(name: StuffName, top: number, width: number, night: boolean, random: Random): StuffPlan {
  const look = looks[name];
  const base = name === 'sky' && night ? nightSky : look.colours;
  const shift = [random.uniform(-9, 9), random.uniform(-9, 9), random.uniform(-9, 9)] as const;
  const gain = random.uniform(0.94, 1.05);
  const jitter = (c: Colour): Colour => [c[0] * gain + shift[0], c[1] * gain + shift[1], c[2] * gain + shift[2]];
  const parameter =
    name === 'sky' ? (night ? 0.9 : 0) : name === 'brick wall' ? random.uniform(0.062, 0.085) : random.uniform();
  return {
    name,
    class: classIndex.get(name) as number,
    top,
    border: top > 0 ? borderLine(look.border, top, width, random) : [],
    seed: random.int(1 << 24),
    colours: [jitter(base[0]), jitter(base[1]), jitter(base[2])],
    parameter,
  };
}

function borderLine(kind: Border, top: number, width: number, random: Random): number[] {
  if (kind === 'ridge') return ridge(top, width, random);
  const steps = 24;
  const [tilt, height] = kind === 'flat' ? [random.uniform(-0.02, 0.02), 0.006] : [random.uniform(-0.05, 0.05), 0.03];
  const waves = Array.from({ length: 3 }, (_, i) => ({
    turns: random.uniform(0.4, 1) * (i + 1),
    phase: random.uniform(),
    height: (height * random.uniform(0.5, 1.3)) / (i + 1),
  }));
  const out: number[] = [];
  for (let i = 0; i <= steps; i++) {
    const x = (width * i) / steps;
    const y = waves.reduce((sum, w) => sum + w.height * sinTurns(x * w.turns + w.phase), tilt * (x / width - 0.5));
    out.push(x, top + y);
  }
  return out;
}

/** Peaks and saddles with a broken line between them. */
function ridge(top: number, width: number, random: Random): number[] {
  const out: number[] = [];
  let x = -random.uniform(0, 0.3);
  let high = random.chance(0.5);
  let y = top + (high ? -0.1 : 0.04);
  out.push(x, y);
  while (x < width) {
    const next = x + random.uniform(0.14, 0.34);
    high = !high;
    const goal = top + (high ? random.uniform(-0.17, -0.05) : random.uniform(0, 0.07));
    const middle = random.uniform(0.35, 0.65);
    out.push(x + (next - x) * middle, y + (goal - y) * middle + random.uniform(-0.025, 0.025), next, goal);
    x = next;
    y = goal;
  }
  return out;
}

/**
 * Writes a region: from its border down to the lowest point of the next one's, so that no gap shows.
 * @param view pixel = (scene unit - [u, v]) * scale
 * @param bounds width and height of the picture in scene units
 */
export function writeStuff(
  list: DisplayList,
  plan: StuffPlan,
  below: StuffPlan | undefined,
  view: { scale: number; u: number; v: number },
  bounds: { width: number; height: number },
): void {
  const bottom = below
    ? below.border.reduce((low, y, i) => (i % 2 === 1 && y > low ? y : low), 0) + 0.01
    : bounds.height + 0.01;
  list.object(0, plan.class);
  list.texture({
    kind: plan.class,
    seed: plan.seed,
    top: plan.name === 'mountain' ? plan.top - 0.17 : plan.top,
    bottom: below ? below.top : bounds.height,
    colours: plan.colours,
    parameter: plan.parameter,
  });
  const put = (x: number, y: number): void => list.point((x - view.u) * view.scale, (y - view.v) * view.scale);
  const [left, right] = [-1, bounds.width + 1];
  const { border } = plan;
  put(left, border[1] ?? -1);
  for (let i = 0; i < border.length; i += 2) put(border[i] as number, border[i + 1] as number);
  put(right, border[border.length - 1] ?? -1);
  put(right, bottom);
  put(left, bottom);
  list.contour();
  list.fill();
}
