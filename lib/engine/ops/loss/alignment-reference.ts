/** Naive form of alignment_stats and its gradient, one (image, text) pair at a time. */
import type { RefArray } from '../../card.js';
import type { AlignmentAttrs } from './alignment_stats.js';

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
};
const length = (a: ArrayLike<number>) => Math.max(Math.sqrt(dot(a, a)), 1e-12);

/** Indices by falling value, lower index first among equals. */
const order = (values: number[]) =>
  [...values.keys()].sort((a, b) => (values[b] as number) - (values[a] as number) || a - b);

interface Pair {
  readonly own: boolean;
  readonly pixels: Float64Array[];
  readonly text: Float64Array;
  readonly p: number[];
  readonly region: Set<number>;
  readonly r: Float64Array;
  readonly cosine: number;
  readonly best: number;
  readonly value: number;
}

function pair(x: RefArray, texts: RefArray, i: number, j: number, a: AlignmentAttrs): Pair {
  const [, n = 0, d = 0] = x.shape;
  const pixels = Array.from({ length: n }, (_, k) => x.data.subarray((i * n + k) * d, (i * n + k + 1) * d));
  const text = texts.data.subarray(j * d, (j + 1) * d);
  const s = pixels.map((e) => dot(e, text));
  const top = Math.max(...s);
  const exp = s.map((v) => Math.exp((v - top) / a.temperature));
  const total = exp.reduce((sum, v) => sum + v, 0);
  const p = exp.map((v) => v / total);
  const own = j === a.first + i;
  const region = new Set(order(s).slice(0, own ? a.positives : a.negatives));
  const r = new Float64Array(d);
  for (const k of region) for (let c = 0; c < d; c++) r[c]! += (p[k] as number) * (pixels[k]![c] as number);
  const values = a.cosinePixels ? s.map((v, k) => v / length(pixels[k]!) / length(text)) : s;
  const best = order(values)[own ? a.rank - 1 : 0] as number;
  const cosine = dot(r, text) / length(r) / length(text);
  return { own, pixels, text, p, region, r, cosine, best, value: values[best] as number };
}

export function alignmentReference([x, texts]: readonly (RefArray | undefined)[], a: AlignmentAttrs): RefArray[] {
  const [b = 0, , d = 0] = x!.shape;
  const q = texts!.shape[0] as number;
  const regions = new Float64Array(b * d);
  const cosines = new Float64Array(b * q);
  const pixels = new Float64Array(b * q);
  for (let i = 0; i < b; i++)
    for (let j = 0; j < q; j++) {
      const found = pair(x!, texts!, i, j, a);
      if (found.own) regions.set(found.r, i * d);
      cosines[i * q + j] = found.cosine;
      pixels[i * q + j] = found.value;
    }
  return [
    { data: regions, shape: [b, d] },
    { data: cosines, shape: [b, q] },
    { data: pixels, shape: [b, q] },
  ];
}

export function alignmentBwdReference(
  [x, texts, dRegions, dCosines, dPixels]: readonly (RefArray | undefined)[],
  a: AlignmentAttrs,
): RefArray[] {
  const [b = 0, n = 0, d = 0] = x!.shape;
  const q = texts!.shape[0] as number;
  const out = new Float64Array(x!.data.length);
  for (let i = 0; i < b; i++)
    for (let j = 0; j < q; j++) {
      const { own, pixels, text, p, region, r, cosine, best } = pair(x!, texts!, i, j, a);
      const add = (k: number, c: number, value: number) => {
        out[(i * n + k) * d + c]! += value;
      };
      const up = dCosines?.data[i * q + j] ?? 0;
      const g = Float64Array.from(r, (v, c) => {
        const alongText = (text[c] as number) / length(text) / length(r);
        const alongRegion = (cosine * v) / length(r) ** 2;
        return up * (alongText - alongRegion) + (own ? (dRegions?.data[i * d + c] ?? 0) : 0);
      });
      const dp = p.map((_, k) => (region.has(k) && !a.detach ? dot(g, pixels[k]!) : 0));
      const mean = dot(p, dp);
      p.forEach((probability, k) => {
        const ds = (probability * ((dp[k] as number) - mean)) / a.temperature;
        for (let c = 0; c < d; c++)
          add(k, c, ds * (text[c] as number) + (region.has(k) ? probability * (g[c] as number) : 0));
      });
      const pixelUp = dPixels?.data[i * q + j] ?? 0;
      const e = pixels[best]!;
      for (let c = 0; c < d; c++) {
        const unit = (text[c] as number) / length(text) / length(e);
        const value = dot(e, text) / length(text) / length(e);
        add(
          best,
          c,
          pixelUp * (a.cosinePixels ? unit - (value * (e[c] as number)) / length(e) ** 2 : (text[c] as number)),
        );
      }
    }
  return [{ data: out, shape: x!.shape }];
}
