/**
 * ClearCLIP (Lan et al., ECCV 2024, arXiv 2407.12442), section 4: query with query in the last block, no residual, no MLP.
 * Windows are padded with zeros around their centre to a multiple of the patch; the maps are cut back after the bilinear step.
 * Without windows (crop 0) nothing is padded and the map goes to the picture's size in one step.
 * Difference: sums of window logits are f32.
 */
import { type DenseOptions, familyDefaults } from '../../post/dense-options.js';
import { clipReading } from '../../post/dense-system.js';
import { presets } from './presets.js';

const defaults: DenseOptions = {
  ...familyDefaults,
  attention: 'qq',
  residual: false,
  ffn: false,
  logitScale: 50,
  shortSide: 448,
  crop: 448,
  stride: 224,
  padToPatch: 'centre',
  oneStep: true,
};

export const clearclip = clipReading({
  name: 'clearclip',
  title: 'ClearCLIP',
  paper: 'arXiv 2407.12442',
  year: 2024,
  code: 'MIT',
  defaults,
  presets,
});
