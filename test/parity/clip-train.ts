/**
 * Losses and gradients of caption training against PyTorch: node build/ts/test/parity/clip-train.js DIR writes one batch of a toy
 * model with its losses and gradients; test/parity/clip_train_reference.py DIR computes them with transformers' CLIPModel.
 */
import { trainClip } from '#lib/systems/clip/train.js';
import { captionPair, toyRequest } from '../helpers/caption-pairs.js';
import { writeTrainStep } from '../helpers/train-step.js';

const folder = process.argv[2] as string;
const model = await trainClip(toyRequest());
const samples = Array.from({ length: 6 }, (_, i) => captionPair(i, 24));
console.log(
  `${await writeTrainStep(folder, model, samples)} gradients of ${model.parameters.size} parameters in ${folder}`,
);
