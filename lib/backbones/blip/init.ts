/**
 * BLIP from nothing. Deviations as `clip` has them for towers of this size: width^-1/2 for what reads the stream, less by
 * (2 layers)^-1/2 for what writes to it (3 for text layers, which write three times); embeddings, positions and heads 0.02 as
 * in the published code (BERT's rule). The temperature, which the published model keeps beside the weights, starts at 1 / 0.07.
 */
import { fill, isolated, randomBlocks, randomNormal, Tensor } from '../../engine/index.js';
import { fusionTensors } from '../../nn/match/fusion-load.js';
import type { BlipConfig } from './config.js';

const published = 0.02;

/** Natural logarithm of the factor on the cosines; loaders of finished models leave it. */
export const blipScale = 'logit_scale';

/** Every tensor of the model by Hugging Face name and the temperature, f32, a function of config and seed alone. */
export function randomBlip(config: BlipConfig, seed: number): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  let offset = 0;
  isolated(() => {
    for (const [name, shape] of [...fusionTensors(config)].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const deviation = deviationOf(name, shape, config);
      const constant = /norm\w*\.weight$/i.test(name) ? 1 : 0;
      tensors.set(
        name,
        deviation > 0 ? randomNormal(shape, { seed, offset, deviation }) : fill(shape, constant, 'f32'),
      );
      offset += randomBlocks(shape);
    }
    tensors.set(blipScale, Tensor.scalar(Math.log(1 / 0.07)));
  });
  return tensors;
}

/** 0: a constant. */
function deviationOf(name: string, shape: readonly number[], { vision, text }: BlipConfig): number {
  if (name.endsWith('.bias') || /norm\w*\.weight$/i.test(name)) return 0;
  if (name.endsWith('patch_embedding.weight')) return (3 * vision.patch ** 2) ** -0.5;
  if (name.includes('embedding') || name.startsWith('itm_head')) return published;
  const reads = (shape[1] as number) ** -0.5;
  if (/(output\.dense|projection|fc2)\.weight$/.test(name)) {
    const parts = name.startsWith('text') ? 3 * text.layers : 2 * vision.layers;
    return reads * parts ** -0.5;
  }
  return reads;
}
