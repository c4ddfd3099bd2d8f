/**
 * COCO polygons as masks, by the rule of COCO's own tools: each polygon's outline is drawn on a grid five times
 * finer, its crossings of the pixel columns give run lengths, and the polygons of one object are united. Pixels on
 * the outline differ from a plain centre test, so published scores need this rule.
 */

import { Mask } from '../image/mask.js';
import { transpose } from '../image/runs.js';
import { show, WordmaskError } from '../util/errors.js';

const FINE = 5;

/** Union of `[x0, y0, x1, y1, ...]` polygons. Throws E_USAGE for lists that are no polygon. */
export function polygonRle(polygons: readonly unknown[], width: number, height: number): Mask {
  let union: Mask | undefined;
  for (const polygon of polygons) {
    if (
      !Array.isArray(polygon) ||
      polygon.length < 6 ||
      polygon.length % 2 !== 0 ||
      !polygon.every((value) => typeof value === 'number' && Math.abs(value) < 1e6)
    ) {
      throw new WordmaskError('E_USAGE', `a polygon is a list of at least 3 x y pairs of pixels, got ${show(polygon)}`);
    }
    const mask = fillPolygon(polygon as number[], width, height);
    union = union ? union.or(mask) : mask;
  }
  return union ?? new Mask(width, height, new Uint32Array(0));
}

function fillPolygon(polygon: readonly number[], width: number, height: number): Mask {
  const [u, v] = fineOutline(polygon);
  const crossings: number[] = [];
  for (let k = 1; k < u.length; k++) {
    const [here, before] = [u[k] as number, u[k - 1] as number];
    if (here === before) continue;
    const column = here < before ? here : here - 1;
    const x = (column + 0.5) / FINE - 0.5;
    if (Math.floor(x) !== x || x < 0 || x > width - 1) continue;
    const lower = Math.min(v[k] as number, v[k - 1] as number);
    const y = Math.ceil(Math.max(0, Math.min(height, (lower + 0.5) / FINE - 0.5)));
    crossings.push(x * height + y);
  }
  crossings.sort((a, b) => a - b);
  const toggles: number[] = [];
  for (const at of crossings) {
    if (toggles[toggles.length - 1] === at) toggles.pop();
    else toggles.push(at);
  }
  if (toggles.length % 2 === 1) toggles.push(width * height);
  return new Mask(width, height, transpose(Uint32Array.from(toggles), height, width));
}

/** The closed outline as points of the fine grid, one step along the longer axis at a time. */
function fineOutline(polygon: readonly number[]): [number[], number[]] {
  const n = polygon.length / 2;
  const fine = polygon.map((value) => Math.trunc(FINE * value + 0.5));
  const [u, v]: [number[], number[]] = [[], []];
  for (let k = 0; k < n; k++) {
    let [x0, y0] = [fine[2 * k] as number, fine[2 * k + 1] as number];
    let [x1, y1] = [fine[(2 * k + 2) % (2 * n)] as number, fine[(2 * k + 3) % (2 * n)] as number];
    const [dx, dy] = [Math.abs(x1 - x0), Math.abs(y1 - y0)];
    const flip = (dx >= dy && x0 > x1) || (dx < dy && y0 > y1);
    if (flip) [x0, y0, x1, y1] = [x1, y1, x0, y0];
    const steps = Math.max(dx, dy);
    const slope = steps === 0 ? 0 : dx >= dy ? (y1 - y0) / dx : (x1 - x0) / dy;
    for (let d = 0; d <= steps; d++) {
      const t = flip ? steps - d : d;
      u.push(dx >= dy ? t + x0 : Math.trunc(x0 + slope * t + 0.5));
      v.push(dx >= dy ? Math.trunc(y0 + slope * t + 0.5) : t + y0);
    }
  }
  return [u, v];
}
