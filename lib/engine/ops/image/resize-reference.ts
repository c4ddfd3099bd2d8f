/**
 * The ten resize modes written down sample by sample in float64, apart from roundings that belong to a rule
 * (kernels.md P1, evaluation.md section 2): float32 positions, fixed-point weights, 8-bit values between two passes.
 */

export interface Axis {
  readonly size: number;
  readonly out: number;
  /** Coordinate factor, 0 = from the sizes. */
  readonly scale: number;
}

/** Source index and weight pairs of one output position. */
type Taps = [index: number, weight: number][];

const clamp = (i: number, n: number): number => Math.min(Math.max(i, 0), n - 1);

function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

function torchPosition(axis: Axis, alignCorners: boolean, i: number): number {
  if (alignCorners) return axis.out > 1 ? (i * (axis.size - 1)) / (axis.out - 1) : 0;
  const factor = axis.scale > 0 ? 1 / axis.scale : axis.size / axis.out;
  return factor * (i + 0.5) - 0.5;
}

function bilinearTaps(n: number, position: number): Taps {
  const p = Math.min(Math.max(position, 0), n - 1);
  const low = Math.floor(p);
  return [
    [low, 1 - (p - low)],
    [clamp(low + 1, n), p - low],
  ];
}

/** Keys' cubic with parameter a at distance x. */
function keys(x: number, a: number): number {
  const t = Math.abs(x);
  if (t < 1) return (a + 2) * t ** 3 - (a + 3) * t ** 2 + 1;
  return t < 2 ? a * t ** 3 - 5 * a * t ** 2 + 8 * a * t - 4 * a : 0;
}

/** Taps of the modes that take floating maps. */
export function floatTaps(mode: string, axis: Axis, alignCorners: boolean, i: number): Taps {
  const n = axis.size;
  if (mode === 'torch_bilinear')
    return axis.size === axis.out ? [[i, 1]] : bilinearTaps(n, torchPosition(axis, alignCorners, i));
  if (mode === 'opencv_linear') return bilinearTaps(n, (i + 0.5) * (n / axis.out) - 0.5);
  if (mode === 'torch_bicubic') {
    const p = torchPosition(axis, alignCorners, i);
    const low = Math.floor(p);
    return [-1, 0, 1, 2].map((k) => [clamp(low + k, n), keys(p - low - k, -0.75)]);
  }
  return [[nearestIndex(mode, axis, i), 1]];
}

function nearestIndex(mode: string, axis: Axis, i: number): number {
  const factor = Math.fround(axis.scale > 0 ? 1 / axis.scale : axis.size / axis.out);
  let p: number;
  if (mode === 'torch_nearest') p = Math.fround(i * factor);
  else if (mode === 'torch_nearest_exact') p = Math.fround((i + 0.5) * factor);
  else if (mode === 'opencv_nearest') p = i * (1 / (axis.out / axis.size));
  else {
    p = (axis.size / axis.out) * 0.5;
    for (let k = 0; k < i; k++) p += axis.size / axis.out;
  }
  return Math.min(Math.floor(p), axis.size - 1);
}

/** Pillow: the filter stretched by the shrink factor, weights with 22 fraction bits. */
function pillowTaps(axis: Axis, bicubic: boolean, i: number): Taps {
  const scale = axis.size / axis.out;
  const stretch = Math.max(scale, 1);
  const support = (bicubic ? 2 : 1) * stretch;
  const centre = (i + 0.5) * scale;
  const first = Math.max(Math.trunc(centre - support + 0.5), 0);
  const end = Math.min(Math.trunc(centre + support + 0.5), axis.size);
  const weights: number[] = [];
  for (let k = first; k < end; k++) {
    const x = (k - centre + 0.5) * (1 / stretch);
    weights.push(bicubic ? keys(x, -0.5) : Math.max(1 - Math.abs(x), 0));
  }
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w, k) => [first + k, Math.trunc((w / total) * 2 ** 22 + (w < 0 ? -0.5 : 0.5))]);
}

type Pixel = (y: number, x: number) => number;

