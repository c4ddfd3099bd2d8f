/** Stochastic gradient descent with momentum over one flat parameter group (kernels.md R2). */
import { defineOp } from '../../card.js';
import { run } from '../../run.js';
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

/** g = scale grad + decay p; b = momentum b + g; p -= rate (nesterov ? g + momentum b : b) */
const attrs = { scale: 1, momentum: 0.9, decay: 0, rate: 0.1, nesterov: false as boolean };
const parts = [
  { shape: [samplePartTotal] },
  { shape: [samplePartTotal] },
  sampleSizes(...samplePartSizes),
  ...sampleParts,
];

export const sgdCard = defineOp({
  name: 'sgd',
  inputs: ['parameters', 'momentum', 'sizes', '...gradients?'],
  attrs,
  inPlace: 'all',
  shape: (specs) => {
    const flat = checkFlat('sgd', specs, specs[2]!, 3);
    return [flat, checkBeside('sgd', specs, 1, flat.shape)];
  },
  reference: ([p, momentum, sizes, ...grads], a) => {
    const [value, buffer] = [p!.data.slice(), momentum!.data.slice()];
    eachElement(sizes!, grads, (x, i) => {
      const g = a.scale * x + a.decay * (value[i] as number);
      const b = a.momentum * (buffer[i] as number) + g;
      buffer[i] = b;
      value[i] = (value[i] as number) - a.rate * (a.nesterov ? g + a.momentum * b : b);
    });
    return [
      { data: value, shape: p!.shape },
      { data: buffer, shape: p!.shape },
    ];
  },
  samples: [
    { name: 'momentum and decay', inputs: parts, attrs: { scale: 0.5, decay: 0.01 } },
    { name: 'nesterov', inputs: parts, attrs: { momentum: 0.8, nesterov: true, decay: 0.1 } },
    {
      name: 'parts of whole vectors',
      inputs: [{ shape: [2116] }, { shape: [2116] }, sampleSizes(64, 2052), { shape: [64] }, { shape: [2052] }],
      attrs: { scale: 0.5, nesterov: true },
    },
    {
      name: 'plain',
      inputs: [{ shape: [37] }, { shape: [37] }, sampleSizes(37), { shape: [37] }],
      attrs: { momentum: 0 },
    },
    { name: 'empty', inputs: [{ shape: [0] }, { shape: [0] }, sampleSizes()] },
  ],
  bench: [
    {
      name: '8 Mi parameters',
      inputs: [{ shape: [1 << 23] }, { shape: [1 << 23] }, sampleSizes(1 << 23), { shape: [1 << 23] }],
      attrs: { nesterov: true },
      bytes: 20 * 2 ** 23,
    },
  ],
});

/**
 * One step, in place, on parameters [N] and their momentum [N]: g = scale grad + decay p, b = momentum b + g,
 * p -= rate (nesterov ? g + momentum b : b). Where a gradient is undefined, that parameter stays. For optimisers alone.
 * @throws E_OPTION
 */
export function sgdStep(
  { parameters, momentum, sizes }: { parameters: Tensor; momentum: Tensor; sizes: Tensor },
  gradients: readonly (Tensor | undefined)[],
  numbers: Partial<typeof attrs>,
): void {
  for (const handle of run(sgdCard, [parameters, momentum, sizes, ...gradients], numbers)) handle.dispose();
}
