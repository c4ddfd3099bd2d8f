/** Things that people built outdoors. */
import { tones } from '../pen.js';
import type { ThingShape } from './types.js';

/** Gable roof, door, windows with crossbars, chimney. */
export const house: ThingShape = {
  box: [1, 0.92],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.004,
  draw(pen, random) {
    const half = random.uniform(0.36, 0.43);
    const wall = random.uniform(0.4, 0.52);
    const top = wall + random.uniform(0.3, 0.4);
    const roof = random.pick([tones.darkWood, tones.slate, tones.terracotta]);
    const side = random.chance(0.5) ? 1 : -1;
    const chimney = side * half * 0.55;
    pen.rect(chimney - 0.06, -top - 0.02, chimney + 0.06, -wall, tones.terracotta);
    pen.rect(-half, -wall - 0.02, half, 0, pen.main);
    pen.polygon([-half - 0.08, -wall, 0, -top, half + 0.08, -wall], roof);
    const door = -side * half * random.uniform(0.35, 0.55);
    pen.rect(door - 0.085, -0.28, door + 0.085, 0, tones.darkWood);
    pen.ellipse(door + 0.05, -0.13, 0.018, 0.018, tones.glow);
    const panes = side * half * random.uniform(0.4, 0.52);
    const size = random.uniform(0.1, 0.125);
    pen.rect(panes - size - 0.02, -0.34 - size, panes + size + 0.02, -0.2 + 0.02, tones.cream);
    pen.rect(panes - size, -0.32 - size, panes + size, -0.2, tones.slate);
    pen.rect(panes - 0.016, -0.32 - size, panes + 0.016, -0.2, tones.cream);
    pen.rect(panes - size, -0.27 - size / 2, panes + size, -0.24 - size / 2, tones.cream);
    if (random.chance(0.6)) pen.ellipse(0, -wall - 0.12, 0.06, 0.06, tones.cream);
  },
};

/** A deck on round arches with posts and a rail; the openings let the background through. */
export const bridge: ThingShape = {
  box: [1.1, 0.58],
  anchor: 'foot',
  place: 'water',
  tilt: 0.004,
  draw(pen, random) {
    const half = 0.55;
    const rise = random.uniform(0.02, 0.12);
    const deck = random.uniform(0.36, 0.44);
    const arches = random.int(2) + 2;
    const pier = random.uniform(0.07, 0.1);
    const span = (2 * half - pier * (arches + 1)) / arches;
    const upper = (x: number): number => -deck - rise * (1 - (x / half) * (x / half));
    const outline: number[] = [];
    for (let i = 0; i <= 12; i++) outline.push(-half + (2 * half * i) / 12, upper(-half + (2 * half * i) / 12));
    outline.push(half, 0, -half, 0);
    const holes = Array.from({ length: arches }, (_, i) => {
      const x = -half + pier + span / 2 + i * (span + pier);
      const height = Math.min(-upper(x) - 0.1, span * 0.75);
      const curve = pen.arc(x, -height + span * 0.4, span / 2, span * 0.4, 1, 0.5);
      return [...curve, x - span / 2, 0.01, x + span / 2, 0.01];
    });
    pen.pierced(outline, holes, pen.main);
    const rail = random.uniform(0.1, 0.14);
    const posts = 9;
    const line: number[] = [];
    const edge: number[] = [];
    for (let i = 0; i <= posts; i++) {
      const x = -half + 0.02 + ((2 * half - 0.04) * i) / posts;
      pen.rect(x - 0.016, upper(x) - rail, x + 0.016, upper(x) + 0.02, pen.deep);
      line.push(x, upper(x) - rail);
      edge.push(x, upper(x) + 0.02);
    }
    pen.line(line, 0.045, pen.deep);
    pen.line(edge, 0.045, pen.pale);
  },
};

