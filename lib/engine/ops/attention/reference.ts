/** Attention and its gradient by the definition, element by element in float64: the oracle of both cards. */
import type { RefArray } from '../../card.js';
import type { AttentionTermAttrs } from './shapes.js';

type Inputs = readonly (RefArray | undefined)[];

/** One softmax of one head: probabilities, the share of the self column, and the log of the mass. */
interface Softmax {
  readonly p: Float64Array; // [Nq, Nk]
  readonly self: Float64Array; // [Nq]
  readonly lse: Float64Array; // [Nq]
}

function zeros(...shape: number[]): RefArray {
  return { data: new Float64Array(shape.reduce((n, d) => n * d, 1)), shape };
}

/** Row [.., i, :] of a [B, A, N, d] array. */
function rowOf(x: RefArray, b: number, head: number, i: number): Float64Array {
  const [, heads, n, d] = x.shape as [number, number, number, number];
  const at = ((b * heads + head) * n + i) * d;
  return x.data.subarray(at, at + d);
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let c = 0; c < a.length; c++) sum += (a[c] as number) * (b[c] as number);
  return sum;
}

function addScaled(target: Float64Array, x: Float64Array, factor: number): void {
  for (let c = 0; c < target.length; c++) target[c] = (target[c] as number) + factor * (x[c] as number);
}

/** Index into an array whose axes of size 1 are repeated. */
function broadcastIndex(shape: readonly number[], at: readonly number[]): number {
  return shape.reduce((index, d, axis) => index * d + (d === 1 ? 0 : (at[axis] as number)), 0);
}

class Definition {
  readonly batch: number;
  readonly heads: number;
  readonly nq: number;
  readonly nk: number;
  /** Input indices of A and B, one pair a softmax. */
  readonly pairs: readonly (readonly [number, number])[];

  constructor(
    readonly inputs: Inputs,
    readonly attrs: AttentionTermAttrs,
  ) {
    [this.batch, this.heads, this.nq] = this.input(0).shape as [number, number, number];
    this.nk = this.input(1).shape[2] as number;
    this.pairs = (
      [
        [[0, 1]],
        [[1, 1]],
        [[0, 0]],
        [[2, 2]],
        [
          [0, 0],
          [1, 1],
        ],
      ] as const
    )[attrs.source] as readonly (readonly [number, number])[];
  }

  input(i: number): RefArray {
    return this.inputs[i] as RefArray;
  }

  limit(b: number, i: number): number {
    const length = this.inputs[8] ? Math.max(0, this.inputs[8].data[b] as number) : this.nk;
    return Math.min(this.nk, length, this.attrs.causal ? i + 1 : this.nk);
  }

  blocked(b: number, i: number, j: number): boolean {
    const bytes = Math.ceil(this.nk / 8);
    return (((this.input(4).data[(b * this.nq + i) * bytes + (j >> 3)] as number) >> (j & 7)) & 1) === 1;
  }

  rescued(b: number, i: number): boolean {
    for (let j = 0; j < this.limit(b, i); j++) if (!this.blocked(b, i, j)) return false;
    return this.attrs.rescue;
  }

