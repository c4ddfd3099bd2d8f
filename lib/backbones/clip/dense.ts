/** CLIP's vision tower as the encoder of dense systems. */
import { adopt, Programs, retain, scope, type Tensor } from '../../engine/index.js';
import type { AttentionKind } from '../../nn/transformer.js';
import type { ClipModel, PositionRule, Taps, VisionVariant } from './model.js';

/** The options of a dense system that concern the encoder; `activation: 'model'` and `layerNormEps: 0` keep the config's. */
export interface DenseVariant {
  readonly attention: AttentionKind;
  readonly residual: boolean;
  readonly ffn: boolean;
  readonly sigma: number;
  readonly positions: PositionRule;
  readonly activation: 'quick_gelu' | 'gelu' | 'model';
  readonly layerNormEps: number;
}

export function visionVariant(options: DenseVariant): VisionVariant {
  return {
    attention: options.attention,
    residual: options.residual,
    ffn: options.ffn,
    sigma: options.sigma,
    positions: options.positions,
    activation: options.activation === 'model' ? undefined : options.activation,
    eps: options.layerNormEps > 0 ? options.layerNormEps : undefined,
  };
}

/**
 * Patch rows [n, P, 3*p*p] -> features [n, P, E], and MaskCLIP's key tokens [n, P, D] if asked. Windows of one shape and one setting
 * become a Program; the weights must stay where they are (a model that is trained moves them).
 */
export function denseClipEncoder(model: ClipModel) {
  const programs = new Programs('encode');
  return {
    patch: model.config.vision.patch,
    embed: model.config.embed,
    compute: model.compute,
    encode: (
      rows: Tensor,
      grid: readonly [number, number],
      options: DenseVariant,
      wantKeys: boolean,
    ): { features: Tensor; keys?: Tensor } => {
      const variant = visionVariant(options);
      const key = JSON.stringify([grid, wantKeys, variant]);
      return programs.run(key, [rows], () => encodeRows(model, rows, grid, variant, wantKeys));
    },
    dispose: () => programs.dispose(),
  };
}

function encodeRows(
  model: ClipModel,
  rows: Tensor,
  grid: readonly [number, number],
  variant: VisionVariant,
  wantKeys: boolean,
): { features: Tensor; keys?: Tensor } {
  return scope(() => {
    const lastBlock = model.config.vision.layers - 1;
    let beforeLast: Tensor | undefined;
    const taps: Taps = wantKeys ? { hidden: (i, x) => void (i === lastBlock && (beforeLast = retain(x))) } : {};
    const tokens = model.visionBlocks(model.embedPatches(rows, grid, variant), grid, variant, taps); // [n, 1+P, D]
    if (beforeLast) adopt(beforeLast);
    const features = model.project(tokens.slice(1, 1), variant); // [n, P, E]
    return { features, ...(beforeLast && { keys: model.keyTokens(beforeLast, variant) }) };
  });
}
