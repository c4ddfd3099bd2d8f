/** Things that drive, sail and fly. */
import { tones } from '../pen.js';
import type { ThingShape } from './types.js';

/** Two wheels with hubs, a body and a cabin with two windows. */
export const car: ThingShape = {
  box: [1.04, 0.58],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.008,
  draw(pen, random) {
    const wheel = random.uniform(0.115, 0.14);
    const sill = -wheel * 0.9;
    const waist = -random.uniform(0.31, 0.35);
    const roof = waist - random.uniform(0.2, 0.25);
    const back = random.uniform(-0.4, -0.28);
    const van = random.chance(0.25);
    const front = van ? 0.3 : random.uniform(0.14, 0.22);
    const windscreen = van ? 0.44 : front + 0.16;
    pen.polygon([back - 0.07, waist + 0.02, back + 0.03, roof, front, roof, windscreen, waist + 0.02], pen.main);
    pen.polygon([back + 0.01, waist, back + 0.07, roof + 0.045, -0.04, roof + 0.045, -0.04, waist], tones.glass);
    pen.polygon([0.01, waist, 0.01, roof + 0.045, front - 0.02, roof + 0.045, windscreen - 0.07, waist], tones.glass);
    const nose = [0.44, waist + 0.01, 0.52, waist + 0.08, 0.52, sill];
    pen.polygon([-0.52, sill, -0.52, waist + 0.05, -0.46, waist, ...nose], pen.main);
    pen.rect(-0.52, sill - 0.045, 0.52, sill, pen.deep);
    pen.ellipse(0.475, waist + 0.1, 0.04, 0.04, tones.glow);
    pen.rect(-0.52, waist + 0.06, -0.475, waist + 0.12, [200, 30, 30]);
    pen.rect(-0.03, waist + 0.05, 0.05, waist + 0.075, pen.contrast);
    for (const x of [-0.29, 0.29]) {
      pen.ellipse(x, -wheel, wheel, wheel, [22, 22, 26]);
      pen.ellipse(x, -wheel, wheel * 0.52, wheel * 0.52, [196, 200, 206]);
      pen.ellipse(x, -wheel, wheel * 0.2, wheel * 0.2, [60, 60, 66]);
    }
  },
};

/** A hull under a mast with one or two sails. */
export const boat: ThingShape = {
  box: [0.95, 1],
  anchor: 'foot',
  place: 'water',
  tilt: 0.015,
  draw(pen, random) {
    const deep = random.uniform(0.2, 0.26);
    const mast = random.uniform(-0.06, 0.06);
    const boom = -deep - 0.07;
    const sail = random.uniform(0.32, 0.4);
    pen.rect(mast - 0.02, -1, mast + 0.02, -deep, tones.darkWood);
    const cloth = tones.cream;
    pen.polygon([mast + 0.03, -0.95, mast + 0.03 + sail, boom, mast + 0.03, boom], cloth);
    pen.polygon([mast + 0.03, -0.66, mast + 0.03 + sail * 0.4, -0.5, mast + 0.03, -0.44], pen.main);
    if (random.chance(0.75)) pen.polygon([mast - 0.04, -0.86, mast - 0.04, boom, mast - 0.36, boom], [222, 212, 190]);
    else pen.polygon([mast, -1, mast - 0.18, -0.95, mast, -0.9], pen.main);
    const keel = random.uniform(0.24, 0.3);
    pen.polygon([-0.48, -deep, 0.48, -deep, keel + 0.04, 0, -keel, 0], pen.main);
    pen.rect(-0.48, -deep - 0.02, 0.48, -deep + 0.045, pen.deep);
    for (const x of [-0.17, 0, 0.17]) pen.ellipse(x, -deep * 0.48, 0.034, 0.034, pen.contrast);
  },
};

