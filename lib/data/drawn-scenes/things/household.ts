/** Things of a room, and what one carries. */
import { mixColour, tones } from '../pen.js';
import type { ThingShape } from './types.js';

/** High back of slats, seat, four legs, seen half from the side. */
export const chair: ThingShape = {
  box: [0.72, 1],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.006,
  draw(pen, random) {
    const seat = -random.uniform(0.42, 0.48);
    const leg = 0.075;
    const slats = random.int(2) + 2;
    pen.rect(-0.14, seat, -0.14 + leg, -0.1, pen.deep);
    pen.rect(0.22 - leg, seat, 0.22, -0.1, pen.deep);
    pen.rect(-0.34, -1, -0.34 + leg * 1.2, 0, pen.main);
    pen.rect(0.08, -1, 0.08 + leg * 1.2, seat, pen.main);
    for (let i = 0; i < slats; i++) {
      const y = -0.97 + (i * (0.86 + seat)) / slats;
      pen.rect(-0.3, y, 0.12, y + 0.115, pen.main);
    }
    pen.polygon(
      [-0.34, seat + 0.06, -0.14, seat - 0.06, 0.34, seat - 0.06, 0.2, seat + 0.06],
      mixColour(pen.main, pen.pale, 0.45),
    );
    pen.polygon(
      [
        -0.34,
        seat + 0.06,
        0.2,
        seat + 0.06,
        0.34,
        seat - 0.06,
        0.34,
        seat - 0.01,
        0.2,
        seat + 0.12,
        -0.34,
        seat + 0.12,
      ],
      pen.deep,
    );
    pen.rect(0.13, seat + 0.1, 0.13 + leg * 1.2, 0, pen.main);
    pen.rect(-0.3, -0.22, 0.16, -0.18, pen.deep);
  },
};

/** A wide top seen from above on four legs far apart. */
export const table: ThingShape = {
  box: [1.12, 0.68],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.004,
  draw(pen, random) {
    const top = -random.uniform(0.56, 0.66);
    const skew = random.uniform(-0.1, 0.1);
    const leg = random.uniform(0.05, 0.065);
    for (const x of [-0.36, 0.36]) pen.rect(x + skew - leg, top, x + skew + leg, -0.12, pen.deep);
    for (const x of [-0.47, 0.47]) pen.rect(x - leg, top + 0.14, x + leg, 0, pen.main);
    pen.rect(-0.47, top + 0.17, 0.47, top + 0.26, pen.deep);
    const front = top + 0.16;
    pen.polygon([-0.42 + skew, top - 0.02, 0.42 + skew, top - 0.02, 0.56, front, -0.56, front], pen.main);
    pen.rect(-0.56, front, 0.56, front + 0.075, mixColour(pen.main, pen.deep, 0.6));
    if (random.chance(0.5))
      pen.polygon([-0.12 + skew, top + 0.01, 0.12 + skew, top + 0.01, 0.17, front, -0.17, front], pen.contrast);
  },
};

/** A tapered body with an open mouth, a loop of a handle and a saucer. */
export const cup: ThingShape = {
  box: [1, 0.8],
  anchor: 'foot',
  place: 'ground',
  tilt: 0.01,
  small: true,
  draw(pen, random) {
    const top = -random.uniform(0.66, 0.74);
    const wide = random.uniform(0.31, 0.35);
    const foot = wide * random.uniform(0.55, 0.75);
    pen.ellipse(-0.06, -0.035, 0.44, 0.055, pen.pale);
    pen.ring(wide - 0.03, top * 0.55, 0.2, 0.19, 0.075, pen.deep);
    pen.polygon([-wide - 0.06, top, wide - 0.06, top, foot - 0.06, -0.04, -foot - 0.06, -0.04], pen.main);
    pen.ellipse(-0.06, top, wide, 0.085, pen.deep);
    pen.ellipse(-0.06, top + 0.012, wide * 0.82, 0.055, [64, 38, 24]);
    if (random.chance(0.6)) {
      for (const x of [-0.16, 0.04])
        pen.line([x, top - 0.04, x + 0.035, top - 0.09, x - 0.02, top - 0.15], 0.03, [236, 236, 236]);
    }
  },
};

/** A scalloped dome of panels over a shaft with a hook. */
export const umbrella: ThingShape = {
  box: [1, 1],
  anchor: 'centre',
  place: 'ground',
  tilt: 0.06,
  draw(pen, random) {
    const tall = random.uniform(0.38, 0.46);
    const rim = random.uniform(-0.06, 0);
    const scallops = random.int(2) + 4;
    pen.rect(-0.022, rim - 0.1, 0.022, 0.4, tones.dark);
    pen.line([0, 0.38, ...pen.arc(0.08, 0.4, 0.08, 0.09, 0.5, 0)], 0.05, tones.wood);
    pen.rect(-0.015, rim - tall - 0.07, 0.015, rim - tall + 0.02, tones.dark);
    // Rim from right to left: each panel hangs in an arc that is hollow from below.
    const edge: number[] = [];
    for (let i = 0; i < scallops; i++) {
      const [a, b] = [0.5 - i / scallops, 0.5 - (i + 1) / scallops];
      edge.push(a, rim, (a + b) / 2 + 0.06 * (a - b), rim - 0.055, (a + b) / 2 - 0.06 * (a - b), rim - 0.055);
    }
    pen.polygon([...pen.arc(0, rim, 0.5, tall, 0.5, 1), ...edge, -0.5, rim], pen.main);
    for (let i = 1; i < scallops; i += 2) {
      const [x0, x1] = [-0.5 + i / scallops, -0.5 + (i + 1) / scallops];
      const bend = (x: number): number[] => [x * 0.82, rim - tall * 0.5];
      pen.polygon([0, rim - tall, ...bend(x0), x0, rim, (x0 + x1) / 2, rim - 0.055, x1, rim, ...bend(x1)], pen.deep);
    }
  },
};
