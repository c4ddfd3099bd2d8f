/** Matching families by the `model_type` of config.json, or by the names of the tensors where it says none. */
import { albefTypes, openAlbef } from '../backbones/albef/index.js';
import {
  blipTypes,
  type MatchingModel,
  type MatchOptions,
  type OpenedMatch,
  openBlip,
} from '../backbones/blip/index.js';
import { bridgeTowerTypes, openBridgeTower } from '../backbones/bridgetower/index.js';
import { mplugTypes, openMplug } from '../backbones/mplug/index.js';
import { show, WordmaskError } from '../util/errors.js';
import type { ModelFolder } from './folder.js';

export type {
  CrossAttention,
  CrossAttentionPlace,
  MatchingModel,
  MatchingTokens,
} from '../backbones/blip/index.js';

const families: readonly { readonly types: readonly string[]; readonly open: typeof openBlip }[] = [
  { types: blipTypes, open: openBlip },
  { types: albefTypes, open: openAlbef },
  { types: mplugTypes, open: openMplug },
  { types: bridgeTowerTypes, open: openBridgeTower },
];

export const matchingTypes: readonly string[] = families.flatMap(({ types }) => types);

/** @throws E_MODEL_FORMAT for another family; E_WEIGHTS, E_WEIGHTS_VALUE, E_DISK */
export function openMatch(folder: ModelFolder, options: MatchOptions): Promise<OpenedMatch> {
  const family = families.find(({ types }) => types.includes(folder.modelType));
  if (family) return family.open(folder, options);
  throw new WordmaskError(
    'E_MODEL_FORMAT',
    `${folder.path}: model_type ${show(folder.modelType)} has no head that matches text and picture; those that have are ${matchingTypes.join(', ')}`,
    { details: { folder: folder.path } },
  );
}

/**
 * Opens a model that matches texts with pictures, for a system that reads its cross-attention. Its weights lie where tensors are
 * made (`onDevice`).
 * @throws E_MODEL_FORMAT when the folder's family has no match head; E_WEIGHTS, E_WEIGHTS_VALUE, E_TOKENIZER, E_DISK
 */
export async function openMatching(
  folder: ModelFolder,
  options: { compute: 'f32' | 'bf16'; checkWeights?: boolean; visionEps?: number; signal?: AbortSignal },
): Promise<MatchingModel> {
  return (await openMatch(folder, options)).asMatching();
}
