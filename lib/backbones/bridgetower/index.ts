/** BridgeTower image-text matching: config, model, names, and its opener. As Hugging Face's `BridgeTowerForImageAndTextRetrieval`. */
import { type MatchFiles, type MatchOptions, matchOf, type OpenedMatch } from '../../nn/match/model.js';
import { TensorMaps } from '../../nn/tensor-maps.js';
import { captionTokenizer } from '../../text/index.js';
import { readModelTensors } from '../../weights/index.js';
import { parseBridgeTowerConfig } from './config.js';
import { bridgeTowerIgnored, bridgeTowerInfix, bridgeTowerRules, bridgeTowerTensors } from './keys.js';
import { BridgeTowerCore } from './model.js';

/** `model_type`s this family answers to. */
export const bridgeTowerTypes: readonly string[] = ['bridgetower'];

/** @throws E_MODEL_FORMAT, E_WEIGHTS, E_WEIGHTS_VALUE, E_DISK */
export async function openBridgeTower(files: MatchFiles, options: MatchOptions): Promise<OpenedMatch> {
  const config = parseBridgeTowerConfig(files.configFile, files.config);
  const model = await readModelTensors(files.weights, {
    rules: bridgeTowerRules,
    infix: bridgeTowerInfix,
    ignore: bridgeTowerIgnored,
    check: options.checkWeights,
    signal: options.signal,
    configure: () => ({ config, wanted: bridgeTowerTensors(config) }),
  });
  const maps = new TensorMaps(model.tensors, options);
  const core = new BridgeTowerCore(config, maps);
  return matchOf(
    'bridgetower',
    config,
    model,
    [core, maps],
    () =>
      captionTokenizer(files.tokenizer, {
        kind: 'roberta',
        start: '<s>',
        rows: config.text.vocabulary,
        signal: options.signal,
      }),
    options.trainable,
  );
}
