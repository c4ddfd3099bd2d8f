/** A dense system over a CLIP folder: weights, tokenizer, system. */
import { type ClipModel, clipTypes, encodeTexts, loadClip, parseClipConfig, probeClip, probeNames } from '../backbones/clip/index.js';
import type { Tensor } from '../engine/index.js';
import type { DenseOptions } from '../post/dense-options.js';
import type { DenseSystem } from '../post/dense-system.js';
import type { DenseSystemModule } from '../systems/types.js';
import { loadTokenizer } from '../text/index.js';
import { WordmaskError, show } from '../util/errors.js';
import { sha256, sha256File } from '../util/files.js';
import { openWeights } from '../weights/index.js';
import type { ModelFolder } from './folder.js';

export interface BuiltModel {
  readonly system: DenseSystem;
  readonly embed: number;
  /** SHA-256 over the weights files. */
  readonly hash: string;
  readonly sizes: { readonly patch: number; readonly embed: number; readonly parametersBytes: number; readonly width: number };
  encodeText(texts: readonly string[], warnings: string[]): Tensor;
  readonly probeNames: readonly string[];
  probe(pixels: Tensor, options: DenseOptions, name: string): Tensor;
  dispose(): void;
}

export async function buildDenseClip(
  module: DenseSystemModule, folder: ModelFolder, options: { compute: 'f32' | 'bf16'; checkWeights: boolean; signal?: AbortSignal },
): Promise<BuiltModel> {
  if (!clipTypes.includes(folder.modelType) || !module.info.backbones.includes(folder.modelType)) {
    throw new WordmaskError('E_MODEL_FORMAT', `${folder.path}: model_type ${show(folder.modelType)} does not fit the system ${module.info.name}, which runs on ${module.info.backbones.join(', ')}`, { details: { folder: folder.path } });
  }
  const config = parseClipConfig(folder.configFile, folder.config);
  const tokenizer = await loadTokenizer(folder.tokenizer, { signal: options.signal });
  if (tokenizer.vocabSize > config.text.vocabulary) {
    throw new WordmaskError('E_TOKENIZER', `${folder.tokenizer}: the tokenizer has ${tokenizer.vocabSize} ids, the text tower only ${config.text.vocabulary}`, { details: { folder: folder.tokenizer } });
  }
  const weights = await openWeights(folder.weights, { signal: options.signal });
  let model: ClipModel;
  let hash: string;
  try {
    const digests = Promise.all(weights.files.map((file) => sha256File(file.path, { signal: options.signal })));
    digests.catch(() => undefined);
    model = await loadClip(config, weights, options);
    hash = await digests.then((list) => (list.length === 1 ? (list[0] as string) : sha256(list.join('\n'))));
  } finally {
    await weights.close();
  }
  return {
    system: module.build(model), embed: config.embed, hash,
    sizes: { patch: config.vision.patch, embed: config.embed, parametersBytes: weights.bytes, width: config.vision.width },
    encodeText: (texts, warnings) => encodeTexts(model, tokenizer, texts, warnings),
    probeNames,
    probe: (pixels, dense, name) => probeClip(model, pixels, dense, name as (typeof probeNames)[number]),
    dispose: () => model.dispose(),
  };
}
