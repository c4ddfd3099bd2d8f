/** Naive float64 versions of the window compositor and the running best, shared by several cards. */
import type { RefArray } from '../../card.js';

/** "None yet" in a score state (native/cpu/window/score_state.h). */
export const noScore = -3.4028234663852886e38;
export const scorePlanes = 6;

export interface MergeGeometry {
  canvasH: number;
  canvasW: number;
  winH: number;
  winW: number;
  padTop: number;
  padLeft: number;
  outH: number;
  outW: number;
  row0: number;
  rows: number;
}

/** Bilinear value (corners not aligned) of an h x w map, stretched to height x width, at (y, x). */
function stretched(
  at: (y: number, x: number) => number,
  h: number,
  w: number,
  height: number,
  width: number,
  y: number,
  x: number,
): number {
  const place = (i: number, size: number, out: number): [number, number, number] => {
    const p = Math.min(Math.max(((i + 0.5) * size) / out - 0.5, 0), size - 1);
    return [Math.floor(p), Math.min(Math.floor(p) + 1, size - 1), p - Math.floor(p)];
  };
  const [y0, y1, fy] = place(y, h, height);
  const [x0, x1, fx] = place(x, w, width);
  return (1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x1)) + fy * ((1 - fx) * at(y1, x0) + fx * at(y1, x1));
}

export function upsampleReference(logits: RefArray, boxes: RefArray, g: MergeGeometry): RefArray {
  const [windows, queries, h, w] = logits.shape as [number, number, number, number];
  const data = new Float64Array(queries * g.rows * g.outW);
  for (let s = 0; s < queries; s++) {
    const canvas = (y: number, x: number): number => {
      let sum = 0;
      let count = 0;
      for (let n = 0; n < windows; n++) {
        const [y1, x1, y2, x2] = boxes.data.subarray(4 * n, 4 * n + 4) as unknown as [number, number, number, number];
        if (y < y1 || y >= y2 || x < x1 || x >= x2) continue;
        const at = (i: number, j: number): number => logits.data[((n * queries + s) * h + i) * w + j] as number;
        sum += stretched(at, h, w, g.winH, g.winW, y - y1 + g.padTop, x - x1 + g.padLeft);
        count++;
      }
      return count ? sum / count : 0;
    };
    for (let r = 0; r < g.rows; r++) {
      for (let x = 0; x < g.outW; x++) {
        data[(s * g.rows + r) * g.outW + x] = stretched(canvas, g.canvasH, g.canvasW, g.outH, g.outW, g.row0 + r, x);
      }
    }
  }
  return { data, shape: [queries, g.rows, g.outW] };
}

export interface ScoreAttrs {
  scale: number;
  sum: boolean;
  second: boolean;
  moment: boolean;
  topk: number;
}

export function initialState(rows: number, width: number, topk: number): Float64Array {
  const plane = rows * width;
  const values = [
    noScore,
    0,
    noScore,
    -1,
    noScore,
    0,
    ...new Array<number>(topk).fill(noScore),
    ...new Array<number>(topk).fill(-1),
  ];
  return Float64Array.from({ length: plane * values.length }, (_, i) => values[Math.floor(i / plane)] as number);
}

/** One pixel: every plane from its definition, given the old planes and the new logits. */
function updatePixel(old: number[], logits: number[], classes: ArrayLike<number>, a: ScoreAttrs): number[] {
  const next = [...old];
  const plane = (k: number): number => next[k] as number;
  if (a.sum) {
    const peak = Math.max(plane(2), ...logits);
    const shift = a.scale * (plane(2) - peak);
    const decay = Math.exp(shift);
    const terms = logits.map((x) => a.scale * (x - peak));
    if (a.moment)
      next[5] =
        (decay ? decay * (plane(5) + shift * plane(1)) : 0) + terms.reduce((sum, t) => sum + t * Math.exp(t), 0);
    next[1] = plane(1) * decay + terms.reduce((sum, t) => sum + Math.exp(t), 0);
    next[2] = peak;
  }
  const best = new Map<number, number>();
  const offer = (label: number, x: number): void => {
    if (label >= 0 && x > (best.get(label) ?? -Infinity)) best.set(label, x);
  };
  logits.forEach((x, s) => offer(classes[s] as number, x));
  const rank = (): [number, number][] => [...best].sort((p, q) => q[1] - p[1] || p[0] - q[0]);
  const fresh = new Map(best);
  offer(plane(3), plane(0));
  const [first] = rank();
  if (first) {
    const others = [
      ...rank()
        .slice(1)
        .map(([, x]) => x),
      plane(4),
    ];
    [next[3], next[0]] = first;
    if (a.second) next[4] = Math.max(...others);
  }
  best.clear();
  for (const [label, x] of fresh) best.set(label, x);
  for (let k = 0; k < a.topk; k++) offer(plane(scorePlanes + a.topk + k), plane(scorePlanes + k));
  rank()
    .slice(0, a.topk)
    .forEach(([label, x], k) => {
      next[scorePlanes + k] = x;
      next[scorePlanes + a.topk + k] = label;
    });
  return next;
}

export function updateReference(state: RefArray, logits: RefArray, classes: RefArray, a: ScoreAttrs): RefArray {
  const data = Float64Array.from(state.data);
  const plane = (state.shape[1] as number) * (state.shape[2] as number);
  const column = (source: Float64Array, count: number, i: number): number[] =>
    Array.from({ length: count }, (_, k) => source[k * plane + i] as number);
  for (let i = 0; i < plane; i++) {
    const next = updatePixel(
      column(state.data, state.shape[0] as number, i),
      column(logits.data, logits.shape[0] as number, i),
      classes.data,
      a,
    );
    next.forEach((value, k) => {
      data[k * plane + i] = value;
    });
  }
  return { data, shape: state.shape };
}
