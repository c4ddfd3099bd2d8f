/** The family of a folder whose config.json does not name one, told from the names of its tensors. */
import { openWeights } from '../weights/index.js';

/** Marks that one family's checkpoints have and the others before it lack; the first that fits counts. */
const marks: readonly (readonly [type: string, mark: RegExp])[] = [
  ['bridgetower', /(^|\.)cross_modal_text_layers\.0\./],
  ['mplug', /(^|\.)fusion_encoder\./],
  ['blip', /(^|\.)text_encoder\.(bert\.)?encoder\.layer\.0\.crossattention\./],
  ['albef', /(^|\.)text_encoder\.(bert\.)?encoder\.layer\.\d+\.crossattention\./],
  ['clip', /^(visual\.conv1\.weight|vision_model\.pre_layrnorm\.weight)$/],
  ['bert', /^(bert\.)?embeddings\.word_embeddings\.weight$/],
];

/** @throws E_WEIGHTS, E_DISK */
export async function toldFamily(weights: string, signal?: AbortSignal): Promise<string | undefined> {
  const set = await openWeights(weights, { signal });
  try {
    const names = [...set.tensors.keys()];
    return marks.find(([, mark]) => names.some((name) => mark.test(name)))?.[0];
  } finally {
    await set.close();
  }
}
