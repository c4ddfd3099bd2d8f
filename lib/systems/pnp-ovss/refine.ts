/** Channels behind the refiner of a call: the dense CRF of the method, PAMR, or none. */
import { clipMean, clipStd } from '../../backbones/clip/preprocess.js';
import { scaleShift, Tensor } from '../../engine/index.js';
import type { DecodedImage } from '../../image/decode.js';
import type { PredictContext } from '../../post/predictor.js';
import { type CrfSetting, chosenCrf, crfMarginals, pamrShares } from '../../post/refine-shares.js';
import { channelShares, logShares } from './maps.js';
import { defaults, type PnpOptions } from './options.js';

/** Logits of the channels behind the refiner of the call, else of the options. */
export function refined(
  image: DecodedImage,
  blurred: Tensor,
  background: boolean,
  options: PnpOptions,
  { refine, trace }: PredictContext,
): Tensor {
  const crf = chosenCrf(refine, options.crf, defaults.crf as Exclude<CrfSetting, false>);
  const picture = (): Tensor => Tensor.from(image.data, [image.height, image.width, 3], 'u8');
  const shares = (): Tensor => channelShares(blurred, background, options, trace);
  if (refine?.name === 'pamr')
    return logShares(pamrShares(picture(), shares(), refine, { mean: clipMean, std: clipStd }));
  if (crf) return logShares(crfMarginals(picture(), shares(), crf, trace));
  if (trace?.wants('softmax')) shares();
  // The softmax of the maps themselves are their probabilities, and their order is not rounded once more.
  return options.unary === 'softmax' ? scaleShift(blurred, 1, 0) : logShares(shares());
}
