/**
 * Losses and gradients of match training against PyTorch: node build/ts/test/parity/blip-train.js DIR writes one batch of a toy
 * model with its losses and gradients; test/parity/blip_train_reference.py DIR computes them with transformers'
 * BlipForImageTextRetrieval.
 */
import { trainBlip } from '#lib/systems/blip/train.js';
import { captionPair, toyMatchRequest } from '../helpers/caption-pairs.js';
import { writeTrainStep } from '../helpers/train-step.js';

const folder = process.argv[2] as string;
const model = await trainBlip(toyMatchRequest());
const samples = Array.from({ length: 7 }, (_, i) => captionPair(i, 24));
console.log(
  `${await writeTrainStep(folder, model, samples)} gradients of ${model.parameters.size} parameters in ${folder}`,
);
