/** AdamW (arXiv 1711.05101) over one flat parameter group, in one pass (kernels.md R1). */
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import {
  checkBeside,
  checkFlat,
  eachElement,
  samplePartSizes,
  sampleParts,
  samplePartTotal,
  sampleSizes,
} from './flat.js';

/**
 * g = scale grad; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
 * p = keep p - rate m / (sqrt(v) correction + eps)
 */
const attrs = { scale: 1, beta1: 0.9, beta2: 0.999, keep: 1, rate: 1e-3, correction: 1, eps: 1e-8 };
const settings = { scale: 0.5, beta1: 0.9, beta2: 0.98, keep: 0.995, rate: 0.25, correction: 3, eps: 1e-3 };
const total = samplePartTotal;

export const adamwCard = defineOp({
  name: 'adamw',
  inputs: ['parameters', 'moments', 'half?', 'sizes', '...gradients?'],
  attrs,
  inPlace: 'all',
  mixedDtypes: true,
  shape: (specs) => {
    const half = specs[2];
    const flat = checkFlat('adamw', specs, specs[3]!, 4);
    const moments = checkBeside('adamw', specs, 1, [2, flat.shape[0] as number]);
    if (half && (half.dtype !== 'bf16' || !sameShape(half.shape, flat.shape)))
      rejectShape('adamw', 'a bf16 copy as long as the parameters', specs);
    return half ? [flat, moments, half] : [flat, moments];
  },
  reference: ([p, moments, half, sizes, ...grads], a) => {
    const n = p!.data.length;
    const [value, state] = [p!.data.slice(), moments!.data.slice()];
    const copy = half?.data.slice();
    eachElement(sizes!, grads, (x, i) => {
      const g = a.scale * x;
      const m = a.beta1 * (state[i] as number) + (1 - a.beta1) * g;
      const v = a.beta2 * (state[n + i] as number) + (1 - a.beta2) * g * g;
      state[i] = m;
      state[n + i] = v;
      value[i] = a.keep * (value[i] as number) - (a.rate * m) / (Math.sqrt(v) * a.correction + a.eps);
      if (copy) copy[i] = value[i] as number;
    });
    const outputs = [
      { data: value, shape: p!.shape },
      { data: state, shape: moments!.shape },
    ];
    return copy ? [...outputs, { data: copy, shape: p!.shape }] : outputs;
  },
  samples: [
    {
      name: 'a tensor without a gradient',
      inputs: [
        { shape: [total] },
        { shape: [2, total], fill: 'unit' },
        undefined,
        sampleSizes(...samplePartSizes),
        ...sampleParts,
      ],
      attrs: settings,
    },
    {
      name: 'bf16 copy',
      inputs: [
        { shape: [total] },
        { shape: [2, total], fill: 'unit' },
        { shape: [total], dtype: 'bf16' },
        sampleSizes(...samplePartSizes),
        ...sampleParts,
      ],
      attrs: settings,
    },
    {
      name: 'parts of whole vectors',
      inputs: [
        { shape: [4168] },
        { shape: [2, 4168], fill: 'unit' },
        { shape: [4168], dtype: 'bf16' },
        sampleSizes(64, 4104),
        { shape: [64] },
        { shape: [4104] },
      ],
      attrs: settings,
    },
    {
      name: 'first step',
      inputs: [{ shape: [37] }, { shape: [2, 37], fill: { values: [0] } }, undefined, sampleSizes(37), { shape: [37] }],
      attrs: { keep: 0.99, rate: 0.01, correction: 1 / Math.sqrt(1 - 0.999) },
    },
    { name: 'empty', inputs: [{ shape: [0] }, { shape: [2, 0] }, undefined, sampleSizes(0), { shape: [0, 3] }] },
  ],
  bench: [
    {
      name: '8 Mi parameters',
      inputs: [
        { shape: [1 << 23], dtype: 'f32' },
        { shape: [2, 1 << 23], dtype: 'f32', fill: 'unit' },
        undefined,
        sampleSizes(1 << 23),
        { shape: [1 << 23], dtype: 'f32' },
      ],
      bytes: 28 * 2 ** 23,
    },
    {
      name: '8 Mi parameters with a bf16 copy',
      inputs: [
        { shape: [1 << 23], dtype: 'f32' },
        { shape: [2, 1 << 23], dtype: 'f32', fill: 'unit' },
        { shape: [1 << 23], dtype: 'bf16' },
        sampleSizes(1 << 23),
        { shape: [1 << 23], dtype: 'f32' },
      ],
      bytes: 30 * 2 ** 23,
    },
  ],
});

export interface AdamwGroup {
  /** All parameters of the group, one after another, f32 [N]. */
  readonly parameters: Tensor;
  /** First and second moments, f32 [2, N]. */
  readonly moments: Tensor;
  /** A bf16 copy of the parameters [N], written in the same pass. */
  readonly half?: Tensor;
  /** Elements of each parameter, i32 [G]. */
  readonly sizes: Tensor;
}

/**
 * One step, in place: g = scale grad, m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
 * p = keep p - rate m / (sqrt(v) correction + eps). Where a gradient is undefined, that parameter and its moments stay.
 * For optimisers alone: it changes values others hold. @throws E_OPTION
 */
export function adamwStep(
  { parameters, moments, half, sizes }: AdamwGroup,
  gradients: readonly (Tensor | undefined)[],
  numbers: typeof attrs,
): void {
  for (const handle of run(adamwCard, [parameters, moments, half, sizes, ...gradients], numbers)) handle.dispose();
}
