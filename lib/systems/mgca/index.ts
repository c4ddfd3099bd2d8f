/**
 * MGCA (multi-grained cross-modal alignment, arXiv 2403.03707): a frozen CLIP read as MaskCLIP's original form does (identity
 * in the last attention, residual and MLP kept), a decoder of two gated convolutions trained on captions, and units of alike
 * pixels at inference. No code or weights are published: choices that were rebuilt are listed in docs/mgca.md.
 */
import { scope, type Tensor } from '../../engine/index.js';
import { type DenseEncoder, encodeGroup, planWindows, type WindowFeatures } from '../../post/dense-encode.js';
import { type DenseOptions, denseOptions, familyDefaults } from '../../post/dense-options.js';
import {
  createDenseSystem,
  type DenseSystem,
  type DenseSystemModule,
  type TrainedPart,
} from '../../post/dense-system.js';
import { WordmaskError } from '../../util/errors.js';
import { decode } from './decoder.js';
import { openDecoder } from './load.js';
import { presets } from './presets.js';
import { findUnits, pooled } from './units.js';

/** What the frozen encoder does, in training and at inference. */
export const encoderOptions = {
  attention: 'v',
  residual: true,
  ffn: true,
  positions: 'exact',
  // TCL's, on whose code MGCA builds: ImageNet's statistics, not CLIP's.
  mean: [123.675, 116.28, 103.53],
  std: [58.395, 57.12, 57.375],
} as const satisfies Partial<DenseOptions>;

const defaults: DenseOptions = {
  ...familyDefaults,
  ...encoderOptions,
  mean: [...encoderOptions.mean],
  std: [...encoderOptions.std],
  // CLIP's own; for the softmax of the background rule.
  logitScale: 100,
  shortSide: 448,
  crop: 448,
  stride: 224,
  padToPatch: 'centre',
  templates: 'tcl-custom',
  averaging: 'mean-normalise',
  units: 36,
};

export const mgca: DenseSystemModule = {
  info: {
    name: 'mgca',
    title: 'MGCA',
    paper: 'arXiv 2403.03707',
    year: 2024,
    kind: 'semantic',
    supervision: 'text',
    backbones: ['clip'],
    licence: { code: 'none published', weights: 'none published; the frozen CLIP: MIT (OpenAI)' },
    tasks: ['semantic'],
    separable: true,
  },
  defaults,
  presets,
  check: (...layers) => denseOptions(defaults, ...layers),
  openPart: (file, encoder, options) => openDecoder(file, encoder.embed, options),
  build,
};

function build(encoder: DenseEncoder, part: TrainedPart | undefined): DenseSystem {
  if (!part) throw new WordmaskError('E_INTERNAL', 'mgca: built without its decoder');
  /** Patch features [n, P, E] -> pixel embeddings [n, 4P, E]. */
  const embed = (features: Tensor, [h, w]: readonly [number, number]): Tensor =>
    scope(() => {
      const [n = 0, , e = 0] = features.shape;
      return decode(features.reshape(n, h, w, e), part.tensors, encoder.compute).reshape(n, 4 * h * w, e);
    });
  const decoding: DenseEncoder = {
    ...encoder,
    encode: (rows, grid, options) =>
      scope(() => {
        const embeddings = embed(encoder.encode(rows, grid, options, false).features, grid);
        return { features: options.units === 0 ? embeddings : pooled(embeddings, mapGrid(grid), options.units) };
      }),
  };
  return createDenseSystem(decoding, defaults, {
    plan: (width, height, options, maxSide) => {
      const plan = planWindows(width, height, encoder.patch, options, maxSide);
      return { ...plan, mapGrid: mapGrid(plan.grid) };
    },
    inspection: {
      names: ['window_features', 'window_embeddings', 'unit_meta_index', 'unit_assignment', 'unit_embedding'],
      values: (windows, options) =>
        scope(() => {
          const { grid } = windows.plan;
          const { features } = encodeGroup(encoder, [windows], options)[0] as WindowFeatures;
          const embeddings = embed(features, grid);
          const all = { window_features: features, window_embeddings: embeddings };
          if (options.units === 0) return all;
          const { metaIndex, assignment, means } = findUnits(embeddings, mapGrid(grid), options.units);
          return { ...all, unit_meta_index: metaIndex, unit_assignment: assignment, unit_embedding: means };
        }),
    },
  });
}

/** Maps are twice as fine as the patches. */
function mapGrid([h, w]: readonly [number, number]): readonly [number, number] {
  return [2 * h, 2 * w];
}
