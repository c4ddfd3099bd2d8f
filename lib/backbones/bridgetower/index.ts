/** BridgeTower image-text matching: config, model, names, and its opener. As Hugging Face's `BridgeTowerForImageAndTextRetrieval`. */
import { type MatchFiles, type MatchOptions, type OpenedMatch, openedMatch } from '../../nn/match/model.js';
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
  const { vision, text } = config;
  const maps = new TensorMaps(model.tensors, options);
  const core = new BridgeTowerCore(config, maps);
  return openedMatch({
    core,
    config,
    parameters: options.trainable ? model.byFileName : new Map(),
    hash: model.hash,
    parametersBytes: model.bytes,
    facts: {
      kind: 'bridgetower',
      patch: vision.patch,
      imageSize: vision.imageSize,
      // The table's first rows stand for padding.
      maxTokens: text.positions - text.padId - 1,
      vocabulary: text.vocabulary,
      types: text.types,
      padId: text.padId,
      dispose: () => {
        core.dispose();
        maps.dispose();
      },
    },
    tokenizer: () =>
      captionTokenizer(files.tokenizer, {
        kind: 'roberta',
        start: '<s>',
        rows: text.vocabulary,
        signal: options.signal,
      }),
  });
}
