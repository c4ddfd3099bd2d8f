/**
 * Gradients of a class's probability in CLIP's last vision block, and the attention of its last blocks: what class activation maps
 * without training are made of (CLIP-ES, Lin et al. 2023, arXiv 2212.09506, section 3; CLIP as RNN, arXiv 2312.07661).
 */
import {
  add,
  adopt,
  backward,
  concat,
  l2Normalise,
  matmul,
  mean,
  mul,
  noGrad,
  recording,
  requireGrad,
  retain,
  scaleShift,
  scope,
  softmax,
  sum,
  type Tensor,
} from '../../engine/index.js';
import { WordmaskError } from '../../util/errors.js';
import type { ClipModel, VisionVariant } from './model.js';

export interface LastBlocks {
  /** Input of the last block [1, 1+P, D]. */
  readonly hidden: Tensor;
  /** Attention, averaged over heads and over the last blocks, the last one included: [1+P, 1+P]. */
  readonly attention: Tensor;
  readonly grid: readonly [height: number, width: number];
}

/**
 * All blocks but the last, without a tape, with the mean of the last `count` attention maps: at any time one block's map exists
 * beside their sum.
 * @param pixels normalised [1, 3, H, W]
 * @throws E_OPTION for a count outside 1 .. number of blocks
 */
export function lastBlocks(
  model: ClipModel,
  pixels: Tensor,
  options: { readonly count: number } & Pick<VisionVariant, 'positions'>,
): LastBlocks {
  const { layers } = model.config.vision;
  const { count } = options;
  if (!Number.isInteger(count) || count < 1 || count > layers) {
    throw new WordmaskError('E_OPTION', `lastBlocks: count must be a whole number from 1 to ${layers}, got ${count}`, {
      details: { option: 'count' },
    });
  }
  return noGrad(() =>
    scope(() => {
      const { rows, grid } = model.patchRows(pixels);
      let total: Tensor | undefined;
      const attention = (_: number, map: Tensor) => {
        const averaged = mean(map, 1); // [1, 1+P, 1+P]
        const next = retain(total ? add(total, averaged) : averaged);
        total?.dispose();
        total = next;
      };
      const first = layers - count;
      const start = model.blockRange(model.embedPatches(rows, grid, options), 0, Math.min(first, layers - 1));
      const hidden = model.blockRange(start, Math.min(first, layers - 1), layers - 1, { attention });
      model.blockRange(hidden, layers - 1, layers, { attention });
      const whole = adopt(total as unknown as Tensor);
      return { hidden, attention: mul(whole.select(0, 0), 1 / count), grid };
    }),
  );
}

export interface ClipCams {
  /** ln_1 output of the last block at the patches [P, D]. */
  readonly features: Tensor;
  /** Mean over the patches of the gradient of each class's probability with respect to them [C, D]. */
  readonly weights: Tensor;
  /** Softmax over the texts of the mean patch feature [T]. */
  readonly probabilities: Tensor;
  /** The gradients themselves [C, P, D], where they were asked for. */
  readonly gradients?: Tensor;
}

export interface ClipCamOptions {
  /** Factor of the cosines. Default 100. */
  readonly scale?: number;
  /** Classes walked back together; memory grows with it. Default 8. */
  readonly chunk?: number;
  /** Keep the gradients of all patches. */
  readonly gradients?: boolean;
}

/**
 * The last block on the tape alone: p = softmax(scale * f T^t) with f the unit-length projection of the mean patch token behind the
 * final norm; dp_c / d(ln_1 output), which reaches the block through its attention, since the residual goes round ln_1.
 * @param hidden input of the last block, of `lastBlocks`; the model has to be loaded with `differentiable` (or trainable)
 * @param texts unit-length features [T, E]
 * @param classes rows of `texts` whose maps are wanted, C of them
 */
export function clipCams(
  model: ClipModel,
  hidden: Tensor,
  texts: Tensor,
  classes: readonly number[],
  options: ClipCamOptions = {},
): ClipCams {
  const { chunk = 8 } = options;
  return scope(() => {
    const parts: ClipCams[] = [];
    for (let at = 0; at < Math.max(1, classes.length); at += chunk)
      parts.push(gradients(model, hidden, texts, classes.slice(at, at + chunk), options));
    const { features, probabilities } = parts[0] as ClipCams;
    const joined = (of: (part: ClipCams) => Tensor): Tensor =>
      parts.length === 1 ? of(parts[0] as ClipCams) : concat(parts.map(of), 0);
    const weights = joined((part) => part.weights);
    if (!options.gradients) return { features, probabilities, weights };
    return { features, probabilities, weights, gradients: joined((part) => part.gradients as Tensor) };
  });
}

function gradients(
  model: ClipModel,
  hidden: Tensor,
  texts: Tensor,
  classes: readonly number[],
  { scale = 100, gradients: wanted }: ClipCamOptions,
): ClipCams {
  const { layers } = model.config.vision;
  const [, length = 0, width = 0] = hidden.shape;
  const count = Math.max(1, classes.length);
  return scope(() => {
    let leaf: Tensor | undefined;
    const onNormed = (normed: Tensor) => {
      leaf = retain(requireGrad(normed.detach()));
      return leaf;
    };
    const probabilities = recording(() => {
      const x = hidden.detach().expand(count, length, width).contiguous();
      const tokens = model.blockRange(x, layers - 1, layers, { onNormed }); // [C, 1+P, D]
      const pooled = mean(model.postNorm(tokens).slice(1, 1), 1); // [C, D]
      const feature = l2Normalise(model.projectPooled(pooled)); // [C, E]
      return softmax(mul(matmul(feature, texts, { transposeB: true }), scale), 1); // [C, T]
    });
    const held = adopt(leaf as unknown as Tensor);
    const features = held.select(0, 0).slice(0, 1).detach().contiguous();
    const row = probabilities.detach().select(0, 0);
    if (classes.length === 0) {
      const [patches = 0] = features.shape;
      const none = features.slice(0, 0, 0);
      return {
        features,
        probabilities: row,
        weights: none,
        ...(wanted && { gradients: none.reshape(0, patches, width) }),
      };
    }
    const loss = recording(() => {
      const own = classes.map((c, i) => probabilities.slice(0, i, i + 1).slice(1, c, c + 1));
      return sum(concat(own, 0));
    });
    const grads = backward(loss, { wrt: [held] });
    const patches = (grads.get(held) as Tensor).slice(1, 1); // [C, P, D]
    const weights = mean(patches, 1); // [C, D]
    const kept = wanted ? scaleShift(patches.contiguous(), 1, 0) : undefined;
    grads.dispose();
    return { features, probabilities: row, weights, gradients: kept };
  });
}
