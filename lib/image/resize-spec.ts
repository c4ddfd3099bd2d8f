/**
 * To which size a picture is brought before a model sees it: the rules of evaluation.md section 2. Which filter does
 * it is the resize op's affair; here are sizes only.
 */
import { show, WordmaskError } from '../util/errors.js';

export interface Size {
  width: number;
  height: number;
}

/**
 * `none` keeps the size; `keep-ratio` is mmsegmentation's rule (one factor min(long/max, short/min)); `short-side`
 * detectron2's (short side exact, then the long side capped); `exact` gives width and height.
 */
export type ResizeSpec =
  | { mode: 'none'; multiple?: number }
  | { mode: 'keep-ratio' | 'short-side'; shortSide: number; longSide?: number; multiple?: number }
  | { mode: 'exact'; width: number; height: number; multiple?: number };

/** mmsegmentation: factor = min(long / longer, short / shorter), sides rounded by floor(x + 0.5), at least 1. */
export function keepRatioSize(width: number, height: number, longSide: number, shortSide: number): Size {
  const factor = Math.min(longSide / Math.max(width, height), shortSide / Math.min(width, height));
  return { width: rounded(width * factor), height: rounded(height * factor) };
}

/** detectron2 ResizeShortestEdge: the short side becomes `shortSide` unless the long one would exceed `longSide`. */
export function shortSideSize(width: number, height: number, shortSide: number, longSide = Infinity): Size {
  const factor = shortSide / Math.min(width, height);
  const cap = Math.max(width, height) * factor > longSide ? longSide / (Math.max(width, height) * factor) : 1;
  return { width: rounded(width * factor * cap), height: rounded(height * factor * cap) };
}

/** Reduces a size until no side exceeds `maxSide`; never enlarges. */
export function capSide(width: number, height: number, maxSide: number): Size {
  const longer = Math.max(width, height);
  return longer <= maxSide
    ? { width, height }
    : { width: rounded((width * maxSide) / longer), height: rounded((height * maxSide) / longer) };
}

/** The size a picture is resized to, before padding to `multiple`. */
export function resizedSize(width: number, height: number, spec: ResizeSpec, maxSide?: number): Size {
  checkSpec(spec);
  let size: Size;
  if (spec.mode === 'none') size = { width, height };
  else if (spec.mode === 'exact') size = { width: spec.width, height: spec.height };
  else if (spec.mode === 'keep-ratio') size = keepRatioSize(width, height, spec.longSide ?? Infinity, spec.shortSide);
  else size = shortSideSize(width, height, spec.shortSide, spec.longSide);
  return maxSide === undefined ? size : capSide(size.width, size.height, maxSide);
}

/** The next multiple of `multiple` for both sides: what right and bottom padding reaches. */
export function paddedSize({ width, height }: Size, multiple = 1): Size {
  return { width: Math.ceil(width / multiple) * multiple, height: Math.ceil(height / multiple) * multiple };
}

function rounded(side: number): number {
  return Math.max(1, Math.floor(side + 0.5));
}

function checkSpec(spec: ResizeSpec): void {
  for (const [key, value] of Object.entries(spec)) {
    if (key === 'mode' || value === undefined || (key === 'longSide' && value === Infinity)) continue;
    if (!Number.isInteger(value) || (value as number) < 1)
      throw new WordmaskError('E_OPTION', `resize.${key} must be a whole number of at least 1, got ${show(value)}`, {
        details: { option: `resize.${key}` },
      });
  }
}