  gaussian(i: number, j: number): number {
    const { gridHeight: h, gridWidth: w, sigma } = this.attrs;
    const lead = this.nk - h * w;
    if (i < lead || j < lead) return 0;
    const dy = Math.floor((i - lead) / w) - Math.floor((j - lead) / w);
    const dx = ((i - lead) % w) - ((j - lead) % w);
    return Math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma));
  }

  /** Mean norm of the rows of one head. */
  meanNorm(x: RefArray, b: number, head: number): number {
    const n = x.shape[2] as number;
    let sum = 0;
    for (let i = 0; i < n; i++) sum += Math.sqrt(dot(rowOf(x, b, head, i), rowOf(x, b, head, i)));
    return sum / n;
  }

  /** The factor of the gaussian in 'nonly': scale times the mean of |a||b| over heads and pairs of the window. */
  factor(b: number): number {
    const [a, c] = this.pairs[0] as readonly [number, number];
    let sum = 0;
    for (let head = 0; head < this.heads; head++)
      sum += this.meanNorm(this.input(a), b, head) * this.meanNorm(this.input(c), b, head);
    return (this.attrs.scale * sum) / this.heads;
  }

  classTerm(b: number, head: number, i: number, j: number): number {
    const { classTokens: n, classMode } = this.attrs;
    const san = classMode === 2;
    const first = n + (san ? 1 : 0);
    const hidden = san ? -100 : Number.NEGATIVE_INFINITY;
    if (i >= n) return j < n ? hidden : 0;
    if (j < first) return i === j ? 0 : hidden;
    const masks = this.input(5);
    const value = masks.data[broadcastIndex(masks.shape, [b, head, i, j - first])] as number;
    return san ? value : value >= 0.5 ? 0 : hidden;
  }

  logit(
    b: number,
    head: number,
    pair: readonly [number, number],
    i: number,
    j: number,
    factor: number,
    rescued: boolean,
  ): number {
    const { attrs, inputs } = this;
    if (j >= this.limit(b, i)) return Number.NEGATIVE_INFINITY;
    let x = attrs.nonly
      ? 0
      : attrs.scale * dot(rowOf(this.input(pair[0]), b, head, i), rowOf(this.input(pair[1]), b, head, j));
    if (attrs.sigma > 0) x += factor * this.gaussian(i, j);
    if (inputs[3]) x += inputs[3].data[broadcastIndex(inputs[3].shape, [b, head, i, j])] as number;
    if (attrs.classMode > 0) x += this.classTerm(b, head, i, j);
    return inputs[4] && !rescued && this.blocked(b, i, j) ? Number.NEGATIVE_INFINITY : x;
  }

  selfLogit(b: number, head: number, pair: readonly [number, number], i: number): number {
    return this.inputs[6]
      ? this.attrs.scale * dot(rowOf(this.input(pair[0]), b, head, i), rowOf(this.inputs[6], b, head, i))
      : Number.NEGATIVE_INFINITY;
  }

  softmax(b: number, head: number, pair: readonly [number, number]): Softmax {
    const { nq, nk } = this;
    const p = new Float64Array(nq * nk);
    const self = new Float64Array(nq);
    const lse = new Float64Array(nq).fill(Number.NEGATIVE_INFINITY);
    const factor = this.attrs.nonly ? this.factor(b) : 1;
    for (let i = 0; i < nq; i++) {
      const rescued = this.inputs[4] !== undefined && this.rescued(b, i);
      const x = Array.from({ length: nk }, (_, j) => this.logit(b, head, pair, i, j, factor, rescued));
      const own = this.selfLogit(b, head, pair, i);
      const peak = Math.max(own, ...x);
      if (peak === Number.NEGATIVE_INFINITY) continue;
      const mass = x.reduce((sum, y) => sum + Math.exp(y - peak), Math.exp(own - peak));
      x.forEach((y, j) => {
        p[i * nk + j] = Math.exp(y - peak) / mass;
      });
      self[i] = Math.exp(own - peak) / mass;
      lse[i] = peak + Math.log(mass);
    }
    return { p, self, lse };
  }
}

