/** Things that grow and live. */
import { cosTurns, sinTurns } from '../display-list.js';
import { mixColour, tones } from '../pen.js';
import type { ThingShape } from './types.js';

/** A trunk under a lumpy crown or under tiers of branches. */
export const tree: ThingShape = {
  box: [0.8, 1],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.008,
  draw(pen, random) {
    const trunk = random.uniform(0.05, 0.07);
    if (random.chance(0.4)) {
      pen.polygon([-trunk, 0, -trunk * 0.8, -0.3, trunk * 0.8, -0.3, trunk, 0], tones.wood);
      for (let i = 0; i < 3; i++) {
        const [y, w] = [-0.18 - 0.22 * i, 0.4 - 0.08 * i];
        pen.polygon([-w, y, 0, y - 0.38, w, y], i % 2 === 0 ? pen.main : mixColour(pen.main, pen.deep, 0.25));
        pen.polygon([-w, y, w, y, w * 0.7, y - 0.05, -w * 0.7, y - 0.05], pen.deep);
      }
      return;
    }
    pen.polygon(
      [-trunk * 1.7, 0, -trunk, -0.12, -trunk * 0.8, -0.5, trunk * 0.8, -0.5, trunk, -0.12, trunk * 1.7, 0],
      tones.wood,
    );
    pen.line([0, -0.34, 0.17, -0.54], 0.05, tones.wood);
    pen.line([0, -0.3, -0.17, -0.5], 0.05, tones.wood);
    const lobes = [
      [-0.23, -0.54, 0.18],
      [0.23, -0.55, 0.18],
      [-0.14, -0.75, 0.19],
      [0.15, -0.76, 0.19],
      [0, -0.84, 0.16],
      [0, -0.63, 0.2],
    ].map(([x = 0, y = 0, r = 0]) => [
      x + random.uniform(-0.03, 0.03),
      y + random.uniform(-0.02, 0.02),
      r * random.uniform(0.92, 1.08),
    ]);
    for (const [x = 0, y = 0, r = 0] of lobes) pen.ellipse(x, y, r, r, pen.main);
    for (const [x = 0, y = 0, r = 0] of lobes.slice(0, 5))
      pen.line(pen.arc(x, y, r * 0.62, r * 0.62, 0.08, 0.4), 0.035, pen.deep);
  },
};

/** Petals round an eye, a stalk with two leaves. */
export const flower: ThingShape = {
  box: [0.74, 1],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.025,
  draw(pen, random) {
    const petals = random.int(3) + 5;
    const y = -0.66;
    const r = random.uniform(0.19, 0.22);
    const bend = random.uniform(-0.06, 0.06);
    pen.line([0, 0, bend, -0.25, 0, y], 0.045, tones.leaf);
    for (const s of [-1, 1]) {
      const foot = s < 0 ? -0.12 : -0.2;
      pen.polygon([bend * 0.7, foot, s * 0.12, foot - 0.15, s * 0.29, foot - 0.17, s * 0.2, foot - 0.03], tones.leaf);
    }
    const start = random.uniform();
    for (let i = 0; i < petals; i++) {
      const a = start + i / petals;
      const wide = 0.5 / petals + 0.04;
      pen.ellipse(
        r * cosTurns(a),
        y + r * sinTurns(a),
        0.14,
        wide,
        i % 2 === 0 ? pen.main : mixColour(pen.main, pen.deep, 0.18),
        a,
      );
    }
    pen.ellipse(0, y, 0.115, 0.115, tones.darkWood);
    pen.ellipse(0, y, 0.075, 0.075, [250, 200, 40]);
  },
};

/** A domed cap with pale spots on a stout stem with a skirt. */
export const mushroom: ThingShape = {
  box: [0.96, 0.94],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.015,
  small: true,
  draw(pen, random) {
    const stem = random.uniform(0.12, 0.16);
    const cap = random.uniform(0.44, 0.48);
    const rim = -0.4;
    const tall = random.uniform(0.44, 0.54);
    pen.polygon(
      [-stem * 1.4, 0, -stem, -0.2, -stem * 0.85, rim, stem * 0.85, rim, stem, -0.2, stem * 1.4, 0],
      tones.cream,
    );
    pen.ellipse(0, rim, cap * 0.94, 0.075, [214, 196, 160]);
    pen.polygon(
      [-stem * 1.3, -0.24, 0, -0.2, stem * 1.3, -0.24, stem * 0.9, -0.33, -stem * 0.9, -0.33],
      [226, 210, 178],
    );
    pen.polygon([...pen.arc(0, rim, cap, tall, 0.5, 1), cap * 0.6, rim + 0.05, -cap * 0.6, rim + 0.05], pen.main);
    const spot = mixColour(pen.pale, [255, 255, 255], 0.75);
    for (const [x, y, r] of [
      [-0.25, -0.53, 0.065],
      [0.02, -0.74, 0.075],
      [0.24, -0.56, 0.07],
      [0, -0.5, 0.055],
      [-0.16, -0.7, 0.04],
    ] as const)
      pen.ellipse(x + random.uniform(-0.03, 0.03), y, r * 1.1, r, spot);
  },
};

/** A pointed oval with a forked tail, fins, a gill and an eye. */
export const fish: ThingShape = {
  box: [1.05, 0.7],
  anchor: 'centre',
  place: 'water',
  tilt: 0.035,
  draw(pen, random) {
    const tall = random.uniform(0.24, 0.3);
    const fork = random.uniform(0.2, 0.27);
    pen.polygon([-0.24, 0, -0.52, -fork, -0.44, 0, -0.52, fork], pen.deep);
    pen.polygon([-0.1, -tall * 0.8, -0.02, -tall - 0.13, 0.2, -tall * 0.75], pen.deep);
    pen.polygon([-0.04, tall * 0.8, -0.06, tall + 0.11, 0.12, tall * 0.75], pen.deep);
    const upper = [-0.32, 0, -0.18, -tall * 0.62, 0.04, -tall, 0.26, -tall * 0.85, 0.42, -tall * 0.42, 0.5, 0.01];
    const lower: number[] = [];
    for (let i = upper.length - 4; i > 0; i -= 2) lower.push(upper[i] as number, -(upper[i + 1] as number));
    pen.polygon([...upper, ...lower], pen.main);
    for (const x of random.chance(0.6) ? [-0.12, 0.05] : [])
      pen.line(pen.arc(x - 0.04, 0, 0.05, tall * 0.82, -0.25, 0.25), 0.045, pen.pale);
    pen.line(pen.arc(0.19, 0, 0.055, tall * 0.7, -0.25, 0.25), 0.03, pen.deep);
    pen.ellipse(0.33, -tall * 0.22, 0.06, 0.06, [250, 250, 250]);
    pen.ellipse(0.34, -tall * 0.22, 0.032, 0.032, [16, 16, 20]);
    pen.line([0.5, 0.02, 0.4, tall * 0.28], 0.022, pen.contrast);
  },
};
