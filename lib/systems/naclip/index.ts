/**
 * NACLIP (Hajimiri, Ben Ayed, Dolz: "Pay Attention to Your Neighbours", WACV 2025, arXiv 2404.08181), sections 3.2-3.3:
 * keys compared with keys plus a Gaussian window around each patch, last block without residual and MLP, PAMR on the logits.
 * Differences from the published code: sums of window logits are f32; the factor of `gauss` (nonly) is computed per
 * window; running out of memory in PAMR tiles the picture where that code would skip the step.
 */
import { type DenseOptions, familyDefaults } from '../../post/dense-options.js';
import { clipReading } from '../../post/dense-system.js';
import { WordmaskError } from '../../util/errors.js';
import { presets } from './presets.js';

const defaults: DenseOptions = {
  ...familyDefaults,
  attention: 'kk+gauss',
  residual: false,
  ffn: false,
  renormalise: true,
  pamr: { steps: 10, dilations: [8, 16] },
};

export const naclip = clipReading({
  name: 'naclip',
  title: 'NACLIP',
  paper: 'arXiv 2404.08181',
  year: 2025,
  code: 'MIT',
  defaults,
  presets,
  refuse: (options) => {
    // Rows of the two summed softmaxes add to 2, which only a block that keeps its residual was meant for.
    if (options.attention === 'qq+kk' && !options.residual) {
      throw new WordmaskError(
        'E_OPTION',
        "naclip: attention 'csa' needs arch 'vanilla' (residual and MLP kept), got arch 'reduced'; the published code refuses it too",
        { details: { option: 'attention', value: options.attention } },
      );
    }
  },
});
