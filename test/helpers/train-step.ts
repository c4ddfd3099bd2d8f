/** One batch of a system in training as files: what a reference in another language reads. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { backward, type Tensor } from '#lib/engine/index.js';
import type { HostBatch, PairSample, Trainable } from '#lib/nn/trainable.js';
import { type TensorToWrite, writeSafetensors } from '#lib/weights/index.js';
import { stepContext } from './caption-pairs.js';

/** Writes the model folder and step.safetensors (`batch.*`, `loss.*`, `grad.*`). @returns number of gradients */
export async function writeTrainStep(
  folder: string,
  model: Trainable,
  samples: readonly PairSample[],
): Promise<number> {
  await mkdir(folder, { recursive: true });
  const context = stepContext(0, 10);
  const batch = (await model.prepare(samples, context)) as HostBatch;
  for (const [name, content] of Object.entries(await model.describe())) await writeFile(join(folder, name), content);
  await writeSafetensors(join(folder, 'model.safetensors'), await values(model.parameters, ''));
  const losses = model.losses(batch, context);
  const grads = backward(losses.total);
  const found = [...model.parameters].flatMap(([name, tensor]) => {
    const grad = grads.get(tensor);
    return grad ? [[name, grad] as const] : [];
  });
  const inputs = Object.entries(batch).map(([name, { data, shape }]): [string, TensorToWrite] => [
    `batch.${name}`,
    { data, shape },
  ]);
  await writeSafetensors(join(folder, 'step.safetensors'), [
    ...inputs,
    ...(await values(Object.entries(losses), 'loss.')),
    ...(await values(found, 'grad.')),
  ]);
  return found.length;
}

async function values(tensors: Iterable<readonly [string, Tensor]>, prefix: string) {
  const list: [string, TensorToWrite][] = [];
  for (const [name, tensor] of tensors) list.push([prefix + name, { data: await tensor.data(), shape: tensor.shape }]);
  return list;
}
