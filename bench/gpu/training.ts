/** A training step of MGCA as kernels.md section 6 counts it: frozen CLIP B/16, decoder, three losses, backward, AdamW. */
import { denseClipEncoder } from '#lib/backbones/clip/dense.js';
import { encodeIds } from '#lib/backbones/clip/text.js';
import {
  type AlignmentStats,
  backward,
  checkpoint,
  concat,
  noGrad,
  requireGrad,
  scope,
  type Tensor,
} from '#lib/engine/index.js';
import { mgcaFromStats, mgcaLossDefaults, mgcaStats } from '#lib/nn/losses/index.js';
import { AdamW } from '#lib/nn/optim/index.js';
import { familyDefaults } from '#lib/post/dense-options.js';
import { decode, initialDecoder } from '#lib/systems/mgca/decoder.js';
import { encoderOptions } from '#lib/systems/mgca/index.js';
import type { Bench, GpuCase, Prepared } from './case.js';
import { randomModel, sizes } from './random-model.js';

/** Images whose decoder values are kept at once; those of the others are made again in the backward pass. */
const imagesAtOnce = 128;

function build(b: Bench, images: number): Prepared {
  const size = b.tiny ? sizes.tiny : sizes.b16;
  const clip = randomModel(size, true);
  const encoder = denseClipEncoder(clip);
  const parameters = initialDecoder(size.embed, 1);
  for (const tensor of parameters.values()) requireGrad(tensor);
  const optimiser = new AdamW(parameters, { lr: 1e-4, decay: 0.05 });
  const cells = size.side / size.patch;
  const rows = b.normal([images, cells * cells, 3 * size.patch ** 2]);
  const { positions, eosTokenId } = clip.config.text;
  const ids = Array.from({ length: images }, (_, i) =>
    Array.from({ length: positions }, (_, k) => (k === positions - 1 ? eosTokenId : (7919 * (i + k)) % eosTokenId)),
  );
  const losses = (): Tensor => {
    const text = noGrad(() => encodeIds(clip, ids)); // [B, E]
    const parts: AlignmentStats[] = [];
    for (let begin = 0; begin < images; begin += imagesAtOnce) {
      const end = Math.min(images, begin + imagesAtOnce);
      const features = noGrad(() =>
        encoder.encode(rows.slice(0, begin, end), [cells, cells], { ...familyDefaults, ...encoderOptions }, false),
      ).features; // [n, P, E]
      const [regions, cosines, pixels] = checkpoint(
        (x, words) => {
          const map = decode(x.reshape(end - begin, cells, cells, size.embed), optimiser.parameters, 'bf16');
          const stats = mgcaStats(
            map.reshape(end - begin, 4 * cells * cells, size.embed),
            words,
            mgcaLossDefaults,
            begin,
          );
          return [stats.regions, stats.cosines, stats.pixels];
        },
        features,
        text,
      ) as [Tensor, Tensor, Tensor];
      parts.push({ regions, cosines, pixels });
    }
    const join = (name: keyof AlignmentStats) =>
      parts.length === 1
        ? (parts[0] as AlignmentStats)[name]
        : concat(
            parts.map((part) => part[name]),
            0,
          );
    return mgcaFromStats(
      { regions: join('regions'), cosines: join('cosines'), pixels: join('pixels') },
      text,
      mgcaLossDefaults,
    ).total;
  };
  return {
    call: () =>
      scope(() => {
        const grads = backward(losses(), { wrt: [...optimiser.parameters.values()] });
        noGrad(() =>
          optimiser.step(new Map([...optimiser.parameters].map(([name, p]) => [name, grads.get(p) as Tensor]))),
        );
      }),
    close: () => {
      encoder.dispose();
      clip.dispose();
    },
  };
}

export function trainingCases(bench: Bench): GpuCase[] {
  const images = bench.tiny ? 3 : 1024;
  return [
    {
      group: 'training',
      name: 'MGCA step of 1024 pairs',
      shape: `${images} pictures of 224 and texts of 77 tokens`,
      dtype: 'bf16',
      cost: { flops: (70e12 * images) / 1024 },
      items: images,
      target: { unit: 'per second', accept: 4500, goal: 5800 },
      trains: true,
      build: (b) => build(b, images),
    },
  ];
}
