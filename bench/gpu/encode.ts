/** Whole encoders, from pixels on the device to patch features, and whole calls, from pixels of the host to label maps (kernels.md 7). */
import { denseClipEncoder } from '#lib/backbones/clip/dense.js';
import type { RawImage } from '#lib/image/decode.js';
import type { Segmentation } from '#lib/pipelines/segmentation.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { encodeGroup, type WindowGeometry } from '#lib/post/dense-encode.js';
import { familyDefaults } from '#lib/post/dense-options.js';
import { windowFlops } from '../systems/flops.js';
import type { Bench, GpuCase, Target } from './case.js';
import { photo } from './images.js';
import { randomModel, randomNaclip, sizes, type VisionSize } from './random-model.js';

/** `count` windows side by side in one picture: no window shares pixels with another. */
function sideBySide({ side, patch }: VisionSize, count: number): WindowGeometry {
  const size = { width: side * count, height: side };
  return {
    canvas: size,
    original: size,
    boxes: Int32Array.from(
      { length: 4 * count },
      (_, i) => [0, (i >> 2) * side, side, ((i >> 2) + 1) * side][i & 3] as number,
    ),
    grid: [Math.floor(side / patch), Math.floor(side / patch)],
    stretched: { width: side, height: side, top: 0, left: 0 },
    pad: [0, 0, 0, 0],
  };
}

function encoder(bench: Bench, wanted: VisionSize, count: number, target: Target): GpuCase {
  const size = bench.tiny ? sizes.tiny : wanted;
  const windows = bench.tiny ? Math.min(count, 2) : count;
  const { layers, width, patch, side } = size;
  const tokens = Math.floor(side / patch) ** 2 + 1;
  return {
    group: 'encode',
    name: `${wanted.name}, ${count === 1 ? 'one window' : `${count} windows`}`,
    shape: `${windows} x ${tokens} x ${width}, ${layers} layers`,
    dtype: 'bf16',
    // Weights once, activations as kernels.md section 7 counts them for fused kernels.
    cost: {
      flops: windows * windowFlops(layers, tokens, width, patch),
      bytes: 24 * layers * width ** 2 + windows * layers * tokens * width * 40,
    },
    items: windows,
    target,
    torch: { spec: { kind: 'encode', windows, ...size, activation: wanted.erf ? 'gelu' : 'quick_gelu' } },
    build: (b) => {
      const model = randomModel(size);
      const dense = denseClipEncoder(model);
      const plan = sideBySide(size, windows);
      const { width: w, height: h } = plan.canvas;
      const canvases = b.rotated(() => [b.bytes([h, w, 3])] as const);
      const options = { ...familyDefaults, positions: 'exact' as const };
      return {
        call: (turn) => encodeGroup(dense, [{ canvas: canvases(turn)[0], plan, begin: 0, end: windows }], options),
        close: () => {
          dense.dispose();
          model.dispose();
        },
      };
    },
  };
}

/** Waiting for others in the same stage counts: the sum is longer than the call's share of the time. */
function meanStages(results: readonly Segmentation[]): Record<string, number> {
  const names = Object.keys(results[0]?.timings ?? {});
  const of = (name: string) => results.reduce((sum, { timings }) => sum + (timings[name] ?? 0), 0) / results.length;
  return Object.fromEntries(names.map((name) => [name, of(name)]));
}

/** Pictures of the host to label maps of the host, several in flight as a stream has them. */
function pipeline(bench: Bench, name: string, options: Record<string, unknown>, goal?: number): GpuCase {
  const size = bench.tiny ? sizes.tiny : sizes.b16;
  const [width, height] = bench.tiny ? [24, 16] : [597, 448];
  const images = bench.tiny ? 2 : 32;
  const given = bench.tiny ? { ...options, shortSide: 16, crop: 16, stride: 8 } : options;
  return {
    group: 'pipeline',
    name,
    shape: `${images} pictures of ${width} x ${height}, 21 labels`,
    dtype: 'bf16',
    cost: {},
    items: images,
    target: { unit: 'per second', goal },
    build: async (b) => {
      const model = randomNaclip(size, b.device);
      const pictures = Array.from(
        { length: images },
        (_, i): RawImage => ({ data: photo(width, height, i + 1), width, height, channels: 3 }),
      );
      const labels = Array.from({ length: bench.tiny ? 3 : 21 }, (_, i) => `label ${i}`);
      const vocabulary = await model.vocabulary(Vocabulary.from(labels, { templates: 'none' }));
      let last: readonly Segmentation[] = [];
      return {
        waits: true,
        call: async () => {
          last = await Promise.all(pictures.map((picture) => model.segment(picture, vocabulary, given)));
        },
        stages: () => meanStages(last),
        close: () => model.dispose(),
      };
    },
  };
}

export function encodeCases(bench: Bench): GpuCase[] {
  const rate = (accept: number, goal: number): Target => ({ unit: 'per second', accept, goal });
  const windows15 = { shortSide: 448, crop: 224, stride: 112 };
  return [
    encoder(bench, sizes.b16, 28, rate(11_200, 13_500)),
    encoder(bench, sizes.b16, 280, rate(11_200, 13_500)),
    encoder(bench, sizes.b16, 1, { unit: 'ms', accept: 0.6, goal: 0.6 }),
    encoder(bench, sizes.b16At320, 14, rate(5300, 6400)),
    encoder(bench, sizes.b16At448, 7, rate(2500, 3000)),
    encoder(bench, sizes.l14, 16, rate(2400, 2900)),
    encoder(bench, sizes.l14At336, 7, rate(1030, 1240)),
    encoder(bench, sizes.l14At336, 1, { unit: 'ms', accept: 1.5, goal: 1.5 }),
    encoder(bench, sizes.blip, 4, rate(185, 230)),
    encoder(bench, sizes.bridgeTower, 4, rate(125, 160)),
    pipeline(bench, '15 windows of 224 to labels', { ...windows15, refine: 'none' }, 800),
    pipeline(bench, '15 windows of 224 to labels, PAMR', { ...windows15, refine: 'pamr' }, 450),
    pipeline(bench, '2 windows of 448 to labels', { shortSide: 448, crop: 448, stride: 224, refine: 'none' }, 1200),
    pipeline(bench, '15 windows of 224 to labels, CRF', { ...windows15, refine: 'crf' }),
  ];
}