/** Outputs of the attention card: O [B, Nq, A, dv], then LSE and P where asked for. */
export function attentionReference(
  inputs: Inputs,
  attrs: AttentionTermAttrs & { returnLse: boolean; returnProbabilities: boolean },
): RefArray[] {
  const def = new Definition(inputs, attrs);
  const { batch, heads, nq, nk } = def;
  const v = def.input(2);
  const dv = v.shape[3] as number;
  const out = zeros(batch, nq, heads, dv);
  const lse = zeros(batch, heads, nq);
  const maps = zeros(batch, heads, nq, nk);
  for (let b = 0; b < batch; b++) {
    for (let head = 0; head < heads; head++) {
      for (const pair of def.pairs) {
        const soft = def.softmax(b, head, pair);
        lse.data.set(soft.lse, (b * heads + head) * nq);
        for (let i = 0; i < nq; i++) {
          const at = ((b * nq + i) * heads + head) * dv;
          const row = out.data.subarray(at, at + dv);
          for (let j = 0; j < nk; j++) addScaled(row, rowOf(v, b, head, j), soft.p[i * nk + j] as number);
          if (inputs[7]) addScaled(row, rowOf(inputs[7], b, head, i), soft.self[i] as number);
          addScaled(rowOf(maps, b, head, i), soft.p.subarray(i * nk, (i + 1) * nk), 1);
        }
      }
    }
  }
  return [out, ...(attrs.returnLse ? [lse] : []), ...(attrs.returnProbabilities ? [maps] : [])];
}

/** Gradients in the order of the attention_bwd card, [B, A, N, d] for q, k, v and the self column. */
class Gradients {
  readonly dq: RefArray;
  readonly dk: RefArray;
  readonly dv: RefArray;
  readonly bias: RefArray | undefined;
  readonly masks: RefArray | undefined;
  readonly selfK: RefArray | undefined;
  readonly selfV: RefArray | undefined;
  readonly maps: RefArray;

  constructor(readonly def: Definition) {
    const like = (x: RefArray | undefined) => x && zeros(...x.shape);
    const { inputs } = def;
    [this.dq, this.dk, this.dv] = [0, 1, 2].map((i) => zeros(...def.input(i).shape)) as [RefArray, RefArray, RefArray];
    [this.bias, this.masks, this.selfK, this.selfV] = [
      like(inputs[3]),
      like(inputs[5]),
      like(inputs[6]),
      like(inputs[7]),
    ];
    this.maps = zeros(def.batch, def.heads, def.nq, def.nk);
  }

  source(i: number): RefArray {
    return [this.dq, this.dk, this.dv][i] as RefArray;
  }

  /** Adds one logit's gradient to the additive inputs. */
  additive(b: number, head: number, i: number, j: number, ds: number): void {
    const { attrs } = this.def;
    if (this.bias) {
      const at = broadcastIndex(this.bias.shape, [b, head, i, j]);
      this.bias.data[at] = (this.bias.data[at] as number) + ds;
    }
    const first = attrs.classTokens + 1;
    if (this.masks && attrs.classMode === 2 && i < attrs.classTokens && j >= first) {
      const at = broadcastIndex(this.masks.shape, [b, head, i, j - first]);
      this.masks.data[at] = (this.masks.data[at] as number) + ds;
    }
  }

  head(
    b: number,
    head: number,
    dOut: (i: number) => Float64Array,
    dLse: RefArray | undefined,
    dMaps: RefArray | undefined,
  ): number {
    const { def } = this;
    const { nq, nk, attrs, inputs } = def;
    let factor = 0;
    for (let i = 0; i < nq; i++) {
      const dp = rowOf(this.maps, b, head, i);
      for (let j = 0; j < nk; j++)
        dp[j] = dot(dOut(i), rowOf(def.input(2), b, head, j)) + (dMaps ? (rowOf(dMaps, b, head, i)[j] as number) : 0);
    }
    for (const pair of def.pairs) {
      const soft = def.softmax(b, head, pair);
      const [da, db] = [this.source(pair[0]), this.source(pair[1])];
      for (let i = 0; i < nq; i++) {
        const p = soft.p.subarray(i * nk, (i + 1) * nk);
        const dp = rowOf(this.maps, b, head, i);
        const dSelf = inputs[7] ? dot(dOut(i), rowOf(inputs[7], b, head, i)) : 0;
        const own = soft.self[i] as number;
        const shift = dot(p, dp) + own * dSelf - (dLse ? (dLse.data[(b * def.heads + head) * nq + i] as number) : 0);
        const a = rowOf(def.input(pair[0]), b, head, i);
        for (let j = 0; j < nk; j++) {
          const ds = (p[j] as number) * ((dp[j] as number) - shift);
          addScaled(rowOf(this.dv, b, head, j), dOut(i), p[j] as number);
          this.additive(b, head, i, j, ds);
          if (attrs.nonly) {
            factor += ds * def.gaussian(i, j);
            continue;
          }
          addScaled(rowOf(da, b, head, i), rowOf(def.input(pair[1]), b, head, j), attrs.scale * ds);
          addScaled(rowOf(db, b, head, j), a, attrs.scale * ds);
        }
        if (!this.selfK || !this.selfV) continue;
        const ds = own * (dSelf - shift);
        addScaled(rowOf(da, b, head, i), rowOf(inputs[6] as RefArray, b, head, i), attrs.scale * ds);
        addScaled(rowOf(this.selfK, b, head, i), a, attrs.scale * ds);
        addScaled(rowOf(this.selfV, b, head, i), dOut(i), own);
      }
    }
    return factor;
  }

