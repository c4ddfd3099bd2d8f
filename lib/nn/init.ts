/**
 * Initial values of parameters, each a function of its random stream and shape alone:
 * `xavierUniform([D, K], random.fork(path))`. Shapes of weights are [out, in, ...]; what follows the first two axes is the
 * receptive field of a convolution.
 */
import {
  abs,
  clamp,
  fill,
  isolated,
  less,
  randomBlocks,
  randomNormal,
  randomUniform,
  scope,
  type Tensor,
  where,
} from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import type { Random } from '../util/random.js';

type Shape = readonly number[];

/** Redraws of values outside the bounds; at two deviations one value in 10^11 is left, which is set to the bound. */
const redraws = 8;

export const zeros = (shape: Shape): Tensor => isolated(() => fill(shape, 0));
export const ones = (shape: Shape): Tensor => isolated(() => fill(shape, 1));
export const constant = (shape: Shape, value: number): Tensor => isolated(() => fill(shape, value));

/** Normal of mean 0. */
export function normal(shape: Shape, random: Random, deviation = 1): Tensor {
  return isolated(() => randomNormal(shape, { seed: drawSeed(random), deviation }));
}

/** Uniform in [-bound, bound). */
export function uniform(shape: Shape, random: Random, bound = 1): Tensor {
  return isolated(() => randomUniform(shape, { seed: drawSeed(random), low: -bound, high: bound }));
}

/** Normal, cut off at `bound` deviations (values beyond are drawn again). */
export function truncatedNormal(shape: Shape, random: Random, deviation = 0.02, bound = 2): Tensor {
  if (!(bound > 0)) throw new WordmaskError('E_OPTION', `truncatedNormal: bound must be positive, got ${show(bound)}`);
  const seed = drawSeed(random);
  const blocks = randomBlocks(shape);
  const limit = bound * deviation;
  return isolated(() =>
    scope(() => {
      const draw = (i: number) => randomNormal(shape, { seed, offset: i * blocks, deviation });
      let value = clamp(draw(redraws), -limit, limit);
      for (let i = redraws - 1; i >= 0; i--) {
        const x = draw(i);
        value = where(less(abs(x), limit), x, value);
      }
      return value;
    }),
  );
}

/** Variance 2 / (in + out), uniform (Glorot & Bengio 2010). */
export function xavierUniform(shape: Shape, random: Random, gain = 1): Tensor {
  const [fanIn, fanOut] = fans(shape);
  return uniform(shape, random, gain * Math.sqrt(6 / (fanIn + fanOut)));
}

/** Variance 2 / (in + out), normal. */
export function xavierNormal(shape: Shape, random: Random, gain = 1): Tensor {
  const [fanIn, fanOut] = fans(shape);
  return normal(shape, random, gain * Math.sqrt(2 / (fanIn + fanOut)));
}

export interface KaimingOptions {
  /** Which side keeps its variance. Default 'in'. */
  readonly mode?: 'in' | 'out';
  /** Slope of the rectifier below 0. Default 0; sqrt(5) gives PyTorch's default of linear and convolution weights. */
  readonly slope?: number;
}

/** Variance 2 / ((1 + slope^2) fan), normal (He et al., arXiv 1502.01852). */
export function kaimingNormal(shape: Shape, random: Random, options: KaimingOptions = {}): Tensor {
  return normal(shape, random, kaimingDeviation(shape, options));
}

/** The same variance, uniform. */
export function kaimingUniform(shape: Shape, random: Random, options: KaimingOptions = {}): Tensor {
  return uniform(shape, random, Math.sqrt(3) * kaimingDeviation(shape, options));
}

function kaimingDeviation(shape: Shape, { mode = 'in', slope = 0 }: KaimingOptions): number {
  const [fanIn, fanOut] = fans(shape);
  return Math.sqrt(2 / ((1 + slope * slope) * (mode === 'in' ? fanIn : fanOut)));
}

/** @throws E_OPTION for fewer than two axes */
function fans(shape: Shape): [fanIn: number, fanOut: number] {
  if (shape.length < 2 || shape.some((size) => size < 1))
    throw new WordmaskError('E_OPTION', `a weight has at least the axes [out, in], got shape ${show(shape)}`);
  const field = shape.slice(2).reduce((product, size) => product * size, 1);
  return [(shape[1] as number) * field, (shape[0] as number) * field];
}

/** A seed of 53 bits for the device's generator. */
function drawSeed(random: Random): number {
  return random.bits() + (random.bits() & 0x1fffff) * 2 ** 32;
}
