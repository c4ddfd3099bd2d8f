/**
 * A yardstick for training on captions: the same towers with the class of every patch given. Patches on the value path against the
 * words of the classes, so that the finished model is read like one that saw captions alone.
 */
import { crossEntropy, exp, l2Normalise, matmul, mean, mul, scope, type Tensor } from '../../engine/index.js';
import type { PairSample } from '../../nn/trainable.js';
import { WordmaskError } from '../../util/errors.js';

/** Target of patches without a class. */
const ignore = -100;

/**
 * Class that most pixels of each patch have, the lower one among equals; labels beyond the classes do not vote.
 * @param places which patches of each picture, row by row [B * K]
 * @throws E_USAGE for a picture without labels, or one that would have to be resized
 */
export function labelsOfPatches(
  samples: readonly PairSample[],
  { image: side, patch }: { readonly image: number; readonly patch: number },
  places: Int32Array,
  classes: number,
): { data: Int32Array; shape: readonly number[] } {
  const kept = places.length / samples.length;
  const counts = new Uint32Array(classes);
  const grid = side / patch;
  const data = Int32Array.from(places, (place, i) => {
    const { key, image, labels } = samples[Math.floor(i / kept)] as PairSample;
    if (labels?.length !== side * side || image.width !== side)
      throw new WordmaskError(
        'E_USAGE',
        `${key}: patch labels need pictures of ${side} x ${side} pixels with a class for each pixel: set data.labels, and data.width and data.height to ${side}`,
      );
    counts.fill(0);
    const corner = Math.floor(place / grid) * patch * side + (place % grid) * patch;
    for (let y = 0; y < patch; y++)
      for (let x = 0; x < patch; x++) {
        const label = labels[corner + y * side + x] as number;
        if (label < classes) counts[label] = (counts[label] as number) + 1;
      }
    const most = Math.max(...counts);
    return most === 0 ? ignore : counts.indexOf(most);
  });
  return { data, shape: [places.length] };
}

/**
 * Cross-entropy of the patches against the classes, mean over the patches.
 * @param patches [B, K, E] of unit length
 * @param words embeddings of the classes [C, E], normalised here
 * @param labels i32 [B * K]
 * @param logScale natural logarithm of the factor on the cosines, one element
 * @returns a scalar
 */
export function patchLabelLoss(patches: Tensor, words: Tensor, labels: Tensor, logScale: Tensor): Tensor {
  return scope(() => {
    const [batch = 0, kept = 0, width = 0] = patches.shape;
    const cosines = matmul(patches.reshape(batch * kept, width), l2Normalise(words), { transposeB: true }); // [B * K, C]
    return mean(crossEntropy(mul(cosines, exp(logScale.reshape(1, 1))), labels, { ignore }));
  });
}
