/** Pixel-adaptive mask refinement of class maps (Araslanov & Roth, CVPR 2020). */
import { pamrMaxDilation, pamrMaxDilations, pamrMaxIterations, pamrOp, type Tensor } from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

export interface PamrOptions {
  /** Distances of the 3 x 3 rings in pixels, 1 to 8 of them; default NACLIP's [8, 16]. */
  readonly dilations?: readonly number[];
  /** Default 10; 0 returns the masks as they are. */
  readonly iterations?: number;
}

/** NACLIP refines at full resolution; TCL per window on its 112 x 112 masks. */
export const pamrDefaults = {
  naclip: { dilations: [8, 16], iterations: 10 },
  tcl: { dilations: [1, 2, 4, 8, 12, 24], iterations: 10 },
} as const satisfies Record<string, PamrOptions>;

/**
 * @param guide the normalised image at mask size, f32 [3, H, W]
 * @param masks class maps (logits or probabilities), f32 [C, H, W]
 * @returns f32 [C, H, W]. Large images are tiled with halos; the result does not depend on it.
 * @throws E_OPTION
 */
export function pamr(guide: Tensor, masks: Tensor, options: PamrOptions = {}): Tensor {
  const known = ['dilations', 'iterations'];
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const guess = nearest(key, known);
    throw new WordmaskError(
      'E_OPTION',
      `pamr: unknown option ${show(key)}${guess ? `, did you mean '${guess}'?` : ''} (known: ${known.join(', ')})`,
      { details: { key } },
    );
  }
  const { dilations = pamrDefaults.naclip.dilations, iterations = pamrDefaults.naclip.iterations } = options;
  const listed = Array.isArray(dilations) && dilations.length >= 1 && dilations.length <= pamrMaxDilations;
  if (!listed || !dilations.every((d) => Number.isInteger(d) && d >= 1 && d <= pamrMaxDilation)) {
    throw new WordmaskError(
      'E_OPTION',
      `pamr: dilations must be 1 to ${pamrMaxDilations} whole numbers from 1 to ${pamrMaxDilation}, got ${show(dilations)}`,
      { details: { dilations } },
    );
  }
  if (!Number.isInteger(iterations) || iterations < 0 || iterations > pamrMaxIterations) {
    throw new WordmaskError(
      'E_OPTION',
      `pamr: iterations must be a whole number from 0 to ${pamrMaxIterations}, got ${show(iterations)}`,
      { details: { iterations } },
    );
  }
  return pamrOp(guide, masks, dilations, iterations);
}
