/** `overlay`: colours over the picture with outlines and a legend strip. For the eye; it cannot be read back. */
import { renderOverlay } from '../image/overlay.js';
import { writePng } from '../image/png.js';
import { WordmaskError } from '../util/errors.js';
import { checkResult, type LabelFormat, textOf } from './format.js';

export const overlay: LabelFormat = {
  name: 'overlay',
  extension: '.png',
  async write(result, options = {}) {
    checkResult(result);
    const { image } = options;
    if (image && (image.width !== result.width || image.height !== result.height)) {
      throw new WordmaskError(
        'E_USAGE',
        `the picture is ${image.width} x ${image.height}, its labels ${result.width} x ${result.height}; decode it upright and unscaled`,
      );
    }
    const drawn = await renderOverlay(
      { ...result, image: image?.data },
      { alpha: options.alpha, contours: options.contours, legend: options.showLegend, signal: options.signal },
    );
    return writePng({ ...drawn, kind: 'rgb' }, { text: textOf(result), signal: options.signal });
  },
};
