/** `png`: 8-bit grey up to 255 labels, else 16-bit grey; the highest value of the depth = nothing. Reads label TIFFs too. */
import { fileBytes, type LabelFormat } from './format.js';
import { completeResult, readLabelImage, writeGrey } from './label-png.js';

export const png: LabelFormat = {
  name: 'png',
  extension: '.png',
  write: (result, options = {}) => writeGrey('png', result, { shift: 0, nothing: 'highest' }, options.signal),
  async read(input, options = {}) {
    const image = await readLabelImage(fileBytes(input, '.png', 'png'), 'png', options.signal);
    return completeResult(image, image.data, options);
  },
};
