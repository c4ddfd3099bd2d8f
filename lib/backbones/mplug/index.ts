/** mPLUG image-text matching: config, model, names, and its opener. As X-PLUG/mPLUG's retrieval model; [CLS] stays at position 0. */
import { ShapeReader } from '../../nn/config.js';
import { type MatchFiles, type MatchOptions, matchOf, type OpenedMatch } from '../../nn/match/model.js';
import { TensorMaps } from '../../nn/tensor-maps.js';
import { captionTokenizer } from '../../text/index.js';
import { readModelTensors } from '../../weights/index.js';
import { parseMplugConfig } from './config.js';
import { mplugInfix, mplugTensors } from './keys.js';
import { MplugCore } from './model.js';

/** `model_type`s this family answers to. */
export const mplugTypes: readonly string[] = ['mplug'];

/** @throws E_MODEL_FORMAT, E_WEIGHTS, E_WEIGHTS_VALUE, E_DISK */
export async function openMplug(files: MatchFiles, options: MatchOptions): Promise<OpenedMatch> {
  const model = await readModelTensors(files.weights, {
    rules: [],
    infix: mplugInfix,
    check: options.checkWeights,
    signal: options.signal,
    configure: (shapes) => {
      const config = parseMplugConfig(files.configFile, files.config, new ShapeReader(shapes));
      return { config, ...mplugTensors(config) };
    },
  });
  const maps = new TensorMaps(model.tensors, options);
  const core = new MplugCore(model.config, maps);
  return matchOf(
    'mplug',
    model.config,
    model,
    [core, maps],
    () =>
      captionTokenizer(files.tokenizer, {
        kind: 'bert',
        start: '[CLS]',
        rows: model.config.text.vocabulary,
        signal: options.signal,
      }),
    options.trainable,
  );
}
