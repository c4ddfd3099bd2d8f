/**
 * SCLIP (Wang, Mei, Yuille, ECCV 2024, arXiv 2312.01597), section 3.2, correlative self-attention: the sum of two softmaxes,
 * query with query and key with key, residual and MLP kept. The sum is not halved, as in the published code.
 * Without windows (crop 0) the map goes to the picture's size in one step. Differences: sums of window logits are f32; PAMR
 * also runs without windows where it is asked for, which the published code leaves out.
 */
import { type DenseOptions, familyDefaults } from '../../post/dense-options.js';
import { clipReading } from '../../post/dense-system.js';
import { presets } from './presets.js';

const defaults: DenseOptions = { ...familyDefaults, attention: 'qq+kk', oneStep: true };

export const sclip = clipReading({
  name: 'sclip',
  title: 'SCLIP',
  paper: 'arXiv 2312.01597',
  year: 2024,
  code: 'none stated',
  defaults,
  presets,
});
