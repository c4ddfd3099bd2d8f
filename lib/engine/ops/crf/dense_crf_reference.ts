/**
 * Naive dense CRF: the oracle of the op. It computes in f32 with one rounding an operation and not in f64 as the
 * other oracles do: the lattice cell of a pixel follows from that rounding, and f64 would pick another cell near a tie.
 */
import type { RefArray } from '../../card.js';

const f = Math.fround;

interface Lattice {
  corners: number;
  vertex: Int32Array; // [N, d+1]
  weight: Float32Array; // [N, d+1]
  coordinates: number[][]; // of every vertex, d of them
  find: Map<string, number>;
}

function roundEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/** Features are divided, then scaled by the fixed factors of the lattice. */
function scaleFactors(d: number): number[] {
  const inverse = f(Math.sqrt(2 / 3) * (d + 1));
  return Array.from({ length: d }, (_, i) => f((1 / Math.sqrt((i + 2) * (i + 1))) * inverse));
}

function elevate(feature: readonly number[], factors: readonly number[]): number[] {
  const d = feature.length;
  const e = new Array<number>(d + 1).fill(0);
  let sum = 0;
  for (let j = d; j >= 1; j--) {
    const cf = f((feature[j - 1] as number) * (factors[j - 1] as number));
    e[j] = f(sum - f(j * cf));
    sum = f(sum + cf);
  }
  e[0] = sum;
  return e;
}

/** Remainder-zero point, ranks and barycentric weights of an elevated point. */
function simplexOf(e: readonly number[]): { r: number[]; rank: number[]; b: number[] } {
  const d = e.length - 1;
  const inverse = f(1 / (d + 1));
  const v = e.map((x) => roundEven(f(x * inverse)));
  const r = v.map((x) => x * (d + 1));
  const total = v.reduce((a, x) => a + x, 0);
  const rank = new Array<number>(d + 1).fill(0);
  const rest = (i: number) => f((e[i] as number) - (r[i] as number));
  for (let i = 0; i <= d; i++)
    for (let j = i + 1; j <= d; j++) rest(i) < rest(j) ? (rank[i] as number)++ : (rank[j] as number)++;
  for (let i = 0; i <= d; i++) {
    rank[i] = (rank[i] as number) + total;
    const wrap = (rank[i] as number) < 0 ? d + 1 : (rank[i] as number) > d ? -(d + 1) : 0;
    rank[i] = (rank[i] as number) + wrap;
    r[i] = (r[i] as number) + wrap;
  }
  const b = new Array<number>(d + 2).fill(0);
  for (let i = 0; i <= d; i++) {
    const t = f(rest(i) * inverse);
    const k = rank[i] as number;
    b[d - k] = f((b[d - k] as number) + t);
    b[d + 1 - k] = f((b[d + 1 - k] as number) - t);
  }
  b[0] = f((b[0] as number) + f(1 + (b[d + 1] as number)));
  return { r, rank, b };
}

function buildLattice(features: readonly (readonly number[])[], d: number): Lattice {
  const factors = scaleFactors(d);
  const lattice: Lattice = {
    corners: d + 1,
    vertex: new Int32Array(features.length * (d + 1)),
    weight: new Float32Array(features.length * (d + 1)),
    coordinates: [],
    find: new Map(),
  };
  features.forEach((feature, p) => {
    const { r, rank, b } = simplexOf(elevate(feature, factors));
    for (let m = 0; m <= d; m++) {
      const key = Array.from(
        { length: d },
        (_, i) => (r[i] as number) + ((rank[i] as number) <= d - m ? m : m - (d + 1)),
      );
      const name = key.join();
      let id = lattice.find.get(name);
      if (id === undefined) {
        id = lattice.coordinates.length;
        lattice.find.set(name, id);
        lattice.coordinates.push(key);
      }
      lattice.vertex[p * (d + 1) + m] = id;
      lattice.weight[p * (d + 1) + m] = b[m] as number;
    }
  });
  return lattice;
}

/** One channel through splat, blur and slice. */
function filter(lattice: Lattice, x: Float32Array): Float32Array {
  const { corners, vertex, weight, coordinates, find } = lattice;
  let values = new Float32Array(coordinates.length);
  for (let k = 0; k < vertex.length; k++) {
    const v = vertex[k] as number;
    values[v] = f((values[v] as number) + f((weight[k] as number) * (x[Math.floor(k / corners)] as number)));
  }
  for (let axis = 0; axis < corners; axis++) {
    const at = (key: readonly number[], sign: number) => {
      const id = find.get(key.map((c, i) => c - sign + (i === axis ? sign * corners : 0)).join());
      return id === undefined ? 0 : (values[id] as number);
    };
    values = Float32Array.from(coordinates, (key, v) =>
      f((values[v] as number) + f(0.5 * f(at(key, 1) + at(key, -1)))),
    );
  }
  const alpha = f(1 / (1 + 2 ** -(corners - 1)));
  const out = new Float32Array(x.length);
  for (let k = 0; k < vertex.length; k++) {
    const p = Math.floor(k / corners);
    out[p] = f((out[p] as number) + f(f((weight[k] as number) * alpha) * (values[vertex[k] as number] as number)));
  }
  return out;
}

