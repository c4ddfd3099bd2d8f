/** Values inside the vision tower under a dense variant, by the names of the systems' reference cases. */
import { adopt, omega, retain, scope, Tensor } from '../../engine/index.js';
import { type DenseVariant, visionVariant } from './dense.js';
import type { ClipModel } from './model.js';

export const probeNames = ['position_table', 'tokens', 'attention', 'omega', 'value_features', 'key_tokens'] as const;

/**
 * One value for a whole picture as a single window.
 * `position_table` [1+hw, D]; `tokens` [1+hw, E] projected, class token first; `attention` [A, L, L] of the last block;
 * `omega` [L, L]; `value_features` [D, h, w] after the final norm; `key_tokens` [hw, D].
 * @param pixels normalised input [1, 3, H, W]
 */
export function probeClip(
  model: ClipModel,
  pixels: Tensor,
  options: DenseVariant,
  name: (typeof probeNames)[number],
): Tensor {
  return scope(() => {
    const variant = visionVariant(options);
    const { rows, grid } = model.patchRows(pixels);
    const [h, w] = grid;
    if (name === 'position_table') return model.positionTable(h, w, options.positions).detach();
    if (name === 'omega') return Tensor.from(omega(h, w, options.sigma), [1 + h * w, 1 + h * w]);
    const last = model.config.vision.layers - 1;
    let map: Tensor | undefined;
    let beforeLast: Tensor | undefined;
    const tokens = model.visionBlocks(model.embedPatches(rows, grid, variant), grid, variant, {
      hidden: (i, x) => void (i === last && (beforeLast = retain(x))),
      attention: name === 'attention' ? (i, p) => void (i === last && (map = retain(p))) : undefined,
    }); // [1, L, D]
    for (const held of [map, beforeLast]) if (held) adopt(held);
    if (name === 'attention') return (map as Tensor).select(0, 0);
    if (name === 'key_tokens') return model.keyTokens(beforeLast as Tensor, variant).select(0, 0);
    if (name === 'tokens') return model.project(tokens, variant).select(0, 0);
    const width = model.config.vision.width;
    return model.postNorm(tokens.slice(1, 1).contiguous(), variant).reshape(h, w, width).permute(2, 0, 1).contiguous();
  });
}
