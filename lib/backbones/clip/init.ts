/**
 * CLIP from nothing: random values by the rule of the published code (openai/CLIP, `initialize_parameters`), which the text
 * tower follows there and both towers here: deviations width^-1/2 for what reads the stream, less by (2 layers)^-1/2 for what
 * writes to it. The temperature starts at 1 / 0.07.
 */
import { fill, isolated, randomBlocks, randomNormal, Tensor } from '../../engine/index.js';
import type { ClipConfig, TowerConfig } from './config.js';
import { clipTensors } from './keys.js';

/** ln(1 / 0.07) */
const startScale = Math.log(1 / 0.07);

/** Every tensor of the model by Hugging Face name, f32, a function of config and seed alone. */
export function randomClip(config: ClipConfig, seed: number): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  let offset = 0;
  isolated(() => {
    for (const [name, shape] of [...clipTensors(config)].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const deviation = deviationOf(name, config);
      tensors.set(
        name,
        name === 'logit_scale' ? Tensor.scalar(startScale) : draw(name, shape, deviation, seed, offset),
      );
      offset += randomBlocks(shape);
    }
  });
  return tensors;
}

function draw(name: string, shape: readonly number[], deviation: number, seed: number, offset: number): Tensor {
  if (deviation > 0) return randomNormal(shape, { seed, offset, deviation });
  return fill(shape, /norm\w*\.weight$/.test(name) ? 1 : 0, 'f32');
}

/** 0: a constant. */
function deviationOf(name: string, { vision, text }: ClipConfig): number {
  if (name.endsWith('.bias') || /norm\w*\.weight$/.test(name)) return 0;
  const ofText = name.startsWith('text');
  const tower: TowerConfig = ofText ? text : vision;
  const reads = tower.width ** -0.5;
  const writes = reads * (2 * tower.layers) ** -0.5;
  if (name.endsWith('patch_embedding.weight')) return (3 * vision.patch ** 2) ** -0.5;
  if (name.endsWith('token_embedding.weight')) return 0.02;
  if (name.endsWith('position_embedding.weight')) return ofText ? 0.01 : reads;
  if (name.endsWith('out_proj.weight') || name.endsWith('fc2.weight')) return writes;
  if (name.endsWith('fc1.weight')) return (2 * tower.width) ** -0.5;
  return reads;
}
