/**
 * CLIP read densely: the ordinary forward pass, every patch token through the final norm and projection.
 * Baseline row of the NACLIP, SCLIP and ClearCLIP papers; dense-clip-baselines.md section 1, first row.
 */
import { familyDefaults } from '../../post/dense-options.js';
import { clipReading } from '../../post/dense-system.js';
import { presets } from './presets.js';

const defaults = familyDefaults;

export const clip = clipReading({
  name: 'clip',
  title: 'CLIP (dense)',
  paper: 'arXiv 2103.00020',
  year: 2021,
  code: 'MIT',
  defaults,
  presets,
});