  /** The gradient through the factor of 'nonly': norms of the rows of A and B. */
  throughFactor(b: number, dFactor: number): void {
    const { def } = this;
    const [a, c] = def.pairs[0] as readonly [number, number];
    for (let head = 0; head < def.heads; head++) {
      for (const [from, other] of [
        [a, c],
        [c, a],
      ] as const) {
        const x = def.input(from);
        const n = x.shape[2] as number;
        const share = (dFactor * def.attrs.scale * def.meanNorm(def.input(other), b, head)) / (def.heads * n);
        for (let i = 0; i < n; i++) {
          const row = rowOf(x, b, head, i);
          const norm = Math.sqrt(dot(row, row));
          if (norm > 0) addScaled(rowOf(this.source(from), b, head, i), row, share / norm);
        }
      }
    }
  }
}

/** [B, A, N, d] -> [B, N, A, d]. */
function tokensFirst(x: RefArray): RefArray {
  const [batch, heads, n, d] = x.shape as [number, number, number, number];
  const out = zeros(batch, n, heads, d);
  for (let b = 0; b < batch; b++) {
    for (let head = 0; head < heads; head++) {
      for (let i = 0; i < n; i++) out.data.set(rowOf(x, b, head, i), ((b * n + i) * heads + head) * d);
    }
  }
  return out;
}

/** Outputs of the attention_bwd card. Inputs 9, 10, 11: gradients of O, LSE and P, each optional. */
export function attentionBwdReference(
  inputs: Inputs,
  attrs: AttentionTermAttrs & { termGrads: boolean; returnMapGrads: boolean },
): RefArray[] {
  const def = new Definition(inputs, attrs);
  const grads = new Gradients(def);
  const [dOut, dLse, dMaps] = [inputs[9], inputs[10], inputs[11]];
  const dv = def.input(2).shape[3] as number;
  for (let b = 0; b < def.batch; b++) {
    let factor = 0;
    for (let head = 0; head < def.heads; head++) {
      const row = (i: number) => {
        const at = ((b * def.nq + i) * def.heads + head) * dv;
        return dOut ? dOut.data.subarray(at, at + dv) : new Float64Array(dv);
      };
      factor += grads.head(b, head, row, dLse, dMaps);
    }
    if (attrs.nonly) grads.throughFactor(b, factor);
  }
  const { dq, dk, dv: dValue, bias, masks, selfK, selfV, maps } = grads;
  return [
    ...[dq, dk, dValue].map(tokensFirst),
    ...(attrs.termGrads && bias ? [bias] : []),
    ...(attrs.termGrads && masks && attrs.classMode === 2 ? [masks] : []),
    ...(selfK && selfV ? [tokensFirst(selfK), tokensFirst(selfV)] : []),
    ...(attrs.returnMapGrads ? [maps] : []),
  ];
}