function pillow(at: Pixel, y: Axis, x: Axis, bicubic: boolean, i: number, j: number): number {
  const round = (sum: number): number => clamp(Math.floor((sum + 2 ** 21) / 2 ** 22), 256);
  const columns = (row: number): number =>
    round(pillowTaps(x, bicubic, j).reduce((sum, [k, w]) => sum + w * at(row, k), 0));
  return round(pillowTaps(y, bicubic, i).reduce((sum, [k, w]) => sum + w * columns(k), 0));
}

/** OpenCV's 11-bit linear rule; `cells` are the positions its area mode uses where a side grows. */
function openCvLinear(at: Pixel, y: Axis, x: Axis, cells: boolean, i: number, j: number): number {
  const place = (axis: Axis, k: number): [low: number, fraction: number] => {
    const inverse = axis.out / axis.size;
    if (!cells) {
      const p = Math.fround((k + 0.5) * (1 / inverse) - 0.5);
      return [Math.floor(p), Math.fround(p - Math.floor(p))];
    }
    const low = Math.floor(k * (1 / inverse));
    const a = Math.fround(k + 1 - (low + 1) * inverse);
    return [low, a <= 0 ? 0 : a - Math.floor(a)];
  };
  const weights = (a: number): [number, number] => [roundHalfEven(2048 * Math.fround(1 - a)), roundHalfEven(2048 * a)];
  const [column, fx] = place(x, j);
  const [w0, w1] = weights(column < 0 || column >= x.size - 1 ? 0 : fx);
  const [row, fy] = place(y, i);
  const [v0, v1] = weights(fy);
  const sum = (r: number): number =>
    at(clamp(r, y.size), clamp(column, x.size)) * w0 + at(clamp(r, y.size), clamp(column + 1, x.size)) * w1;
  const part = (s: number, v: number): number => Math.floor((Math.floor(s / 16) * v) / 65536);
  return Math.floor((part(sum(row), v0) + part(sum(row + 1), v1) + 2) / 4);
}

function openCvArea(at: Pixel, y: Axis, x: Axis, channels: number, i: number, j: number): number {
  const fy = 1 / (y.out / y.size);
  const fx = 1 / (x.out / x.size);
  if (fx < 1 || fy < 1) return openCvLinear(at, y, x, true, i, j);
  if (Number.isInteger(fx) && Number.isInteger(fy)) {
    let sum = 0;
    for (let a = 0; a < fy; a++) for (let b = 0; b < fx; b++) sum += at(i * fy + a, j * fx + b);
    if (fx === 2 && fy === 2 && channels !== 2) return Math.floor((sum + 2) / 4);
    return roundHalfEven(Math.fround(sum * Math.fround(1 / (fx * fy))));
  }
  const cover = (axis: Axis, factor: number, k: number): Taps => {
    const taps: Taps = [];
    const [begin, end] = [k * factor, (k + 1) * factor];
    for (let s = Math.floor(begin); s < Math.min(end, axis.size); s++) {
      const share = Math.min(s + 1, end) - Math.max(s, begin);
      if (share > 1e-3) taps.push([s, Math.fround(share / Math.min(factor, axis.size - begin))]);
    }
    return taps;
  };
  let total = 0;
  for (const [r, v] of cover(y, fy, i)) {
    let row = 0;
    for (const [c, w] of cover(x, fx, j)) row = Math.fround(row + Math.fround(at(r, c) * w));
    total = Math.fround(total + Math.fround(v * row));
  }
  return clamp(roundHalfEven(total), 256);
}

/** One sample of an 8-bit image. */
export function byteSample(mode: string, at: Pixel, y: Axis, x: Axis, channels: number, i: number, j: number): number {
  switch (mode) {
    case 'pil_bilinear':
    case 'pil_bicubic':
      return pillow(at, y, x, mode === 'pil_bicubic', i, j);
    case 'opencv_linear':
      return openCvLinear(at, y, x, false, i, j);
    case 'opencv_area':
      return openCvArea(at, y, x, channels, i, j);
    default:
      return at(nearestIndex(mode, y, i), nearestIndex(mode, x, j));
  }
}
