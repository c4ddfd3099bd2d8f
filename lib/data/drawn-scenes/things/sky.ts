/** Things of the sky. */
import { cosTurns, sinTurns } from '../display-list.js';
import { mixColour, tones } from '../pen.js';
import type { ThingShape } from './types.js';

/** A disc with a rim and pointed rays all round. */
export const sun: ThingShape = {
  box: [1, 1],
  anchor: 'centre',
  place: 'air',
  tilt: 0.04,
  draw(pen, random) {
    const rays = random.int(4) + 8;
    const r = random.uniform(0.28, 0.32);
    const width = random.uniform(0.34, 0.42) / rays;
    for (let i = 0; i < rays; i++) {
      const a = i / rays;
      const reach = i % 2 === 0 ? 0.5 : 0.44;
      const inner = r * 0.95;
      const foot = (side: number): [number, number] => [
        inner * cosTurns(a + side * width),
        inner * sinTurns(a + side * width),
      ];
      pen.polygon([...foot(-1), reach * cosTurns(a), reach * sinTurns(a), ...foot(1)], pen.main);
    }
    pen.ellipse(0, 0, r, r, pen.main);
    pen.ring(0, 0, r, r, 0.035, pen.deep);
    pen.ellipse(0, 0, r * 0.6, r * 0.6, mixColour(pen.main, pen.pale, 0.7));
  },
};

/** A crescent with craters. */
export const moon: ThingShape = {
  box: [0.8, 1],
  anchor: 'centre',
  place: 'air',
  tilt: 0.09,
  small: true,
  draw(pen, random) {
    const thick = random.uniform(0.36, 0.5);
    // Two arcs through the same horns: the outer a half circle and more, the inner flatter.
    const outer = pen.arc(0.1, 0, 0.5, 0.5, 0.2, 0.8);
    const [x0, y0] = [outer[0] as number, outer[1] as number];
    const inner = pen.arc(x0, 0, x0 + 0.4 - thick, Math.abs(y0), 0.75, 0.25);
    pen.polygon([...outer, ...inner], pen.main);
    for (const [x, y, r] of [
      [-0.27, -0.08, 0.05],
      [-0.2, 0.2, 0.04],
      [-0.12, -0.33, 0.035],
    ] as const)
      pen.ellipse(x, y, r, r, pen.deep);
  },
};

/** Lobes over a flat, darker base. */
export const cloud: ThingShape = {
  box: [1.1, 0.58],
  anchor: 'centre',
  place: 'air',
  tilt: 0,
  draw(pen, random) {
    const lobes = [
      [-0.34, 0.08, 0.19],
      [-0.13, -0.08, 0.23],
      [0.13, -0.05, 0.21],
      [0.35, 0.09, 0.18],
    ].map(([x = 0, y = 0, r = 0]) => [
      x + random.uniform(-0.03, 0.03),
      y + random.uniform(-0.03, 0.03),
      r * random.uniform(0.9, 1.1),
    ]);
    const shade = mixColour(pen.main, [90, 100, 120], 0.42);
    for (const [x = 0, y = 0, r = 0] of lobes) pen.ellipse(x, y, r, r, shade);
    pen.polygon([-0.36, 0.1, 0.36, 0.1, 0.5, 0.2, 0.36, 0.27, -0.36, 0.27, -0.5, 0.2], shade);
    for (const [x = 0, y = 0, r = 0] of lobes) pen.ellipse(x, y - 0.03, r * 0.97, r * 0.9, pen.main);
    pen.rect(-0.34, 0, 0.34, 0.17, pen.main);
  },
};

/** Five points, each with a light and a dark face. */
export const star: ThingShape = {
  box: [0.98, 0.95],
  anchor: 'centre',
  place: 'air',
  tilt: 0.06,
  small: true,
  draw(pen, random) {
    const inner = random.uniform(0.215, 0.25);
    const corner = (i: number): [number, number] => {
      const r = i % 2 === 0 ? 0.5 : inner;
      return [r * cosTurns(i / 10 - 0.25), r * sinTurns(i / 10 - 0.25) + 0.03];
    };
    const outline = Array.from({ length: 10 }, (_, i) => corner(i)).flat();
    pen.polygon(outline, pen.main);
    for (let i = 0; i < 10; i += 2) pen.polygon([...corner(i), ...corner(i + 1), 0, 0.03], pen.deep);
  },
};

/** Body, head with beak and eye, spread or folded wing, fan of a tail, legs if it stands. */
export const bird: ThingShape = {
  box: [1, 0.8],
  anchor: 'centre',
  place: 'air',
  tilt: 0.04,
  small: true,
  draw(pen, random) {
    const flies = random.chance(0.6);
    pen.polygon([-0.24, 0.02, -0.52, -0.1, -0.5, 0.02, -0.54, 0.12, -0.2, 0.14], pen.deep);
    if (!flies) {
      pen.line([-0.03, 0.2, -0.05, 0.42, 0.03, 0.42], 0.03, tones.beak);
      pen.line([0.08, 0.2, 0.08, 0.42, 0.16, 0.42], 0.03, tones.beak);
    }
    if (flies) pen.polygon([-0.12, 0, 0.12, -0.06, 0.02, -0.44, -0.14, -0.3], pen.deep);
    pen.ellipse(0, 0.06, 0.31, 0.215, pen.main, -0.03);
    pen.ellipse(0.28, -0.12, 0.165, 0.16, pen.main);
    pen.polygon([0.4, -0.19, 0.58, -0.09, 0.4, -0.03], tones.beak);
    pen.ellipse(0.32, -0.15, 0.042, 0.042, pen.contrast);
    if (flies) pen.polygon([-0.14, 0.02, 0.12, 0, -0.12, -0.42, -0.34, -0.46, -0.3, -0.22], pen.pale);
    else pen.polygon([-0.3, 0.1, -0.08, -0.05, 0.12, 0.02, 0.02, 0.16], pen.deep);
  },
};

/** A striped globe: seams from pole to pole, and a cap. */
export const ball: ThingShape = {
  box: [0.96, 0.96],
  anchor: 'centre',
  place: 'ground',
  tilt: 0.5,
  draw(pen, random) {
    const r = 0.48;
    const light = mixColour(pen.pale, [255, 255, 255], 0.5);
    const bulge = random.uniform(0.16, 0.24);
    pen.ellipse(0, 0, r, r, pen.main);
    // The space between two meridians, then a broad band, leave three fields of the main colour.
    const meridian = (x: number): number[] => pen.arc(0, 0, Math.abs(x), r, x < 0 ? 0.75 : -0.25, x < 0 ? 0.25 : 0.25);
    const right = meridian(bulge);
    const left = meridian(-bulge);
    const reversed: number[] = [];
    for (let i = left.length - 2; i >= 0; i -= 2) reversed.push(left[i] as number, left[i + 1] as number);
    pen.polygon([...right, ...reversed], light);
    pen.line(right, 0.035, pen.contrast);
    pen.line(left, 0.035, pen.contrast);
    pen.line(pen.arc(0, -0.02, r * 0.99, 0.13, 0, 0.5), 0.035, pen.contrast);
    pen.ellipse(0, -r * 0.8, 0.09, 0.06, pen.contrast);
  },
};
