/** Encoder families by the `model_type` of config.json. */
import { bertTypes, loadBertBackbone } from '../backbones/bert/index.js';
import { type Backbone, clipTypes, loadClipBackbone, openDenseClip, parseClipConfig } from '../backbones/clip/index.js';
import { defaultCompute, onDevice, parseDType, resolveDevice } from '../engine/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { type ModelFolder, readModelFolder } from './folder.js';
import { type MatchingModel, matchingTypes, openMatch, openMatching } from './matching.js';

export { type Backbone, type BackboneInput, preprocess } from '../backbones/clip/index.js';
export {
  type CrossAttention,
  type CrossAttentionPlace,
  type MatchingModel,
  type MatchingTokens,
  openMatching,
} from './matching.js';

export interface LoadBackboneOptions {
  /** cpu (default), cuda, cuda:N or auto. */
  readonly device?: string;
  /** fp32 (default; trainable) or bf16 (forward only). */
  readonly dtype?: string;
  /** Look for NaN and infinity in the weights. Default true. */
  readonly checkWeights?: boolean;
  /** BLIP: eps of the picture side's norms in place of config.json's, above 0 and below 0.1 (docs/backbones.md). */
  readonly visionEps?: number;
}

/**
 * Opens a folder's encoder for raw use.
 * @throws E_MODEL_FORMAT for an unknown model_type, E_WEIGHTS, E_WEIGHTS_VALUE, E_DEVICE, E_OPTION
 */
export async function loadBackbone(folder: string, options: LoadBackboneOptions = {}): Promise<Backbone> {
  const { device, dtype } = placeOf(options);
  const files = await readModelFolder(folder);
  const opened = { compute: dtype, trainable: dtype === 'f32', ...loadOptions(options) };
  const backbone = await onDevice(device, () => openBackbone(files, opened));
  return {
    ...backbone,
    forward: (...inputs) => onDevice(device, () => backbone.forward(...inputs)),
    inspect: (...inputs) => onDevice(device, () => backbone.inspect(...inputs)),
    encodeImage: (...inputs) => onDevice(device, () => backbone.encodeImage(...inputs)),
    encodeText: (...inputs) => onDevice(device, () => backbone.encodeText(...inputs)),
  };
}

function loadOptions({ checkWeights, visionEps }: LoadBackboneOptions): { checkWeights?: boolean; visionEps?: number } {
  if (visionEps !== undefined && !(visionEps > 0 && visionEps < 0.1)) {
    throw new WordmaskError('E_OPTION', `visionEps must be above 0 and below 0.1, got ${show(visionEps)}`, {
      details: { option: 'visionEps' },
    });
  }
  return { checkWeights, visionEps };
}

function placeOf(options: LoadBackboneOptions): { device: string; dtype: 'f32' | 'bf16' } {
  const device = resolveDevice(options.device ?? 'cpu');
  const dtype =
    options.dtype === undefined ? 'f32' : options.dtype === 'auto' ? defaultCompute(device) : parseDType(options.dtype);
  if (dtype === 'f32' || dtype === 'bf16') return { device, dtype };
  throw new WordmaskError('E_OPTION', `dtype must be auto, fp32 or bf16, got ${show(options.dtype)}`, {
    details: { option: 'dtype' },
  });
}

/**
 * Opens a folder's matching model (BLIP, ALBEF, mPLUG, BridgeTower) for its cross-attention: GradCAM at one layer and chosen heads,
 * weights in the layout of the fastest kernels. Tensors that it makes are the caller's to dispose.
 * @throws E_MODEL_FORMAT for a family without match head, E_WEIGHTS, E_WEIGHTS_VALUE, E_TOKENIZER, E_DEVICE, E_OPTION
 */
export async function loadMatching(folder: string, options: LoadBackboneOptions = {}): Promise<MatchingModel> {
  const { device, dtype } = placeOf(options);
  const files = await readModelFolder(folder);
  return onDevice(device, () => openMatching(files, { compute: dtype, ...loadOptions(options) }));
}

function openBackbone(
  files: ModelFolder,
  options: { compute: 'f32' | 'bf16'; trainable: boolean } & ReturnType<typeof loadOptions>,
): Promise<Backbone> {
  const { modelType } = files;
  if (clipTypes.includes(modelType)) {
    const config = parseClipConfig(files.configFile, files.config);
    return loadClipBackbone(files.tokenizer, config, files.weights, options);
  }
  if (bertTypes.includes(modelType)) return loadBertBackbone(files, options);
  if (matchingTypes.includes(modelType)) return openMatch(files, options).then((opened) => opened.asBackbone());
  throw new WordmaskError(
    'E_MODEL_FORMAT',
    `${files.path}: model_type ${show(modelType)} is not one of ${[...clipTypes, ...bertTypes, ...matchingTypes].join(', ')}`,
    { details: { folder: files.path } },
  );
}

/**
 * Opens the encoder of a folder for a system that runs on the given families.
 * @throws E_MODEL_FORMAT when the folder's family is not among them; as `openDenseClip`
 */
export function openDenseBackbone(
  folder: ModelFolder,
  system: { readonly name: string; readonly backbones: readonly string[] },
  options: Parameters<typeof openDenseClip>[1],
): ReturnType<typeof openDenseClip> {
  if (!clipTypes.includes(folder.modelType) || !system.backbones.includes(folder.modelType)) {
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${folder.path}: model_type ${show(folder.modelType)} does not fit the system ${system.name}, which runs on ${system.backbones.join(', ')}`,
      { details: { folder: folder.path } },
    );
  }
  return openDenseClip(folder, options);
}