/** Pointed pickets on two rails. */
export const fence: ThingShape = {
  box: [1.1, 0.62],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.004,
  draw(pen, random) {
    const pickets = random.int(3) + 4;
    const height = random.uniform(0.54, 0.66);
    const pitch = 1.1 / pickets;
    const width = pitch * random.uniform(0.5, 0.62);
    const round = random.chance(0.3);
    for (const y of [0.3, 0.72]) pen.rect(-0.55, -height * y - 0.04, 0.55, -height * y + 0.04, pen.deep);
    for (let i = 0; i < pickets; i++) {
      const x = -0.55 + pitch * (i + 0.5);
      const point = width * (round ? 0.5 : 0.75);
      const head = round
        ? pen.arc(x, -height + point, width / 2, point, 0.5, 1)
        : [x - width / 2, -height + point, x, -height, x + width / 2, -height + point];
      pen.polygon([...head, x + width / 2, 0, x - width / 2, 0], pen.main);
    }
  },
};

/** A pole with a knob and a waving cloth with a band and a disc. */
export const flag: ThingShape = {
  box: [0.8, 1],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.015,
  draw(pen, random) {
    const pole = -0.34;
    const tall = random.uniform(0.48, 0.58);
    const swing = random.uniform(0.03, 0.06);
    const phase = random.uniform();
    const length = random.uniform(0.62, 0.72);
    const split = random.chance(0.4);
    const wave = [0, -0.8, 0.4, 1, -0.6, -1, 0.2];
    const y = (i: number): number => swing * (wave[(i + Math.floor(phase * 7)) % 7] as number) * Math.min(1, i / 2);
    const cloth = (from: number, to: number): number[] => {
      const upper = Array.from({ length: 7 }, (_, i) => [pole + (length * i) / 6, -0.97 + from * tall + y(i)]);
      const lower = Array.from({ length: 7 }, (_, i) => [pole + (length * i) / 6, -0.97 + to * tall + y(i)]).reverse();
      const notch = split && from === 0 && to === 1 ? [[pole + length * 0.82, -0.97 + tall / 2 + y(5)]] : [];
      return [...upper, ...notch, ...lower].flat();
    };
    pen.polygon(cloth(0, 1), pen.main);
    if (random.chance(0.55)) pen.polygon(cloth(0.38, 0.62).slice(0, 2 * 14), pen.contrast);
    else pen.ellipse(pole + length * 0.42, -0.97 + tall / 2 + y(3), tall * 0.24, tall * 0.24, pen.contrast);
    pen.rect(pole - 0.035, -1, pole + 0.025, 0, tones.metal);
    pen.ellipse(pole - 0.005, -1, 0.05, 0.05, tones.glow);
    pen.rect(pole - 0.1, -0.05, pole + 0.09, 0, tones.stone);
  },
};

/** A post with a foot and a wide shade over a glowing bulb. */
export const lamp: ThingShape = {
  box: [0.72, 1],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.006,
  draw(pen, random) {
    const wide = random.uniform(0.31, 0.37);
    const narrow = wide * random.uniform(0.4, 0.6);
    const height = random.uniform(0.36, 0.42);
    pen.ellipse(0, -1 + height + 0.03, wide * 1.15, 0.17, tones.glow, 0, 0.35);
    pen.rect(-0.035, -0.8, 0.035, -0.03, tones.dark);
    pen.polygon([-0.24, 0, -0.15, -0.09, 0.15, -0.09, 0.24, 0], tones.dark);
    pen.ellipse(0, -1 + height + 0.02, 0.1, 0.09, [255, 246, 190]);
    pen.polygon([-narrow, -1, narrow, -1, wide, -1 + height, -wide, -1 + height], pen.main);
    pen.rect(-wide, -1 + height - 0.035, wide, -1 + height + 0.01, pen.deep);
    pen.rect(-narrow, -1, narrow, -0.97, pen.deep);
    if (random.chance(0.5)) {
      pen.line([wide * 0.6, -1 + height, wide * 0.6, -1 + height + 0.16], 0.015, tones.dark);
      pen.ellipse(wide * 0.6, -1 + height + 0.17, 0.025, 0.025, tones.glow);
    }
  },
};
