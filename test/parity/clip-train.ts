/**
 * Losses and gradients of caption training against PyTorch: node build/ts/test/parity/clip-train.js DIR writes one batch of a toy
 * model with its losses and gradients; test/parity/clip_train_reference.py DIR computes them with transformers' CLIPModel.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { backward } from '#lib/engine/index.js';
import type { HostBatch } from '#lib/nn/trainable.js';
import { trainClip } from '#lib/systems/clip/train.js';
import { type TensorToWrite, writeSafetensors } from '#lib/weights/index.js';
import { captionPair, stepContext, toyRequest } from '../helpers/caption-pairs.js';

const folder = process.argv[2] as string;
await mkdir(folder, { recursive: true });
const model = await trainClip(toyRequest());
const context = stepContext(0, 10);
const samples = Array.from({ length: 6 }, (_, i) => captionPair(i, 24));
const batch = await model.prepare(samples, context);
for (const [name, content] of Object.entries(await model.describe())) await writeFile(join(folder, name), content);

const values = async (tensors: Iterable<readonly [string, import('#lib/engine/index.js').Tensor]>, prefix: string) => {
  const list: [string, TensorToWrite][] = [];
  for (const [name, tensor] of tensors) list.push([prefix + name, { data: await tensor.data(), shape: tensor.shape }]);
  return list;
};
await writeSafetensors(join(folder, 'model.safetensors'), await values(model.parameters, ''));
const losses = model.losses(batch as HostBatch, context);
const grads = backward(losses.total);
const found = [...model.parameters].map(([name, tensor]) => [name, grads.get(tensor)] as const);
const present = found.filter((pair): pair is readonly [string, NonNullable<(typeof pair)[1]>] => pair[1] !== undefined);
const inputs = Object.entries(batch).map(([name, { data, shape }]): [string, TensorToWrite] => [
  `batch.${name}`,
  { data, shape },
]);
await writeSafetensors(join(folder, 'step.safetensors'), [
  ...inputs,
  ...(await values(Object.entries(losses), 'loss.')),
  ...(await values(present, 'grad.')),
]);
console.log(`${present.length} gradients of ${found.length} parameters in ${folder}`);
