/** Losses between vectors and between distributions: smooth L1, Kullback-Leibler, triplet, InfoNCE. */
import {
  abs,
  add,
  crossEntropy,
  exp,
  iota,
  l2Normalise,
  logSoftmax,
  matmul,
  mean,
  minimum,
  mul,
  onDevice,
  relu,
  scaleShift,
  scope,
  sqrt,
  square,
  stopGradient,
  sub,
  sum,
  type Tensor,
} from '../../engine/index.js';
import { WordmaskError } from '../../util/errors.js';
import { like, type Reduction, reduced, wide } from './reduce.js';

export interface SmoothL1Options extends Reduction {
  /** Where the parabola becomes a line. Default 1. */
  readonly beta?: number;
}

/**
 * d^2 / (2 beta) for d = |x - t| below beta, d - beta / 2 beyond.
 * @returns a scalar f32, or the shape of x with reduce 'none'
 */
export function smoothL1(x: Tensor, targets: Tensor, options: SmoothL1Options = {}): Tensor {
  const { beta = 1 } = options;
  positive('smoothL1: beta', beta);
  return scope(() => {
    const value = wide(x);
    const d = abs(sub(value, like(targets, value)));
    const near = minimum(d, beta);
    return reduced(add(scaleShift(square(near), 0.5 / beta, 0), sub(d, near)), options);
  });
}

export interface DistillOptions extends Reduction {
  /** Divides both sides' logits; the loss is multiplied by its square (Hinton et al. 2015). Default 1. */
  readonly temperature?: number;
}

/**
 * KL(teacher || student) = sum_c p_c (log p_c - log q_c) of each row, p and q softmaxes of the logits over the last axis.
 * The teacher gets no gradient.
 * @param student logits [..., C]
 * @param teacher logits [..., C]
 * @returns a scalar f32: mean over the rows; [...] with reduce 'none'
 */
export function kullbackLeibler(student: Tensor, teacher: Tensor, options: DistillOptions = {}): Tensor {
  const { temperature = 1 } = options;
  positive('kullbackLeibler: temperature', temperature);
  return scope(() => {
    const q = logSoftmax(scaleShift(wide(student), 1 / temperature, 0));
    const p = logSoftmax(scaleShift(like(stopGradient(teacher), q), 1 / temperature, 0));
    const rows = sum(mul(exp(p), sub(p, q)), q.rank - 1);
    return reduced(scaleShift(rows, temperature ** 2, 0), options);
  });
}

export interface TripletOptions extends Reduction {
  /** Distance by which the negative must be farther than the positive. Default 0.2. */
  readonly margin?: number;
  /** 1 - cosine (default), or the Euclidean distance of the vectors as they are. */
  readonly distance?: 'cosine' | 'euclidean';
}

/**
 * max(0, margin + d(anchor, positive) - d(anchor, negative)) (FaceNet, arXiv 1503.03832); OpenDAS takes cosines.
 * @param anchor [B, E], and so are the others
 * @returns a scalar f32: mean over the rows; [B] with reduce 'none'
 */
export function triplet(anchor: Tensor, near: Tensor, far: Tensor, options: TripletOptions = {}): Tensor {
  const { margin = 0.2, distance = 'cosine' } = options;
  const apart = distance === 'cosine' ? cosineDistance : euclideanDistance;
  return scope(() => {
    const [a, p, n] = [wide(anchor), wide(near), wide(far)];
    return reduced(relu(scaleShift(sub(apart(a, p), apart(a, n)), 1, margin)), options);
  });
}

function cosineDistance(a: Tensor, b: Tensor): Tensor {
  return scaleShift(sum(mul(l2Normalise(a), l2Normalise(b)), 1), -1, 1);
}

/** The smallest normal offset keeps the slope of the root finite where two vectors are equal. */
function euclideanDistance(a: Tensor, b: Tensor): Tensor {
  return sqrt(scaleShift(sum(square(sub(a, b)), 1), 1, 1e-12));
}

export interface InfoNceOptions {
  /** Divides the cosines; 0.07 in MoCo (arXiv 1911.05722). */
  readonly temperature: number;
  /** Also from keys to queries, and the mean of both. Default true. */
  readonly symmetric?: boolean;
}

/**
 * Cross-entropy of each query against all keys, pair i belonging together, with a fixed temperature (`contrastive` learns it).
 * @param queries [B, E], normalised here
 * @param keys [B, E], normalised here; not symmetric: [K, E] with K >= B, the rest being negatives
 * @returns a scalar
 */
export function infoNce(queries: Tensor, keys: Tensor, { temperature, symmetric = true }: InfoNceOptions): Tensor {
  positive('infoNce: temperature', temperature);
  return scope(() => {
    const cosines = matmul(l2Normalise(wide(queries)), l2Normalise(wide(keys)), { transposeB: true }); // [B, K]
    const logits = scaleShift(cosines, 1 / temperature, 0);
    const targets = onDevice(logits.device, () => iota([logits.shape[0] as number]));
    const forQueries = mean(crossEntropy(logits, targets));
    if (!symmetric) return forQueries;
    const forKeys = mean(crossEntropy(logits.permute(1, 0).contiguous(), targets));
    return scaleShift(add(forQueries, forKeys), 0.5, 0);
  });
}

function positive(what: string, value: number): void {
  if (!(value > 0 && Number.isFinite(value)))
    throw new WordmaskError('E_OPTION', `${what} must be a positive number, got ${value}`);
}
