/** What the attention cards share: the attributes of the logit terms and the checks of their shapes. */

import type { TensorSpec } from '../../card.js';
import { type DType, isFloat } from '../../dtype.js';
import { rejectShape } from '../../shapes.js';

/** A type, not an interface, so that it fits Attrs. Order is the native order. */
export type AttentionTermAttrs = {
  /** 0 q k, 1 k k, 2 q q, 3 v v, 4 the sum of the softmaxes of q q and k k. */
  source: number;
  scale: number;
  causal: boolean;
  /** 0: no gaussian term. */
  sigma: number;
  gridHeight: number;
  gridWidth: number;
  nonly: boolean;
  rescue: boolean;
  classTokens: number;
  /** 0 none, 1 maft, 2 san. */
  classMode: number;
};

export const termAttrs: AttentionTermAttrs = {
  source: 0,
  scale: 1,
  causal: false,
  sigma: 0,
  gridHeight: 0,
  gridWidth: 0,
  nonly: false,
  rescue: false,
  classTokens: 0,
  classMode: 0,
};

export const termInputs = [
  'q',
  'k',
  'v',
  'bias?',
  'mask?',
  'classMasks?',
  'selfKey?',
  'selfValue?',
  'keyLengths?',
] as const;

type Specs = readonly (TensorSpec | undefined)[];

export interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly nq: number;
  readonly nk: number;
  readonly d: number;
  readonly dv: number;
  /** Type of LSE, P and the gradient of P. */
  readonly side: DType;
}

function matches(spec: TensorSpec | undefined, shape: readonly (number | readonly number[])[], dtype?: DType): boolean {
  if (!spec) return true;
  const fits =
    spec.shape.length === shape.length &&
    shape.every((d, i) => (typeof d === 'number' ? spec.shape[i] === d : d.includes(spec.shape[i] as number)));
  return fits && (dtype === undefined || spec.dtype === dtype);
}

/** Sizes of a call. @throws E_OPTION when an input does not fit the others or the attributes */
export function checkTerms(op: string, specs: Specs, attrs: AttentionTermAttrs): Sizes {
  const [q, k, v, bias, mask, classMasks, selfKey, selfValue, keyLengths] = specs;
  const reject = (expected: string): never => rejectShape(op, expected, specs);
  const [batch = 0, heads = 0, nq = 0, d = 0] = q!.shape;
  const [nk = 0, dv = 0] = [k!.shape[2], v!.shape[3]];
  if (
    q!.shape.length !== 4 ||
    !matches(k, [batch, heads, nk, d], q!.dtype) ||
    !matches(v, [batch, heads, nk, dv], q!.dtype)
  ) {
    reject('q [B, heads, Nq, d], k [B, heads, Nk, d] and v [B, heads, Nk, dv] of one dtype');
  }
  if (![q, bias, classMasks].every((spec) => !spec || isFloat(spec.dtype))) reject('float q, bias and classMasks');
  const { source, classTokens, classMode, sigma, gridHeight, gridWidth } = attrs;
  const square = nq === nk;
  if (![0, 1, 2, 3, 4].includes(source)) reject(`source 0..4 (got ${source}), inputs`);
  if (![0, 1, 2].includes(classMode)) reject(`classMode 0..2 (got ${classMode}), inputs`);
  if ((source !== 0 || attrs.causal || sigma > 0 || classMode > 0) && !square) {
    reject('as many queries as keys (a source other than qk, causal, gaussian and class tokens need it)');
  }
  if (source === 3 && d !== dv) reject('v of the head size of q (source vv)');
  if (sigma > 0 && !(gridHeight >= 1 && gridWidth >= 1 && gridHeight * gridWidth <= nk))
    reject(`at least ${gridHeight} x ${gridWidth} tokens (the grid)`);
  if (attrs.nonly && (!(sigma > 0) || source === 4 || selfKey || keyLengths)) {
    reject("a gaussian term, one softmax, no self column and no key lengths ('nonly')");
  }
  if (
    !matches(bias, [
      [batch, 1],
      [heads, 1],
      [nq, 1],
      [nk, 1],
    ])
  )
    reject(`bias [${batch}|1, ${heads}|1, ${nq}|1, ${nk}|1]`);
  if (!matches(mask, [batch, nq, Math.ceil(nk / 8)], 'u8'))
    reject(`mask u8 [${batch}, ${nq}, ${Math.ceil(nk / 8)}] (bits)`);
  if (!matches(keyLengths, [batch], 'i32')) reject(`keyLengths i32 [${batch}]`);
  const patches = nk - classTokens - (classMode === 2 ? 1 : 0);
  if (
    classMode > 0 &&
    !(classMasks && classTokens >= 1 && patches >= 0 && matches(classMasks, [batch, [heads, 1], classTokens, patches]))
  ) {
    reject(`classMasks [${batch}, ${heads}|1, ${classTokens}, ${patches}]`);
  }
  if (
    !selfKey !== !selfValue ||
    !matches(selfKey, [batch, heads, nq, d], q!.dtype) ||
    !matches(selfValue, [batch, heads, nq, dv], q!.dtype)
  ) {
    reject(`selfKey [${batch}, ${heads}, ${nq}, ${d}] together with selfValue [${batch}, ${heads}, ${nq}, ${dv}]`);
  }
  if (selfKey && source === 4) reject('a single softmax (a self column is given)');
  return { batch, heads, nq, nk, d, dv, side: q!.dtype === 'f64' ? 'f64' : 'f32' };
}
