/** A shape as attributes of an op: rank and up to eight sizes. */
import { show, WordmaskError } from '../../util/errors.js';

export const dimAttrs = { rank: 0, d0: 0, d1: 0, d2: 0, d3: 0, d4: 0, d5: 0, d6: 0, d7: 0 };
type DimAttrs = typeof dimAttrs;

const maxRank = 8;

/** @throws E_OPTION for more than eight axes or a size that is not a whole number from 0 */
export function packDims(op: string, shape: readonly number[]): DimAttrs {
  if (shape.length > maxRank || !shape.every((d) => Number.isSafeInteger(d) && d >= 0)) {
    throw new WordmaskError(
      'E_OPTION',
      `${op}: a shape has at most ${maxRank} sizes, each a whole number from 0, got ${show(shape)}`,
    );
  }
  const [d0 = 0, d1 = 0, d2 = 0, d3 = 0, d4 = 0, d5 = 0, d6 = 0, d7 = 0] = shape;
  return { rank: shape.length, d0, d1, d2, d3, d4, d5, d6, d7 };
}

export function unpackDims(a: DimAttrs): number[] {
  return [a.d0, a.d1, a.d2, a.d3, a.d4, a.d5, a.d6, a.d7].slice(0, a.rank);
}
