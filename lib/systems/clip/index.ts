/**
 * CLIP read densely: the ordinary forward pass, every patch token through the final norm and projection.
 * Baseline row of the NACLIP, SCLIP and ClearCLIP papers; dense-clip-baselines.md section 1, first row.
 */
import { denseOptions, familyDefaults } from '../../post/dense-options.js';
import { createDenseSystem, type DenseSystemModule } from '../../post/dense-system.js';
import { presets } from './presets.js';

const defaults = familyDefaults;

export const clip: DenseSystemModule = {
  info: {
    name: 'clip',
    title: 'CLIP (dense)',
    paper: 'arXiv 2103.00020',
    year: 2021,
    kind: 'semantic',
    supervision: 'none',
    backbones: ['clip'],
    licence: { code: 'MIT', weights: 'MIT (OpenAI)' },
    tasks: ['semantic'],
    separable: true,
  },
  defaults,
  presets,
  check: (...layers) => denseOptions(defaults, ...layers),
  build: (encoder) => createDenseSystem(encoder, defaults),
};
