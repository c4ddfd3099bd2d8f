/**
 * A linear probe: how much the patches of a frozen tower know, whatever words can say of it. Softmax regression from the final
 * hidden state of a patch to the class that fills most of it, trained with the package's AdamW on training scenes.
 */
import { type SceneSize, sceneClasses } from '../../data/drawn-scenes/index.js';
import {
  adamwStep,
  add,
  argmax,
  backward,
  crossEntropy,
  fill,
  gather,
  matmul,
  mean,
  noGrad,
  normaliseImage,
  requireGrad,
  resize,
  scope,
  sync,
  Tensor,
} from '../../engine/index.js';
import type { Model } from '../../pipelines/model.js';
import { Random } from '../../util/random.js';
import { majority } from './grid.js';
import { type Labels, type Picture, pictures, type SceneSet } from './scenes.js';

const classes = sceneClasses.length;
const batch = 2048;
const rate = 0.02;
const [beta1, beta2] = [0.9, 0.99];

/** Weights [34, D] and bias [34]. */
export interface Probe {
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly width: number;
}

/** Final hidden state of the patches of a picture at a size, [h, w, D] row by row. */
export async function patchStates(
  model: Model,
  { image }: Pick<Picture, 'image'>,
  size: SceneSize,
): Promise<{ data: Float32Array; grid: readonly [number, number] }> {
  const options = model.dense.options();
  const { patch } = model.info.sizes;
  const grid = [Math.floor(size.height / patch), Math.floor(size.width / patch)] as const;
  const data = await scope(() => {
    const source = Tensor.from(image.data, [image.height, image.width, 3], 'u8');
    const same = image.width === size.width && image.height === size.height;
    const canvas = same ? source : resize(source, { ...size, mode: 'opencv_linear' });
    const pixels = normaliseImage(
      canvas,
      Tensor.from(Float32Array.from(options.mean)),
      Tensor.from(Float32Array.from(options.std)),
    );
    const states = model.dense.parts.probe(pixels.reshape(1, ...pixels.shape), options, 'value_features'); // [D, h, w]
    return states.permute(1, 2, 0).contiguous().data();
  });
  return { data: data as Float32Array, grid };
}

/** Trains on the scenes of a set; the order of the patches is drawn from the seed. */
export async function trainProbe(
  model: Model,
  set: SceneSet,
  { steps, seed, signal }: { steps: number; seed: number; signal?: AbortSignal },
): Promise<Probe> {
  const { width } = model.info.sizes;
  const states: Float32Array[] = [];
  const targets: number[] = [];
  for await (const group of pictures(set, { signal }))
    for (const picture of group) {
      const { data, grid } = await patchStates(model, picture, set);
      states.push(data);
      targets.push(...majority(picture.truth, set, grid));
    }
  const all = new Float32Array(targets.length * width);
  let at = 0;
  for (const part of states) {
    all.set(part, at);
    at += part.length;
  }
  return regress(all, Int32Array.from(targets), width, { steps, seed, signal });
}

/** Softmax regression of rows [M, D] on their classes. */
export async function regress(
  rows: Float32Array,
  targets: Int32Array,
  width: number,
  { steps, seed, signal }: { steps: number; seed: number; signal?: AbortSignal },
): Promise<Probe> {
  const length = classes * (width + 1);
  const random = new Random(seed).fork('probe');
  return scope(async () => {
    const x = Tensor.from(rows, [targets.length, width]);
    const group = {
      parameters: requireGrad(fill([length], 0)),
      moments: fill([2, length], 0),
      sizes: Tensor.from(Int32Array.of(length)),
    };
    for (let step = 1; step <= steps; step++) {
      signal?.throwIfAborted();
      const picked = Int32Array.from({ length: Math.min(batch, targets.length) }, () => random.int(targets.length));
      scope(() => {
        const weight = group.parameters.slice(0, 0, classes * width).reshape(classes, width);
        const logits = add(
          matmul(gather(x, Tensor.from(picked)), weight, { transposeB: true }),
          group.parameters.slice(0, classes * width),
        ); // [B, 34]
        const loss = mean(crossEntropy(logits, Tensor.from(picked.map((i) => targets[i] as number))));
        const gradient = backward(loss, { wrt: [group.parameters] }).get(group.parameters);
        const correction = Math.sqrt(1 - beta2 ** step) / (1 - beta1 ** step);
        const numbers = {
          ...{ scale: 1, beta1, beta2, keep: 1, eps: 1e-8 },
          rate: rate * 0.5 * (1 + Math.cos((Math.PI * step) / (steps + 1))) * correction,
          correction: 1,
        };
        noGrad(() => adamwStep(group, [gradient], numbers));
      });
      await sync();
    }
    const values = (await group.parameters.detach().data()) as Float32Array;
    return { weight: values.slice(0, classes * width), bias: values.slice(classes * width), width };
  });
}

/** The probe's labels of a picture read whole at a size: logits of the patches, stretched bilinearly. */
export async function probeLabels(model: Model, probe: Probe, picture: Picture, size: SceneSize): Promise<Labels> {
  const { data, grid } = await patchStates(model, picture, size);
  const { width, height } = picture.image;
  const labels = await scope(() => {
    const states = Tensor.from(data, [grid[0] * grid[1], probe.width]);
    const weight = Tensor.from(probe.weight, [classes, probe.width]);
    const logits = add(matmul(weight, states, { transposeB: true }), Tensor.from(probe.bias, [classes, 1])); // [34, P]
    const maps = resize(logits.reshape(classes, ...grid), { width, height, mode: 'torch_bilinear' });
    return argmax(maps, 0).data();
  });
  return Uint8Array.from(labels as Int32Array);
}
