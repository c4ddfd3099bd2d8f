/** Predictions of single pictures as an evaluation made them, for reports that show some. */
import type { EvalDataset, EvalItem, LabelPlane } from '../data/dataset.js';
import type { Model } from '../pipelines/model.js';
import { mappedLabels } from './picture.js';
import { type ProtocolRequest, setUp } from './setup.js';

/**
 * Runs a picture again under the same protocol: class indices at its own size, the highest value of the type for "no class".
 * @throws as `evaluate`
 */
export async function predictWith(
  model: Model,
  dataset: EvalDataset,
  protocol: ProtocolRequest | undefined,
  signal?: AbortSignal,
): Promise<(item: EvalItem) => Promise<LabelPlane>> {
  const { vocabulary, options, classOf } = await setUp(model, dataset, protocol, signal);
  return async (item) => {
    const picture = item.picture ? await item.picture(signal) : item.image;
    const { width, height, labels } = await model.segment(picture, vocabulary, {
      ...options,
      ...(signal && { signal }),
    });
    return { width, height, data: await mappedLabels(labels, classOf, dataset.classes.length, signal) };
  };
}