interface Term {
  lattice: Lattice;
  before: Float32Array | undefined;
  after: Float32Array | undefined;
  compat(y: readonly number[]): number[];
}

function compatOf(array: RefArray | undefined, potts: number, classes: number): (y: readonly number[]) => number[] {
  if (!array) return (y) => y.map((value) => f(-potts * value));
  const m = (i: number, j: number) => array.data[i * classes + j] as number;
  if (array.shape.length === 1) return (y) => y.map((value, c) => f((array.data[c] as number) * value));
  return (y) => y.map((_, i) => f(y.reduce((sum, value, j) => sum + ((m(i, j) + m(j, i)) / 2) * value, 0)));
}

function makeTerms(inputs: readonly (RefArray | undefined)[], attrs: Record<string, number>): Term[] {
  const [image, unary] = inputs;
  const [classes, height, width] = (unary as RefArray).shape as [number, number, number];
  const terms: Term[] = [];
  for (let k = 0; `kind${k}` in attrs; k++) {
    const kind = attrs[`kind${k}`];
    if (!kind) continue;
    const at = (name: string) => f(attrs[`${name}${k}`] as number);
    const features = Array.from({ length: width * height }, (_, p) => {
      const position = [f((p % width) / at('sx')), f(Math.floor(p / width) / at('sy'))];
      return kind === 1
        ? position
        : [
            ...position,
            ...['sr', 'sg', 'sb'].map((name, c) => f(((image as RefArray).data[3 * p + c] as number) / at(name))),
          ];
    });
    const lattice = buildLattice(features, kind === 1 ? 2 : 5);
    const n = filter(lattice, new Float32Array(features.length).fill(1));
    const mode = attrs[`normalisation${k}`];
    const norm = n.map((x) => (mode === 0 ? f(1 / f(Math.sqrt(f(x + f(1e-20))))) : f(1 / f(x + f(1e-20)))));
    terms.push({
      lattice,
      before: mode === 0 || mode === 2 ? norm : undefined,
      after: mode === 0 || mode === 3 ? norm : undefined,
      compat: compatOf(inputs[2 + k], at('compat'), classes),
    });
  }
  return terms;
}

const scaled = (x: Float32Array, by: Float32Array | undefined) =>
  by ? x.map((value, p) => f(value * (by[p] as number))) : x;

/** Softmax over classes of planes [C][N], in place. */
function softmax(planes: Float32Array[], pixels: number): Float32Array[] {
  for (let p = 0; p < pixels; p++) {
    const max = Math.max(...planes.map((plane) => plane[p] as number));
    const e = planes.map((plane) => f(Math.exp(f((plane[p] as number) - max))));
    const sum = e.reduce((a, x) => f(a + x), 0);
    planes.forEach((plane, c) => {
      plane[p] = f((e[c] as number) / sum);
    });
  }
  return planes;
}

export function denseCrfReference(
  inputs: readonly (RefArray | undefined)[],
  attrs: Record<string, number>,
): RefArray[] {
  const unary = inputs[1] as RefArray;
  const [classes, height, width] = unary.shape as [number, number, number];
  const pixels = height * width;
  const data = new Float64Array(classes * pixels);
  if (data.length === 0) return [{ data, shape: unary.shape }];
  const terms = makeTerms(inputs, attrs);
  const start = Array.from({ length: classes }, (_, c) =>
    Float32Array.from(unary.data.subarray(c * pixels, (c + 1) * pixels), (u) => -u),
  );
  let q = softmax(
    start.map((plane) => plane.slice()),
    pixels,
  );
  for (let iteration = 0; iteration < (attrs.iterations as number); iteration++) {
    const next = start.map((plane) => plane.slice());
    for (const term of terms) {
      const filtered = q.map((plane) => scaled(filter(term.lattice, scaled(plane, term.before)), term.after));
      for (let p = 0; p < pixels; p++) {
        const change = term.compat(filtered.map((plane) => plane[p] as number));
        next.forEach((plane, c) => {
          plane[p] = f((plane[p] as number) - (change[c] as number));
        });
      }
    }
    q = softmax(next, pixels);
  }
  q.forEach((plane, c) => data.set(plane, c * pixels));
  return [{ data, shape: unary.shape }];
}
