/** The CLIP family: config, model, key map, and its raw face. */
import { l2Normalise, type Tensor } from '../../engine/index.js';
import { type Backbone, type BackboneInput, hostValue, inspectWith } from '../../nn/backbone.js';
import { loadTokenizer } from '../../text/index.js';
import { openWeights } from '../../weights/index.js';
import type { ClipConfig } from './config.js';
import { clipForward, clipNames } from './inspect.js';
import { type LoadClipOptions, loadClip } from './load.js';
import type { ClipModel } from './model.js';
import { encodeTexts } from './text.js';

export type { Backbone, BackboneInput } from '../../nn/backbone.js';
export { type ClipCamOptions, type ClipCams, clipCams, type LastBlocks, lastBlocks } from './cams.js';
export { type ClipConfig, parseClipConfig } from './config.js';
export { clipFiles, readClipFolder } from './files.js';
export { randomClip } from './init.js';
export { buildClip, loadClip } from './load.js';
export { ClipModel, type PositionRule, type VisionVariant } from './model.js';
export { type OpenedClip, openClip, openClipFolder, openDenseClip } from './open.js';
export { clipPreprocess, preprocess } from './preprocess.js';
export { encodeIds, encodeTexts } from './text.js';
export { normaliseRows, type TrainRows, trainPixels, trainRows } from './train-pixels.js';

/** Opens a folder with config.json and weights for raw use: values by name, gradients (f32). */
export async function loadClipBackbone(
  folder: string,
  config: ClipConfig,
  weightsFile: string,
  options: LoadClipOptions,
): Promise<Backbone> {
  const weights = await openWeights(weightsFile);
  let model: ClipModel;
  try {
    model = await loadClip(config, weights, options);
  } finally {
    await weights.close();
  }
  let tokenizer: ReturnType<typeof loadTokenizer> | undefined;
  return {
    kind: 'clip',
    config,
    parameters: options.trainable ? model.parameters : new Map(),
    names: clipNames(model),
    forward: (inputs, names) => clipForward(model, inputs, names),
    inspect: inspectWith((inputs, names) => clipForward(model, inputs, names)),
    encodeImage: (pixels: BackboneInput) =>
      hostValue(() => clipForward(model, { pixel_values: pixels }, ['image_embeds']).image_embeds as Tensor),
    encodeText: async (texts) => {
      tokenizer ??= loadTokenizer(folder);
      const loaded = await tokenizer;
      return hostValue(() => l2Normalise(encodeTexts(model, loaded, [texts].flat() as string[])));
    },
    dispose: () => model.dispose(),
  };
}

/** `model_type`s this family answers to. */
export const clipTypes: readonly string[] = ['clip'];
