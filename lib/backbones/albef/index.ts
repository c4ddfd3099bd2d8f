/**
 * ALBEF image-text matching (Li et al. 2021, arXiv 2107.07651): ViT-B/16, a BERT whose lower half reads the text alone and whose
 * upper half attends to the picture. As salesforce/ALBEF's retrieval model; [CLS] stays at position 0.
 */
import { ShapeReader } from '../../nn/config.js';
import { fusionCore, fusionTensors } from '../../nn/match/fusion-load.js';
import { type MatchFiles, type MatchOptions, matchOf, type OpenedMatch } from '../../nn/match/model.js';
import { TensorMaps } from '../../nn/tensor-maps.js';
import { captionTokenizer } from '../../text/index.js';
import { readModelTensors } from '../../weights/index.js';
import { parseAlbefConfig } from './config.js';
import { albefIgnored, albefInfix, albefRules } from './keys.js';

/** `model_type`s this family answers to. */
export const albefTypes: readonly string[] = ['albef'];

/** @throws E_MODEL_FORMAT, E_WEIGHTS, E_WEIGHTS_VALUE, E_DISK */
export async function openAlbef(files: MatchFiles, options: MatchOptions): Promise<OpenedMatch> {
  const model = await readModelTensors(files.weights, {
    rules: albefRules,
    infix: albefInfix,
    ignore: albefIgnored,
    check: options.checkWeights,
    signal: options.signal,
    configure: (shapes) => {
      const config = parseAlbefConfig(files.configFile, files.config, new ShapeReader(shapes));
      return { config, wanted: fusionTensors(config) };
    },
  });
  const maps = new TensorMaps(model.tensors, options);
  const core = fusionCore(maps, model.config, false);
  return matchOf(
    'albef',
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
