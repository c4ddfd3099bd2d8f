/**
 * MaskCLIP (Zhou, Loy, Dai, ECCV 2022, arXiv 2112.01071), section 3.2: the last attention becomes the identity, each token keeps
 * its own value. Default is the form without residual and MLP in which later papers rerun it; preset
 * `maskclip-original` is the original repository's form, with its optional refinements (key smoothing, prompt denoising).
 */
import { type DenseOptions, familyDefaults } from '../../post/dense-options.js';
import { clipReading } from '../../post/dense-system.js';
import { presets } from './presets.js';
import { refineScores } from './refine.js';

const defaults: DenseOptions = { ...familyDefaults, attention: 'v', residual: false, ffn: false };

export const maskclip = clipReading({
  name: 'maskclip',
  title: 'MaskCLIP',
  paper: 'arXiv 2112.01071',
  year: 2022,
  code: 'Apache-2.0',
  defaults,
  presets,
  hooks: {
    refine: refineScores,
    refines: (options) => options.keySmoothing > 0 || options.promptDenoising > 0,
  },
});