/** A pointed hull with fins, a porthole and a flame. */
export const rocket: ThingShape = {
  box: [0.66, 1.1],
  anchor: 'centre',
  place: 'air',
  tilt: 0.11,
  draw(pen, random) {
    const half = random.uniform(0.17, 0.205);
    const fin = random.uniform(0.11, 0.15);
    const fire = random.uniform(0.14, 0.22);
    pen.polygon([-half * 0.7, 0.32, half * 0.7, 0.32, 0.03, 0.36 + fire, -0.03, 0.36 + fire], tones.flame);
    pen.polygon([-half * 0.35, 0.32, half * 0.35, 0.32, 0, 0.34 + fire * 0.6], [255, 240, 130]);
    for (const s of [-1, 1])
      pen.polygon(
        [s * half * 0.9, 0.05, s * (half + fin), 0.3, s * (half + fin), 0.42, s * half * 0.7, 0.32],
        pen.deep,
      );
    const hull = [0, -0.55, half * 0.55, -0.4, half, -0.2, half, 0.18, half * 0.72, 0.34];
    const mirror: number[] = [];
    for (let i = hull.length - 2; i > 0; i -= 2) mirror.push(-(hull[i] as number), hull[i + 1] as number);
    pen.polygon([...hull, ...mirror], pen.main);
    pen.polygon([0, -0.55, half * 0.55, -0.4, half * 0.86, -0.27, -half * 0.86, -0.27, -half * 0.55, -0.4], pen.deep);
    pen.ellipse(0, -0.08, half * 0.62, half * 0.62, tones.metal);
    pen.ellipse(0, -0.08, half * 0.42, half * 0.42, tones.glass);
    pen.rect(-half, 0.17, half, 0.215, pen.deep);
    if (random.chance(0.6)) pen.polygon([-0.028, 0.12, 0.028, 0.12, 0.028, 0.42, -0.028, 0.42], pen.contrast);
  },
};

/** A hot-air balloon: an envelope of gores over a basket on ropes. */
export const balloon: ThingShape = {
  box: [0.78, 1],
  anchor: 'centre',
  place: 'air',
  tilt: 0.02,
  draw(pen, random) {
    const r = random.uniform(0.36, 0.39);
    const y = -0.5 + r;
    const mouth = 0.24;
    const envelope = (k: number): number[] => [
      ...pen.arc(0, y, r * k, r, 0.5, 1),
      r * k * 0.93,
      y + r * 0.45,
      0.07 * (k < 1 ? k : 1),
      mouth,
      -0.07 * (k < 1 ? k : 1),
      mouth,
      -r * k * 0.93,
      y + r * 0.45,
    ];
    for (const x of [-0.055, 0.055]) pen.line([x * 1.2, mouth - 0.02, x, 0.38], 0.014, tones.darkWood);
    pen.polygon(envelope(1), pen.main);
    pen.polygon(envelope(0.66), pen.pale);
    pen.polygon(envelope(0.3), pen.main);
    if (random.chance(0.5)) pen.rect(-r * 0.99, y + 0.02, r * 0.99, y + 0.075, pen.deep);
    pen.polygon([-0.085, 0.36, 0.085, 0.36, 0.07, 0.5, -0.07, 0.5], tones.wood);
    pen.rect(-0.095, 0.345, 0.095, 0.385, tones.darkWood);
  },
};

/** A rhombus of four panels with crossed spars and a tail of bows. */
export const kite: ThingShape = {
  box: [0.76, 1.05],
  anchor: 'centre',
  place: 'air',
  tilt: 0.12,
  draw(pen, random) {
    const w = random.uniform(0.33, 0.39);
    const y = random.uniform(-0.3, -0.24);
    const [top, bottom] = [-0.55, 0.2];
    const bend = random.chance(0.5) ? 1 : -1;
    const tail = [0, bottom, 0.07 * bend, 0.28, 0, 0.36, -0.07 * bend, 0.44, 0, 0.52];
    pen.line(tail, 0.02, tones.dark);
    for (let i = 2; i < tail.length; i += 2) {
      const [tx, ty] = [tail[i] as number, tail[i + 1] as number];
      pen.polygon(
        [tx - 0.075, ty - 0.04, tx + 0.075, ty + 0.04, tx + 0.075, ty - 0.04, tx - 0.075, ty + 0.04],
        pen.deep,
      );
    }
    pen.polygon([0, top, w, y, 0, bottom, -w, y], pen.main);
    pen.polygon([0, top, w, y, 0, y], pen.pale);
    pen.polygon([0, bottom, -w, y, 0, y], pen.pale);
    pen.line([0, top, 0, bottom], 0.022, tones.dark);
    pen.line([-w, y, w, y], 0.022, tones.dark);
  },
};
